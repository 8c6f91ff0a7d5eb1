//! Decides which pending messages the next run is for, and for which agent.

use std::time::Duration;

use tieline_core::conversation::{Conversation, Heard, RunState, StopCause};
use tieline_core::event::ChatKind;
use tieline_core::ids::{AgentId, ConversationId, MessageId, RunId, digest};
use tieline_core::mailbox::{self, Due, Pending};
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{BusyPolicy, Trigger};
use tieline_store::config::integration::Bound;

/// No message is due: none is pending, or none is due before then.
pub(super) struct NotDue(pub(super) Option<Timestamp>);

/// The run for the messages that are due, and how many these are.
pub(super) fn next_run(
    conversation: &Conversation,
    bound: Option<&Bound>,
    now: Timestamp,
) -> Result<(RunState, usize), NotDue> {
    let trigger = bound.and_then(|bound| bound.trigger.as_ref());
    let window = trigger.map_or(Duration::ZERO, |trigger| trigger.settings.window());
    let n_taken = match mailbox::due(&conversation.pending, window, now) {
        Due::Now(n_taken) => n_taken,
        Due::At(at) => return Err(NotDue(Some(at))),
        Due::Empty => return Err(NotDue(None)),
    };
    let taken = &conversation.pending[..n_taken];
    let session = taken.first().ok_or(NotDue(None))?.session;
    let current = conversation.session.as_ref();
    // A session whose agent no longer answers here has no pending messages: see `rebind`.
    let same = conversation.session_numbered(session);
    let agent: &AgentId = same
        .or(current.filter(|_| trigger.is_none()))
        .map(|session| &session.agent)
        .or_else(|| trigger.map(|it| &it.agent))
        .ok_or(NotDue(None))?;
    let messages: Vec<MessageId> = taken.iter().map(|waiting| waiting.message.clone()).collect();
    let first = same.is_some_and(|current| current.runs == 0);
    // Had the run started before the next message was received, that message would have interrupted it. Messages merged within a window don't
    // interrupt each other.
    let interrupts = trigger.is_some_and(|trigger| trigger.settings.busy_policy == BusyPolicy::Interrupt);
    let is_outdated = interrupts && window.is_zero() && n_taken < conversation.pending.len();
    let id = run_id(&conversation.key.id(), conversation.version, &messages);
    // It orders the session's turns, and the clock of the run's previous holder may be ahead.
    let started_at = same.map_or(now, |current| current.last_at.max(now));
    let run = RunState {
        first,
        may_be_signed: taken.iter().any(|waiting| waiting.behind_run),
        stop: is_outdated.then_some(StopCause::Interrupted),
        heard: trigger.and_then(|trigger| heard(conversation, taken, trigger)),
        album: taken.last().and_then(|waiting| waiting.album.clone()),
        ..RunState::new(id, messages, session, agent.clone(), started_at)
    };
    Ok((run, n_taken))
}

/// Position of the group messages since the last question, if the trigger wants them as context.
fn heard(conversation: &Conversation, taken: &[Pending], trigger: &Trigger) -> Option<Heard> {
    if trigger.settings.group_context == 0 || conversation.key.chat.kind != ChatKind::Group {
        return None;
    }
    let to = taken.iter().map(|waiting| waiting.since).max()?;
    let from = conversation.heard_until.unwrap_or(Timestamp::from_secs(0));
    Some(Heard { from, to })
}

/// The same in every process that works on the run; different for a message that is deliberately run again.
fn run_id(conversation: &ConversationId, version: u64, messages: &[MessageId]) -> RunId {
    let version = version.to_string();
    let mut fields = vec![conversation.as_str(), &version];
    fields.extend(messages.iter().map(MessageId::as_str));
    RunId::new(format!("run_{}", digest(&fields)))
}

/// Moves the first `n_taken` messages into `run`; the others stay pending behind it.
pub(super) fn take(conversation: &mut Conversation, run: RunState, n_taken: usize) {
    conversation.pending.drain(..n_taken);
    for waiting in &mut conversation.pending {
        waiting.behind_run = true;
    }
    if let Some(heard) = run.heard {
        conversation.heard_until = Some(heard.to);
    }
    conversation.run = Some(run);
}

/// Moves pending messages to the agent that is bound now, in a session with that agent: it doesn't get what was said to another.
pub(super) fn rebind(conversation: &mut Conversation, bound: Option<&Bound>, now: Timestamp) {
    let Some((bound, trigger)) = bound.and_then(|bound| Some((bound, bound.trigger.as_ref()?))) else {
        return;
    };
    conversation.rebind(&trigger.agent, |session| bound.allows(session), now);
}
