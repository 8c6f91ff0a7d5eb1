//! Checks of messages: whether they are received, answered and delivered.

use std::time::Duration;

use tieline_bridge::cooldown::PERMISSION_MISSING;
use tieline_bridge::mapper::PERSON_UNKNOWN;
use tieline_core::message_state::MessageState;
use tieline_store::log::{Level as LogLevel, LogEntry};
use tieline_store::message::{FailedAnswer, LATELY, MANY_FAILURES, MessageRecord, has_recovered};

use super::{Action, Facts, Finding, Level, Remedy, bad, good, warning};
use crate::integrations::obstacle::Obstacle;
use crate::integrations::troubles::SLOW;
use crate::texts::Text;

/// A message that waits longer than this is stuck, unless a run is in progress in its conversation.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Failures older than this are not reported.
const DAY: Duration = Duration::from_hours(24);

pub(super) fn access(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "access";
    let access = facts.access.as_ref()?;
    let turned_away = |within| refused(facts, within).filter(|record| record.is_turned_away());
    let n_refused = turned_away(LATELY).count();
    if let Some(last) = turned_away(LATELY).next() {
        let detail = Text::new("access_refused")
            .with("n", n_refused)
            .with("hours", 1)
            .with("trigger", facts.bound.as_deref().unwrap_or_default())
            .with("sender", last.sender.as_ref().map_or("", |sender| sender.as_str()));
        let remedy = facts
            .bound
            .clone()
            .map(|trigger| Remedy::on(Action::EditAccess, trigger));
        return Some(warning(NAME, detail, Text::new("access_refused_next"), remedy));
    }
    Some(match (access.users.len(), access.chats.len(), access.pairing) {
        (0, 0, false) => good(NAME, Text::new("access_all")),
        (users, chats, _) => good(NAME, Text::new("access_some").with("users", users).with("chats", chats)),
    })
}

/// Messages that were rejected for reasons other than the access list.
pub(super) fn refusals(facts: &Facts) -> Finding {
    const NAME: &str = "refusals";
    let others = |record: &&MessageRecord| record.unexpected_refusal().is_some();
    let n_refused = refused(facts, LATELY).filter(others).count();
    let Some(last) = refused(facts, LATELY).find(others) else {
        return good(NAME, Text::new("refusals_ok"));
    };
    let reason = last.unexpected_refusal().unwrap_or("unknown");
    let next = match reason {
        "stale" => "refused_stale_next",
        "mailbox_full" => "refused_full_next",
        reason if reason.starts_with("mapper") => "refused_mapper_next",
        _ => "refused_next",
    };
    let detail = Text::new("refused").with("n", n_refused).with("message", &last.id);
    let remedy = Remedy::on(Action::ViewMessage, last.id.as_str());
    bad(NAME, detail.with("reason", reason), Text::new(next), remedy)
}

/// Whether people are recognized. Separate cases: the mapper can't be called, the platform withholds the sender, the mapper doesn't know
/// the person.
pub(super) fn user_mapping(facts: &Facts) -> Finding {
    const NAME: &str = "user_mapping";
    let is_recent = |record: &&MessageRecord| is_within(facts, record, DAY) && !record.is_proactive();
    let recent = || facts.messages.iter().filter(is_recent);
    let edit = || Remedy::new(Action::EditOrganization);
    if let Some(Err(error)) = &facts.mapper {
        let detail = Text::new("mapper_unreachable").with("error", error);
        return bad(NAME, detail, Text::new("mapper_unreachable_next"), edit());
    }
    let is_nameless = |record: &&MessageRecord| record.sender.is_none() && !record.is_erased();
    let n_nameless = recent().filter(is_nameless).count();
    if let Some(last) = recent().find(is_nameless) {
        let detail = Text::new("sender_withheld")
            .with("n", n_nameless)
            .with("message", &last.id);
        let remedy = Remedy::on(Action::ViewMessage, last.id.as_str());
        return warning(NAME, detail, Text::new("sender_withheld_next"), Some(remedy));
    }
    let is_refused = |record: &&MessageRecord| record.is_of_unknown_person();
    let n_refused = recent().filter(is_refused).count();
    if let Some(last) = recent().find(is_refused) {
        let sender = last.sender.as_ref().map_or("", |sender| sender.as_str());
        let detail = Text::new("person_refused").with("n", n_refused).with("sender", sender);
        return warning(NAME, detail, Text::new("person_unknown_next"), Some(edit()));
    }
    let is_unknown = |entry: &&LogEntry| entry.code == PERSON_UNKNOWN && facts.now.since(entry.at) < DAY;
    if let Some(entry) = facts.log.iter().find(is_unknown) {
        let detail = Text::new("person_unknown").with("message", &entry.message);
        return warning(NAME, detail, Text::new("person_unknown_next"), Some(edit()));
    }
    let code = match facts.mapper {
        Some(_) => "users_mapped",
        None => "users_ok",
    };
    good(NAME, Text::new(code).with("n", recent().count()))
}

pub(super) fn stuck(facts: &Facts) -> Finding {
    const NAME: &str = "queues";
    // While a run is in progress in its conversation, a message waits as it should, however long that takes.
    let is_next = |record: &MessageRecord| {
        let conversation = record.conversation.as_ref();
        conversation.is_none_or(|id| !facts.running.contains(id))
    };
    let waits = |record: &&MessageRecord| {
        record.state == MessageState::Queued && facts.now.since(record.received_at) > STUCK_AFTER && is_next(record)
    };
    let Some(oldest) = facts.messages.iter().rev().find(waits) else {
        return good(NAME, Text::new("queue_ok"));
    };
    let waiting = |code| {
        Text::new(code)
            .with("message", &oldest.id)
            .with("at", oldest.received_at)
    };
    if let Some(limit) = facts.runs_used_up {
        let detail = waiting("organization_full").with("limit", limit);
        let next = Text::new("organization_full_next");
        return bad(NAME, detail, next, Remedy::new(Action::EditOrganization));
    }
    let next = Text::new("queue_stuck_next");
    bad(
        NAME,
        waiting("queue_stuck"),
        next,
        Remedy::on(Action::ViewMessage, oldest.id.as_str()),
    )
}

/// Why messages ended without a reply. Proactive ones count only if all the others were answered, and never as a failure of the bot:
/// the chat may be mistyped.
pub(super) fn answers(facts: &Facts) -> Finding {
    const NAME: &str = "answers";
    let ended = |record: &&MessageRecord| {
        record.state.is_terminal() && !record.is_proactive() && has_ended_within_a_day(facts, record)
    };
    let ended: Vec<&MessageRecord> = facts.messages.iter().filter(ended).collect();
    let Some(newest) = ended.iter().max_by_key(|record| record.ended_at()) else {
        return proactive(facts, NAME).unwrap_or_else(|| good(NAME, Text::new("answers_none")));
    };
    let failed = || ended.iter().filter(|record| record.state == MessageState::Failed);
    let is_fresh = |record: &&&MessageRecord| facts.now.since(record.ended_at()) < LATELY;
    let n_fresh = failed().filter(is_fresh).count();
    let counted = |text: Text| text.with("failed", failed().count()).with("ended", ended.len());
    let Some(last) = failed().max_by_key(|record| record.ended_at()) else {
        let all_good = || good(NAME, Text::new("answers_ok").with("state", newest.state.as_str()));
        return proactive(facts, NAME).unwrap_or_else(all_good);
    };
    // One failure among many in a day may be chance; a failure of the newest message, or several in an hour, are not.
    let are_many = || n_fresh >= MANY_FAILURES && !has_recovered(&facts.messages, last);
    let is_failing = newest.state == MessageState::Failed && n_fresh > 0 || are_many();
    let (detail, next) = failure(facts, last);
    let remedy = Remedy::on(Action::Redrive, last.id.as_str());
    if is_failing {
        return bad(NAME, counted(detail), next, remedy);
    }
    warning(NAME, counted(detail), next, Some(remedy))
}

fn failure(facts: &Facts, record: &MessageRecord) -> (Text, Text) {
    let id = &record.id;
    match (FailedAnswer::of(record), facts.agents.first()) {
        (Some(failed), Some(agent)) if failed.is_agents => {
            let words = failed.detail.map(|words| Text::new("words").with("words", words));
            let detail = Text::new("answers_fail_agent")
                .with("agent", &agent.name)
                .with("host", &agent.host)
                .with("code", &failed.code)
                .with_text("words", words);
            (
                detail.with("message", id),
                Text::new("answers_fail_agent_next").with("message", id),
            )
        }
        _ => undelivered(record, ["answers_fail_platform", "answers_fail_platform_next"]),
    }
}

/// The detail and the next step, by their codes, of a message that its platform refused.
fn undelivered(record: &MessageRecord, [detail, next]: [&'static str; 2]) -> (Text, Text) {
    let id = &record.id;
    let code = FailedAnswer::of(record).map_or_else(|| "failed".to_owned(), |failed| failed.code);
    let obstacle = Obstacle::of(&code);
    let why = obstacle.map(|it| Text::new("words").with_text("words", Some(it.explain())));
    let detail = Text::new(detail)
        .with("code", code)
        .with("message", id)
        .with_text("why", why);
    let next = || Text::new(next).with("message", id);
    (detail, obstacle.map_or_else(next, Obstacle::next))
}

/// Proactive messages that were not delivered.
fn proactive(facts: &Facts, name: &'static str) -> Option<Finding> {
    let is_failed = |record: &&MessageRecord| {
        record.is_proactive() && record.state == MessageState::Failed && has_ended_within_a_day(facts, record)
    };
    let failed = || facts.messages.iter().filter(is_failed);
    let last = failed().next()?;
    let (detail, next) = undelivered(last, ["proactive_fail", "proactive_fail_next"]);
    let remedy = Remedy::on(Action::ViewMessage, last.id.as_str());
    Some(warning(name, detail.with("n", failed().count()), next, Some(remedy)))
}

/// Answers without text or files. Like failures, they count as over once a good answer has followed, or several if there were several in
/// an hour.
pub(super) fn empty(facts: &Facts) -> Finding {
    const NAME: &str = "empty_answers";
    let is_empty = |record: &&MessageRecord| is_within(facts, record, LATELY) && record.has_empty_answer();
    let n_empty = facts.messages.iter().filter(is_empty).count();
    let Some(last) = facts.messages.iter().find(is_empty) else {
        return good(NAME, Text::new("empty_ok"));
    };
    let agent = facts.agents.first();
    let detail = Text::new("empty")
        .with("agent", agent.map_or("", |agent| &agent.name))
        .with("host", agent.map_or("", |agent| &agent.host))
        .with("n", n_empty)
        .with("message", &last.id);
    let remedy = match agent {
        Some(agent) => Remedy::on(Action::TestAgent, &agent.id),
        None => Remedy::on(Action::ViewMessage, last.id.as_str()),
    };
    let ended = |record: &&MessageRecord| {
        matches!(record.state, MessageState::Answered | MessageState::Failed) && !record.is_proactive()
    };
    let newest = facts
        .messages
        .iter()
        .filter(ended)
        .max_by_key(|record| record.ended_at());
    let next = Text::new("empty_next");
    let are_many = || n_empty >= MANY_FAILURES && !has_recovered(&facts.messages, last);
    match newest.is_some_and(MessageRecord::has_empty_answer) || are_many() {
        true => bad(NAME, detail, next, remedy),
        false => warning(NAME, detail, next, Some(remedy)),
    }
}

/// Latency of the first text.
pub(super) fn speed(facts: &Facts) -> Finding {
    const NAME: &str = "speed";
    let recent = facts.messages.iter().filter(|record| is_within(facts, record, LATELY));
    let mut waits: Vec<Duration> = recent.filter_map(MessageRecord::first_text_after).collect();
    waits.sort_unstable();
    let (n_messages, median) = (waits.len(), waits.get(waits.len() / 2).copied().unwrap_or_default());
    let Some(agent) = facts.agents.first().filter(|_| median > SLOW) else {
        return good(NAME, Text::new("speed_ok"));
    };
    let detail = Text::new("slow")
        .with("agent", &agent.name)
        .with("seconds", median.as_secs())
        .with("n", n_messages);
    let remedy = Remedy::on(Action::TestAgent, &agent.id);
    warning(NAME, detail, Text::new("slow_next"), Some(remedy))
}

pub(super) fn dead_letters(facts: &Facts) -> Finding {
    const NAME: &str = "dead_letters";
    let failed =
        |record: &&MessageRecord| record.state == MessageState::Failed && has_ended_within_a_day(facts, record);
    match facts.messages.iter().filter(failed).count() {
        0 => good(NAME, Text::new("dead_none")),
        n => Finding {
            level: Level::Warning,
            ..good(NAME, Text::new("dead_some").with("n", n))
        },
    }
}

/// Permissions that the platform missed, or reports as not granted. `None`: none are known to be missing.
pub(super) fn permissions(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "permissions";
    if let Some(entry) = facts.log.iter().find(|entry| is_still_missed(facts, entry)) {
        let named = |code| Text::new(code).with("permissions", &entry.message);
        let remedy = Remedy::new(Action::ViewLog);
        return Some(bad(
            NAME,
            named("permissions_missing"),
            named("permissions_next"),
            remedy,
        ));
    }
    let missing = facts.missing_permissions.as_ref()?;
    if missing.is_empty() {
        return None;
    }
    let missing = missing.join(", ");
    let named = |code| Text::new(code).with("permissions", &missing);
    Some(warning(
        NAME,
        named("permissions_not_granted"),
        named("permissions_next"),
        Some(Remedy::new(Action::Restart)),
    ))
}

/// Whether an entry of the log names a permission that is still missing. It may have been granted since: if the platform reports the
/// granted ones, that counts, else the entry counts until the integration is changed or restarted.
fn is_still_missed(facts: &Facts, entry: &LogEntry) -> bool {
    if entry.code != PERMISSION_MISSING || facts.now.since(entry.at) >= DAY {
        return false;
    }
    match &facts.missing_permissions {
        Some(missing) => entry.message.split(", ").any(|name| missing.contains(&name)),
        None => entry.at >= facts.changed_at,
    }
}

pub(super) fn readable(facts: &Facts) -> Finding {
    const NAME: &str = "log";
    let recent = |entry: &&LogEntry| facts.now.since(entry.at) < DAY;
    let told = |code, entry: &LogEntry| {
        let text = Text::new(code).with("at", entry.at).with("code", &entry.code);
        text.with("message", &entry.message)
    };
    let mut entries = facts.log.iter().filter(recent);
    match entries.find(|entry| entry.level == LogLevel::Error) {
        Some(entry) => {
            let next = Text::new("connection_next");
            bad(NAME, told("log_error", entry), next, Remedy::new(Action::ViewLog))
        }
        None => match facts.log.iter().find(recent) {
            Some(entry) => good(NAME, told("log_warning", entry)),
            None => good(NAME, Text::new("log_ok")),
        },
    }
}

fn refused(facts: &Facts, within: Duration) -> impl Iterator<Item = &MessageRecord> {
    let is_so =
        move |record: &&MessageRecord| record.state == MessageState::Refused && is_within(facts, record, within);
    facts.messages.iter().filter(is_so)
}

fn is_within(facts: &Facts, record: &MessageRecord, within: Duration) -> bool {
    facts.now.since(record.received_at) < within
}

/// A message may fail days after its receipt: its agent or the tables were away.
fn has_ended_within_a_day(facts: &Facts, record: &MessageRecord) -> bool {
    facts.now.since(record.ended_at()) < DAY
}
