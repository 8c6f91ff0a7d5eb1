use tieline_core::ids::MessageId;
use tieline_core::notice::Language;
use tieline_store::message::FailedAnswer;
use tieline_store::status::StatusError;

use super::*;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A started, bound integration with this reported status.
pub(in crate::integrations) fn facts(mode: ConnectionMode, reported: &Status) -> Facts<'_> {
    Facts {
        mode,
        own_channel: false,
        logged_out: false,
        enabled: true,
        bound: true,
        unusable: None,
        callback_url: "https://bridge.example/api/lark/webhook/int_1",
        callback_url_since: None,
        registration: &Registration::ByHand,
        is_callable: true,
        has_long_connection: true,
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
fn configuration_takes_precedence_over_reports() {
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
fn connected_bot_with_failing_answers_is_degraded() {
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
    // The agent was changed since, or the failure is too old.
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
    // A connection that is down is graver.
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
fn outdated_reports_are_ignored() {
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
fn account_that_never_logged_in_needs_login() {
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
fn address_that_the_bridge_registers_is_not_entered_by_hand() {
    let (nothing, verified) = (
        Status::default(),
        Status {
            verified_at: Some(at(5)),
            ..Status::default()
        },
    );
    let failed = Registration::Due(Some("set_webhook: 502".to_owned()));
    for (registration, next) in [
        (&Registration::ByHand, "Enter https://"),
        (&Registration::Due(None), "by itself"),
        (&failed, "(set_webhook: 502), and the bridge repeats"),
        (&Registration::Done, "restart the integration"),
    ] {
        let facts = Facts {
            registration,
            ..facts(Webhook, &nothing)
        };
        check(&facts, Connecting, Some("not_called"), Some(next));
    }
    for (registration, reason, next) in [
        (&Registration::Due(None), None, None),
        (&failed, Some("not_registered"), Some("(set_webhook: 502)")),
        (&Registration::Done, None, None),
    ] {
        let facts = Facts {
            registration,
            ..facts(Webhook, &verified)
        };
        check(&facts, Connected, reason, next);
    }
}

#[test]
fn calls_of_an_earlier_address_prove_nothing_about_a_new_one() {
    let reported = Status {
        verified_at: Some(at(5)),
        last_event_at: Some(at(7)),
        last_signature_failure_at: Some(at(6)),
        ..Status::default()
    };
    for (since, state, reason, next) in [
        (None, Connected, None, None),
        (Some(7), Connected, None, None),
        (Some(8), Connecting, Some("not_called"), Some("Enter https://")),
    ] {
        let facts = Facts {
            callback_url_since: since.map(at),
            ..facts(Webhook, &reported)
        };
        check(&facts, state, reason, next);
    }
}

#[test]
fn webhook_is_connected_once_a_request_was_authenticated() {
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

/// Credentials that the platform refused at second 9.
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
fn refused_credentials_count_until_a_reply_is_accepted() {
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
    // The clock of the process that saw the refusal may be behind the clock of the one that saw the change.
    check(&changed(LongConnection, at(14)), Disconnected, refused, Some("10014"));
    check(&changed(LongConnection, at(15)), Connecting, None, Some("relay"));
    // The change may only be its name; new credentials are probed at once, and there is no connection to renew.
    check(&changed(Webhook, at(15)), Disconnected, refused, Some("10014"));
}

#[test]
fn credentials_refused_on_delivery_show_on_a_connected_bot() {
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
    // A later error of another kind doesn't count as refused credentials.
    status.last_error = Some(StatusError {
        at: at(11),
        code: "http_500".into(),
        message: String::new(),
    });
    check(&facts(LongConnection, &status), Connected, None, None);
}

#[test]
fn refusal_for_another_reason_has_a_next_step() {
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
fn own_channel_is_connected_without_a_platform() {
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
