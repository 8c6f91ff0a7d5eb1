//! The status of an integration: what an operator sees of its connection.
//!
//! Item `STATUS#{integration}`/`STATUS` of `state`. Several processes know a part each, so a change touches only its own
//! attributes. `f` is the fence of the connection's holder that wrote last.

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::ids::IntegrationId;
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{number, read, text, value};
use crate::leases;
use crate::message::{self, FailedAnswer, Troubles};
use crate::update::Update;

const WHAT: &str = "status";
const SORT: &str = "STATUS";

/// What is known of an integration's connection.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Status {
    /// How the connection is.
    pub state: Option<ConnectionState>,
    /// Why it is down, where it is down on purpose.
    pub reason: Option<String>,
    /// Since when it is up.
    #[serde(with = "millis::option")]
    pub connected_at: Option<Timestamp>,
    /// The latest event from the platform.
    #[serde(with = "millis::option")]
    pub last_event_at: Option<Timestamp>,
    /// The latest reply that the platform confirmed.
    #[serde(with = "millis::option")]
    pub last_reply_at: Option<Timestamp>,
    /// The latest error.
    pub last_error: Option<StatusError>,
    /// Refusal of the credentials outside a connection: by a call that delivers a reply, or by a probe. Counts until the platform accepts
    /// a later reply.
    pub credentials_refused: Option<StatusError>,
    /// Until when the platform wants us to be quiet.
    #[serde(with = "millis::option")]
    pub rate_limited_until: Option<Timestamp>,
    /// How often connecting has failed in a row.
    pub reconnect_attempts: u32,
    /// The process that holds the connection, by its node's name.
    pub owner: Option<String>,
    /// When the platform last proved a request, or verified our address.
    #[serde(with = "millis::option")]
    pub verified_at: Option<Timestamp>,
    /// When a request last could not be proved.
    #[serde(with = "millis::option")]
    pub last_signature_failure_at: Option<Timestamp>,
    /// What was wrong with that request.
    pub signature_failure: Option<SignatureFailure>,
    /// When the connection last came up.
    #[serde(with = "millis::option")]
    pub last_connected_at: Option<Timestamp>,
    /// When the connection was last lost or closed.
    #[serde(with = "millis::option")]
    pub last_disconnected_at: Option<Timestamp>,
    /// The latest time that another client took the bot.
    pub kick: Option<KickRecord>,
    /// The newest failed answer, if answers fail: see [`message::Traffic::failed`]. Not stored: [`seen`] reads it off the ledger.
    #[serde(skip)]
    pub failed_answer: Option<FailedAnswer>,
    /// What else the newest messages show to be wrong. Not stored: read off the ledger too.
    #[serde(skip)]
    pub troubles: Troubles,
}

/// Why a request could not be proved.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignatureFailure {
    /// In the connector's words, which quote nothing of the request.
    pub reason: String,
    /// The credential that it points at.
    #[serde(default)]
    pub field: Option<String>,
}

/// Another client took the bot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct KickRecord {
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Whether it was one too many: not tried again by itself.
    pub down: bool,
    /// The integration's version then: under another one it was changed or restarted, and the kick is forgiven.
    pub version: u64,
}

/// How a connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionState {
    /// Up.
    Connected,
    /// Up, but its newest answers fail. Never stored: derived from the ledger.
    Degraded,
    /// On its way up.
    Connecting,
    /// Down, and tried again.
    Retrying,
    /// Down, and not tried again by itself.
    Disconnected,
    /// Stopped by an operator.
    Disabled,
    /// Waits until a person scans a code.
    NeedsLogin,
}

impl ConnectionState {
    /// The word used in the API.
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
    /// When.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// The platform's code, or our word.
    pub code: String,
    /// What happened, without secrets and people's words.
    pub message: String,
}

/// A change of one thing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StatusChange {
    /// The connection is so now, for this reason.
    State(ConnectionState, Option<String>),
    /// It is up since then, or not any more.
    ConnectedAt(Option<Timestamp>),
    /// An event came.
    LastEventAt(Timestamp),
    /// A reply was confirmed.
    LastReplyAt(Timestamp),
    /// Something failed.
    LastError(StatusError),
    /// The platform has refused the credentials to a delivery or a probe, or has accepted them since.
    CredentialsRefused(Option<StatusError>),
    /// The platform wants us to be quiet until then, or not any more.
    RateLimitedUntil(Option<Timestamp>),
    /// So many attempts have failed in a row.
    ReconnectAttempts(u32),
    /// This process holds the connection, or no process does.
    Owner(Option<String>),
    /// A request was proved.
    VerifiedAt(Timestamp),
    /// A request could not be proved.
    LastSignatureFailureAt(Timestamp),
    /// Why a request could not be proved.
    SignatureFailure(SignatureFailure),
    /// The connection has come up.
    LastConnectedAt(Timestamp),
    /// The connection was lost or closed.
    LastDisconnectedAt(Timestamp),
    /// Another client took the bot.
    Kick(KickRecord),
}

#[derive(Debug, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(Status),
}

/// Changes the status on behalf of a process that doesn't hold the connection. Fields that aren't named stay as they are.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn merge(store: &Store, integration: &IntegrationId, changes: &[StatusChange]) -> Result<(), StoreError> {
    write(store, integration, changes, Update::new()).await
}

/// Changes the status, by the holder of the connection.
///
/// # Errors
/// [`StoreError::Conflict`] if a newer holder has written meanwhile: the connection is not ours any more.
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

/// Reads the status; nothing is known of an integration that has never been heard of.
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

/// Reads the status as it is true `now`: a connection is none if its holder has died or doesn't hold the bot's shard any more,
/// whatever it wrote last. `shard` is the bot's, `None` where there are no relays. The times of the last message and answer are read off the
/// newest messages, so that no message costs a write for it.
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
        let picture = leases::picture(store).await?;
        if !shard.is_some_and(|shard| picture.may_connect(owner, shard, now)) {
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

/// Forgets the status, with its integration.
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
            Self::ReconnectAttempts(n) => set_or_remove(update, "reconnect_attempts", Some(n))?,
            Self::Owner(owner) => set_or_remove(update, "owner", owner.as_ref())?,
            Self::VerifiedAt(at) => set_time(update, "verified_at", Some(*at)),
            Self::LastSignatureFailureAt(at) => set_time(update, "last_signature_failure_at", Some(*at)),
            Self::SignatureFailure(failure) => set_or_remove(update, "signature_failure", Some(failure))?,
            Self::LastConnectedAt(at) => set_time(update, "last_connected_at", Some(*at)),
            Self::LastDisconnectedAt(at) => set_time(update, "last_disconnected_at", Some(*at)),
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
