//! Notices of the bridge and texts of the operator, as replies of their own.

use std::time::Duration;

use tieline_core::agent::AgentFailure;
use tieline_core::connector::WaitingSign;
use tieline_core::envelope::{EnvelopeV1, WakeUpV1};
use tieline_core::ids::{ConversationId, ReplyId, SenderId};
use tieline_core::notice::Notice;
use tieline_core::reference::Reference;
use tieline_core::reply::Stage;
use tieline_store::StoreError;
use tieline_store::message::MessageRecord;
use tieline_store::reply::{self, About, Outcome, ReplyRecord};

use crate::reply_writes;
use crate::world::World;

/// How often a lost race for a reply is retried at once.
const MAX_RACES: u32 = 20;

/// A notice or text, and the outcome of the message that it answers.
#[derive(Debug, Clone)]
pub struct NoticeReply {
    notice: Option<Notice>,
    text: String,
    outcome: Outcome,
}

impl NoticeReply {
    const fn ours(notice: Notice, outcome: Outcome) -> Self {
        Self {
            notice: Some(notice),
            text: String::new(),
            outcome,
        }
    }

    /// A text for a person whose event is handled without an agent: the operator's welcome, a status, a menu.
    #[must_use]
    pub const fn text(text: String) -> Self {
        Self {
            notice: None,
            text,
            outcome: Outcome::Commanded,
        }
    }

    /// The message is refused.
    #[must_use]
    pub const fn refused(notice: Notice) -> Self {
        Self::ours(notice, Outcome::Refused)
    }

    /// The message is refused, with this text.
    #[must_use]
    pub const fn refused_text(text: String) -> Self {
        Self {
            notice: None,
            text,
            outcome: Outcome::Refused,
        }
    }

    /// The message was a command.
    #[must_use]
    pub const fn commanded(notice: Notice) -> Self {
        Self::ours(notice, Outcome::Commanded)
    }

    /// The message failed before an agent was called. `reason` is its failure code.
    #[must_use]
    pub fn failed(reason: &str) -> Self {
        let failure = AgentFailure {
            code: reason.to_owned(),
            message: String::new(),
            retryable: false,
        };
        Self::ours(Notice::AgentFailed, Outcome::Failed(failure))
    }

    /// The reply with this notice as its final state.
    fn on(self, before: ReplyRecord) -> ReplyRecord {
        ReplyRecord {
            stage: Stage::Final,
            notice: self.notice,
            text: self.text,
            outcome: Some(self.outcome),
            ..before
        }
    }

    /// The message is stopped or dropped.
    #[must_use]
    pub const fn stopped(notice: Notice) -> Self {
        Self::ours(notice, Outcome::Stopped)
    }
}

/// The reference number shown with the notice of a failure.
#[must_use]
pub fn reference(notice: Notice, reply: &ReplyId) -> Option<Reference> {
    notice.is_failure().then(|| Reference::of(reply))
}

/// Records a notice as the reply to an event. Does nothing if the reply has an outcome already, or a run shows it. Returns how often the reply
/// was redriven.
///
/// # Errors
/// The table's.
pub async fn record(
    world: &World,
    envelope: &EnvelopeV1,
    asker: &SenderId,
    conversation: &ConversationId,
    word: NoticeReply,
) -> Result<u32, StoreError> {
    let about = About {
        reply: &envelope.reply,
        organization: &envelope.organization,
        integration: &envelope.integration,
        conversation,
        message: &envelope.message,
        asker,
        received_at: envelope.received_at,
    };
    save(world, &about, word).await
}

/// Like [`record`], for a message that is in the ledger.
///
/// # Errors
/// The table's.
pub async fn record_for(
    world: &World,
    record: &MessageRecord,
    conversation: &ConversationId,
    word: NoticeReply,
) -> Result<(), StoreError> {
    let Some(asker) = crate::event_of(world, record)?.map(|event| event.sender().clone()) else {
        return Ok(());
    };
    let about = About {
        reply: &record.reply,
        organization: &record.organization,
        integration: &record.integration,
        conversation,
        message: &record.id,
        asker: &asker,
        received_at: record.received_at,
    };
    save(world, &about, word).await.map(drop)
}

/// Ends the reply of a pending message that shows nothing but `sign`: a mark is removed, a bubble ends with `notice`. Returns
/// whether there is something to deliver; a message without a sign has no record.
///
/// # Errors
/// The table's; [`StoreError::Conflict`] if others keep changing the reply.
pub async fn end_sign(world: &World, id: &ReplyId, sign: WaitingSign, notice: Notice) -> Result<bool, StoreError> {
    if sign == WaitingSign::Nothing {
        return Ok(false);
    }
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        let Some(before) = reply::get(&world.store, id, now).await? else {
            return Ok(false);
        };
        if before.outcome.is_some() {
            return Ok(!before.delivered);
        }
        let mut after = ReplyRecord {
            stage: Stage::Final,
            notice: (sign == WaitingSign::Bubble).then_some(notice),
            outcome: Some(Outcome::Stopped),
            ..before.clone()
        };
        match reply_writes::save(world, Some(&before), &mut after, now).await {
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            saved => return saved.map(|()| true),
        }
    }
    Err(StoreError::Conflict)
}

/// Ends the reply of a message that was never put to an agent, though it may show a waiting sign. Returns the wake-up that delivers
/// it; `None` if it is delivered already. For the holder of the conversation's lease.
///
/// # Errors
/// The table's; [`StoreError::Conflict`] if others keep changing the reply.
pub(crate) async fn end_waiting(
    world: &World,
    blank: &ReplyRecord,
    word: NoticeReply,
) -> Result<Option<(WakeUpV1, Duration)>, StoreError> {
    let wake = WakeUpV1::of_reply(blank.organization.clone(), blank.conversation.clone(), blank.id.clone());
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        let before = reply::get(&world.store, &blank.id, now).await?;
        if let Some(before) = before.as_ref().filter(|before| before.outcome.is_some()) {
            let wake = wake.after_redrives(before.redrive);
            return Ok((!before.delivered).then_some((wake, Duration::ZERO)));
        }
        let mut after = word.clone().on(before.clone().unwrap_or_else(|| blank.clone()));
        match reply_writes::save(world, before.as_ref(), &mut after, now).await {
            Err(StoreError::Conflict) => crate::pause_after_race(race).await,
            saved => return saved.map(|()| Some((wake.after_redrives(after.redrive), Duration::ZERO))),
        }
    }
    Err(StoreError::Conflict)
}

async fn save(world: &World, about: &About<'_>, word: NoticeReply) -> Result<u32, StoreError> {
    let mut before = None;
    for race in 0..MAX_RACES {
        let now = world.clock.now();
        let mut record = word
            .clone()
            .on(before.clone().unwrap_or_else(|| ReplyRecord::blank(about)));
        match reply_writes::save(world, before.as_ref(), &mut record, now).await {
            Err(StoreError::Conflict) => {}
            saved => return saved.map(|()| record.redrive),
        }
        before = match reply::get(&world.store, about.reply, now).await? {
            // A redrive has restarted it, and this time the message does not go to the agent.
            Some(found) if found.redrive > 0 && found.outcome.is_none() && found.fence == 0 => Some(found),
            // An earlier attempt of the same event recorded it.
            Some(found) => return Ok(found.redrive),
            None => None,
        };
        crate::pause_after_race(race).await;
    }
    Err(StoreError::Conflict)
}
