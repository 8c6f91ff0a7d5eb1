//! Looks up the senders of a run's messages at the organization's mapper. Messages of people whom it doesn't know end here, if the
//! organization wants that.
//!
//! Done here and not in the dispatcher, which never waits for others: a slow mapper delays only the question that needs it, and no `/stop`.

use futures_util::StreamExt as _;
use futures_util::stream;
use tieline_core::event::Sender;
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::people_texts::PeopleReply;
use tieline_store::config::integration::IntegrationRecord;
use tieline_store::message::{self, Ending, UNKNOWN_PERSON};
use tieline_store::reply::{self, Outcome, ReplyRecord};

use super::lease_heartbeat::LeaseHeartbeat;
use super::request::Asked;
use super::{LeasedConversation, RunError, finish};
use crate::accounts::Bot;
use crate::mapper::{self, Verdict};
use crate::notices::{self, NoticeReply};
use crate::world::World;
use crate::{integration_log, wakeups};

/// Most concurrent calls of a mapper.
const CONCURRENCY: usize = 8;

/// Ends the messages of people whom the mapper doesn't know, and returns the others.
pub(super) async fn refuse_unknown(
    world: &World,
    held: &mut LeasedConversation,
    keeper: &LeaseHeartbeat,
    bot: &Bot,
    asked: Vec<Asked>,
) -> Result<Vec<Asked>, RunError> {
    let Some(record) = held.bound.as_ref().map(|bound| bound.integration.clone()) else {
        return Ok(asked);
    };
    let refused = refused_senders(world, held, &record, &asked).await?;
    if refused.is_empty() {
        return Ok(asked);
    }
    if keeper.hold().is_lost() {
        return Err(RunError::Lost);
    }
    let text = PeopleReply::UnknownPerson.text(bot.account.language);
    let mut others = Vec::new();
    for it in asked {
        match refused.contains(&it.message.sender) {
            true => refuse(world, held, &it, &text).await?,
            false => others.push(it),
        }
    }
    Ok(others)
}

async fn refused_senders(
    world: &World,
    held: &mut LeasedConversation,
    record: &IntegrationRecord,
    asked: &[Asked],
) -> Result<Vec<Sender>, RunError> {
    let (mut refused, mut due): (Vec<Sender>, Vec<Sender>) = (Vec::new(), Vec::new());
    for it in asked {
        let sender = &it.message.sender;
        if refused.contains(sender) || due.contains(sender) {
            continue;
        }
        match mapper::cached(world, record, sender).await? {
            Verdict::Answered => {}
            Verdict::Refused => refused.push(sender.clone()),
            Verdict::Due => due.push(sender.clone()),
        }
    }
    if (refused.is_empty() && due.is_empty()) || was_asked(world, held, asked).await? {
        return Ok(Vec::new());
    }
    if due.is_empty() {
        return Ok(refused);
    }
    // A mapper may be slow, and other runs of this process need the slot.
    held.working.pause();
    let answers = stream::iter(due.into_iter().map(async |sender| {
        let verdict = mapper::ask(world, record, &sender).await;
        (sender, verdict)
    }));
    let answers: Vec<_> = answers.buffer_unordered(CONCURRENCY).collect().await;
    held.working.resume(world).await;
    for (sender, verdict) in answers {
        if verdict? == Verdict::Refused {
            refused.push(sender);
        }
    }
    Ok(refused)
}

/// Whether an earlier process has called the agent: its answer is shown, whatever the mapper says by now.
async fn was_asked(world: &World, held: &LeasedConversation, asked: &[Asked]) -> Result<bool, RunError> {
    let run = held.run();
    let Some(last) = asked.last().filter(|last| run.attempt > 1 || last.record.redrives > 0) else {
        return Ok(false);
    };
    if run.run_ref.is_some() {
        return Ok(true);
    }
    let found = reply::get(&world.store, &last.record.reply, world.clock.now()).await?;
    // A refusal is no answer: the process that recorded it died before it ended the message.
    let is_shown = |found: &ReplyRecord| found.resume.is_some() || !found.text.is_empty() || found.outcome.is_some();
    Ok(found.is_some_and(|found| found.outcome != Some(Outcome::Refused) && is_shown(&found)))
}

/// The notice first, its wake-up second and the ledger last: if a process dies in between, the message is refused again.
async fn refuse(world: &World, held: &LeasedConversation, it: &Asked, text: &str) -> Result<(), RunError> {
    let word = NoticeReply::refused_text(text.to_owned());
    let wake = notices::end_waiting(world, &it.blank_reply(held), word).await?;
    wakeups::send_watched(world, wake).await?;
    let line = "a message was refused: the mapper does not know its sender";
    integration_log::warn(world, &it.record.integration, UNKNOWN_PERSON, line).await;
    let state = MessageState::Refused;
    let ending = Ending {
        state,
        reason: Some(UNKNOWN_PERSON.to_owned()),
        run: None,
        session: None,
        steps: vec![LedgerStep::new(world.clock.now(), state.as_str())],
    };
    if message::finish(&world.store, &it.record.id, &ending).await? {
        world.metrics.message(finish::platform(held), state);
    }
    Ok(())
}
