//! Faults of WeCom's long connection, and what an operator and the people in the chat see of them.

use std::time::Duration;

use reqwest::Method;
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::wecom_socket::Platform as Wecom;

use crate::agent::{Agent, pieces};
use crate::test_bridge::{Mode, Platform, SOON, TestBridge};

const BOT: &str = "bot1";

fn lisi() -> Speaker {
    Speaker::alone("lisi")
}

fn wecom(test: &TestBridge) -> &Wecom {
    match &test.platform {
        Platform::WecomSocket(it) => it,
        _ => unreachable!("these scenarios are WeCom's"),
    }
}

async fn test(between: Duration) -> TestBridge {
    let agent =
        Agent::start(move |asked| (pieces(&format!("You said {}; that is all.", asked.text), 6), between)).await;
    TestBridge::open(Mode::WecomSocket, agent).await
}

/// The chat shows the whole answer once.
async fn answered(test: &TestBridge, text: &str) {
    let told = test.settled(&lisi(), "that is all.").await;
    let all: Vec<&str> = told.iter().map(|it| it.text()).collect();
    let whole = format!("You said {text}; that is all.");
    assert_eq!(all, [whole.as_str()], "{told:#?}");
}

#[tokio::test]
async fn half_open_socket_is_replaced() {
    let test = test(Duration::ZERO).await;
    wecom(&test).go_half_open(BOT);
    // Two unanswered pings wait for their timeout; the third is not sent.
    let again = || (wecom(&test).subscriptions(BOT).1 == 2).then_some(());
    until("a new subscription", Duration::from_secs(110), again)
        .await
        .unwrap();
    test.say(&lisi(), "hi").await;
    answered(&test, "hi").await;
    assert_eq!(test.logged("pings were not answered"), 1);
    test.status_is("connected", None, SOON).await;
    test.nothing_wrong();
}

#[tokio::test]
async fn lost_acknowledgements_neither_lose_nor_repeat_the_answer() {
    let test = test(Duration::from_millis(700)).await;
    test.say(&lisi(), "first").await;
    let grows = || {
        test.shown(&lisi())
            .first()
            .filter(|it| it.states.len() >= 2)
            .map(|_| ())
    };
    until("a growing answer", SOON, grows).await.unwrap();
    wecom(&test).misbehave(|faults| faults.lost_acks = 2);
    answered(&test, "first").await;
    test.nothing_wrong();
    // Another bridge, whose acknowledgements of the first and the last frame are lost.
    let test = self::test(Duration::ZERO).await;
    wecom(&test).misbehave(|faults| {
        faults.lost_acks = 1;
        faults.lost_last_acks = 1;
    });
    test.say(&lisi(), "second").await;
    answered(&test, "second").await;
    until("the end of repeats", SOON, || {
        let frames = wecom(&test).frames();
        let last = frames
            .iter()
            .filter(|(_, frame)| frame["body"]["stream"]["finish"] == true)
            .count();
        (last >= 2).then_some(())
    })
    .await
    .unwrap();
    answered(&test, "second").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn kicked_bot_reconnects_once_and_then_stays_disconnected_until_restarted() {
    let test = test(Duration::ZERO).await;
    wecom(&test).kick(BOT);
    let status = test
        .status_is("disconnected", Some("kicked"), Duration::from_secs(10))
        .await;
    assert!(
        status["next"].as_str().is_some_and(|next| !next.is_empty()),
        "expected a next step in {status}"
    );
    tokio::time::sleep(Duration::from_secs(8)).await;
    assert_eq!(wecom(&test).subscriptions(BOT).0, 1, "reconnected too early");
    let again = || (wecom(&test).subscriptions(BOT).1 == 2).then_some(());
    until("the one automatic return", Duration::from_secs(35), again)
        .await
        .unwrap();
    test.status_is("connected", None, SOON).await;
    wecom(&test).kick(BOT);
    test.status_is("disconnected", Some("kicked"), Duration::from_secs(10))
        .await;
    tokio::time::sleep(Duration::from_secs(35)).await;
    assert_eq!(
        wecom(&test).subscriptions(BOT).0,
        2,
        "two clients would kick each other for ever"
    );
    let restart = format!("/api/v1/orgs/default/integrations/{}/restart", test.bots[0].id);
    test.console.post(&restart, &json!({})).await.unwrap();
    test.status_is("connected", None, SOON).await;
    test.say(&lisi(), "hi").await;
    answered(&test, "hi").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn revoked_credentials_are_reported_and_not_retried() {
    let test = test(Duration::ZERO).await;
    wecom(&test).add_bot(BOT, "new secret");
    wecom(&test).cut(BOT);
    let status = test.status_is("disconnected", Some("config_invalid"), SOON).await;
    assert_eq!(status["lastError"]["code"], "853000", "{status}");
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (asked, subscribed) = wecom(&test).subscriptions(BOT);
    assert_eq!((asked, subscribed), (2, 1), "retried too soon");
    assert_eq!(test.logged_error("853000"), 1);
    // Changing to the right secret needs no restart.
    let path = format!("/api/v1/orgs/default/integrations/{}", test.bots[0].id);
    let change = json!({ "credentials": { "secret": "new secret" } });
    let patched = test
        .console
        .request(Method::PATCH, &path)
        .json(&change)
        .send()
        .await
        .unwrap();
    assert!(
        patched.status().is_success(),
        "the change of the secret was refused: {patched:?}"
    );
    test.status_is("connected", None, Duration::from_secs(10)).await;
    test.nothing_wrong();
}

#[tokio::test]
async fn answer_of_an_expired_stream_continues_in_new_messages() {
    let test = test(Duration::from_secs(1)).await;
    wecom(&test).misbehave(|faults| faults.stream_life = Duration::from_secs(3));
    test.say(&lisi(), "a long story").await;
    let told = test.settled(&lisi(), "that is all.").await;
    let all: String = told.iter().map(|it| it.text()).collect();
    let squeezed: String = all.split_whitespace().collect();
    assert!(told.len() >= 2, "expected at least two messages, found {told:#?}");
    for word in ["Yousaid", "along", "story;", "thatisall."] {
        assert_eq!(squeezed.matches(word).count(), 1, "{word}: {told:#?}");
    }
    test.nothing_wrong();
}

#[tokio::test]
async fn limits_only_delay_the_answer() {
    let test = test(Duration::from_millis(300)).await;
    wecom(&test).misbehave(|faults| faults.codes = [45009, 0, 45009, 6000, -1].into());
    test.say(&lisi(), "busy").await;
    answered(&test, "busy").await;
    test.nothing_wrong();
}

#[tokio::test]
async fn refused_handshake_is_retried() {
    let agent = Agent::echo(Duration::ZERO).await;
    let mut test = TestBridge::empty(Mode::WecomSocket, agent).await;
    let platform = wecom(&test).clone();
    platform.misbehave(|faults| faults.refuse_handshake = Some(503));
    let later = tokio::spawn(async move {
        tokio::time::sleep(Duration::from_secs(6)).await;
        platform.misbehave(|faults| faults.refuse_handshake = None);
    });
    let adding = test.add(BOT);
    adding.await;
    later.await.unwrap();
    test.status_is("connected", None, SOON).await;
    assert_eq!(
        test.logged_error("503"),
        1,
        "the log names the cause once:\n{}",
        test.bridge.log_tail()
    );
}

#[tokio::test]
async fn redelivered_message_is_answered_once_over_the_socket() {
    let test = test(Duration::from_millis(200)).await;
    let req_id = wecom(&test).say(BOT, &lisi(), "m1", "twice").unwrap();
    until("the first frame", SOON, || test.shown(&lisi()).pop())
        .await
        .unwrap();
    wecom(&test).cut(BOT);
    wecom(&test).connected(BOT, SOON).await.unwrap();
    wecom(&test).redeliver(BOT, &req_id).unwrap();
    answered(&test, "twice").await;
    assert_eq!(test.agent.asked().len(), 1);
    test.nothing_wrong();
}

#[tokio::test]
async fn proactive_card_has_its_buttons_below_it_and_a_click_answers() {
    let test = test(Duration::ZERO).await;
    test.say(&lisi(), "hi").await;
    answered(&test, "hi").await;
    let path = format!("/api/v1/orgs/default/integrations/{}/messages", test.bots[0].id);
    let card = json!({ "title": "Deployment", "text": "Version 42 is ready.",
        "buttons": [{ "text": "Log", "url": "https://e.com/log" }, { "text": "Go", "value": "deploy 42" }] });
    let body = json!({ "userId": "lisi", "card": card });
    test.console.post(&path, &body).await.unwrap();
    let clicked = || wecom(&test).click(BOT, &lisi(), "click1", "Go").ok();
    until("the buttons", SOON, clicked).await.unwrap();
    let shown = test.settled(&lisi(), "You said deploy 42; that is all.").await;
    let ways: Vec<_> = shown.iter().map(|it| (it.way, it.text())).collect();
    assert_eq!(
        ways[1..],
        [
            (
                "push",
                "**Deployment**\n\nVersion 42 is ready.\n\n- [Log](https://e.com/log)"
            ),
            ("push", "[card]"),
            ("update", "[card]"),
            ("push", "You said deploy 42; that is all."),
        ],
        "{shown:#?}"
    );
    test.nothing_wrong();
}

/// Disables the trigger of the only bot.
async fn disable_trigger(test: &TestBridge) {
    let triggers = test.console.get("/api/v1/orgs/default/triggers").await.unwrap();
    let is_its = |trigger: &&Value| trigger["integrationId"] == test.bots[0].id;
    let trigger = triggers["items"].as_array().unwrap().iter().find(is_its).unwrap();
    let path = format!("/api/v1/orgs/default/triggers/{}", trigger["id"].as_str().unwrap());
    test.console.patch(&path, &json!({ "enabled": false })).await.unwrap();
}

#[tokio::test]
async fn bot_that_loses_its_trigger_shows_the_answer_with_which_its_agent_calls_back() {
    let later = FakeAgent::start(Manner {
        defers: |_| true,
        ..Manner::default()
    })
    .await;
    let agent = Agent::start(|_| (Vec::new(), Duration::ZERO)).await;
    let mut test = TestBridge::empty(Mode::WecomSocket, agent).await;
    test.add_bound(BOT, &later.as_webhook("Later"), &json!({})).await;
    test.say(&lisi(), "hi").await;
    let asked = until("the question", SOON, || later.seen().pop()).await.unwrap();
    disable_trigger(&test).await;
    stays("the connection", Duration::from_secs(4), || {
        wecom(&test).is_connected(BOT)
    })
    .await
    .unwrap();
    let reply = &asked.body["reply"];
    let (url, token) = (reply["eventsUrl"].as_str().unwrap(), reply["token"].as_str().unwrap());
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
    let said = json!({ "type": "text.delta", "text": "You said hi; that is all." });
    for (seq, event) in [(1, said), (2, json!({ "type": "completed" }))] {
        let body = json!({ "seq": seq, "event": event });
        let posted = client.post(url).bearer_auth(token).json(&body).send().await.unwrap();
        assert!(posted.status().is_success(), "{posted:?}");
    }
    answered(&test, "hi").await;
    test.status_is("disconnected", Some("unbound"), SOON).await;
    test.nothing_wrong();
}

#[tokio::test]
async fn bot_that_loses_its_trigger_in_mid_answer_finishes_it_and_one_that_is_stopped_does_not() {
    for is_stopped in [false, true] {
        let test = test(Duration::from_millis(1_500)).await;
        test.say(&lisi(), "hi").await;
        let grows = || {
            test.shown(&lisi())
                .iter()
                .any(|it| it.text().contains("You"))
                .then_some(())
        };
        until("the first words", SOON, grows).await.unwrap();
        if is_stopped {
            let stop = format!("/api/v1/orgs/default/integrations/{}/stop", test.bots[0].id);
            test.console.post(&stop, &json!({})).await.unwrap();
        } else {
            disable_trigger(&test).await;
            answered(&test, "hi").await;
            test.status_is("disconnected", Some("unbound"), SOON).await;
        }
        let gone = || (!wecom(&test).is_connected(BOT)).then_some(());
        until("the end of the connection", SOON, gone).await.unwrap();
        if is_stopped {
            assert!(!test.shown(&lisi()).iter().any(|it| it.text().contains("that is all")));
        }
        test.nothing_wrong();
    }
}
