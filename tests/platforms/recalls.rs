//! Messages that people recall get no answer, and messages that arrive twice under different ids get one.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::message_state::MessageState;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::agents::Manner;
use tieline_tests::lark::Platform;
use tieline_tests::outbound::{Speaker, until};

use crate::lark::{APP, open, open_with};
use crate::test_bridge::{PATIENCE, TestBridge};

async fn receive(bridge: &TestBridge, platform: &Platform, event: &Value) {
    let answer = bridge.receive(&platform.request(APP, event)).await;
    assert_eq!(answer.status, 200);
    bridge.dispatch().await;
}

fn id(message: &Value) -> &str {
    message["event"]["message"]["message_id"].as_str().unwrap()
}

/// The questions that the agent received, and the states of all messages.
async fn outcome(bridge: &TestBridge) -> (Vec<String>, Vec<MessageState>) {
    let states = bridge.ledger().await.iter().map(|it| it.state).collect();
    (bridge.agent.asked(), states)
}

#[tokio::test]
async fn recalled_message_is_taken_out_of_the_mailbox() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    let (first, second) = (platform.text(APP, &lisi, "one"), platform.text(APP, &lisi, "two"));
    receive(&bridge, &platform, &first).await;
    receive(&bridge, &platform, &second).await;
    let recall = platform.recall_reported(APP, id(&first));
    receive(&bridge, &platform, &recall).await;
    // The platform repeats events that it thinks were not received.
    receive(&bridge, &platform, &recall).await;
    bridge.work().await;
    let expected = (
        vec!["two".to_owned()],
        vec![MessageState::Stopped, MessageState::Answered],
    );
    assert_eq!(outcome(&bridge).await, expected);
}

#[tokio::test]
async fn recall_stops_the_run_that_answers_the_message() {
    let held = Manner {
        holds: |text| text == "one",
        ..Manner::default()
    };
    let (bridge, platform) = open_with(held, TriggerSettings::default()).await;
    let question = platform.text(APP, &Speaker::alone("ou_lisi"), "one");
    receive(&bridge, &platform, &question).await;
    let recalling = async {
        let asked = || (bridge.agent.asked() == ["one"]).then_some(());
        until("the question", PATIENCE, asked).await.unwrap();
        receive(&bridge, &platform, &platform.recall_reported(APP, id(&question))).await;
    };
    // The agent never answers, so this ends by the recall only.
    tokio::join!(bridge.work(), recalling);
    let (asked, states) = outcome(&bridge).await;
    // The second request cancels the first.
    assert_eq!(
        (asked, states),
        (vec!["one".to_owned(), String::new()], vec![MessageState::Stopped])
    );
    assert_eq!(bridge.agent.seen()[1].body["type"], "run.cancelled");
}

#[tokio::test]
async fn run_that_answers_another_message_too_goes_on() {
    let slow = Manner {
        before: Duration::from_millis(200),
        ..Manner::default()
    };
    let merged = TriggerSettings {
        summary_window_seconds: 1,
        ..TriggerSettings::default()
    };
    let (bridge, platform) = open_with(slow, merged).await;
    let lisi = Speaker::alone("ou_lisi");
    let (first, second) = (platform.text(APP, &lisi, "one"), platform.text(APP, &lisi, "two"));
    receive(&bridge, &platform, &first).await;
    receive(&bridge, &platform, &second).await;
    let working = async {
        while outcome(&bridge).await.1.contains(&MessageState::Queued) {
            bridge.work().await;
            tokio::task::yield_now().await;
        }
    };
    let recalling = async {
        let asked = || (bridge.agent.asked().len() == 1).then_some(());
        until("the question", PATIENCE, asked).await.unwrap();
        receive(&bridge, &platform, &platform.recall_reported(APP, id(&first))).await;
    };
    let both = async { tokio::join!(working, recalling) };
    tokio::time::timeout(PATIENCE, both).await.unwrap();
    let (asked, states) = outcome(&bridge).await;
    assert_eq!((asked.len(), states), (1, vec![MessageState::Answered; 2]));
}

#[tokio::test]
async fn message_whose_recall_was_received_first_is_not_answered() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let question = platform.text(APP, &Speaker::alone("ou_lisi"), "one");
    receive(&bridge, &platform, &platform.recall_reported(APP, id(&question))).await;
    receive(&bridge, &platform, &question).await;
    bridge.work().await;
    assert_eq!(outcome(&bridge).await, (vec![], vec![MessageState::Stopped]));
    assert_eq!(bridge.ledger().await[0].reason.as_deref(), Some("recalled"));
}

/// A bridge that keeps what is said in groups as context, and a person in one.
async fn listening_in_a_group() -> (TestBridge, Platform, Speaker) {
    let settings = TriggerSettings {
        group_context: 5,
        ..TriggerSettings::default()
    };
    let (bridge, platform) = open(settings).await;
    (bridge, platform, Speaker::in_group("ou_lisi", "oc_group"))
}

#[tokio::test]
async fn recalled_message_is_no_context_for_later_questions() {
    let (bridge, platform, lisi) = listening_in_a_group().await;
    let said = ["aside one", "aside two"].map(|text| platform.talk(APP, &lisi, text));
    for event in &said {
        receive(&bridge, &platform, event).await;
    }
    receive(&bridge, &platform, &platform.recall_reported(APP, id(&said[0]))).await;
    receive(&bridge, &platform, &platform.text(APP, &lisi, "and now?")).await;
    bridge.work().await;
    let asked = bridge.agent.seen()[0].body.to_string();
    assert!(asked.contains("aside two") && !asked.contains("aside one"), "{asked}");
}

#[tokio::test]
async fn recalled_message_of_a_topic_is_no_context_for_later_questions() {
    let (bridge, platform, lisi) = listening_in_a_group().await;
    let in_topic = |mut event: Value| {
        event["event"]["message"]["thread_id"] = json!("omt_1");
        event
    };
    let said = ["aside one", "aside two", "aside three"].map(|text| in_topic(platform.talk(APP, &lisi, text)));
    for event in &said[..2] {
        receive(&bridge, &platform, event).await;
    }
    for recalled in [&said[0], &said[2]] {
        receive(&bridge, &platform, &platform.recall_reported(APP, id(recalled))).await;
    }
    // The recall does not name the topic, so it may be dispatched before the message.
    receive(&bridge, &platform, &said[2]).await;
    let question = in_topic(platform.text(APP, &lisi, "and now?"));
    receive(&bridge, &platform, &question).await;
    bridge.work().await;
    let asked = bridge.agent.seen()[0].body.to_string();
    let is_known = ["aside one", "aside two", "aside three"].map(|text| asked.contains(text));
    assert_eq!(is_known, [false, true, false], "{asked}");
}

#[tokio::test]
async fn recall_of_an_answered_message_changes_nothing() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let question = platform.text(APP, &Speaker::alone("ou_lisi"), "one");
    receive(&bridge, &platform, &question).await;
    bridge.work().await;
    receive(&bridge, &platform, &platform.recall_reported(APP, id(&question))).await;
    bridge.work().await;
    assert_eq!(
        outcome(&bridge).await,
        (vec!["one".to_owned()], vec![MessageState::Answered])
    );
}

#[tokio::test]
async fn message_that_arrives_again_under_another_id_is_answered_once() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    let question = platform.text(APP, &lisi, "one");
    let mut again = question.clone();
    again["event"]["message"]["message_id"] = json!("om_again");
    let mut later = platform.text(APP, &lisi, "one");
    later["event"]["message"]["create_time"] = json!((now_ms() + 1).to_string());
    for event in [&question, &again, &later] {
        receive(&bridge, &platform, event).await;
        bridge.work().await;
    }
    let expected = (
        vec!["one".to_owned(), "one".to_owned()],
        vec![MessageState::Answered, MessageState::Answered],
    );
    assert_eq!(outcome(&bridge).await, expected);
}

fn now_ms() -> u128 {
    std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_millis()
}
