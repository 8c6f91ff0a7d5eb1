//! Messages: the claim that admits each one once, and its record in the ledger. They are the same item.
//!
//! Item `MSG#{message}`/`MSG` of `state`, 30 days from receipt. Attributes: `rp` reply, `o` organization, `i` integration, `ac`
//! mark of its bot account, `pm` platform's message id, `c` conversation, `ses` and `sn` session and its number, `at` receipt, `st` state, `ev` the sealed
//! event or `eb` a long one, `run`, `ms` the messages of the run that it failed in, `why` reason, `steps`, `rd` redrives, `n` version.

mod list;
mod read;
mod record;
mod redelivery;
mod shown;

use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use tieline_core::ids::{
    ConversationId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, RunId, SenderId, SessionId,
};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::data_keys::unless_key_is_lost;
use crate::dynamo::{self, Written};
use crate::error::StoreError;
use crate::item::{Blob, Item, expire, get_text, number, read, sortable, text, value, write};
use crate::sealed_blob::{self, Body};
use crate::tables::{BY_INTEGRATION, PK};
use crate::update::Update;

pub use list::{
    FailedAnswer, Filter, LATELY, MANY_FAILURES, Traffic, Troubles, has_recovered, list, list_matching, traffic,
};
pub use read::{get, get_many, get_waiting};
pub use redelivery::{finish_redelivery, finish_with_run, note_redelivery};
pub use shown::{DELIVERY_REFUSED, show};

/// How long a message is kept: longer than any platform redelivers one.
const LIFETIME: Duration = Duration::from_hours(30 * 24);

/// Most steps that are kept. An end is always recorded.
const MAX_STEPS: usize = 200;

const SORT: &str = "MSG";

/// Reason of a message without a sender: an operator's proactive message, whose record reports its delivery.
pub const PROACTIVE: &str = "proactive";

/// Reason of a message that was recalled before it was received, or that wasn't addressed to the bot.
pub const RECALLED: &str = "recalled";

/// Prefix of the id that the bridge gives a proactive message in place of a platform's.
pub const OWN_ID: &str = "own";

/// Reason of a message whose sender or chat is not on the trigger's access list.
pub const NOT_ALLOWED: &str = "not_allowed";

/// Reason of a message whose sender the organization's mapper doesn't know.
pub const UNKNOWN_PERSON: &str = "mapper_unknown_person";

/// Reason of a message to an integration that was deleted.
pub const INTEGRATION_DELETED: &str = "integration_deleted";

/// Reasons of refusals that need no attention: the message was empty, or the operators have set it up that way.
const EXPECTED_REFUSALS: [&str; 7] = [
    NOT_ALLOWED,
    UNKNOWN_PERSON,
    "empty",
    INTEGRATION_DELETED,
    "integration_stopped",
    "no_trigger",
    "trigger_disabled",
];

/// Code of an answer to a message that another bot account of the integration received: its chat is unknown to the present one.
pub const ACCOUNT_CHANGED: &str = "account_changed";

/// Code of the step `result` of an answer that the agent ended without text and files.
pub const EMPTY_ANSWER: &str = "empty_answer";

/// Step of a message that an operator has redriven.
pub const REDRIVEN: &str = "redriven";

/// A message in the ledger.
#[derive(Debug, Clone, PartialEq)]
pub struct MessageRecord {
    /// The message.
    pub id: MessageId,
    /// Its reply.
    pub reply: ReplyId,
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// [Mark](crate::config::integration::IntegrationRecord::account_mark) of the bot account that received it, which alone may answer it.
    /// `None`: unknown, or in records of older versions.
    pub account: Option<String>,
    /// The platform's own id.
    pub platform_message: PlatformMessageId,
    /// Its conversation, once known.
    pub conversation: Option<ConversationId>,
    /// Its session and the session's number, once known.
    pub session: Option<(SessionId, u64)>,
    /// The platform's own id of the sender. `None` in records of older versions, and of events that can't be read.
    pub sender: Option<SenderId>,
    /// When we received it.
    pub received_at: Timestamp,
    /// Its state.
    pub state: MessageState,
    /// The sealed event, as in the envelope.
    pub event: String,
    /// The run that answers it, once there is one.
    pub run: Option<RunId>,
    /// If it failed in a run of several messages: those messages, in order. The reply to the last one shows the run's answer.
    pub run_messages: Vec<MessageId>,
    /// Why it ended that way, where that needs an explanation.
    pub reason: Option<String>,
    /// Its steps, in order.
    pub steps: Vec<LedgerStep>,
    /// How often an operator has redriven it.
    pub redrives: u32,
    /// Incremented with every change.
    pub version: u64,
}

/// Outcome of claiming a message.
#[derive(Debug, Clone, PartialEq)]
pub enum Claim {
    /// It is new, and claimed now.
    New,
    /// It was claimed before; this is its record. The process that claimed it may have died since: check its state.
    Seen(Box<MessageRecord>),
}

/// The end of a message.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// The state, usually a terminal one.
    pub state: MessageState,
    /// The reason. `None` keeps the recorded one.
    pub reason: Option<String>,
    /// The run. `None` keeps the recorded one.
    pub run: Option<RunId>,
    /// The session and its number. `None` keeps the recorded ones.
    pub session: Option<(SessionId, u64)>,
    /// Steps to be added, in order.
    pub steps: Vec<LedgerStep>,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Debug, Serialize, Deserialize)]
struct StoredV1 {
    rp: ReplyId,
    o: OrganizationId,
    i: IntegrationId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ac: Option<String>,
    pm: PlatformMessageId,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<ConversationId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ses: Option<SessionId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    sn: Option<u64>,
    /// The sender.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    by: Option<SenderId>,
    #[serde(with = "tieline_core::timestamp::millis")]
    at: Timestamp,
    st: MessageState,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    ev: Option<StoredEvent>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    eb: Option<Body>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    run: Option<RunId>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    ms: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    why: Option<String>,
    #[serde(default)]
    steps: Vec<StepV1>,
    #[serde(default)]
    rd: u32,
    n: u64,
}

/// The sealed event: bytes, of which the text in the envelope is a third longer. Older versions stored that text.
#[derive(Debug, Serialize, Deserialize)]
#[serde(untagged)]
enum StoredEvent {
    Bytes(Blob),
    Text(String),
}

impl StoredEvent {
    fn of(event: &str) -> Self {
        STANDARD
            .decode(event)
            .map_or_else(|_| Self::Text(event.to_owned()), |sealed| Self::Bytes(Blob(sealed)))
    }

    fn into_text(self) -> String {
        match self {
            Self::Bytes(Blob(sealed)) => STANDARD.encode(sealed),
            Self::Text(event) => event,
        }
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct StepV1 {
    #[serde(with = "tieline_core::timestamp::millis")]
    a: Timestamp,
    s: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    c: Option<String>,
    /// The agent's own message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    d: Option<String>,
}

/// Claims a message: the first caller gets [`Claim::New`], later ones the record.
///
/// # Errors
/// [`StoreError::Unavailable`]; then it is unknown whether it is claimed; claiming again reports it.
pub async fn claim(store: &Store, record: &MessageRecord) -> Result<Claim, StoreError> {
    let item = record.to_item(store).await?;
    let mut condition = Update::new();
    condition.require_gone(record.received_at);
    match dynamo::put(&store.dynamo, &store.tables.state, item, condition).await? {
        Written::Done(_) => Ok(Claim::New),
        Written::Refused(Some(item)) => Ok(Claim::Seen(Box::new(from_item(store, item, record.received_at).await?))),
        Written::Refused(None) => Err(StoreError::Conflict),
    }
}

/// Records the end of a message, unless it has ended before: then `false`, and nothing changes.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn finish(store: &Store, id: &MessageId, ending: &Ending) -> Result<bool, StoreError> {
    write_change(store, id, end(ending)?).await
}

/// Like [`finish`], for a message whose event is no longer needed: the event is dropped, which also keeps the item within one write unit.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn finish_and_forget(store: &Store, id: &MessageId, ending: &Ending) -> Result<bool, StoreError> {
    let mut change = end(ending)?;
    change.remove("ev");
    write_change(store, id, change).await
}

fn end(ending: &Ending) -> Result<Update, StoreError> {
    let mut change = Update::new();
    change.set("st", text(ending.state.as_str()));
    if let Some(reason) = &ending.reason {
        change.set("why", text(reason));
    }
    if let Some(run) = &ending.run {
        change.set("run", text(run.as_str()));
    }
    if let Some((session, session_number)) = &ending.session {
        change.set("ses", text(session.as_str()));
        change.set("sn", number(session_number));
    }
    append_steps(&mut change, &ending.steps)?;
    let state = change.path("st");
    let queued = change.value(text(MessageState::Queued.as_str()));
    let running = change.value(text(MessageState::Running.as_str()));
    change.require(format!("{state} IN ({queued}, {running})"));
    Ok(change)
}

/// Adds steps. Does nothing if the message no longer exists, or has too many steps.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn note(store: &Store, id: &MessageId, steps: &[LedgerStep]) -> Result<(), StoreError> {
    let mut change = Update::new();
    append_steps(&mut change, steps)?;
    let (pk, list, max) = (change.path(PK), change.path("steps"), change.value(number(MAX_STEPS)));
    change.require(format!("attribute_exists({pk}) AND size({list}) < {max}"));
    write_change(store, id, change).await.map(drop)
}

/// Restarts the processing of a failed message that was redriven `redrives` times before. `false` if it has not failed, or
/// was redriven meanwhile.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn reopen(store: &Store, id: &MessageId, redrives: u32, now: Timestamp) -> Result<bool, StoreError> {
    let mut change = Update::new();
    change
        .require_equal("rd", number(redrives))
        .set("st", text(MessageState::Queued.as_str()))
        .set("ttl", number(now.after(LIFETIME).as_secs()))
        .remove("why")
        // From now on it isn't answered with those messages.
        .remove("ms")
        .add("rd", 1)
        .require_equal("st", text(MessageState::Failed.as_str()))
        .require_alive(now);
    append_steps(&mut change, &[LedgerStep::new(now, REDRIVEN)])?;
    write_change(store, id, change).await
}

/// Records that the reply to a message is being delivered again. The state of the message stays.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn note_resent(store: &Store, id: &MessageId, now: Timestamp) -> Result<(), StoreError> {
    let mut change = Update::new();
    change
        .set("ttl", number(now.after(LIFETIME).as_secs()))
        .add("rd", 1)
        .require_alive(now);
    append_steps(&mut change, &[LedgerStep::new(now, REDRIVEN)])?;
    write_change(store, id, change).await.map(drop)
}

async fn write_change(store: &Store, id: &MessageId, mut change: Update) -> Result<bool, StoreError> {
    change.add("n", 1);
    let key = partition(id);
    let written = dynamo::update(
        &store.dynamo,
        &store.tables.state,
        (&key, SORT),
        change,
        ReturnValue::None,
    );
    Ok(matches!(written.await?, Written::Done(_)))
}

fn append_steps(change: &mut Update, steps: &[LedgerStep]) -> Result<(), StoreError> {
    let steps = steps.iter().cloned().map(StepV1::from);
    let steps: Vec<AttributeValue> = steps.map(|step| value("step", &step)).collect::<Result<_, _>>()?;
    change.append("steps", steps);
    Ok(())
}

fn partition(id: &MessageId) -> String {
    format!("MSG#{id}")
}

/// Sort key of a message in the index: by time.
fn position(received_at: Timestamp, id: &MessageId) -> String {
    format!("{}#{id}", sortable(received_at))
}

impl MessageRecord {
    async fn to_item(&self, store: &Store) -> Result<Item, StoreError> {
        let expires_at = self.received_at.after(LIFETIME);
        let (ev, eb) = if sealed_blob::is_long(self.event.len()) {
            let about = self.id.as_str();
            // Sealed once, by its pieces: a seal inside would need its key for as long as the message is kept.
            let plain = store.keyring().open(&self.event, about).ok();
            let bytes = plain.as_deref().unwrap_or(self.event.as_bytes());
            let body = sealed_blob::put(store, about, bytes, None, expires_at).await?;
            (None, Some(body))
        } else {
            (Some(StoredEvent::of(&self.event)), None)
        };
        let stored = Stored::V1(StoredV1 {
            rp: self.reply.clone(),
            o: self.organization.clone(),
            i: self.integration.clone(),
            ac: self.account.clone(),
            pm: self.platform_message.clone(),
            c: self.conversation.clone(),
            ses: self.session.as_ref().map(|(session, _)| session.clone()),
            sn: self.session.as_ref().map(|(_, session_number)| *session_number),
            by: self.sender.clone(),
            at: self.received_at,
            st: self.state,
            ev,
            eb,
            run: self.run.clone(),
            ms: self.run_messages.clone(),
            why: self.reason.clone(),
            steps: self.steps.iter().cloned().map(StepV1::from).collect(),
            rd: self.redrives,
            n: self.version,
        });
        let mut item = write("message", &partition(&self.id), SORT, &stored)?;
        item.insert(
            BY_INTEGRATION.partition.to_owned(),
            text(format!("INT#{}", self.integration)),
        );
        item.insert(
            BY_INTEGRATION.sort.to_owned(),
            text(position(self.received_at, &self.id)),
        );
        expire(&mut item, expires_at);
        Ok(item)
    }
}

async fn from_item(store: &Store, item: Item, now: Timestamp) -> Result<MessageRecord, StoreError> {
    let what = "message";
    let pk = get_text(&item, PK).and_then(|pk| pk.strip_prefix("MSG#"));
    let id = MessageId::new(pk.ok_or(StoreError::Unreadable { what })?);
    let Stored::V1(stored) = read(what, item)?;
    let event = match (stored.ev, stored.eb) {
        (Some(event), _) => event.into_text(),
        (None, Some(long)) => long_event(store, &id, &long, now.since(stored.at)).await?,
        // Dropped when the message ended.
        (None, None) => String::new(),
    };
    Ok(MessageRecord {
        id,
        reply: stored.rp,
        organization: stored.o,
        integration: stored.i,
        account: stored.ac,
        platform_message: stored.pm,
        conversation: stored.c,
        session: stored.ses.zip(stored.sn),
        sender: stored.by,
        received_at: stored.at,
        state: stored.st,
        event,
        run: stored.run,
        run_messages: stored.ms,
        reason: stored.why,
        steps: stored.steps.into_iter().map(LedgerStep::from).collect(),
        redrives: stored.rd,
        version: stored.n,
    })
}

/// An event in items of its own. Empty if it can't be read any more: then its message can still be listed, be ended, and be erased.
async fn long_event(store: &Store, id: &MessageId, body: &Body, age: Duration) -> Result<String, StoreError> {
    let opened = match sealed_blob::get(store, id.as_str(), body).await {
        // The continuation items expire before a message that was redriven late.
        Err(StoreError::Unreadable { .. } | StoreError::Unsealable) => Ok(None),
        opened => opened.map(Some),
    };
    let Some(bytes) = unless_key_is_lost(opened, age)? else {
        return Ok(String::new());
    };
    // Older versions stored the sealed text.
    match bytes.first() {
        Some(b'{') => Ok(store.keyring().seal(&bytes, id.as_str())),
        _ => String::from_utf8(bytes).map_err(|_| StoreError::Unreadable { what: "message" }),
    }
}

impl From<LedgerStep> for StepV1 {
    fn from(step: LedgerStep) -> Self {
        Self {
            a: step.at,
            s: step.step,
            n: step.attempt,
            c: step.code,
            d: step.detail,
        }
    }
}

impl From<StepV1> for LedgerStep {
    fn from(step: StepV1) -> Self {
        Self {
            at: step.a,
            step: step.s,
            attempt: step.n,
            code: step.c,
            detail: step.d,
        }
    }
}
