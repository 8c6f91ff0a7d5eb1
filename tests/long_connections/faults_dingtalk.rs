//! What goes wrong at DingTalk, and what an operator and the people in the chat see of it.

use std::time::Duration;

use tieline_tests::dingtalk::{Answer, Fault, Platform as DingTalk};
use tieline_tests::outbound::{Speaker, stays, until};

use crate::agent::{Agent, pieces};
use crate::stage::{Mode, Platform, SOON, Stage};

const BOT: &str = "bot1";
/// How long it is watched that nothing is tried again: by then a passing fault would have been, several times.
const WATCHED: Duration = Duration::from_secs(5);

fn lisi() -> Speaker {
    Speaker::alone("lisi")
}

fn dingtalk(stage: &Stage) -> &DingTalk {
    match &stage.platform {
        Platform::DingTalk(it) => it,
        _ => unreachable!("these stages are DingTalk's"),
    }
}

async fn stage(between: Duration) -> Stage {
    let agent =
        Agent::start(move |asked| (pieces(&format!("You said {}; that is all.", asked.text), 6), between)).await;
    Stage::open(Mode::DingTalkStream, agent).await
}

/// The whole answer stands in the chat, once, this way.
async fn answered(stage: &Stage, text: &str, way: &str) {
    let told = stage
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
async fn half_open_socket_is_left_for_a_new_one() {
    let stage = stage(Duration::ZERO).await;
    dingtalk(&stage).go_half_open(BOT);
    let again = || (dingtalk(&stage).connections(BOT) == (1, 2)).then_some(());
    until("a new connection", Duration::from_secs(80), again).await.unwrap();
    stage.say(&lisi(), "hi").await;
    answered(&stage, "hi", "card").await;
    stage.status_is("connected", None, SOON).await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn announced_end_costs_no_message() {
    let stage = stage(Duration::ZERO).await;
    for n in 0..6 {
        if n == 3 {
            dingtalk(&stage).disconnect(BOT);
            // The new socket comes before the old one goes.
            dingtalk(&stage).connected(BOT, Duration::from_secs(5)).await.unwrap();
        }
        stage.say(&Speaker::alone(&format!("user{n}")), &format!("m{n}")).await;
    }
    for n in 0..6 {
        let told = stage
            .settled(&Speaker::alone(&format!("user{n}")), "that is all.")
            .await;
        assert_eq!(told.len(), 1, "{told:#?}");
    }
    assert_eq!(stage.agent.asked().len(), 6);
    assert_eq!(dingtalk(&stage).connections(BOT), (1, 2));
    stage.nothing_wrong();
}

#[tokio::test]
async fn token_that_expires_in_the_middle_is_renewed() {
    let stage = stage(Duration::from_secs(1)).await;
    stage.say(&lisi(), "token").await;
    let grows = || {
        stage
            .shown(&lisi())
            .first()
            .filter(|it| it.states.len() >= 2)
            .map(|_| ())
    };
    until("a growing answer", SOON, grows).await.unwrap();
    dingtalk(&stage).expire_tokens(BOT);
    answered(&stage, "token", "card").await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn limits_delay_the_answer_and_no_more() {
    let stage = stage(Duration::from_millis(500)).await;
    dingtalk(&stage).misbehave(|faults| {
        let calls = ["stream", "stream", "update_card", "stream"];
        faults.answers = calls.map(|call| fault(call, TOO_FAST)).into();
    });
    stage.say(&lisi(), "busy").await;
    answered(&stage, "busy", "card").await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn card_that_reaches_nobody_is_replaced_by_a_message() {
    for refusal in [Answer::Undelivered, Answer::Refused(400, "param.templateNotExist")] {
        let stage = stage(Duration::from_millis(100)).await;
        dingtalk(&stage).misbehave(|faults| faults.answers = [fault("create_card", refusal)].into());
        stage.say(&lisi(), "no card").await;
        answered(&stage, "no card", "session").await;
        stage.nothing_wrong();
    }
}

#[tokio::test]
async fn expired_session_webhook_is_replaced_by_the_api() {
    let stage = stage(Duration::from_millis(100)).await;
    let group = Speaker::in_group("lisi", "cidGroup==");
    for (from, way) in [(lisi(), "direct"), (group, "group")] {
        dingtalk(&stage).misbehave(|faults| {
            faults.webhook_life = Duration::from_secs(61);
            faults.answers = [
                fault("create_card", Answer::Refused(400, "param.templateNotExist")),
                fault("session", Answer::Refused(200, "300001")),
            ]
            .into();
        });
        stage.say(&from, "late").await;
        let told = stage.settled(&from, "that is all.").await;
        assert_eq!((told.len(), told[0].way), (1, way), "{told:#?}");
    }
    stage.nothing_wrong();
}

#[tokio::test]
async fn lost_answers_neither_lose_nor_double_the_text() {
    let stage = stage(Duration::from_millis(500)).await;
    dingtalk(&stage).misbehave(|faults| {
        let calls = ["create_card", "stream", "update_card", "update_card"];
        faults.answers = calls.map(|call| fault(call, Answer::Lost)).into();
    });
    stage.say(&lisi(), "lost").await;
    answered(&stage, "lost", "card").await;
}

#[tokio::test]
async fn refused_handshake_gets_a_new_ticket() {
    let agent = Agent::start(|_| (vec!["that is all.".to_owned()], Duration::ZERO)).await;
    let mut stage = Stage::empty(Mode::DingTalkStream, agent).await;
    let platform = dingtalk(&stage).clone();
    platform.misbehave(|faults| faults.refuse_handshake = Some(503));
    let later = tokio::spawn(async move {
        let refused_twice = || (platform.connections(BOT).1 > 2).then_some(());
        until("a third ticket", SOON, refused_twice).await.unwrap();
        platform.misbehave(|faults| faults.refuse_handshake = None);
    });
    stage.add(BOT).await;
    later.await.unwrap();
    stage.status_is("connected", None, SOON).await;
    assert!(dingtalk(&stage).connections(BOT).1 > 2);
    assert_eq!(
        stage.logged_error("503"),
        1,
        "the log names the cause once:\n{}",
        stage.bridge.log_tail()
    );
    stage.nothing_wrong();
}

#[tokio::test]
async fn revoked_credentials_are_named_and_not_hammered_on() {
    let stage = stage(Duration::ZERO).await;
    dingtalk(&stage).add_app(BOT, "new secret");
    dingtalk(&stage).cut(BOT);
    let status = stage.status_is("disconnected", Some("config_invalid"), SOON).await;
    assert_eq!(status["lastError"]["code"], "authFailed", "{status}");
    stays("told once", WATCHED, || stage.logged_error("authFailed") == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn message_that_comes_twice_is_answered_once() {
    let stage = stage(Duration::from_millis(200)).await;
    let message = dingtalk(&stage).text(BOT, &lisi(), "twice");
    dingtalk(&stage).push(BOT, &message).unwrap();
    dingtalk(&stage).push(BOT, &message).unwrap();
    answered(&stage, "twice", "card").await;
    dingtalk(&stage).push(BOT, &message).unwrap();
    until("three acks", SOON, || {
        (dingtalk(&stage).acks().len() == 3).then_some(())
    })
    .await
    .unwrap();
    answered(&stage, "twice", "card").await;
    assert_eq!(stage.agent.asked().len(), 1);
    stage.nothing_wrong();
}
