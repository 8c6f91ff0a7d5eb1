//! What the facts say. Each question has a line of its own, and a next step if the answer is bad.

mod messages;
mod reachability;
mod setup;

use std::collections::HashSet;
use std::time::Duration;

use tieline_core::access::Access;
use tieline_core::account::ConnectionMode;
use tieline_core::ids::ConversationId;
use tieline_core::timestamp::Timestamp;
use tieline_store::log::LogEntry;
use tieline_store::message::MessageRecord;
use tieline_store::status::Status;

use crate::integrations::effective_status::Condition;

/// What is known of an integration.
pub(super) struct Facts {
    pub(super) now: Timestamp,
    pub(super) platform: String,
    pub(super) mode: ConnectionMode,
    pub(super) is_own_channel: bool,
    pub(super) enabled: bool,
    pub(super) unusable: Option<String>,
    pub(super) callback_url: String,
    /// Whether a platform can call our own address.
    pub(super) is_callable: bool,
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
        setup::started(facts),
        setup::settings(facts),
        setup::trigger_present(facts),
        setup::trigger_enabled(facts),
    ];
    findings.extend(setup::right_integration(facts));
    findings.extend(reachability::credentials(facts));
    match facts.mode {
        ConnectionMode::Webhook if facts.is_own_channel => {}
        ConnectionMode::Webhook => {
            findings.extend([reachability::address_verified(facts), reachability::signature(facts)])
        }
        ConnectionMode::LongConnection => {
            findings.extend([reachability::relay(facts), reachability::connection(facts)])
        }
    }
    findings.extend(reachability::agent(facts));
    findings.push(reachability::rate_limits(facts));
    findings.extend(messages::access(facts));
    findings.extend([
        messages::user_mapping(facts),
        messages::stuck(facts),
        messages::answers(facts),
        messages::readable(facts),
    ]);
    findings
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId};
    use tieline_core::message_state::MessageState;
    use tieline_store::status::ConnectionState;

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
            is_callable: true,
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
            sender: None,
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
