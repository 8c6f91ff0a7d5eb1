//! Replies: what the chat should show, and the progress of showing it.
//!
//! Item `RPL#{reply}`/`RPL` of `state`, 7 days from its last change. Attributes: `o` organization, `i` integration, `c`
//! conversation, `m` message, `by` asker, `at` receipt, `st` stage, `b` the sealed body (reasoning, text, files and their progress, card:
//! long ones continue in other items), `pg` the sealed progress, `note` notice, `out` outcome, `pace`, `same` the reply to show instead, `end` the
//! progress with which polling ended, `fin` since when it is final, `go` where the run is resumed, `done` whether the chat shows the
//! final text, `lease` the process that delivers a finished reply, `f` fencing token, `rd` the redrive that restarted it, `n` version.

mod stored;
mod tombstone;

pub(crate) use stored::{about_end, about_progress};
pub(crate) use tombstone::bury;

use std::borrow::Cow;
use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use serde::{Deserialize, Serialize};
use tieline_core::agent::{AgentFailure, AskedQuestion, Resume};
use tieline_core::budget::Pace;
use tieline_core::card::{self, Button, Card};
use tieline_core::conversation::Lease;
use tieline_core::ids::{ConversationId, IntegrationId, MessageId, OrganizationId, ReplyId, SenderId};
use tieline_core::notice::{Language, Notice};
use tieline_core::redaction::HeldBack;
use tieline_core::reply::{FilesProgress, Progress, ReplyFile, Stage};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{alive, expire, get_number, number, read, text, value, write};
use crate::sealed_blob::{self, Body, Earlier};
use crate::tables::TTL;
use crate::update::Update;

/// How long a reply is kept after its last change: as long as the link to its whole text works.
const LIFETIME: Duration = Duration::from_hours(7 * 24);

/// How much longer the pieces of a long text are kept, for they are not written again when the reply changes.
const PIECES_SLACK: Duration = Duration::from_hours(30 * 24);

/// How much longer a final text in an item of its own is kept, and for how long it isn't written again when the reply changes.
const FINAL_SLACK: Duration = Duration::from_hours(2 * 24);
const FINAL_IS_NEW: Duration = Duration::from_hours(24);

const WHAT: &str = "reply";
const SORT: &str = "RPL";

/// A reply.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyRecord {
    /// The reply.
    pub id: ReplyId,
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// The conversation.
    pub conversation: ConversationId,
    /// The message that is answered.
    pub message: MessageId,
    /// The asker: polls of other people are not answered.
    pub asker: SenderId,
    /// When the message was received.
    pub received_at: Timestamp,
    /// Its stage. Never goes back from the final one.
    pub stage: Stage,
    /// The text so far.
    pub text: String,
    /// The agent's reasoning so far.
    pub reasoning: String,
    /// Text and reasoning held back until it is known whether they are credentials.
    pub held_back: HeldBack,
    /// Files of the answer.
    pub files: Vec<ReplyFile>,
    /// The card below the text.
    pub card: Option<Card>,
    /// The question to the person that the growing text ends with: a final text must not remove it.
    pub question: Option<AskedQuestion>,
    /// A notice of the bridge, in place of the text or after it.
    pub notice: Option<Notice>,
    /// The agent's outcome. Once it is set, the agent is never called again.
    pub outcome: Option<Outcome>,
    /// What the chat shows already, in the connector's format.
    pub progress: Progress,
    /// Progress of the files that are sent as native files.
    pub sent_files: FilesProgress,
    /// When the chat may be updated again.
    pub pace: Pace,
    /// The last frame tried over the bot's socket, if the platform accepted none of its attempts.
    pub tried: Option<Tried>,
    /// The reply to show instead, for a message that was merged into a later one. Set once.
    pub same_as: Option<ReplyId>,
    /// The progress with which polling ended, in the connector's format. Set once, by [`close`].
    pub closed: Option<Progress>,
    /// When it first became final. Set by saving it as final.
    pub final_at: Option<Timestamp>,
    /// Where the run is resumed, matching the text above: both are one write.
    pub resume: Option<Resume>,
    /// Whether the chat shows the final text, or never will.
    pub delivered: bool,
    /// The process that delivers a finished reply, if no run does.
    pub lease: Option<Lease>,
    /// The fencing token of the last writer that held the lease. Never shrinks.
    pub fence: u64,
    /// The redrive of its message that restarted it last. 0 if none has.
    pub redrive: u32,
    /// Incremented with every change but [`close`].
    pub version: u64,
}

/// What a new reply record refers to.
#[derive(Debug, Clone, Copy)]
pub struct About<'a> {
    /// The reply.
    pub reply: &'a ReplyId,
    /// The tenant.
    pub organization: &'a OrganizationId,
    /// The bot.
    pub integration: &'a IntegrationId,
    /// The conversation.
    pub conversation: &'a ConversationId,
    /// The message.
    pub message: &'a MessageId,
    /// The sender of the message.
    pub asker: &'a SenderId,
    /// When the message was received.
    pub received_at: Timestamp,
}

impl ReplyRecord {
    /// A reply that shows nothing yet.
    #[must_use]
    pub fn blank(about: &About<'_>) -> Self {
        Self {
            id: about.reply.clone(),
            organization: about.organization.clone(),
            integration: about.integration.clone(),
            conversation: about.conversation.clone(),
            message: about.message.clone(),
            asker: about.asker.clone(),
            received_at: about.received_at,
            stage: Stage::Thinking,
            text: String::new(),
            reasoning: String::new(),
            held_back: HeldBack::default(),
            files: Vec::new(),
            card: None,
            question: None,
            notice: None,
            outcome: None,
            progress: Progress::default(),
            sent_files: FilesProgress::default(),
            pace: Pace::default(),
            tried: None,
            same_as: None,
            closed: None,
            final_at: None,
            resume: None,
            delivered: false,
            lease: None,
            fence: 0,
            redrive: 0,
            version: 0,
        }
    }

    /// The final text with the card's text below it. Without the card's buttons.
    #[must_use]
    pub fn whole_text(&self) -> Cow<'_, str> {
        match &self.card {
            Some(card) => card::below(&self.text, &card.body()).into(),
            None => self.text.as_str().into(),
        }
    }

    /// The text with the card's buttons as lines below it, for platforms without buttons.
    #[must_use]
    pub fn text_with_buttons(&self, language: Language) -> Cow<'_, str> {
        let lines = card::button_lines(self.buttons(), language);
        match lines.is_empty() {
            true => self.whole_text(),
            false => card::below(&self.whole_text(), &lines).into(),
        }
    }

    /// The card's buttons.
    #[must_use]
    pub fn buttons(&self) -> &[Button] {
        self.card.as_ref().map_or(&[], |card| &card.buttons)
    }
}

/// Attempts to send a frame whose answers are known and were no success. The next attempt is numbered after them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tried {
    /// A digest of the frame.
    #[serde(rename = "d")]
    pub frame: String,
    /// How many.
    pub n: u32,
}

/// The outcome of a run or command.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// It answered.
    Completed,
    /// It failed.
    Failed(AgentFailure),
    /// It was stopped.
    Stopped,
    /// It was not called: the message was refused.
    Refused,
    /// It was not called: the message was a command, which was carried out.
    Commanded,
}

/// Reads a reply of any length.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn get(store: &Store, id: &ReplyId, now: Timestamp) -> Result<Option<ReplyRecord>, StoreError> {
    let key = partition(id);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = alive(found, now) else {
        return Ok(None);
    };
    stored::open(store, id, read(WHAT, item)?).await.map(Some)
}

/// Saves a reply, on condition that it is unchanged since `before` was read, or doesn't exist if that is `None`.
///
/// Final values stay: the final stage, [`ReplyRecord::closed`] and [`ReplyRecord::same_as`]. Nor does a holder
/// with a lower fencing token than the record's change anything. On success `after` has the new version.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed meanwhile, or a final value would be reverted.
pub async fn save(
    store: &Store,
    before: Option<&ReplyRecord>,
    after: &mut ReplyRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    if before.is_some_and(|before| before.stage == Stage::Final && after.stage != Stage::Final) {
        return Err(StoreError::Conflict);
    }
    write_reply(store, before, after, false, now).await
}

/// Saves a reply that is restarted because an operator redrives its message: it may leave the final stage, and
/// is no longer delivered or closed. `after.redrive` must be a later redrive than `before`'s.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed meanwhile.
pub async fn restart(
    store: &Store,
    before: &ReplyRecord,
    after: &mut ReplyRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    write_reply(store, Some(before), after, true, now).await
}

/// Ends polling of a reply, unless it has ended. Returns the progress with which it ended: that of the first writer.
///
/// The version stays as it is.
///
/// # Errors
/// [`StoreError::Conflict`] if there is no such reply.
pub async fn close(store: &Store, id: &ReplyId, closed: &Progress, now: Timestamp) -> Result<Progress, StoreError> {
    let mut change = Update::new();
    change
        .set("end", value(WHAT, &stored::seal_end(store, id, closed)?)?)
        .require_alive(now)
        .require_absent("end");
    let key = partition(id);
    let table = &store.tables.state;
    match dynamo::update(&store.dynamo, table, (&key, SORT), change, ReturnValue::None).await? {
        Written::Done(_) => Ok(closed.clone()),
        Written::Refused(found) => {
            let item = alive(found, now).ok_or(StoreError::Conflict)?;
            let before: stored::EndOnly = read(WHAT, item)?;
            stored::open_end(store, id, &before.end)
        }
    }
}

/// The key of a reply's item.
pub(crate) fn key_of(id: &ReplyId) -> (String, &'static str) {
    (partition(id), SORT)
}

async fn write_reply(
    store: &Store,
    before: Option<&ReplyRecord>,
    after: &mut ReplyRecord,
    is_restart: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    after.final_at = match after.stage {
        Stage::Final => after.final_at.or(Some(now)),
        Stage::Thinking | Stage::Growing => None,
    };
    match before {
        Some(before) if before.fence > after.fence && !is_restart => return Err(StoreError::Conflict),
        Some(before) => change(store, before, after, is_restart, now).await?,
        None => create(store, after, now).await?,
    }
    after.version = before.map_or(0, |before| before.version) + 1;
    Ok(())
}

async fn create(store: &Store, after: &ReplyRecord, now: Timestamp) -> Result<(), StoreError> {
    let body = seal(store, after, &stored::plain(after)?, None, now).await?;
    let mut item = write(WHAT, &partition(&after.id), SORT, &stored::close(store, after, body)?)?;
    expire(&mut item, now.after(LIFETIME));
    let mut condition = Update::new();
    condition.require_gone(now);
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, condition).await?;
    written.or_conflict().map(drop)
}

async fn change(
    store: &Store,
    before: &ReplyRecord,
    after: &mut ReplyRecord,
    is_restart: bool,
    now: Timestamp,
) -> Result<(), StoreError> {
    let mut change = Update::new();
    change
        .set("n", number(before.version + 1))
        .set(TTL, number(now.after(LIFETIME).as_secs()))
        .set("st", value(WHAT, &after.stage)?)
        .set("pace", value(WHAT, &after.pace)?)
        .set("f", number(after.fence))
        .require_equal("n", number(before.version));
    match after.final_at {
        Some(at) => change.set("fin", number(at.as_millis())),
        None => change.remove("fin"),
    };
    set_or_remove(&mut change, "lease", after.lease.as_ref())?;
    set_or_remove(&mut change, "go", after.resume.as_ref())?;
    if after.tried != before.tried {
        set_or_remove(&mut change, "tried", after.tried.as_ref())?;
    }
    if after.delivered != before.delivered {
        change.set("done", value(WHAT, &after.delivered)?);
    }
    set_or_remove(&mut change, "note", after.notice.as_ref())?;
    set_or_remove(&mut change, "out", stored::wordless(after.outcome.as_ref()).as_ref())?;
    let body = seal_change(store, before, after, now).await?;
    // Items of an earlier version have the progress in their body.
    if body.is_some() || after.progress != before.progress {
        change.set("pg", value(WHAT, &stored::seal_progress(store, after)?)?);
    }
    if let Some(body) = body {
        change.set("b", value(WHAT, &body)?);
    }
    if is_restart {
        let end = after.closed.as_ref().map(|end| stored::seal_end(store, &after.id, end));
        set_or_remove(&mut change, "end", end.transpose()?.as_ref())?;
        set_or_remove(&mut change, "same", after.same_as.as_ref())?;
        change.set("rd", number(after.redrive));
    } else {
        keep_or_set(&mut change, before, after)?;
    }
    let key = partition(&after.id);
    let table = &store.tables.state;
    let written = dynamo::update(&store.dynamo, table, (&key, SORT), change, ReturnValue::None).await?;
    written.or_conflict().map(drop)
}

/// Values that are set once are never changed. Also sets them in `after`.
fn keep_or_set(change: &mut Update, before: &ReplyRecord, after: &mut ReplyRecord) -> Result<(), StoreError> {
    if before.closed.is_some() {
        after.closed.clone_from(&before.closed);
    }
    if before.same_as.is_some() {
        after.same_as.clone_from(&before.same_as);
    } else if let Some(same_as) = &after.same_as {
        change.set("same", text(same_as.as_str()));
    }
    Ok(())
}

fn set_or_remove<T: Serialize>(change: &mut Update, path: &str, new: Option<&T>) -> Result<(), StoreError> {
    match new {
        Some(new) => change.set(path, value(WHAT, new)?),
        None => change.remove(path),
    };
    Ok(())
}

/// The new body, if its content has changed, or its pieces would expire too early.
async fn seal_change(
    store: &Store,
    before: &ReplyRecord,
    after: &ReplyRecord,
    now: Timestamp,
) -> Result<Option<Body>, StoreError> {
    let plain = stored::plain(after)?;
    let comparison = stored::compare(before, &plain)?;
    let is_new = |at: Timestamp| now.since(at) < FINAL_IS_NEW;
    // A text that has just become final is written once more: as a separate item.
    let stays = after.stage != Stage::Final || before.final_at.is_some_and(is_new);
    if comparison.is_same() && stays {
        return Ok(None);
    }
    if !sealed_blob::is_long(comparison.n_earlier_bytes()) {
        return seal(store, after, &plain, None, now).await.map(Some);
    }
    let n_same_bytes = comparison.n_same_bytes();
    let key = partition(&before.id);
    let found = dynamo::get(
        &store.dynamo,
        &store.tables.state,
        (&key, SORT),
        Reading::Strong,
        &["n", "b"],
    )
    .await?;
    let found = found.filter(|item| get_number(item, "n") == Some(before.version));
    let earlier: stored::BodyOnly = read(WHAT, found.ok_or(StoreError::Conflict)?)?;
    let earlier = Earlier {
        body: &earlier.b,
        n_same_bytes,
    };
    seal(store, after, &plain, Some(earlier), now).await.map(Some)
}

async fn seal(
    store: &Store,
    reply: &ReplyRecord,
    plain: &[u8],
    earlier: Option<Earlier<'_>>,
    now: Timestamp,
) -> Result<Body, StoreError> {
    let (id, expires_at) = (reply.id.as_str(), now.after(LIFETIME + PIECES_SLACK));
    if reply.stage != Stage::Final {
        return sealed_blob::put(store, id, plain, earlier, expires_at).await;
    }
    let final_expires_at = now.after(LIFETIME + FINAL_SLACK);
    sealed_blob::put_apart(store, id, plain, earlier, (expires_at, final_expires_at)).await
}

fn partition(id: &ReplyId) -> String {
    format!("RPL#{id}")
}
