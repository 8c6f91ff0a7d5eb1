//! Faults at DingTalk, and what an operator and the people in the chat see of them.

use std::time::Duration;

use tieline_tests::dingtalk::{Answer, Fault, Platform as DingTalk};
use tieline_tests::outbound::{Speaker, stays, until};

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, Platform, SOON, TestBridge};

const BOT: &str = "bot1";
/// How long the test checks that nothing is retried: a transient fault would have been retried several times by then.
const WATCHED: Duration = Duration::from_secs(5);

fn lisi() -> Speaker {
    Speaker::alone("lisi")
}

fn dingtalk(test: &TestBridge) -> &DingTalk {
    match &test.platform {
        Platform::DingTalk(it) => it,
        _ => unreachable!("these scenarios are DingTalk's"),
    }
}

async fn test(between: Duration) -> TestBridge {
    let agent =
        Agent::start(move |asked| (pieces(&format!("You said {}; that is all.", asked.text), 6), between)).await;
    TestBridge::open(Mode::DingTalkStream, agent).await
}

/// The chat shows the whole answer once, delivered in this way.
async fn answered(test: &TestBridge, text: &str, way: &str) {
    let told = test
        .settled_within(&lisi(), "that is all.", Duration::from_secs(60))
        .await;
    let all: Vec<(&str, &str)> = told.iter().map(|it| (it.way, it.text())).collect();
    let whole = format!("You said {text}; that is all.");
    assert_eq!(all, [(way, whole.as_str())], "{told:#?}");
}

fn fault(call: &'static str, answer: Answer) -> Fault {
    Fault { call, answer }
}

const TOO_FAST: Answer = Answer::Refused(403, "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi");

#[tokio::test]
async fn half_open_socket_is_replaced() {
    let test = test(Duration::ZERO).await;
    dingtalk(&test).go_half_open(BOT);
    let again = || (dingtalk(&test).connections(BOT) == (1, 2)).then_some(());
    until("a new connection", Duration::from_secs(80), again).await.unwrap();
    test.say(&lisi(), "hi").await;
    answered(&test, "hi", "card").await;
    test.status_is("connected", None, SOON).await;
    test.nothing_wrong();
}

#[tokio::test]
async fn announced_disconnect_loses_no_message() {
    let test = test(Duration::ZERO).await;
    for n in 0..6 {
        if n == 3 {
            dingtalk(&test).disconnect(BOT);
            // The new socket is opened before the old one is closed.
            dingtalk(&test).connected(BOT, Duration::from_secs(5)).await.unwrap();
        }
        test.say(&Speaker::alone(&format!("user{n}")), &format!("m{n}")).await;
    }
    for n in 0..6 {
        let told = test.settled(&Speaker::alone(&format!("user{n}")), "that is all.").await;
        assert_eq!(told.len(), 1, "{told:#?}");
    }
    assert_eq!(test.agent.asked().len(), 6);
    assert_eq!(dingtalk(&test).connections(BOT), (1, 2));
    test.nothing_wrong();
}

#[tokio::test]
async fn token_that_expires_in_the_middle_is_renewed() {
    let test = test(Duration::from_secs(1)).await;
    test.say(&lisi(), "token").await;
    let grows = || {
        test.shown(&lisi())
            .first()
            .filter(|it| it.states.len() >= 2)
            .map(|_| ())
    };
    until("a growing answer", SOON, grows).await.unwrap();
    dingtalk(&test).expire_tokens(BOT);
    answered(&test, "token", "card").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn limits_only_delay_the_answer() {
    let test = test(Duration::from_millis(500)).await;
    dingtalk(&test).misbehave(|faults| {
        let calls = ["stream", "stream", "update_card", "stream"];
        faults.answers = calls.map(|call| fault(call, TOO_FAST)).into();
    });
    test.say(&lisi(), "busy").await;
    answered(&test, "busy", "card").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn undelivered_card_is_replaced_by_a_message() {
    for refusal in [Answer::Undelivered, Answer::Refused(400, "param.templateNotExist")] {
        let test = test(Duration::from_millis(100)).await;
        dingtalk(&test).misbehave(|faults| faults.answers = [fault("create_card", refusal)].into());
        test.say(&lisi(), "no card").await;
        answered(&test, "no card", "session").await;
        test.nothing_wrong();
    }
}

#[tokio::test]
async fn expired_session_webhook_is_replaced_by_the_api() {
    let test = test(Duration::from_millis(100)).await;
    let group = Speaker::in_group("lisi", "cidGroup==");
    for (from, way) in [(lisi(), "direct"), (group, "group")] {
        dingtalk(&test).misbehave(|faults| {
            faults.webhook_life = Duration::from_secs(61);
            faults.answers = [
                fault("create_card", Answer::Refused(400, "param.templateNotExist")),
                fault("session", Answer::Refused(200, "300001")),
            ]
            .into();
        });
        test.say(&from, "late").await;
        let told = test.settled(&from, "that is all.").await;
        assert_eq!((told.len(), told[0].way), (1, way), "{told:#?}");
    }
    test.nothing_wrong();
}

#[tokio::test]
async fn lost_responses_neither_lose_nor_repeat_the_text() {
    let test = test(Duration::from_millis(500)).await;
    dingtalk(&test).misbehave(|faults| {
        let calls = ["create_card", "stream", "update_card", "update_card"];
        faults.answers = calls.map(|call| fault(call, Answer::Lost)).into();
    });
    test.say(&lisi(), "lost").await;
    answered(&test, "lost", "card").await;
}

#[tokio::test]
async fn refused_handshake_gets_a_new_ticket() {
    let agent = Agent::start(|_| (vec!["that is all.".to_owned()], Duration::ZERO)).await;
    let mut test = TestBridge::empty(Mode::DingTalkStream, agent).await;
    let platform = dingtalk(&test).clone();
    platform.misbehave(|faults| faults.refuse_handshake = Some(503));
    let later = tokio::spawn(async move {
        let refused_twice = || (platform.connections(BOT).1 > 2).then_some(());
        until("a third ticket", SOON, refused_twice).await.unwrap();
        platform.misbehave(|faults| faults.refuse_handshake = None);
    });
    test.add(BOT).await;
    later.await.unwrap();
    test.status_is("connected", None, SOON).await;
    assert!(dingtalk(&test).connections(BOT).1 > 2);
    assert_eq!(
        test.logged_error("503"),
        1,
        "the log names the cause once:\n{}",
        test.bridge.log_tail()
    );
    test.nothing_wrong();
}

#[tokio::test]
async fn revoked_credentials_are_reported_and_not_retried() {
    let test = test(Duration::ZERO).await;
    dingtalk(&test).add_app(BOT, "new secret");
    dingtalk(&test).cut(BOT);
    let status = test.status_is("disconnected", Some("config_invalid"), SOON).await;
    assert_eq!(status["lastError"]["code"], "authFailed", "{status}");
    stays("told once", WATCHED, || test.logged_error("authFailed") == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn redelivered_message_is_answered_once_over_the_socket() {
    let test = test(Duration::from_millis(200)).await;
    let message = dingtalk(&test).text(BOT, &lisi(), "twice");
    dingtalk(&test).push(BOT, &message).unwrap();
    dingtalk(&test).push(BOT, &message).unwrap();
    answered(&test, "twice", "card").await;
    dingtalk(&test).push(BOT, &message).unwrap();
    until("three acks", SOON, || (dingtalk(&test).acks().len() == 3).then_some(()))
        .await
        .unwrap();
    answered(&test, "twice", "card").await;
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}
