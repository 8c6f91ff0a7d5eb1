//! What goes wrong on WeCom's long connection, and what an operator and the people in the chat see of it.

use std::time::Duration;

use reqwest::Method;
use serde_json::json;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::wecom_socket::Platform as Wecom;

use crate::agent::{Agent, pieces};
use crate::stage::{Mode, Platform, SOON, Stage};

const BOT: &str = "bot1";

fn lisi() -> Speaker {
    Speaker::alone("lisi")
}

fn wecom(stage: &Stage) -> &Wecom {
    match &stage.platform {
        Platform::WecomSocket(it) => it,
        _ => unreachable!("these stages are WeCom's"),
    }
}

async fn stage(between: Duration) -> Stage {
    let agent =
        Agent::start(move |asked| (pieces(&format!("You said {}; that is all.", asked.text), 6), between)).await;
    Stage::open(Mode::WecomSocket, agent).await
}

/// The whole answer stands in the chat, once.
async fn answered(stage: &Stage, text: &str) {
    let told = stage.settled(&lisi(), "that is all.").await;
    let all: Vec<&str> = told.iter().map(|it| it.text()).collect();
    let whole = format!("You said {text}; that is all.");
    assert_eq!(all, [whole.as_str()], "{told:#?}");
}

#[tokio::test]
async fn half_open_socket_is_left_for_a_new_one() {
    let stage = stage(Duration::ZERO).await;
    wecom(&stage).go_half_open(BOT);
    // Two pings are given their time, the third is not sent.
    let again = || (wecom(&stage).subscriptions(BOT).1 == 2).then_some(());
    until("a new subscription", Duration::from_secs(110), again)
        .await
        .unwrap();
    stage.say(&lisi(), "hi").await;
    answered(&stage, "hi").await;
    assert_eq!(stage.logged("pings were not answered"), 1);
    stage.status_is("connected", None, SOON).await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn lost_acknowledgements_neither_lose_nor_double_the_answer() {
    let stage = stage(Duration::from_millis(700)).await;
    stage.say(&lisi(), "first").await;
    let grows = || {
        stage
            .shown(&lisi())
            .first()
            .filter(|it| it.states.len() >= 2)
            .map(|_| ())
    };
    until("a growing answer", SOON, grows).await.unwrap();
    wecom(&stage).misbehave(|faults| faults.lost_acks = 2);
    answered(&stage, "first").await;
    stage.nothing_wrong();
    // One more, that loses those of its first and its last frame.
    let stage = self::stage(Duration::ZERO).await;
    wecom(&stage).misbehave(|faults| {
        faults.lost_acks = 1;
        faults.lost_last_acks = 1;
    });
    stage.say(&lisi(), "second").await;
    answered(&stage, "second").await;
    until("the end of repeats", SOON, || {
        let frames = wecom(&stage).frames();
        let last = frames
            .iter()
            .filter(|(_, frame)| frame["body"]["stream"]["finish"] == true)
            .count();
        (last >= 2).then_some(())
    })
    .await
    .unwrap();
    answered(&stage, "second").await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn kicked_bot_comes_back_once_and_then_stays_down_until_restarted() {
    let stage = stage(Duration::ZERO).await;
    wecom(&stage).kick(BOT);
    let status = stage
        .status_is("disconnected", Some("kicked"), Duration::from_secs(10))
        .await;
    assert!(status["next"].as_str().is_some_and(|next| !next.is_empty()), "{status}");
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(wecom(&stage).subscriptions(BOT).0, 1, "came back too early");
    let again = || (wecom(&stage).subscriptions(BOT).1 == 2).then_some(());
    until("the one automatic return", Duration::from_secs(35), again)
        .await
        .unwrap();
    stage.status_is("connected", None, SOON).await;
    wecom(&stage).kick(BOT);
    stage
        .status_is("disconnected", Some("kicked"), Duration::from_secs(10))
        .await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(
        wecom(&stage).subscriptions(BOT).0,
        2,
        "two clients would kick each other for ever"
    );
    let restart = format!("/api/v1/orgs/default/integrations/{}/restart", stage.cast[0].id);
    stage.console.post(&restart, &json!({})).await.unwrap();
    stage.status_is("connected", None, SOON).await;
    stage.say(&lisi(), "hi").await;
    answered(&stage, "hi").await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn revoked_credentials_are_named_and_not_hammered_on() {
    let stage = stage(Duration::ZERO).await;
    wecom(&stage).add_bot(BOT, "new secret");
    wecom(&stage).cut(BOT);
    let status = stage.status_is("disconnected", Some("config_invalid"), SOON).await;
    assert_eq!(status["lastError"]["code"], "853000", "{status}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (asked, subscribed) = wecom(&stage).subscriptions(BOT);
    assert_eq!((asked, subscribed), (2, 1), "retried too soon");
    assert_eq!(stage.logged_error("853000"), 1);
    // The right secret needs no restart.
    let path = format!("/api/v1/orgs/default/integrations/{}", stage.cast[0].id);
    let change = json!({ "credentials": { "secret": "new secret" } });
    let patched = stage
        .console
        .request(Method::PATCH, &path)
        .json(&change)
        .send()
        .await
        .unwrap();
    assert!(patched.status().is_success(), "{patched:?}");
    stage.status_is("connected", None, Duration::from_secs(10)).await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn expired_stream_goes_on_elsewhere() {
    let stage = stage(Duration::from_secs(1)).await;
    wecom(&stage).misbehave(|faults| faults.stream_life = Duration::from_secs(3));
    stage.say(&lisi(), "a long story").await;
    let told = stage.settled(&lisi(), "that is all.").await;
    let all: String = told.iter().map(|it| it.text()).collect();
    let squeezed: String = all.split_whitespace().collect();
    assert!(told.len() >= 2, "{told:#?}");
    for word in ["Yousaid", "along", "story;", "thatisall."] {
        assert_eq!(squeezed.matches(word).count(), 1, "{word}: {told:#?}");
    }
    stage.nothing_wrong();
}

#[tokio::test]
async fn limits_delay_the_answer_and_no_more() {
    let stage = stage(Duration::from_millis(300)).await;
    wecom(&stage).misbehave(|faults| faults.codes = [45009, 0, 45009, 6000, -1].into());
    stage.say(&lisi(), "busy").await;
    answered(&stage, "busy").await;
    stage.nothing_wrong();
}

#[tokio::test]
async fn refused_handshake_is_tried_again() {
    let agent = Agent::echo(Duration::ZERO).await;
    let mut stage = Stage::empty(Mode::WecomSocket, agent).await;
    let platform = wecom(&stage).clone();
    platform.misbehave(|faults| faults.refuse_handshake = Some(503));
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        platform.misbehave(|faults| faults.refuse_handshake = None);
    });
    let adding = stage.add(BOT);
    adding.await;
    later.await.unwrap();
    stage.status_is("connected", None, SOON).await;
    assert_eq!(
        stage.logged_error("503"),
        1,
        "the log names the cause once:\n{}",
        stage.bridge.log_tail()
    );
}

#[tokio::test]
async fn message_that_comes_twice_is_answered_once() {
    let stage = stage(Duration::from_millis(200)).await;
    let req_id = wecom(&stage).say(BOT, &lisi(), "m1", "twice").unwrap();
    until("the first frame", SOON, || stage.shown(&lisi()).pop())
        .await
        .unwrap();
    wecom(&stage).cut(BOT);
    wecom(&stage).connected(BOT, SOON).await.unwrap();
    wecom(&stage).redeliver(BOT, &req_id).unwrap();
    answered(&stage, "twice").await;
    assert_eq!(stage.agent.asked().len(), 1);
    stage.nothing_wrong();
}
