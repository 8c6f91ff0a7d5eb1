//! Limits on questions: quiet hours, and rate limits per person and per organization. They don't apply to commands.

use tieline_core::event::Message;
use tieline_core::ids::{ConversationId, OrganizationId};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::people_texts::PeopleReply;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::organization;
use tieline_store::message_rate::{self, Whose};
use tieline_store::reply::{self, Outcome};
use tokio::time::Instant;

use super::{Arrival, Attempt, DispatchError};
use crate::integration_log;
use crate::notices::NoticeReply;
use crate::world::World;

/// Reasons in the ledger.
const PERSON_LIMIT: &str = "person_rate_limit";
const ORGANIZATION_LIMIT: &str = "organization_rate_limit";

/// Why a question is not put to the agent: the notice for its sender, and the reason in the ledger.
pub(super) struct LimitReached(PeopleReply, &'static str);

impl Arrival<'_> {
    /// Counts a question and returns the limit that it exceeds. One that was dispatched before is not counted again.
    pub(super) async fn limit_reached(
        &self,
        message: &Message,
        turn: Attempt,
    ) -> Result<Option<LimitReached>, DispatchError> {
        let Some(trigger) = &self.bound.trigger else {
            return Ok(None);
        };
        // By its time of receipt: the same every time it is dispatched.
        let quiet = trigger.settings.quiet_hours;
        if let Some(hours) = quiet.filter(|hours| hours.contains(self.envelope.received_at)) {
            return Ok(Some(LimitReached(PeopleReply::Quiet(hours), "quiet_hours")));
        }
        if turn == Attempt::Again {
            return Ok(None);
        }
        let (now, record) = (self.world.clock.now(), &self.bound.integration);
        let sender = &message.sender.id;
        if let Some(max) = trigger.settings.max_messages_per_person_per_minute
            && !sender.as_str().is_empty()
            && let Some(seconds) = self.count(Whose::Person(&record.id, sender), max, now).await?
        {
            return Ok(Some(LimitReached(PeopleReply::TooOften(seconds), PERSON_LIMIT)));
        }
        if let Some(max) = organization_limit(self.world, &record.organization).await?
            && let Some(seconds) = self.count(Whose::Organization(&record.organization), max, now).await?
        {
            return Ok(Some(LimitReached(PeopleReply::TooMany(seconds), ORGANIZATION_LIMIT)));
        }
        Ok(None)
    }

    /// The reason for which an earlier attempt has refused this question, if it has: the limit may allow it by now, but its sender was told
    /// otherwise.
    pub(super) async fn refused_before(&self) -> Result<Option<&'static str>, DispatchError> {
        let found = reply::get(&self.world.store, &self.envelope.reply, self.world.clock.now()).await?;
        let Some(refused) = found.filter(|found| found.outcome == Some(Outcome::Refused)) else {
            return Ok(None);
        };
        let trigger = self.bound.trigger.as_ref();
        let per_person = trigger.is_some_and(|it| it.settings.max_messages_per_person_per_minute.is_some());
        Ok(Some(match refused.notice {
            Some(Notice::Busy) => "mailbox_full",
            Some(_) => "refused",
            None if per_person => PERSON_LIMIT,
            None => ORGANIZATION_LIMIT,
        }))
    }

    /// Seconds after which the next question may be asked, if this one may not.
    async fn count(&self, whose: Whose<'_>, max: u32, now: Timestamp) -> Result<Option<u64>, StoreError> {
        let counted = message_rate::count(&self.world.store, whose, max, now).await?;
        Ok(counted.err().map(|next| next.since(now).as_secs().max(1)))
    }

    /// Sends the sender the notice of the limit, and ends the question.
    pub(super) async fn hold_back(
        &self,
        message: &Message,
        conversation: &ConversationId,
        LimitReached(reply, reason): LimitReached,
    ) -> Result<(), DispatchError> {
        let text = reply.text(self.bound.integration.language);
        self.say(message, conversation, NoticeReply::refused_text(text)).await?;
        let line = format!("a question was refused: {reason}");
        integration_log::warn(self.world, &self.envelope.integration, reason, &line).await;
        self.end(MessageState::Refused, Some(reason)).await
    }
}

/// How many questions the organization may ask per minute, as cached.
async fn organization_limit(world: &World, organization: &OrganizationId) -> Result<Option<u32>, StoreError> {
    let begun = Instant::now();
    if let Some(limit) = world.message_limits.get(organization, begun) {
        return Ok(limit);
    }
    let facts = organization::look_up(&world.store, organization, world.clock.now()).await?;
    let limit = facts.limits.max_messages_per_minute;
    world.message_limits.keep(organization.clone(), limit, begun);
    Ok(limit)
}
