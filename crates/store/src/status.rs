//! The status of an integration: what an operator sees of its connection.
//!
//! Item `STATUS#{integration}`/`STATUS` of `state`. Several processes know a part each, so a change writes only its own
//! attributes. `f` is the fencing token of the connection's holder that wrote last.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{get_number, number, read, text, value};
use crate::leases;
use crate::message::{self, FailedAnswer, Troubles};
use crate::update::Update;

const WHAT: &str = "status";
const SORT: &str = "STATUS";
/// The attribute of [`StatusChange::CallsHeldUntil`].
const CALLS_HELD_UNTIL: &str = "calls_held_until";

/// Status of an integration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// State of the connection.
    pub state: Option<ConnectionState>,
    /// Why it is down, if that is on purpose.
    pub reason: Option<String>,
    /// Since when it has been up.
    #[serde(with = "millis::option")]
    pub connected_at: Option<Timestamp>,
    /// Time of the latest event from the platform.
    #[serde(with = "millis::option")]
    pub last_event_at: Option<Timestamp>,
    /// Time of the latest reply that the platform confirmed.
    #[serde(with = "millis::option")]
    pub last_reply_at: Option<Timestamp>,
    /// The latest error.
    pub last_error: Option<StatusError>,
    /// Refusal of the credentials outside a connection: by a call that delivers a reply, or by a probe. Stays until the platform accepts
    /// a later reply.
    pub credentials_refused: Option<StatusError>,
    /// End of the platform's current rate limit.
    #[serde(with = "millis::option")]
    pub rate_limited_until: Option<Timestamp>,
    /// Failed attempts to connect in a row.
    pub reconnect_attempts: u32,
    /// The process that holds the connection, by its node's name.
    pub owner: Option<String>,
    /// When a request was last verified, or our address confirmed by the platform.
    #[serde(with = "millis::option")]
    pub verified_at: Option<Timestamp>,
    /// When a request last failed verification.
    #[serde(with = "millis::option")]
    pub last_signature_failure_at: Option<Timestamp>,
    /// What was wrong with that request.
    pub signature_failure: Option<SignatureFailure>,
    /// When the connection was last established.
    #[serde(with = "millis::option")]
    pub last_connected_at: Option<Timestamp>,
    /// When the connection was last lost or closed.
    #[serde(with = "millis::option")]
    pub last_disconnected_at: Option<Timestamp>,
    /// When another process last took the connection over, and how long there was none.
    pub last_hand_over: Option<HandOver>,
    /// When another client last took the bot.
    pub kick: Option<KickRecord>,
    /// The newest failed answer, if answers fail: see [`message::Traffic::failed`]. Not stored: [`seen`] derives it from the ledger.
    #[serde(skip)]
    pub failed_answer: Option<FailedAnswer>,
    /// Other problems in the newest messages. Not stored: derived from the ledger too.
    #[serde(skip)]
    pub troubles: Troubles,
}

/// Why a request failed verification.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureFailure {
    /// The reason, as the connector describes it; quotes nothing of the request.
    pub reason: String,
    /// The credential that is probably wrong.
    #[serde(default)]
    pub field: Option<String>,
}

/// Another process took the connection over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct HandOver {
    /// When its connection was up.
    #[serde(with = "millis")]
    pub at: Timestamp,
    gap_ms: u64,
}

impl HandOver {
    /// Connected again at `at`, after a `gap` without a connection.
    #[must_use]
    pub fn new(at: Timestamp, gap: Duration) -> Self {
        Self {
            at,
            gap_ms: u64::try_from(gap.as_millis()).unwrap_or(u64::MAX),
        }
    }

    /// How long the bot had no connection; zero if the old and the new one overlapped.
    #[must_use]
    pub const fn gap(self) -> Duration {
        Duration::from_millis(self.gap_ms)
    }
}

/// Another client took the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickRecord {
    /// When it happened.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Whether it ended the automatic reconnects.
    pub down: bool,
    /// The integration's version then: with another one it was changed or restarted, and the kick is cleared.
    pub version: u64,
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Up.
    Connected,
    /// Up, but its newest answers fail. Never stored: derived from the ledger.
    Degraded,
    /// Being opened.
    Connecting,
    /// Down, and retried.
    Retrying,
    /// Down, and not retried automatically.
    Disconnected,
    /// Stopped by an operator.
    Disabled,
    /// Waiting until a person scans a QR code.
    NeedsLogin,
}

impl ConnectionState {
    /// The name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connected => "connected",
            Self::Degraded => "degraded",
            Self::Connecting => "connecting",
            Self::Retrying => "retrying",
            Self::Disconnected => "disconnected",
            Self::Disabled => "disabled",
            Self::NeedsLogin => "needs_login",
        }
    }
}

/// An error, for the operator.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StatusError {
    /// When it occurred.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The platform's code, or our word.
    pub code: String,
    /// What happened, without secrets and personal text.
    pub message: String,
}

/// A change of one field.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusChange {
    /// The connection has this state now, for this reason.
    State(ConnectionState, Option<String>),
    /// It has been up since then, or is not up any more.
    ConnectedAt(Option<Timestamp>),
    /// An event was received.
    LastEventAt(Timestamp),
    /// A reply was confirmed.
    LastReplyAt(Timestamp),
    /// Something failed.
    LastError(StatusError),
    /// The platform has refused the credentials to a delivery or a probe, or has accepted them since.
    CredentialsRefused(Option<StatusError>),
    /// The platform has set a rate limit until then, or it has ended.
    RateLimitedUntil(Option<Timestamp>),
    /// Until when the platform accepts no calls that deliver replies; `None`: that was another account, or an operator wants to try. Not shown:
    /// [`StatusChange::RateLimitedUntil`] is.
    CallsHeldUntil(Option<Timestamp>),
    /// Number of failed attempts in a row.
    ReconnectAttempts(u32),
    /// This process holds the connection, or no process does.
    Owner(Option<String>),
    /// A request was verified.
    VerifiedAt(Timestamp),
    /// A request failed verification.
    LastSignatureFailureAt(Timestamp),
    /// Why a request failed verification.
    SignatureFailure(SignatureFailure),
    /// The connection was established.
    LastConnectedAt(Timestamp),
    /// The connection was lost or closed.
    LastDisconnectedAt(Timestamp),
    /// This process has taken the connection over from another one.
    LastHandOver(HandOver),
    /// Another client took the bot.
    Kick(KickRecord),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(Status),
}

/// Changes the status on behalf of a process that doesn't hold the connection. Other fields are unchanged.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn merge(store: &Store, integration: &IntegrationId, changes: &[StatusChange]) -> Result<(), StoreError> {
    write(store, integration, changes, Update::new()).await
}

/// Changes the status, by the holder of the connection.
///
/// # Errors
/// [`StoreError::Conflict`] if a newer holder has written meanwhile: the connection has another holder.
pub async fn merge_as_holder(
    store: &Store,
    integration: &IntegrationId,
    fence: u64,
    changes: &[StatusChange],
) -> Result<(), StoreError> {
    let mut change = Update::new();
    let (path, mine) = (change.path("f"), change.value(number(fence)));
    change.require(format!("(attribute_not_exists({path}) OR {path} <= {mine})"));
    change.set("f", number(fence));
    write(store, integration, changes, change).await
}

/// Reads the status; empty for an integration without any.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get(store: &Store, integration: &IntegrationId) -> Result<Status, StoreError> {
    let key = partition(integration);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    match found {
        Some(item) => read(WHAT, item).map(|Stored::V1(status)| status),
        None => Ok(Status::default()),
    }
}

/// Until when the platform accepts no calls that deliver replies, as far as a process has noted it. Eventually consistent.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn calls_held_until(store: &Store, integration: &IntegrationId) -> Result<Option<Timestamp>, StoreError> {
    let key = partition(integration);
    let table = &store.tables.state;
    let found = dynamo::get(
        &store.dynamo,
        table,
        (&key, SORT),
        Reading::Eventual,
        &[CALLS_HELD_UNTIL],
    )
    .await?;
    let at = found.and_then(|item| get_number(&item, CALLS_HELD_UNTIL));
    Ok(at.map(Timestamp::from_millis))
}

/// Reads the status that is true at `now`: a connection counts as down if its holder has died or no longer holds the bot's shard,
/// whatever it wrote last. `shard` is the bot's, `None` where there are no relays. The times of the last message and answer are derived from the
/// newest messages, so that they cost no write per message.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn seen(
    store: &Store,
    integration: &IntegrationId,
    shard: Option<usize>,
    now: Timestamp,
) -> Result<Status, StoreError> {
    let mut status = get(store, integration).await?;
    let held = matches!(
        status.state,
        Some(ConnectionState::Connected | ConnectionState::Connecting | ConnectionState::Retrying)
    );
    if let Some(owner) = status.owner.as_ref().filter(|_| held) {
        let shard_map = leases::shard_map(store).await?;
        if !shard.is_some_and(|shard| shard_map.may_connect(owner, shard, now)) {
            status.state = Some(ConnectionState::Retrying);
            status.connected_at = None;
            status.owner = None;
        }
    }
    let traffic = message::traffic(store, integration, now).await?;
    status.last_event_at = status.last_event_at.max(traffic.heard);
    status.last_reply_at = status.last_reply_at.max(traffic.said);
    status.failed_answer = traffic.failed;
    status.troubles = traffic.troubles;
    Ok(status)
}

/// Deletes the status, with its integration.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn remove(store: &Store, integration: &IntegrationId) -> Result<(), StoreError> {
    let key = partition(integration);
    dynamo::delete(&store.dynamo, &store.tables.state, (&key, SORT), Update::new()).await
}

async fn write(
    store: &Store,
    integration: &IntegrationId,
    changes: &[StatusChange],
    mut update: Update,
) -> Result<(), StoreError> {
    update.set("v", text("1"));
    for change in changes {
        change.apply(&mut update)?;
    }
    let (key, table) = (partition(integration), &store.tables.state);
    let written = dynamo::update(&store.dynamo, table, (&key, SORT), update, ReturnValue::None).await?;
    written.or_conflict().map(drop)
}

impl StatusChange {
    fn apply(&self, update: &mut Update) -> Result<(), StoreError> {
        match self {
            Self::State(state, reason) => {
                update.set("state", text(state.as_str()));
                set_or_remove(update, "reason", reason.as_ref())?;
            }
            Self::ConnectedAt(at) => set_time(update, "connected_at", *at),
            Self::LastEventAt(at) => set_time(update, "last_event_at", Some(*at)),
            Self::LastReplyAt(at) => set_time(update, "last_reply_at", Some(*at)),
            Self::LastError(error) => set_or_remove(update, "last_error", Some(error))?,
            Self::CredentialsRefused(error) => set_or_remove(update, "credentials_refused", error.as_ref())?,
            Self::RateLimitedUntil(at) => set_time(update, "rate_limited_until", *at),
            Self::CallsHeldUntil(at) => set_time(update, CALLS_HELD_UNTIL, *at),
            Self::ReconnectAttempts(n) => set_or_remove(update, "reconnect_attempts", Some(n))?,
            Self::Owner(owner) => set_or_remove(update, "owner", owner.as_ref())?,
            Self::VerifiedAt(at) => set_time(update, "verified_at", Some(*at)),
            Self::LastSignatureFailureAt(at) => set_time(update, "last_signature_failure_at", Some(*at)),
            Self::SignatureFailure(failure) => set_or_remove(update, "signature_failure", Some(failure))?,
            Self::LastConnectedAt(at) => set_time(update, "last_connected_at", Some(*at)),
            Self::LastDisconnectedAt(at) => set_time(update, "last_disconnected_at", Some(*at)),
            Self::LastHandOver(hand_over) => set_or_remove(update, "last_hand_over", Some(hand_over))?,
            Self::Kick(kick) => set_or_remove(update, "kick", Some(kick))?,
        }
        Ok(())
    }
}

fn set_time(update: &mut Update, path: &str, at: Option<Timestamp>) {
    match at {
        Some(at) => update.set(path, number(at.as_millis())),
        None => update.remove(path),
    };
}

fn set_or_remove<T: Serialize>(update: &mut Update, path: &str, new: Option<&T>) -> Result<(), StoreError> {
    match new {
        Some(new) => update.set(path, value(WHAT, new)?),
        None => update.remove(path),
    };
    Ok(())
}

fn partition(integration: &IntegrationId) -> String {
    format!("STATUS#{integration}")
}
