//! What became of messages on their road.

use std::time::Duration;

use tieline_core::message_state::MessageState;
use tieline_store::log::{Level, LogEntry};
use tieline_store::message::MessageRecord;

use super::{Facts, Finding, bad, good};

/// A message that is on its road longer than this is stuck, unless an agent works on it.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Failures that are older say nothing of now.
const RECENT: Duration = Duration::from_hours(24);

pub(super) fn access(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "access";
    let access = facts.access.as_ref()?;
    let turned_away = refused(facts, "not_allowed");
    let rule = match (access.users.len(), access.chats.len(), access.pairing) {
        (0, 0, false) => return Some(good(NAME, "everybody may use the bot")),
        (users, chats, _) => format!("{users} person(s) and {chats} chat(s) may use the bot"),
    };
    // A list that turns somebody away does what it is for, so this is to be known and not to be mended.
    Some(match turned_away {
        0 => good(NAME, rule),
        n => good(
            NAME,
            format!(
                "{rule}; {n} message(s) of others were refused in the last day: whoever should be let in is missing in the \
                 trigger's access list"
            ),
        ),
    })
}

pub(super) fn user_mapping(facts: &Facts) -> Finding {
    let senders = facts.messages.iter().filter(|record| is_recent(facts, record)).count();
    good(
        "user_mapping",
        format!("people are known from their first message on; {senders} message(s) came in the last day"),
    )
}

pub(super) fn stuck(facts: &Facts) -> Finding {
    const NAME: &str = "queues";
    // Behind an answer that is being written a message waits as it should, however long that takes.
    let is_next = |record: &MessageRecord| {
        let conversation = record.conversation.as_ref();
        conversation.is_none_or(|id| !facts.running.contains(id))
    };
    let waits = |record: &&MessageRecord| {
        record.state == MessageState::Queued && facts.now.since(record.received_at) > STUCK_AFTER && is_next(record)
    };
    let Some(oldest) = facts.messages.iter().rev().find(waits) else {
        return good(NAME, "no message waits longer than it should");
    };
    bad(
        NAME,
        format!(
            "message {} waits since {} and no run has taken it",
            oldest.id, oldest.received_at
        ),
        "See whether the runner runs and its queue is emptied.",
    )
}

/// Why messages ended without an answer.
pub(super) fn answers(facts: &Facts) -> Finding {
    const NAME: &str = "answers";
    let newest = facts
        .messages
        .iter()
        .find(|record| record.state.is_terminal() && is_recent(facts, record));
    let failed = facts
        .messages
        .iter()
        .filter(|record| record.state == MessageState::Failed && is_recent(facts, record));
    match newest {
        Some(record) if record.state == MessageState::Failed => {
            let reason = record.reason.as_deref().unwrap_or("unknown");
            bad(
                NAME,
                format!(
                    "the newest message that ended, {}, failed: {reason}{}",
                    record.id,
                    code_of(record)
                ),
                format!(
                    "See message {}; when the cause is gone, redrive it from the dead letters.",
                    record.id
                ),
            )
        }
        Some(record) => {
            let n_failed = failed.count();
            let state = record.state.as_str();
            good(
                NAME,
                format!("the newest message that ended is {state}; {n_failed} failed in the last day"),
            )
        }
        None => good(NAME, "no message came in the last day"),
    }
}

fn code_of(record: &MessageRecord) -> String {
    let last = record.steps.iter().rev().find_map(|step| step.code.as_deref());
    last.map_or_else(String::new, |code| format!(" ({code})"))
}

pub(super) fn readable(facts: &Facts) -> Finding {
    const NAME: &str = "log";
    let recent = |entry: &&LogEntry| facts.now.since(entry.at) < RECENT;
    let mut entries = facts.log.iter().filter(recent);
    match entries.find(|entry| entry.level == Level::Error) {
        Some(entry) => bad(
            NAME,
            format!("an error at {}: {}: {}", entry.at, entry.code, entry.message),
            "See the integration's log.",
        ),
        None => match facts.log.iter().find(recent) {
            Some(entry) => good(
                NAME,
                format!("newest warning at {}: {}: {}", entry.at, entry.code, entry.message),
            ),
            None => good(NAME, "no warnings in the last day"),
        },
    }
}

fn refused(facts: &Facts, reason: &str) -> usize {
    let is_so = |record: &&MessageRecord| {
        record.state == MessageState::Refused && record.reason.as_deref() == Some(reason) && is_recent(facts, record)
    };
    facts.messages.iter().filter(is_so).count()
}

fn is_recent(facts: &Facts, record: &MessageRecord) -> bool {
    facts.now.since(record.received_at) < RECENT
}
