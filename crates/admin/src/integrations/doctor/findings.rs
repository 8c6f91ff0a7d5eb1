//! What the facts say. Each question has a line of its own, and a next step if the answer is bad.

use std::collections::HashSet;
use std::time::Duration;

use tieline_core::access::Access;
use tieline_core::account::ConnectionMode;
use tieline_core::fate::MessageState;
use tieline_core::ids::ConversationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::log::{Level, LogEntry};
use tieline_store::message::MessageRecord;
use tieline_store::status::{ConnectionState, Status};

use crate::integrations::condition::Condition;

/// A message that is on its road longer than this is stuck, unless an agent works on it.
const STUCK_AFTER: Duration = Duration::from_secs(120);
/// Failures that are older say nothing of now.
const RECENT: Duration = Duration::from_hours(24);

/// What is known of an integration.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) platform: String,
    pub(super) mode: ConnectionMode,
    pub(super) is_own_channel: bool,
    pub(super) enabled: bool,
    pub(super) unusable: Option<String>,
    pub(super) callback_url: String,
    /// Whether our own address is an encrypted one.
    pub(super) is_public: bool,
    pub(super) allow_private: bool,
    /// Whether the platform takes the credentials, and a sentence about it. `None`: not asked.
    pub(super) credentials: Option<(bool, String)>,
    /// The enabled trigger.
    pub(super) bound: Option<String>,
    pub(super) disabled_triggers: Vec<String>,
    /// An enabled trigger of another integration of the same platform.
    pub(super) elsewhere: Option<Elsewhere>,
    pub(super) access: Option<Access>,
    /// `None`: there is none to be asked.
    pub(super) agent: Option<AgentAnswer>,
    /// Who holds its connection. `None`: it needs none.
    pub(super) relay: Option<RelayHeld>,
    pub(super) condition: Condition,
    pub(super) reported: Status,
    /// The newest messages, the newest first.
    pub(super) messages: Vec<MessageRecord>,
    /// Conversations in which an answer is being written, of those in which a message waits.
    pub(super) running: HashSet<ConversationId>,
    /// The newest warnings and errors, the newest first.
    pub(super) log: Vec<LogEntry>,
}

/// A trigger that is bound to something else.
pub(super) struct Elsewhere {
    pub(super) trigger: String,
    pub(super) integration: String,
}

/// What an agent answered to a sign of life.
pub(super) struct AgentAnswer {
    pub(super) name: String,
    pub(super) millis: u64,
    /// Code and text.
    pub(super) failure: Option<(String, String)>,
}

/// Who holds an integration's connection.
pub(super) struct RelayHeld {
    /// Relay processes with a running heartbeat.
    pub(super) n_alive: usize,
    /// The living process that has the integration's shard.
    pub(super) holder: Option<String>,
    /// How long its heartbeat still counts.
    pub(super) lease_left: Option<Duration>,
}

/// One question and its answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Finding {
    pub(super) name: &'static str,
    pub(super) detail: String,
    /// What to do. `None`: it is as it should be.
    pub(super) next: Option<String>,
}

fn good(name: &'static str, detail: impl Into<String>) -> Finding {
    Finding {
        name,
        detail: detail.into(),
        next: None,
    }
}

fn bad(name: &'static str, detail: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding {
        name,
        detail: detail.into(),
        next: Some(next.into()),
    }
}

/// All questions with their answers, those first without which the later ones can't be good.
pub(super) fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings = vec![
        started(facts),
        settings(facts),
        trigger_present(facts),
        trigger_enabled(facts),
    ];
    findings.extend(right_integration(facts));
    findings.extend(credentials(facts));
    match facts.mode {
        ConnectionMode::Webhook if facts.is_own_channel => {}
        ConnectionMode::Webhook => findings.extend([address_verified(facts), signature(facts)]),
        ConnectionMode::LongConnection => findings.extend([relay(facts), connection(facts)]),
    }
    findings.extend(agent(facts));
    findings.push(rate_limits(facts));
    findings.extend(access(facts));
    findings.extend([user_mapping(facts), stuck(facts), answers(facts), readable(facts)]);
    findings
}

fn started(facts: &Facts) -> Finding {
    const NAME: &str = "started";
    if facts.enabled {
        good(NAME, "the integration is started")
    } else {
        bad(NAME, "the integration is stopped", "Start the integration.")
    }
}

fn settings(facts: &Facts) -> Finding {
    const NAME: &str = "settings";
    match &facts.unusable {
        None => good(NAME, "the settings can be used"),
        Some(why) => bad(
            NAME,
            format!("the settings can't be used: {why}"),
            "Correct the settings of the integration.",
        ),
    }
}

fn trigger_present(facts: &Facts) -> Finding {
    const NAME: &str = "trigger_present";
    match (&facts.bound, facts.disabled_triggers.len()) {
        (Some(trigger), _) => good(NAME, format!("trigger {trigger} names the integration")),
        (None, 0) => bad(
            NAME,
            "no trigger names the integration, so no agent answers",
            "Create a trigger that binds the integration to an agent.",
        ),
        (None, n) => good(NAME, format!("{n} trigger(s) name the integration")),
    }
}

fn trigger_enabled(facts: &Facts) -> Finding {
    const NAME: &str = "trigger_enabled";
    match (&facts.bound, facts.disabled_triggers.first()) {
        (Some(trigger), _) => good(NAME, format!("trigger {trigger} is enabled")),
        (None, Some(trigger)) => bad(
            NAME,
            format!("trigger {trigger} is disabled, so no agent answers"),
            format!("Enable trigger {trigger}."),
        ),
        (None, None) => bad(NAME, "there is no trigger to be enabled", "Create a trigger."),
    }
}

fn right_integration(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "right_integration";
    if facts.bound.is_some() {
        return Some(good(NAME, "the enabled trigger names this integration"));
    }
    let other = facts.elsewhere.as_ref()?;
    Some(bad(
        NAME,
        format!(
            "trigger {} is bound to another {} integration, \"{}\"",
            other.trigger, facts.platform, other.integration
        ),
        format!(
            "If trigger {} was meant for this one, change its integration.",
            other.trigger
        ),
    ))
}

fn credentials(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "credentials";
    let (ok, detail) = facts.credentials.as_ref()?;
    Some(if *ok {
        good(NAME, detail)
    } else {
        let next = "Compare the credentials with those on the platform; if they are right, see whether its address can be reached.";
        bad(NAME, detail, next)
    })
}

fn address_verified(facts: &Facts) -> Finding {
    const NAME: &str = "url_verified";
    let url = &facts.callback_url;
    if let Some(at) = facts.reported.verified_at.max(facts.reported.last_event_at) {
        return good(NAME, format!("the platform last proved a request at {at}"));
    }
    if !facts.is_public && !facts.allow_private {
        return bad(
            NAME,
            format!("{url} is not a public https address, so the platform can't call it"),
            "Give this deployment a public https address (--public-url), or use a long connection.",
        );
    }
    bad(
        NAME,
        "the platform has never called us with a proof",
        format!("Enter {url} as the callback address on the platform, save it there, and send the bot a message."),
    )
}

fn signature(facts: &Facts) -> Finding {
    const NAME: &str = "signature";
    let proved_at = facts.reported.verified_at.max(facts.reported.last_event_at);
    match facts.reported.last_signature_failure_at {
        None => good(NAME, "no request had a wrong signature"),
        Some(failed_at) if proved_at.is_some_and(|at| at >= failed_at) => good(
            NAME,
            format!("the last wrong signature was at {failed_at}; requests were proved since"),
        ),
        Some(failed_at) => bad(
            NAME,
            format!("a request at {failed_at} could not be proved: its signature or encryption doesn't match"),
            "Compare the token and keys here with those on the platform; see the integration's log.",
        ),
    }
}

fn relay(facts: &Facts) -> Finding {
    const NAME: &str = "relay";
    let Some(held) = &facts.relay else {
        return good(NAME, "no connection is needed");
    };
    let wanted = facts.enabled && facts.bound.is_some() && facts.unusable.is_none();
    match (&held.holder, held.lease_left) {
        (Some(holder), Some(left)) => good(
            NAME,
            format!(
                "{holder} holds the connection; its lease counts {} s more",
                left.as_secs()
            ),
        ),
        _ if held.n_alive == 0 => bad(
            NAME,
            "no relay process is alive, so nobody holds the connection",
            "Start the relay, or see why it doesn't run.",
        ),
        _ if wanted => bad(
            NAME,
            format!(
                "{} relay process(es) are alive, but none holds this connection yet",
                held.n_alive
            ),
            "Wait 15 s; if it stays so, see the relay's log.",
        ),
        _ => good(NAME, format!("{} relay process(es) are alive", held.n_alive)),
    }
}

fn connection(facts: &Facts) -> Finding {
    const NAME: &str = "connection";
    let condition = &facts.condition;
    let next = condition
        .next
        .clone()
        .unwrap_or_else(|| "See the integration's log.".to_owned());
    let attempts = facts.reported.reconnect_attempts;
    match (condition.state, &condition.reason) {
        (ConnectionState::Connected, _) => match condition.connected_at {
            Some(at) => good(NAME, format!("it is connected since {at}")),
            None => good(NAME, "it is connected"),
        },
        // Said already, by the questions before.
        (_, Some(reason)) if reason == "stopped" || reason == "unbound" => {
            good(NAME, format!("there is none on purpose: {reason}"))
        }
        (state, Some(reason)) => bad(
            NAME,
            format!("it is {}: {reason}{}", state.as_str(), last_error(facts)),
            next,
        ),
        (state, None) => bad(
            NAME,
            format!(
                "it is {}, {attempts} attempt(s) failed{}",
                state.as_str(),
                last_error(facts)
            ),
            next,
        ),
    }
}

fn last_error(facts: &Facts) -> String {
    let error = facts.reported.last_error.as_ref();
    error.map_or_else(String::new, |error| {
        format!("; last error at {}: {} {}", error.at, error.code, error.message)
    })
}

fn agent(facts: &Facts) -> Option<Finding> {
    const NAME: &str = "agent_reachable";
    let agent = facts.agent.as_ref()?;
    Some(match &agent.failure {
        None => good(
            NAME,
            format!("agent \"{}\" answers within {} ms", agent.name, agent.millis),
        ),
        Some((code, why)) => bad(
            NAME,
            format!("agent \"{}\" does not answer as it should: {code}: {why}", agent.name),
            "See whether the agent runs, and whether its address and key are right; then test the agent.",
        ),
    })
}

fn rate_limits(facts: &Facts) -> Finding {
    const NAME: &str = "rate_limits";
    match facts.reported.rate_limited_until.filter(|until| *until > facts.now) {
        None => good(NAME, "the platform takes what we send"),
        Some(until) => bad(
            NAME,
            format!("the platform wants us to be quiet until {until}"),
            "Wait: answers are held back, not lost. If it comes often, ask the platform for more.",
        ),
    }
}

fn access(facts: &Facts) -> Option<Finding> {
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

fn user_mapping(facts: &Facts) -> Finding {
    let senders = facts.messages.iter().filter(|record| is_recent(facts, record)).count();
    good(
        "user_mapping",
        format!("people are known from their first message on; {senders} message(s) came in the last day"),
    )
}

fn stuck(facts: &Facts) -> Finding {
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
fn answers(facts: &Facts) -> Finding {
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

fn readable(facts: &Facts) -> Finding {
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

#[cfg(test)]
mod tests {
    use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId};

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A long connection on which all is well.
    fn healthy() -> Facts {
        Facts {
            now: at(100_000),
            platform: "lark".into(),
            mode: ConnectionMode::LongConnection,
            is_own_channel: false,
            enabled: true,
            unusable: None,
            callback_url: "https://bridge.example/api/lark/webhook/int_1".into(),
            is_public: true,
            allow_private: false,
            credentials: Some((true, "the platform takes the credentials".into())),
            bound: Some("trg_1".into()),
            disabled_triggers: Vec::new(),
            elsewhere: None,
            access: Some(Access::default()),
            agent: Some(AgentAnswer {
                name: "Echo".into(),
                millis: 3,
                failure: None,
            }),
            relay: Some(RelayHeld {
                n_alive: 1,
                holder: Some("relay-1".into()),
                lease_left: Some(Duration::from_secs(8)),
            }),
            condition: Condition {
                state: ConnectionState::Connected,
                reason: None,
                connected_at: Some(at(99_000)),
                next: None,
            },
            reported: Status::default(),
            messages: Vec::new(),
            running: HashSet::new(),
            log: Vec::new(),
        }
    }

    #[track_caller]
    fn check(facts: &Facts, expected: Option<&str>) {
        let findings = all(facts);
        let first = findings.iter().find(|finding| finding.next.is_some());
        assert_eq!(first.map(|finding| finding.name), expected, "{findings:#?}");
        assert!(findings.iter().all(|finding| !finding.detail.contains('\n')));
    }

    #[test]
    fn nothing_is_wrong_with_a_healthy_bot() {
        check(&healthy(), None);
    }

    #[test]
    fn the_first_thing_to_fix_comes_first() {
        check(
            &Facts {
                enabled: false,
                bound: None,
                credentials: Some((false, String::new())),
                ..healthy()
            },
            Some("started"),
        );
        check(
            &Facts {
                bound: None,
                agent: None,
                ..healthy()
            },
            Some("trigger_present"),
        );
        let disabled = vec!["trg_2".to_owned()];
        check(
            &Facts {
                bound: None,
                disabled_triggers: disabled,
                ..healthy()
            },
            Some("trigger_enabled"),
        );
        let refused = Some((false, "refused: code 10014".into()));
        check(
            &Facts {
                credentials: refused,
                ..healthy()
            },
            Some("credentials"),
        );
    }

    #[test]
    fn a_trigger_of_another_integration_is_named() {
        let facts = Facts {
            bound: None,
            elsewhere: Some(Elsewhere {
                trigger: "trg_9".into(),
                integration: "Other".into(),
            }),
            ..healthy()
        };
        let findings = all(&facts);
        let found = findings
            .iter()
            .find(|finding| finding.name == "right_integration")
            .unwrap();
        assert!(
            found.detail.contains("trg_9") && found.detail.contains("Other"),
            "{found:?}"
        );
    }

    #[test]
    fn a_dead_relay_is_told_from_a_broken_connection() {
        let nobody = RelayHeld {
            n_alive: 0,
            holder: None,
            lease_left: None,
        };
        check(
            &Facts {
                relay: Some(nobody),
                ..healthy()
            },
            Some("relay"),
        );
        let kicked = Condition {
            state: ConnectionState::Disconnected,
            reason: Some("kicked".into()),
            connected_at: None,
            next: Some("restart".into()),
        };
        check(
            &Facts {
                condition: kicked,
                ..healthy()
            },
            Some("connection"),
        );
    }

    #[test]
    fn a_webhook_is_asked_for_its_address_and_its_signature() {
        let webhook = |reported| Facts {
            mode: ConnectionMode::Webhook,
            relay: None,
            reported,
            ..healthy()
        };
        check(&webhook(Status::default()), Some("url_verified"));
        let mut status = Status {
            verified_at: Some(at(5)),
            ..Status::default()
        };
        check(&webhook(status.clone()), None);
        status.last_signature_failure_at = Some(at(6));
        check(&webhook(status.clone()), Some("signature"));
        status.last_event_at = Some(at(7));
        check(&webhook(status), None);
    }

    #[test]
    fn the_agent_and_the_platforms_patience_count() {
        let silent = AgentAnswer {
            name: "Support".into(),
            millis: 20_000,
            failure: Some(("connect".into(), "connection refused".into())),
        };
        check(
            &Facts {
                agent: Some(silent),
                ..healthy()
            },
            Some("agent_reachable"),
        );
        let limited = |until| Facts {
            reported: Status {
                rate_limited_until: Some(until),
                ..Status::default()
            },
            ..healthy()
        };
        check(&limited(at(100_001)), Some("rate_limits"));
        check(&limited(at(99_999)), None);
    }
    /// A message that came at that second.
    fn message(received_at: i64, state: MessageState, reason: Option<&str>) -> MessageRecord {
        MessageRecord {
            id: MessageId::new("msg_1"),
            reply: ReplyId::new("rpl_1"),
            organization: OrganizationId::new("default"),
            integration: IntegrationId::new("int_1"),
            platform_message: PlatformMessageId::new("m"),
            conversation: Some(ConversationId::new("cnv_1")),
            session: None,
            received_at: at(received_at),
            state,
            event: String::new(),
            run: None,
            reason: reason.map(str::to_owned),
            steps: Vec::new(),
            redrives: 0,
            version: 0,
        }
    }

    #[test]
    fn only_what_no_run_is_about_is_stuck() {
        let facts = |state, received_at| Facts {
            messages: vec![message(received_at, state, None)],
            ..healthy()
        };
        check(&facts(MessageState::Queued, 99_000), Some("queues"));
        check(&facts(MessageState::Queued, 99_990), None);
        check(&facts(MessageState::Running, 99_000), None);
        let behind = Facts {
            running: HashSet::from([ConversationId::new("cnv_1")]),
            ..facts(MessageState::Queued, 99_000)
        };
        check(&behind, None);
    }

    #[test]
    fn an_access_list_that_works_is_no_fault() {
        let facts = Facts {
            access: Some(Access {
                pairing: true,
                ..Access::default()
            }),
            messages: vec![message(99_000, MessageState::Refused, Some("not_allowed"))],
            ..healthy()
        };
        check(&facts, None);
        let told = all(&facts)
            .into_iter()
            .find(|finding| finding.name == "access")
            .unwrap();
        assert!(told.detail.contains("1 message(s) of others"), "{told:?}");
    }
}
