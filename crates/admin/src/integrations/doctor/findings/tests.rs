//! Which facts lead to which cause.

use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::message_state::{LedgerStep, MessageState};
use tieline_core::notice::Language;
use tieline_store::log::Level as LogLevel;
use tieline_store::message::{DELIVERY_REFUSED, OWN_ID};
use tieline_store::status::{ConnectionState, SignatureFailure, StatusError};

use super::*;

mod mapping;

fn at(secs: i64) -> Timestamp {
    Timestamp::from_secs(secs)
}

/// A long connection without any problem.
fn healthy() -> Facts {
    Facts {
        now: at(100_000),
        platform: "lark".into(),
        mode: ConnectionMode::LongConnection,
        is_own_channel: false,
        enabled: true,
        unusable: None,
        callback_url: "https://bridge.example/api/lark/webhook/int_1".into(),
        registration: Registration::ByHand,
        called_at: None,
        public_callback_url: None,
        is_public: true,
        has_long_connection: true,
        changed_at: at(4),
        credentials: Some(Credentials::Accepted),
        credential_fields: "appId, appSecret".into(),
        delivers_to: None,
        withheld: None,
        needs_unaddressed: false,
        missing_permissions: None,
        hosts: Vec::new(),
        bound: Some("trg_1".into()),
        disabled_triggers: Vec::new(),
        elsewhere: None,
        access: Some(Access::default()),
        agents: vec![answering()],
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
        mapper: None,
        runs_used_up: None,
        log: Vec::new(),
    }
}

#[track_caller]
fn check(facts: &Facts, expected: Option<&str>) {
    let findings = all(facts);
    let first = cause(&findings);
    assert_eq!(first.map(|finding| finding.name), expected, "{findings:#?}");
    for finding in &findings {
        for language in [Language::English, Language::Chinese] {
            let detail = finding.detail.render(language);
            assert!(!detail.contains(['\n', '{']), "{detail}");
        }
        assert!(
            finding.level != Level::Failed || finding.remedy.is_some(),
            "{finding:?}"
        );
    }
}

#[test]
fn healthy_bot_has_no_findings() {
    check(&healthy(), None);
}

#[test]
fn cause_is_the_first_failed_prerequisite() {
    check(
        &Facts {
            enabled: false,
            bound: None,
            credentials: Some(refused()),
            ..healthy()
        },
        Some("started"),
    );
    check(
        &Facts {
            bound: None,
            agents: Vec::new(),
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
    check(
        &Facts {
            credentials: Some(refused()),
            ..healthy()
        },
        Some("credentials"),
    );
}

#[test]
fn trigger_of_another_integration_is_named() {
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
        words(found).contains("trg_9") && words(found).contains("Other"),
        "{found:?}"
    );
}

#[test]
fn dead_relay_and_broken_connection_are_distinguished() {
    let gone = RelayHeld {
        n_alive: 0,
        holder: None,
        lease_left: None,
    };
    check(
        &Facts {
            relay: Some(gone),
            ..healthy()
        },
        Some("relay"),
    );
    let kicked = Condition {
        state: ConnectionState::Disconnected,
        reason: Some("kicked".into()),
        connected_at: None,
        next: Some(Text::new("status_kicked")),
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
fn webhook_address_and_signature_are_checked() {
    let webhook = |reported: Status| Facts {
        mode: ConnectionMode::Webhook,
        relay: None,
        called_at: reported.verified_at,
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
    let changed_since = Facts {
        changed_at: at(6),
        ..webhook(status.clone())
    };
    check(&changed_since, Some("signature"));
    status.last_event_at = Some(at(7));
    check(&webhook(status), None);
}

#[test]
fn a_strangers_request_hides_no_cause_where_others_are_authenticated() {
    let facts = Facts {
        mode: ConnectionMode::Webhook,
        relay: None,
        called_at: Some(at(99_000)),
        reported: Status {
            last_event_at: Some(at(99_000)),
            last_signature_failure_at: Some(at(99_990)),
            ..Status::default()
        },
        ..healthy()
    };
    check(&facts, None);
    let findings = all(&facts);
    let found = findings.iter().find(|it| it.name == "signature").unwrap();
    assert_eq!(
        (found.level, &found.next, &found.remedy),
        (Level::Warning, &None, &None)
    );
    assert!(words(found).contains("others were"), "{found:?}");
    let silent = Facts {
        agents: vec![AgentAnswer {
            failure: Some(("connect".into(), "connection refused".into())),
            ..answering()
        }],
        ..facts
    };
    only(&silent, "agent_reachable");
}

#[test]
fn unreachable_agent_and_active_rate_limit_are_reported() {
    let silent = AgentAnswer {
        name: "Support".into(),
        failure: Some(("connect".into(), "connection refused".into())),
        ..answering()
    };
    check(
        &Facts {
            agents: vec![silent],
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
/// A message received at this second.
fn message(received_at: i64, state: MessageState, reason: Option<&str>) -> MessageRecord {
    MessageRecord {
        id: MessageId::new("msg_1"),
        reply: ReplyId::new("rpl_1"),
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        account: None,
        platform_message: PlatformMessageId::new("m"),
        conversation: Some(ConversationId::new("cnv_1")),
        session: None,
        sender: Some(SenderId::new("lisi")),
        received_at: at(received_at),
        state,
        event: String::new(),
        run: None,
        run_messages: Vec::new(),
        reason: reason.map(str::to_owned),
        steps: Vec::new(),
        redrives: 0,
        version: 0,
    }
}

/// A proactive message as it is shown after the platform has refused it.
fn undelivered_own(code: &str) -> MessageRecord {
    MessageRecord {
        id: MessageId::new("msg_own"),
        platform_message: PlatformMessageId::new(tieline_core::ids::fresh(OWN_ID, [7; 12])),
        sender: None,
        steps: vec![LedgerStep::new(at(99_995), DELIVERY_REFUSED).code(code)],
        ..message(99_995, MessageState::Failed, Some(code))
    }
}

#[test]
fn refused_proactive_message_is_a_warning_and_no_failed_answer() {
    let facts = |others: Vec<MessageRecord>| Facts {
        messages: std::iter::repeat_n(undelivered_own("chat not found"), 3)
            .chain(others)
            .collect(),
        ..healthy()
    };
    for others in [Vec::new(), vec![answered(99_990)]] {
        let findings = all(&facts(others));
        let answers = findings.iter().find(|finding| finding.name == "answers").unwrap();
        let words = words(answers);
        assert_eq!(answers.level, Level::Warning, "{words}");
        assert!(
            words.starts_with("3 message(s) that the bot was told to send") && words.contains("chat not found"),
            "{words}"
        );
        assert_eq!(answers.remedy, Some(Remedy::on(Action::ViewMessage, "msg_own")));
        assert!(
            findings.iter().all(|finding| finding.level != Level::Failed),
            "{findings:#?}"
        );
    }
    assert!(only(&facts(vec![failed(99_990, "http_429")]), "answers").contains("http_429"));
}

#[test]
fn message_behind_a_run_is_not_stuck() {
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
fn working_access_list_is_no_failure() {
    let facts = Facts {
        access: Some(Access {
            pairing: true,
            ..Access::default()
        }),
        messages: vec![message(99_000, MessageState::Refused, Some("not_allowed"))],
        ..healthy()
    };
    // Nothing failed; a refused person is reported first.
    check(&facts, Some("access"));
    let findings = all(&facts);
    let told = findings.iter().find(|finding| finding.name == "access").unwrap();
    assert_eq!(told.level, Level::Warning);
    assert!(words(told).contains("1 message(s) were refused"), "{told:?}");
    let long_ago = Facts {
        messages: vec![message(90_000, MessageState::Refused, Some("not_allowed"))],
        ..facts
    };
    check(&long_ago, None);
}

fn refused() -> Credentials {
    Credentials::Refused { code: "10014".into() }
}

fn answering() -> AgentAnswer {
    AgentAnswer {
        id: "agt_1".into(),
        name: "Echo".into(),
        host: "agent.example".into(),
        secrets: "apiKey".into(),
        is_gone: false,
        millis: 3,
        failure: None,
    }
}

fn words(finding: &Finding) -> String {
    finding.detail.render(Language::English)
}

/// The detail of this check, which must be the only failure.
#[track_caller]
fn only(facts: &Facts, name: &str) -> String {
    check(facts, Some(name));
    let findings = all(facts);
    let failed: Vec<_> = findings
        .iter()
        .filter(|it| it.level == Level::Failed)
        .map(|it| it.name)
        .collect();
    assert!(failed.is_empty() || failed == [name], "{failed:?}");
    words(cause(&findings).unwrap())
}

fn failed(second: i64, code: &str) -> MessageRecord {
    let result = LedgerStep::new(at(second), "result").code(code).detail("out of memory");
    MessageRecord {
        steps: vec![result, LedgerStep::new(at(second), "failed")],
        ..message(second, MessageState::Failed, Some(code))
    }
}

fn answered(second: i64) -> MessageRecord {
    MessageRecord {
        steps: vec![LedgerStep::new(at(second), "answered")],
        ..message(second, MessageState::Answered, None)
    }
}

#[test]
fn unreachable_host_is_the_only_failure_and_is_named() {
    let facts = Facts {
        hosts: vec![Host {
            field: "wsUrl",
            host: "openws.example:443".into(),
            failure: Some(Text::new("unreachable_refused")),
        }],
        credentials: Some(Credentials::Unavailable {
            code: "unreachable".into(),
        }),
        condition: Condition {
            state: ConnectionState::Retrying,
            reason: None,
            connected_at: None,
            next: None,
        },
        ..healthy()
    };
    let cause = only(&facts, "platform_reachable");
    assert!(cause.contains("openws.example:443"), "{cause}");
    let findings = all(&facts);
    let led_back = findings.iter().find(|it| it.name == "connection").unwrap();
    assert!(
        words(led_back).contains("follows from platform_reachable"),
        "{led_back:?}"
    );
    assert!(findings.iter().all(|it| it.level != Level::Unknown), "{findings:#?}");
}

#[test]
fn a_wrong_signature_comes_before_never_called_and_names_the_field() {
    let facts = Facts {
        mode: ConnectionMode::Webhook,
        relay: None,
        is_public: false,
        reported: Status {
            last_signature_failure_at: Some(at(99_990)),
            signature_failure: Some(SignatureFailure {
                reason: "payload can't be decrypted: padding is wrong".into(),
                field: Some("encodingAesKey".into()),
            }),
            ..Status::default()
        },
        credentials: Some(Credentials::Untold),
        ..healthy()
    };
    let cause = only(&facts, "signature");
    assert!(
        cause.contains("`encodingAesKey`") && cause.contains("decrypted"),
        "{cause}"
    );
    let at_home = Facts {
        reported: Status::default(),
        callback_url: "http://127.0.0.1:8080/api/wecom/webhook/int_1".into(),
        ..facts
    };
    let cause = only(&at_home, "url_verified");
    assert!(cause.contains("127.0.0.1") && cause.contains("public https"), "{cause}");
}

#[test]
fn failures_of_the_last_day_are_reported_even_if_the_newest_answer_succeeded() {
    let mut messages: Vec<_> = (0..15).map(|n| failed(99_000 - n * 3600, "http_500")).collect();
    messages.insert(0, answered(99_990));
    let facts = Facts { messages, ..healthy() };
    let cause = only(&facts, "answers");
    assert!(
        cause.contains("http_500: out of memory") && cause.contains("15 of 16") && cause.contains("agent.example"),
        "{cause}"
    );
    let newest = Facts {
        messages: vec![failed(99_990, "http_429")],
        ..healthy()
    };
    assert!(only(&newest, "answers").contains("http_429"));
    let findings = all(&newest);
    assert_eq!(cause_of(&findings).remedy, Some(Remedy::on(Action::Redrive, "msg_1")));
}

fn cause_of(findings: &[Finding]) -> &Finding {
    cause(findings).unwrap()
}

#[test]
fn answers_that_fail_because_the_agent_is_down_are_not_a_second_failure() {
    let facts = Facts {
        agents: vec![AgentAnswer {
            failure: Some(("http_401".into(), "invalid key".into())),
            ..answering()
        }],
        messages: vec![failed(99_990, "http_401")],
        ..healthy()
    };
    let cause = only(&facts, "agent_reachable");
    assert!(
        cause.contains("http_401: invalid key") && cause.contains("agent.example"),
        "{cause}"
    );
    let findings = all(&facts);
    let next = cause_of(&findings).next.as_ref().unwrap().render(Language::English);
    assert!(next.contains("apiKey"), "{next}");
}

#[test]
fn every_agent_behind_the_bot_is_checked() {
    let with = |agents: Vec<AgentAnswer>| Facts { agents, ..healthy() };
    let named = |name: &str, code: Option<&str>| AgentAnswer {
        name: name.into(),
        failure: code.map(|code| (code.to_owned(), "no".to_owned())),
        ..answering()
    };
    let slow = named("Slow", Some("idle_timeout"));
    check(&with(vec![named("Own", None), named("Sales", None)]), None);
    let facts = with(vec![named("Own", None), slow.clone()]);
    assert!(only(&facts, "agent_reachable").contains("Slow"));
    let facts = with(vec![named("Own", None), slow, named("Sales", Some("connect"))]);
    assert!(only(&facts, "agent_reachable").contains("Sales"));
}

#[test]
fn slow_agent_is_a_warning_and_no_failure() {
    let slow = |agent| Facts {
        agents: vec![agent],
        ..healthy()
    };
    let late = AgentAnswer {
        millis: 21_000,
        ..answering()
    };
    let silent = AgentAnswer {
        failure: Some(("idle_timeout".into(), String::new())),
        ..answering()
    };
    for agent in [late, silent] {
        let facts = slow(agent);
        assert!(only(&facts, "agent_reachable").contains("slow"));
        assert!(all(&facts).iter().all(|it| it.level != Level::Failed));
    }
    let steps = vec![
        LedgerStep::new(at(99_900), "run_started"),
        LedgerStep::new(at(99_940), "first_text"),
        LedgerStep::new(at(99_950), "answered"),
    ];
    let facts = Facts {
        messages: vec![MessageRecord {
            steps,
            ..message(99_900, MessageState::Answered, None)
        }],
        ..healthy()
    };
    assert!(only(&facts, "speed").contains("40 s"));
}

#[test]
fn empty_answers_refusals_limits_and_permissions_are_reported() {
    let empty = MessageRecord {
        steps: vec![LedgerStep::new(at(99_990), "result").code("empty_answer")],
        ..message(99_990, MessageState::Answered, None)
    };
    let with = |record: MessageRecord| Facts {
        messages: vec![record],
        ..healthy()
    };
    assert!(only(&with(empty), "empty_answers").contains("Echo"));
    for (reason, next) in [
        ("stale", "24 h late"),
        ("mapper_failed", "mapper"),
        ("mailbox_full", "one chat"),
    ] {
        let facts = with(message(99_990, MessageState::Refused, Some(reason)));
        assert!(only(&facts, "refusals").contains(reason));
        let findings = all(&facts);
        let told = cause_of(&findings).next.as_ref().unwrap().render(Language::English);
        assert!(told.contains(next), "{told}");
    }
    let full = Facts {
        runs_used_up: Some(2),
        ..with(message(99_000, MessageState::Queued, None))
    };
    assert!(only(&full, "queues").contains("limit of 2"));
    let entry = LogEntry {
        at: at(99_990),
        level: LogLevel::Warn,
        code: "permission_missing".into(),
        message: "im:message".into(),
    };
    let missing = Facts {
        log: vec![entry],
        ..healthy()
    };
    assert!(only(&missing, "permissions").contains("im:message"));
    let not_granted = Facts {
        missing_permissions: Some(vec!["im:resource"]),
        ..healthy()
    };
    assert!(only(&not_granted, "permissions").contains("im:resource"));
}

#[test]
fn permission_that_was_granted_after_a_refusal_is_not_missing() {
    let refused = |at: Timestamp| LogEntry {
        at,
        level: LogLevel::Warn,
        code: "permission_missing".into(),
        message: "im:message, im:resource".into(),
    };
    let level = |missing_permissions: Option<Vec<&'static str>>, changed_at: Timestamp| {
        let facts = Facts {
            log: vec![refused(at(99_000))],
            missing_permissions,
            changed_at,
            ..healthy()
        };
        let findings = all(&facts);
        let found = findings.iter().find(|finding| finding.name == "permissions");
        found.map(|finding| finding.level)
    };
    // The platform says what it has granted.
    assert_eq!(level(Some(Vec::new()), at(4)), None);
    assert_eq!(level(Some(vec!["im:resource"]), at(4)), Some(Level::Failed));
    assert_eq!(level(Some(vec!["cardkit:card:write"]), at(4)), Some(Level::Warning));
    // It can't be asked: the refusal counts until the integration is changed or restarted.
    assert_eq!(level(None, at(99_000)), Some(Level::Failed));
    assert_eq!(level(None, at(99_001)), None);
}

#[test]
fn every_failure_and_every_unknown_has_an_action() {
    let error = StatusError {
        at: at(6),
        code: "reset".into(),
        message: "the other end closed".into(),
    };
    let facts = Facts {
        credentials: Some(Credentials::Untold),
        condition: Condition {
            state: ConnectionState::Connecting,
            reason: None,
            connected_at: None,
            next: None,
        },
        reported: Status {
            last_error: Some(error),
            ..Status::default()
        },
        ..healthy()
    };
    assert!(only(&facts, "connection").contains("reset the other end closed"));
    for finding in all(&facts) {
        let needs = matches!(finding.level, Level::Failed | Level::Unknown);
        assert!(
            !needs || finding.remedy.is_some() && finding.next.is_some(),
            "{finding:?}"
        );
    }
}

#[test]
fn last_error_of_the_connection_is_in_the_operators_language() {
    let facts = |code: &str, message: &str| Facts {
        condition: Condition {
            state: ConnectionState::Disconnected,
            reason: Some("kicked".into()),
            connected_at: None,
            next: None,
        },
        reported: Status {
            last_error: Some(StatusError {
                at: at(6),
                code: code.into(),
                message: message.into(),
            }),
            ..Status::default()
        },
        ..healthy()
    };
    let told = |facts: &Facts, language| reachability::connection(facts).detail.render(language);
    let kicked = facts("kicked", "another client has taken the bot over");
    assert!(told(&kicked, Language::English).contains("kicked another client has taken the bot over"));
    let chinese = told(&kicked, Language::Chinese);
    assert!(chinese.contains("kicked 另一个客户端占用了该机器人"), "{chinese}");
    assert!(!chinese.contains("another client"), "{chinese}");
    // The platform's own words stay.
    let other = facts("9", "no such app");
    assert!(told(&other, Language::Chinese).contains("9 no such app"));
}

#[test]
fn credentials_refused_on_the_connection_are_the_cause() {
    let facts = Facts {
        credentials: Some(refused()),
        condition: Condition {
            state: ConnectionState::Disconnected,
            reason: Some("config_invalid".into()),
            connected_at: None,
            next: None,
        },
        ..healthy()
    };
    assert!(only(&facts, "credentials").contains("10014"));
    let refusal = |code: &str| Facts {
        credentials: Some(Credentials::Refused { code: code.into() }),
        ..healthy()
    };
    let cause = only(&refusal("60020_ip_not_allowed"), "platform_setup");
    assert!(cause.contains("address of this deployment"), "{cause}");
    let elsewhere = Facts {
        mode: ConnectionMode::Webhook,
        relay: None,
        delivers_to: Some("https://other.example/hook".into()),
        called_at: Some(at(5)),
        reported: Status {
            verified_at: Some(at(5)),
            ..Status::default()
        },
        ..healthy()
    };
    let cause = only(&elsewhere, "delivery_address");
    assert!(cause.contains("other.example"), "{cause}");
    let at_the_public_url = Facts {
        callback_url: "https://callbacks.example/api/lark/webhook/int_1".into(),
        public_callback_url: Some("https://bridge.example/api/lark/webhook/int_1".into()),
        delivers_to: Some("https://bridge.example/api/lark/webhook/int_1".into()),
        ..elsewhere
    };
    check(&at_the_public_url, None);
}

#[test]
fn address_that_the_bridge_registers_is_not_entered_by_hand() {
    let never_called = |registration: Registration, delivers_to: Option<&str>| Facts {
        mode: ConnectionMode::Webhook,
        relay: None,
        reported: Status::default(),
        registration,
        delivers_to: delivers_to.map(str::to_owned),
        ..healthy()
    };
    let failed = || Registration::Due(Some("set_webhook: 502".to_owned()));
    let (old, repeats) = (
        Some("https://old.example/hook"),
        "(set_webhook: 502), and the bridge repeats",
    );
    for (registration, delivers_to, check, next) in [
        (Registration::ByHand, None, "url_verified", "Enter https://"),
        (failed(), None, "url_verified", repeats),
        (failed(), Some(""), "delivery_address", repeats),
        (failed(), old, "delivery_address", repeats),
        (Registration::Done, None, "url_verified", "restart the integration"),
        (
            Registration::Done,
            Some(""),
            "delivery_address",
            "Restart the integration",
        ),
        (Registration::Done, old, "delivery_address", "Stop the program"),
    ] {
        let action = match registration {
            Registration::ByHand => Action::CopyCallbackUrl,
            _ => Action::Restart,
        };
        let findings = all(&never_called(registration, delivers_to));
        let found = findings.iter().find(|finding| finding.level == Level::Failed).unwrap();
        assert_eq!((found.name, found.remedy.as_ref().unwrap().action), (check, action));
        let told = found.next.as_ref().unwrap().render(Language::English);
        assert!(told.contains(next), "{told}");
    }
}

#[test]
fn withheld_messages_are_a_cause_only_if_the_trigger_uses_them() {
    for (withheld, part, action) in [
        (
            Withheld::GroupMessages,
            "privacy mode",
            Remedy::on(Action::EditTrigger, "trg_1"),
        ),
        (
            Withheld::UnmentionedText,
            "Message Content Intent",
            Remedy::new(Action::Restart),
        ),
    ] {
        let facts = |needs_unaddressed| Facts {
            withheld: Some(withheld),
            needs_unaddressed,
            ..healthy()
        };
        check(&facts(false), None);
        let findings = all(&facts(false));
        let hint = findings.iter().find(|it| it.name == "withheld").unwrap();
        assert_eq!((hint.level, &hint.remedy), (Level::Warning, &None));
        assert!(words(hint).contains(part), "{hint:?}");
        assert!(only(&facts(true), "withheld").contains(part));
        assert_eq!(cause_of(&all(&facts(true))).remedy, Some(action));
    }
}

#[test]
fn one_empty_answer_before_a_good_one_is_no_failure() {
    let empty = |second| MessageRecord {
        steps: vec![LedgerStep::new(at(second), "result").code("empty_answer")],
        ..message(second, MessageState::Answered, None)
    };
    let recovered = Facts {
        messages: vec![answered(99_990), empty(99_980)],
        ..healthy()
    };
    only(&recovered, "empty_answers");
    assert_eq!(cause_of(&all(&recovered)).level, Level::Warning);
    let again = Facts {
        messages: vec![answered(99_990), empty(99_980), empty(99_970), empty(99_960)],
        ..healthy()
    };
    only(&again, "empty_answers");
    assert_eq!(cause_of(&all(&again)).level, Level::Failed);
    let over = Facts {
        messages: [&[answered(99_999), answered(99_995)], &*again.messages].concat(),
        ..healthy()
    };
    only(&over, "empty_answers");
    assert_eq!(cause_of(&all(&over)).level, Level::Warning);
}

#[test]
fn several_failures_before_several_answers_are_a_warning() {
    let failures = [99_970, 99_960, 99_950].map(|second| failed(second, "http_500"));
    for (answers, expected) in [
        (&[99_990, 99_980][..], Level::Failed),
        (&[99_999, 99_990, 99_980], Level::Warning),
    ] {
        let answers = answers.iter().map(|second| answered(*second));
        let facts = Facts {
            messages: answers.chain(failures.clone()).collect(),
            ..healthy()
        };
        only(&facts, "answers");
        assert_eq!(cause_of(&all(&facts)).level, expected);
    }
}

#[test]
fn advice_about_an_agent_fits_its_status() {
    for (code, why, part, action) in [
        ("http_429", "HTTP 429", "rate limit", Action::TestAgent),
        (
            "insufficient_quota",
            "HTTP 429, code insufficient_quota",
            "rate limit",
            Action::TestAgent,
        ),
        ("rate_limit_exceeded", "too fast", "rate limit", Action::TestAgent),
        ("http_404", "HTTP 404", "the model", Action::EditAgent),
        ("model_not_found", "no such model", "the model", Action::EditAgent),
        ("http_500", "HTTP 500", "own log", Action::TestAgent),
        ("no_quota", "HTTP 503, code no_quota", "own log", Action::TestAgent),
        ("http_403", "HTTP 403", "apiKey", Action::EditAgent),
        ("connect", "connection refused", "address is right", Action::EditAgent),
        ("http_400", "HTTP 400", "address is right", Action::EditAgent),
    ] {
        let facts = Facts {
            agents: vec![AgentAnswer {
                failure: Some((code.into(), why.into())),
                ..answering()
            }],
            ..healthy()
        };
        only(&facts, "agent_reachable");
        let findings = all(&facts);
        let found = cause_of(&findings);
        let next = found.next.as_ref().unwrap().render(Language::English);
        assert!(next.contains(part), "{code}: {next}");
        assert_eq!(found.remedy, Some(Remedy::on(action, "agt_1")), "{code}");
    }
}

#[test]
fn a_long_connection_is_advised_only_where_there_is_one() {
    for has_long_connection in [true, false] {
        let facts = Facts {
            mode: ConnectionMode::Webhook,
            relay: None,
            is_public: false,
            has_long_connection,
            ..healthy()
        };
        let findings = all(&facts);
        let next = cause_of(&findings).next.as_ref().unwrap().render(Language::English);
        assert!(next.contains("--public-url"), "{next}");
        assert_eq!(next.contains("long connection"), has_long_connection, "{next}");
    }
}
