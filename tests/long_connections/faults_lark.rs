//! Faults at Lark, and what an operator and the people in the chat see of them.

use std::time::Duration;

use tieline_tests::lark::{Answer, Fault, Platform as Lark};
use tieline_tests::outbound::{Speaker, stays, until};

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, Platform, SOON, TestBridge};

const BOT: &str = "bot1";
/// How long the test checks that nothing is retried: a transient fault would have been retried several times by then.
const WATCHED: Duration = Duration::from_secs(5);

fn lisi() -> Speaker {
    Speaker::alone("ou_lisi")
}

fn lark(test: &TestBridge) -> &Lark {
    match &test.platform {
        Platform::Lark(it) => it,
        _ => unreachable!("these scenarios are Lark's"),
    }
}

async fn test(between: Duration) -> TestBridge {
    let agent =
        Agent::start(move |asked| (pieces(&format!("You said {}; that is all.", asked.text), 6), between)).await;
    TestBridge::open(Mode::LarkSocket, agent).await
}

/// The chat shows the whole answer once, and no temporary message is left.
async fn answered(test: &TestBridge, text: &str) {
    let told = test.settled(&lisi(), "that is all.").await;
    let all: Vec<&str> = told.iter().map(|it| it.text()).collect();
    let whole = format!("You said {text}; that is all.");
    assert_eq!(all, [whole.as_str()], "{told:#?}");
    until("no reaction", SOON, || (lark(test).reactions(BOT) == 0).then_some(()))
        .await
        .unwrap();
}

fn fault(call: &'static str, answer: Answer) -> Fault {
    Fault { call, answer }
}

#[tokio::test]
async fn half_open_socket_is_replaced() {
    let agent = Agent::start(|_| (vec!["that is all.".to_owned()], Duration::ZERO)).await;
    let mut test = TestBridge::empty(Mode::LarkSocket, agent).await;
    lark(&test).misbehave(|faults| faults.ping_interval = 2);
    test.add(BOT).await;
    let pinged = || (lark(&test).pings(BOT) > 1).then_some(());
    until("a second ping", SOON, pinged).await.unwrap();
    lark(&test).go_half_open(BOT);
    let again = || (lark(&test).connections(BOT) == (1, 2)).then_some(());
    until("a new connection", Duration::from_secs(60), again).await.unwrap();
    test.say(&lisi(), "hi").await;
    // What was sent to the dead socket is delivered again; this message goes to either socket.
    test.settled_within(&lisi(), "that is all.", Duration::from_secs(60))
        .await;
    test.status_is("connected", None, SOON).await;
    test.nothing_wrong();
}

/// If the bot's id is not known when the integration is saved, it is requested again when the connection is open.
#[tokio::test]
async fn mention_is_recognized_after_the_bots_id_is_fetched_again() {
    let agent = Agent::start(|_| (vec!["that is all.".to_owned()], Duration::ZERO)).await;
    let mut test = TestBridge::empty(Mode::LarkSocket, agent).await;
    let answer = Answer::Refused(500, 1, None);
    lark(&test).misbehave(|faults| faults.answers.push_back(fault("bot", answer)));
    test.add(BOT).await;
    let asked = || (lark(&test).calls().iter().any(|it| it.name == "bot")).then_some(());
    until("another question for the bot's id", SOON, asked).await.unwrap();
    let group = Speaker::in_group("ou_lisi", "oc_g");
    // By the time this message is answered, the platform has returned the bot's id too.
    test.say(&group, "hello").await;
    test.asked(1).await;
    let mut other = lark(&test).text(BOT, &group, "for another bot");
    other["event"]["message"]["mentions"][0]["id"]["open_id"] = "ou_other".into();
    lark(&test).push(BOT, &other).unwrap();
    let mut own = lark(&test).text(BOT, &group, "for the bot");
    own["event"]["message"]["mentions"][0]["mentioned_type"].take();
    lark(&test).push(BOT, &own).unwrap();
    let texts: Vec<String> = test.asked(2).await.into_iter().map(|it| it.text).collect();
    assert_eq!(texts, ["hello", "for the bot"]);
}

#[tokio::test]
async fn token_that_expires_in_the_middle_is_renewed() {
    let test = test(Duration::from_millis(700)).await;
    test.say(&lisi(), "token").await;
    let grows = || {
        test.shown(&lisi())
            .first()
            .filter(|it| it.states.len() >= 2)
            .map(|_| ())
    };
    until("a growing answer", SOON, grows).await.unwrap();
    lark(&test).expire_tokens(BOT);
    answered(&test, "token").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn limits_with_and_without_a_hint_only_delay_the_answer() {
    let test = test(Duration::from_millis(400)).await;
    lark(&test).misbehave(|faults| {
        faults.answers = [
            fault("react", Answer::Refused(429, 99_991_400, Some(1))),
            fault("create_card", Answer::Refused(429, 99_991_400, Some(2))),
            fault("reply", Answer::Refused(400, 230_020, None)),
            fault("write_card", Answer::Refused(429, 99_991_400, None)),
            fault("write_card", Answer::Refused(400, 230_020, None)),
            fault("settings", Answer::Refused(429, 99_991_400, Some(1))),
        ]
        .into();
    });
    test.say(&lisi(), "busy").await;
    answered(&test, "busy").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn expired_streaming_mode_is_switched_on_again() {
    let test = test(Duration::from_secs(1)).await;
    lark(&test).misbehave(|faults| faults.streaming_life = Duration::from_secs(2));
    test.say(&lisi(), "a long story").await;
    answered(&test, "a long story").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn event_with_a_lost_part_is_not_acknowledged_and_delivered_again() {
    let test = test(Duration::ZERO).await;
    lark(&test).misbehave(|faults| {
        faults.parts = 3;
        faults.lost_part = Some(1);
        faults.redeliver_after = Duration::from_secs(4);
    });
    test.say(&lisi(), "in parts").await;
    answered(&test, "in parts").await;
    assert_eq!(lark(&test).acks().len(), 1);
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}

#[tokio::test]
async fn lost_responses_neither_lose_nor_repeat_the_text() {
    let test = test(Duration::from_millis(400)).await;
    lark(&test).misbehave(|faults| {
        let calls = ["react", "create_card", "reply", "write_card", "settings"];
        faults.answers = calls.map(|call| fault(call, Answer::Lost)).into();
    });
    test.say(&lisi(), "lost").await;
    let told = test.settled(&lisi(), "that is all.").await;
    let all: Vec<&str> = told.iter().map(|it| it.text()).collect();
    assert_eq!(all, ["You said lost; that is all."], "{told:#?}");
}

#[tokio::test]
async fn refused_handshake_gets_a_new_ticket() {
    let agent = Agent::start(|_| (vec!["that is all.".to_owned()], Duration::ZERO)).await;
    let mut test = TestBridge::empty(Mode::LarkSocket, agent).await;
    let platform = lark(&test).clone();
    platform.misbehave(|faults| faults.refuse_handshake = Some((401, 514, 0)));
    let later = tokio::spawn(async move {
        let refused_twice = || (platform.connections(BOT).1 > 2).then_some(());
        until("a third ticket", SOON, refused_twice).await.unwrap();
        platform.misbehave(|faults| faults.refuse_handshake = None);
    });
    test.add(BOT).await;
    later.await.unwrap();
    test.status_is("connected", None, SOON).await;
    assert_eq!(
        test.logged_error("514"),
        1,
        "the log names the cause once:\n{}",
        test.bridge.log_tail()
    );
    test.nothing_wrong();
}

#[tokio::test]
async fn revoked_credentials_are_reported_and_not_retried() {
    let test = test(Duration::ZERO).await;
    lark(&test).misbehave(|faults| faults.bootstrap_code = Some(514));
    lark(&test).cut(BOT);
    let status = test.status_is("disconnected", Some("config_invalid"), SOON).await;
    assert_eq!(status["lastError"]["code"], "514", "{status}");
    stays("told once", WATCHED, || test.logged_error("514") == 1)
        .await
        .unwrap();
}

#[tokio::test]
async fn connection_limit_is_waited_out() {
    let test = test(Duration::ZERO).await;
    lark(&test).misbehave(|faults| faults.refuse_handshake = Some((401, 514, 1_000_040_350)));
    lark(&test).cut(BOT);
    let began = std::time::Instant::now();
    while test.status().await["lastError"]["code"] != "1000040350" {
        assert!(began.elapsed() < SOON, "{}", test.status().await);
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    test.status_is("retrying", None, SOON).await;
    let asked = lark(&test).connections(BOT).1;
    stays("five minutes are waited", WATCHED, || {
        lark(&test).connections(BOT).1 == asked
    })
    .await
    .unwrap();
}

#[tokio::test]
async fn redelivered_event_is_answered_once() {
    let test = test(Duration::from_millis(200)).await;
    let event = lark(&test).text(BOT, &lisi(), "twice");
    lark(&test).push(BOT, &event).unwrap();
    lark(&test).push(BOT, &event).unwrap();
    answered(&test, "twice").await;
    lark(&test).push(BOT, &event).unwrap();
    until("three acks", SOON, || (lark(&test).acks().len() == 3).then_some(()))
        .await
        .unwrap();
    answered(&test, "twice").await;
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}

#[tokio::test]
async fn answer_to_a_recalled_message_goes_to_its_chat() {
    let test = test(Duration::from_millis(300)).await;
    let event = lark(&test).text(BOT, &lisi(), "recalled");
    lark(&test).recall(BOT, event["event"]["message"]["message_id"].as_str().unwrap());
    lark(&test).push(BOT, &event).unwrap();
    let told = test.settled(&lisi(), "that is all.").await;
    assert_eq!((told.len(), told[0].way), (1, "send"), "{told:#?}");
    test.nothing_wrong();
}
