//! How an integration is, decided from what is configured and what processes have reported.

use tieline_core::account::ConnectionMode;
use tieline_core::timestamp::{CLOCKS_DIFFER, Timestamp};
use tieline_store::status::{ConnectionState, Status};

use super::obstacle::Obstacle;
use super::troubles;
use crate::texts::Text;

/// What the decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) mode: ConnectionMode,
    /// Whether requests are proved by operators' tokens: then there is no platform that must find us.
    pub(super) own_channel: bool,
    /// Whether credentials are had by a login, and there are none yet.
    pub(super) logged_out: bool,
    pub(super) enabled: bool,
    /// Whether an enabled trigger names it.
    pub(super) bound: bool,
    /// What is wrong with its settings, if they can't be used.
    pub(super) unusable: Option<String>,
    pub(super) callback_url: &'a str,
    /// Whether a platform can call that address.
    pub(super) is_callable: bool,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    /// When its trigger's agent was last changed.
    pub(super) agent_changed_at: Option<Timestamp>,
    pub(super) now: Timestamp,
    /// Whether the trigger's access list leaves anybody out.
    pub(super) restricts_access: bool,
    /// What processes have reported.
    pub(super) reported: &'a Status,
}

/// How it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Condition {
    pub(super) state: ConnectionState,
    pub(super) reason: Option<String>,
    pub(super) connected_at: Option<Timestamp>,
    /// The operator's next step in one sentence. `None` if there is nothing to do.
    pub(super) next: Option<Text>,
}

/// Decides. What is configured comes first: a report of an earlier time doesn't speak against it.
pub(super) fn decide(facts: &Facts<'_>) -> Condition {
    if !facts.enabled {
        return down(ConnectionState::Disabled, "stopped", Text::new("status_stopped"));
    }
    if let Some(unusable) = &facts.unusable {
        let next = Text::new("status_unusable").with("why", unusable);
        return down(ConnectionState::Disconnected, "config_invalid", next);
    }
    let condition = match facts.mode {
        ConnectionMode::LongConnection if !facts.bound => {
            down(ConnectionState::Disconnected, "unbound", Text::new(BIND))
        }
        ConnectionMode::LongConnection => long_connection(facts),
        ConnectionMode::Webhook => webhook(facts),
    };
    if !facts.bound && condition.next.is_none() {
        return Condition {
            reason: Some("unbound".to_owned()),
            next: Some(Text::new(BIND)),
            ..condition
        };
    }
    match condition.state {
        ConnectionState::Connected => troubled(facts, condition),
        _ => condition,
    }
}

const BIND: &str = "status_bind";
const LOG_IN: &str = "status_login";

/// A bot that is up, with what its newest messages show to be wrong. Failing answers are graver than requests that can't be proved.
fn troubled(facts: &Facts<'_>, condition: Condition) -> Condition {
    let Some(trouble) = troubles::gravest(facts) else {
        return condition;
    };
    if condition.next.is_some() && trouble.state == ConnectionState::Connected {
        return condition;
    }
    Condition {
        state: trouble.state,
        reason: Some(trouble.reason.to_owned()),
        next: Some(trouble.next),
        ..condition
    }
}

fn long_connection(facts: &Facts<'_>) -> Condition {
    let reported = facts.reported;
    if facts.logged_out {
        return up(ConnectionState::NeedsLogin, Some(Text::new(LOG_IN)));
    }
    if is_refused(facts) && !refused_before(facts) {
        return refused(reported);
    }
    let Some(state) = reported.state.filter(|_| !is_outdated(facts)) else {
        return up(ConnectionState::Connecting, Some(Text::new("status_relay")));
    };
    Condition {
        state,
        reason: reported.reason.clone(),
        connected_at: reported.connected_at.filter(|_| state == ConnectionState::Connected),
        next: next_of(state, reported),
    }
}

/// Whether the report is of a time when the integration was stopped, unbound, a webhook or otherwise configured, which it isn't any
/// more.
fn is_outdated(facts: &Facts<'_>) -> bool {
    let reported = facts.reported;
    // Who holds a connection says so with its state; of a webhook the state is that the credentials work.
    let nobodys = reported.state == Some(ConnectionState::Connected) && reported.owner.is_none();
    // After a login the holder has not reported yet, an earlier `needs_login` is outdated.
    let logged_in = reported.state == Some(ConnectionState::NeedsLogin) && reported.reason.is_none();
    nobodys
        || logged_in
        || matches!(reported.reason.as_deref(), Some("config_invalid" | "login_expired")) && refused_before(facts)
        || reported.state == Some(ConnectionState::Disabled)
        || matches!(reported.reason.as_deref(), Some("stopped" | "unbound"))
}

fn next_of(state: ConnectionState, reported: &Status) -> Option<Text> {
    let next = match (state, reported.reason.as_deref()) {
        (ConnectionState::Connected | ConnectionState::Degraded, _) => return None,
        (ConnectionState::NeedsLogin, _) | (_, Some("login_expired")) => Text::new(LOG_IN),
        (_, Some("kicked")) => Text::new("status_kicked"),
        _ if obstacle(reported).is_some() => return obstacle(reported),
        (_, Some("config_invalid")) => Text::new("status_refused").with_text("code", code_of(reported)),
        (ConnectionState::Connecting, _) => Text::new("status_connecting"),
        (ConnectionState::Retrying, Some("silent")) => Text::new("status_silent").with_text("code", code_of(reported)),
        (ConnectionState::Retrying, _) => Text::new("status_retrying").with_text("code", code_of(reported)),
        (ConnectionState::Disconnected | ConnectionState::Disabled, _) => {
            Text::new("status_restart").with_text("code", code_of(reported))
        }
    };
    Some(next)
}

/// What removes the obstacle that the last error names, if it names one.
fn obstacle(reported: &Status) -> Option<Text> {
    let code = &reported.last_error.as_ref()?.code;
    Some(troubles::obstacle_text(Obstacle::of(code)?, code))
}

fn code_of(reported: &Status) -> Option<Text> {
    let error = reported.last_error.as_ref();
    error.map(|error| Text::new("status_last_error").with("code", &error.code))
}

/// Whether the integration has been changed since the platform refused it: then a relay is about to try again.
fn refused_before(facts: &Facts<'_>) -> bool {
    refused_at(facts.reported).is_some_and(|at| at.after(CLOCKS_DIFFER) < facts.changed_at)
}

fn webhook(facts: &Facts<'_>) -> Condition {
    let reported = facts.reported;
    if is_refused(facts) {
        return refused(reported);
    }
    if facts.own_channel {
        return Condition {
            connected_at: Some(facts.created_at),
            ..up(ConnectionState::Connected, None)
        };
    }
    // Only what was proved becomes an event.
    if let Some(verified_at) = reported.verified_at.max(reported.last_event_at) {
        let is_failing = failed_since(reported, verified_at);
        let next = || Text::new("status_signature").with_text("field", Some(signed_with(reported)));
        return Condition {
            reason: is_failing.then(|| SIGNATURE.to_owned()),
            connected_at: Some(verified_at),
            ..up(ConnectionState::Connected, is_failing.then(next))
        };
    }
    let (reason, next) = match reported.last_signature_failure_at {
        Some(at) => {
            let next = Text::new("status_first_signature").with("at", at);
            (SIGNATURE, next.with_text("field", Some(signed_with(reported))))
        }
        None if !facts.is_callable => (
            "not_public",
            Text::new("status_not_public").with("url", facts.callback_url),
        ),
        None => (
            "not_called",
            Text::new("status_callback").with("url", facts.callback_url),
        ),
    };
    Condition {
        reason: Some(reason.to_owned()),
        ..up(ConnectionState::Connecting, Some(next))
    }
}

/// The reason of a webhook whose requests can't be proved.
const SIGNATURE: &str = "signature";

/// The credential with which requests are proved, as far as the last failure tells.
pub(super) fn signed_with(reported: &Status) -> Text {
    let failure = reported.signature_failure.as_ref();
    match failure.and_then(|failure| failure.field.as_ref()) {
        Some(field) => Text::new("field").with("field", field),
        None => Text::new("default_field"),
    }
}

/// When the platform last refused the credentials, if that is the newest that is known of them.
fn refused_at(reported: &Status) -> Option<Timestamp> {
    let of_holder = reported.last_error.as_ref();
    let of_holder =
        of_holder.filter(|_| matches!(reported.reason.as_deref(), Some("config_invalid" | "login_expired")));
    let refusal = reported.credentials_refused.as_ref().or(of_holder);
    refusal.map(|error| error.at)
}

/// Whether a delivery or a probe was refused the credentials, and no reply was accepted since.
fn is_refused(facts: &Facts<'_>) -> bool {
    let reported = facts.reported;
    let is_known = reported.credentials_refused.is_some()
        // Versions before that attribute wrote it as a webhook's state.
        || facts.mode == ConnectionMode::Webhook && reported.reason.as_deref() == Some("config_invalid");
    is_known && (reported.last_reply_at.is_none() || reported.last_reply_at <= refused_at(reported))
}

fn refused(reported: &Status) -> Condition {
    let code = reported.credentials_refused.as_ref();
    let code = code.map_or_else(
        || code_of(reported),
        |error| Some(Text::new("status_code").with("code", &error.code)),
    );
    let refusal = reported.credentials_refused.as_ref().or(reported.last_error.as_ref());
    let obstacle = refusal.and_then(|error| Some((Obstacle::of(&error.code)?, &error.code)));
    let next = match obstacle {
        Some((obstacle, code)) => troubles::obstacle_text(obstacle, code),
        None => Text::new("status_refused").with_text("code", code),
    };
    down(ConnectionState::Disconnected, "config_invalid", next)
}

fn failed_since(reported: &Status, verified_at: Timestamp) -> bool {
    reported
        .last_signature_failure_at
        .is_some_and(|failed_at| failed_at > verified_at)
}

fn down(state: ConnectionState, reason: &str, next: Text) -> Condition {
    Condition {
        state,
        reason: Some(reason.to_owned()),
        connected_at: None,
        next: Some(next),
    }
}

fn up(state: ConnectionState, next: Option<Text>) -> Condition {
    Condition {
        state,
        reason: None,
        connected_at: None,
        next,
    }
}

#[cfg(test)]
pub(super) mod tests {
    use tieline_core::ids::MessageId;
    use tieline_core::notice::Language;
    use tieline_store::message::FailedAnswer;
    use tieline_store::status::StatusError;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    /// A started, bound integration of which processes reported this.
    pub(in crate::integrations) fn facts(mode: ConnectionMode, reported: &Status) -> Facts<'_> {
        Facts {
            mode,
            own_channel: false,
            logged_out: false,
            enabled: true,
            bound: true,
            unusable: None,
            callback_url: "https://bridge.example/api/lark/webhook/int_1",
            is_callable: true,
            created_at: at(1),
            changed_at: at(1),
            agent_changed_at: None,
            now: at(100),
            restricts_access: true,
            reported,
        }
    }

    fn reported(state: ConnectionState, reason: Option<&str>) -> Status {
        Status {
            state: Some(state),
            reason: reason.map(str::to_owned),
            connected_at: Some(at(5)),
            owner: Some("relay-1".to_owned()),
            ..Status::default()
        }
    }

    #[track_caller]
    fn check(facts: &Facts<'_>, state: ConnectionState, reason: Option<&str>, next: Option<&str>) -> Condition {
        let condition = decide(facts);
        assert_eq!(
            (condition.state, condition.reason.as_deref()),
            (state, reason),
            "{condition:?}"
        );
        match (&condition.next, next) {
            (Some(text), Some(part)) => {
                let text = text.render(Language::English);
                assert!(text.contains(part), "{text}");
            }
            (None, None) => {}
            other => panic!("{other:?}"),
        }
        condition
    }

    use ConnectionMode::{LongConnection, Webhook};
    use ConnectionState::{Connected, Connecting, Disabled, Disconnected, NeedsLogin, Retrying};

    #[test]
    fn what_is_configured_comes_first() {
        let up = reported(Connected, None);
        for mode in [LongConnection, Webhook] {
            check(
                &Facts {
                    enabled: false,
                    ..facts(mode, &up)
                },
                Disabled,
                Some("stopped"),
                Some("Start"),
            );
            let bad = Facts {
                unusable: Some("credentials.aesKey is required".into()),
                ..facts(mode, &up)
            };
            check(&bad, Disconnected, Some("config_invalid"), Some("credentials.aesKey"));
        }
        let unbound = Facts {
            bound: false,
            ..facts(LongConnection, &up)
        };
        check(&unbound, Disconnected, Some("unbound"), Some("trigger"));
        let both = Facts {
            enabled: false,
            bound: false,
            ..facts(LongConnection, &up)
        };
        check(&both, Disabled, Some("stopped"), Some("Start"));
    }

    #[test]
    fn bot_that_is_up_and_whose_answers_fail_is_degraded() {
        let failed = |at_secs, is_agents| FailedAnswer {
            message: MessageId::new("msg_1"),
            at: at(at_secs),
            is_agents,
            code: "http_500".into(),
            detail: Some("out of memory".into()),
        };
        let mut up = reported(Connected, None);
        up.failed_answer = Some(failed(50, true));
        let condition = check(
            &facts(LongConnection, &up),
            ConnectionState::Degraded,
            Some("agent_failed"),
            Some("http_500: out of memory"),
        );
        assert_eq!(condition.connected_at, Some(at(5)));
        // Given another chance, or too long ago.
        let changed = Facts {
            agent_changed_at: Some(at(51)),
            ..facts(LongConnection, &up)
        };
        check(&changed, Connected, None, None);
        let later = Facts {
            now: at(50 + 3600),
            ..facts(LongConnection, &up)
        };
        check(&later, Connected, None, None);
        up.failed_answer = Some(failed(50, false));
        let undelivered = facts(LongConnection, &up);
        check(
            &undelivered,
            ConnectionState::Degraded,
            Some("delivery_failed"),
            Some("http_500"),
        );
        // A connection that is down is the graver trouble.
        let mut down = reported(Retrying, None);
        down.failed_answer = Some(failed(50, true));
        check(&facts(LongConnection, &down), Retrying, None, Some("by itself"));
    }

    #[test]
    fn long_connection_is_as_its_holder_reports() {
        let condition = check(
            &facts(LongConnection, &reported(Connected, None)),
            Connected,
            None,
            None,
        );
        assert_eq!(condition.connected_at, Some(at(5)));
        let mut broken = reported(Retrying, None);
        broken.last_error = Some(StatusError {
            at: at(6),
            code: "reset".into(),
            message: String::new(),
        });
        let condition = check(&facts(LongConnection, &broken), Retrying, None, Some("reset"));
        assert_eq!(condition.connected_at, None);
        let kicked = reported(Disconnected, Some("kicked"));
        check(
            &facts(LongConnection, &kicked),
            Disconnected,
            Some("kicked"),
            Some("restart"),
        );
        let refused = reported(Disconnected, Some("config_invalid"));
        check(
            &facts(LongConnection, &refused),
            Disconnected,
            Some("config_invalid"),
            Some("credentials"),
        );
        let expired = reported(NeedsLogin, Some("login_expired"));
        check(
            &facts(LongConnection, &expired),
            NeedsLogin,
            Some("login_expired"),
            Some("scan"),
        );
    }

    #[test]
    fn old_reports_do_not_outlive_what_they_were_about() {
        let of_a_webhook = Status {
            state: Some(Connected),
            ..Status::default()
        };
        for old in [
            Status::default(),
            of_a_webhook,
            reported(Disabled, Some("stopped")),
            reported(Disconnected, Some("unbound")),
            reported(Disconnected, Some("stopped")),
        ] {
            check(&facts(LongConnection, &old), Connecting, None, Some("relay"));
        }
    }

    #[test]
    fn who_never_logged_in_must() {
        let nothing = Status::default();
        check(
            &Facts {
                logged_out: true,
                ..facts(LongConnection, &nothing)
            },
            NeedsLogin,
            None,
            Some("scan"),
        );
    }

    #[test]
    fn webhook_is_connected_once_a_request_was_proved() {
        let mut status = Status::default();
        check(
            &facts(Webhook, &status),
            Connecting,
            Some("not_called"),
            Some("https://bridge.example/api/lark/webhook/int_1"),
        );
        let at_home = Facts {
            callback_url: "http://127.0.0.1:8080/api/lark/webhook/int_1",
            is_callable: false,
            ..facts(Webhook, &status)
        };
        check(&at_home, Connecting, Some("not_public"), Some("public https address"));
        status.last_signature_failure_at = Some(at(7));
        let wrong = Some("signature");
        check(&facts(Webhook, &status), Connecting, wrong, Some("signature"));
        status.verified_at = Some(at(8));
        let condition = check(&facts(Webhook, &status), Connected, None, None);
        assert_eq!(condition.connected_at, Some(at(8)));
        status.last_signature_failure_at = Some(at(9));
        check(&facts(Webhook, &status), Connected, wrong, Some("signature"));
        check(
            &Facts {
                bound: false,
                ..facts(
                    Webhook,
                    &Status {
                        verified_at: Some(at(8)),
                        ..Status::default()
                    },
                )
            },
            Connected,
            Some("unbound"),
            Some("trigger"),
        );
    }

    /// The platform has refused the credentials at 9.
    fn refused() -> Status {
        Status {
            verified_at: Some(at(8)),
            last_error: Some(StatusError {
                at: at(9),
                code: "10014".into(),
                message: String::new(),
            }),
            ..reported(Disconnected, Some("config_invalid"))
        }
    }

    #[test]
    fn refused_credentials_count_until_a_reply_is_taken() {
        let mut status = refused();
        check(
            &facts(Webhook, &status),
            Disconnected,
            Some("config_invalid"),
            Some("10014"),
        );
        status.last_reply_at = Some(at(7));
        check(
            &facts(Webhook, &status),
            Disconnected,
            Some("config_invalid"),
            Some("10014"),
        );
        status.last_reply_at = Some(at(10));
        check(&facts(Webhook, &status), Connected, None, None);
    }

    #[test]
    fn refused_credentials_count_until_they_are_changed() {
        let status = refused();
        let changed = |mode, changed_at| Facts {
            changed_at,
            ..facts(mode, &status)
        };
        let refused = Some("config_invalid");
        check(&changed(LongConnection, at(9)), Disconnected, refused, Some("10014"));
        // The clock that saw the refusal may be behind the one that saw the change.
        check(&changed(LongConnection, at(14)), Disconnected, refused, Some("10014"));
        check(&changed(LongConnection, at(15)), Connecting, None, Some("relay"));
        // Its name may be all that was changed; new credentials are asked about at once, and nobody reconnects.
        check(&changed(Webhook, at(15)), Disconnected, refused, Some("10014"));
    }

    #[test]
    fn credentials_that_a_delivery_was_refused_show_on_a_connection_that_is_up() {
        let mut status = Status {
            credentials_refused: refused().last_error,
            ..reported(Connected, None)
        };
        check(
            &facts(LongConnection, &status),
            Disconnected,
            Some("config_invalid"),
            Some("10014"),
        );
        let changed = Facts {
            changed_at: at(15),
            ..facts(LongConnection, &status)
        };
        check(&changed, Connected, None, None);
        status.last_reply_at = Some(at(10));
        check(&facts(LongConnection, &status), Connected, None, None);
        // A later error of another kind is no refusal of the credentials.
        status.last_error = Some(StatusError {
            at: at(11),
            code: "http_500".into(),
            message: String::new(),
        });
        check(&facts(LongConnection, &status), Connected, None, None);
    }

    #[test]
    fn refusal_that_is_not_about_the_credentials_says_what_to_do() {
        let mut status = refused();
        for (code, part) in [
            ("60020_ip_not_allowed", "trusted addresses"),
            ("webhook_of_another_program", "remove its webhook"),
        ] {
            status.last_error = Some(StatusError {
                at: at(9),
                code: code.into(),
                message: String::new(),
            });
            for mode in [Webhook, LongConnection] {
                check(&facts(mode, &status), Disconnected, Some("config_invalid"), Some(part));
            }
        }
        status.state = Some(Retrying);
        status.reason = None;
        check(
            &facts(LongConnection, &status),
            Retrying,
            None,
            Some("remove its webhook"),
        );
    }

    #[test]
    fn own_channel_needs_nobody_to_find_it() {
        let nothing = Status::default();
        let own = Facts {
            own_channel: true,
            ..facts(Webhook, &nothing)
        };
        assert_eq!(check(&own, Connected, None, None).connected_at, Some(at(1)));
        check(
            &Facts { bound: false, ..own },
            Connected,
            Some("unbound"),
            Some("trigger"),
        );
    }
}
