//! Buttons below answers perform their action, for people who are allowed to use them.

use serde_json::{Value, json};
use tieline_core::access::Access;
use tieline_core::ids::SenderId;
use tieline_core::message_state::MessageState;
use tieline_core::trigger::{SessionScope, TriggerSettings};
use tieline_tests::agents::Manner;
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;

use crate::lark::{APP, open, open_with};
use crate::test_bridge::TestBridge;

/// An agent that answers `ask` with a card, `sure` with a question, and everything else with an echo.
fn with_cards() -> Manner {
    Manner {
        events: |text| match text {
            "ask" => Some(vec![
                json!({ "type": "card", "card": { "title": "Deploy", "text": "Ready?",
                    "buttons": [{ "text": "Log", "url": "https://e.com/log" }, { "text": "Go", "value": "deploy 42" }] } }),
                json!({ "type": "text.delta", "text": "All tests pass." }),
                json!({ "type": "completed" }),
            ]),
            "sure" => Some(vec![
                json!({ "type": "input.required", "prompt": "Sure?", "choices": ["yes", "no"] }),
            ]),
            _ => None,
        },
        ..Manner::default()
    }
}

/// The questions that the agent received.
fn asked(bridge: &TestBridge) -> Vec<String> {
    let seen = bridge.agent.seen().into_iter();
    seen.map(|seen| seen.body["message"]["text"].as_str().unwrap().to_owned())
        .collect()
}

fn labels(platform: &Platform, chat: &Speaker) -> Vec<String> {
    let buttons = platform.buttons(APP, chat).into_iter();
    buttons.map(|button| button.label).collect()
}

async fn receive(bridge: &TestBridge, platform: &Platform, event: &Value) -> Value {
    let answer = bridge.receive(&platform.request(APP, event)).await;
    assert_eq!(answer.status, 200);
    bridge.work().await;
    serde_json::from_slice(&answer.body).unwrap()
}

/// The numbers of the sessions in which the agent was asked.
fn sessions(bridge: &TestBridge) -> Vec<u64> {
    let seen = bridge.agent.seen().into_iter();
    seen.map(|seen| seen.body["session"]["number"].as_u64().unwrap())
        .collect()
}

#[tokio::test]
async fn click_on_the_button_starts_a_session() {
    let (bridge, platform) = open(TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    receive(&bridge, &platform, &platform.text(APP, &lisi, "one")).await;
    receive(&bridge, &platform, &platform.text(APP, &lisi, "/new")).await;
    receive(&bridge, &platform, &platform.text(APP, &lisi, "two")).await;
    let click = platform.press(APP, &lisi).unwrap();
    let answer = receive(&bridge, &platform, &click).await;
    assert_eq!(answer["toast"]["content"], "A new session has begun.");
    receive(&bridge, &platform, &platform.text(APP, &lisi, "three")).await;
    assert_eq!(sessions(&bridge), [1, 2, 3]);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn click_of_another_person_changes_nothing() {
    let settings = TriggerSettings {
        session_scope: SessionScope::Chat,
        access: Access {
            users: vec![SenderId::new("ou_lisi")],
            ..Access::default()
        },
        ..TriggerSettings::default()
    };
    let (bridge, platform) = open(settings).await;
    let lisi = Speaker::in_group("ou_lisi", "oc_group");
    receive(&bridge, &platform, &platform.text(APP, &lisi, "/new")).await;
    receive(&bridge, &platform, &platform.text(APP, &lisi, "one")).await;
    let click = platform
        .press(APP, &Speaker::in_group("ou_stranger", "oc_group"))
        .unwrap();
    receive(&bridge, &platform, &click).await;
    receive(&bridge, &platform, &platform.text(APP, &lisi, "two")).await;
    let sessions = sessions(&bridge);
    assert_eq!(
        sessions[0], sessions[1],
        "another person's click has started a new session"
    );
    let ledger = bridge.ledger().await;
    let click = ledger.iter().find(|it| it.reason.as_deref() == Some("not_allowed"));
    assert_eq!(click.unwrap().state, MessageState::Refused);
}

#[tokio::test]
async fn only_the_asker_can_use_the_card_of_an_answer() {
    let (bridge, platform) = open_with(with_cards(), TriggerSettings::default()).await;
    let (lisi, other) = (
        Speaker::in_group("ou_lisi", "oc_group"),
        Speaker::in_group("ou_other", "oc_group"),
    );
    receive(&bridge, &platform, &platform.text(APP, &lisi, "ask")).await;
    let shown = platform.bubbles();
    assert_eq!(shown[0].text(), "All tests pass.\n\n**Deploy**\n\nReady?");
    assert_eq!(labels(&platform, &lisi), ["Log", "Go"]);
    let click = platform.press_one(APP, &other, |label| label == "Go").unwrap();
    let answer = receive(&bridge, &platform, &click).await;
    assert_eq!(
        answer["toast"]["content"],
        "Only the person who asked can use this button."
    );
    // The button's own value must not decide who may use it.
    let mut click = platform.press_one(APP, &other, |label| label == "Go").unwrap();
    let value = click["event"]["action"]["value"].as_object_mut().unwrap();
    assert!(value.remove("asker").is_some());
    receive(&bridge, &platform, &click).await;
    assert_eq!(asked(&bridge), ["ask"]);
    let click = platform.press_one(APP, &lisi, |label| label == "Go").unwrap();
    let answer = receive(&bridge, &platform, &click).await;
    assert_eq!(answer["toast"]["content"], "✓ Go");
    // The platform delivers a click again if it believes that it was lost.
    receive(&bridge, &platform, &click).await;
    assert_eq!(asked(&bridge), ["ask", "deploy 42"]);
    assert_eq!(platform.bubbles().last().unwrap().text(), "echo: deploy 42");
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn choice_of_a_question_is_the_answer() {
    let (bridge, platform) = open_with(with_cards(), TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    receive(&bridge, &platform, &platform.text(APP, &lisi, "sure")).await;
    assert_eq!(platform.bubbles()[0].text(), "Sure?");
    assert_eq!(labels(&platform, &lisi), ["yes", "no"]);
    let click = platform.press_one(APP, &lisi, |label| label == "no").unwrap();
    receive(&bridge, &platform, &click).await;
    assert_eq!(asked(&bridge), ["sure", "no"]);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn click_that_names_another_card_does_not_reach_the_agent() {
    let (bridge, platform) = open_with(with_cards(), TriggerSettings::default()).await;
    let lisi = Speaker::alone("ou_lisi");
    receive(&bridge, &platform, &platform.text(APP, &lisi, "ask")).await;
    let mut click = platform.press_one(APP, &lisi, |label| label == "Go").unwrap();
    let value = click.pointer_mut("/event/action/value/tieline").unwrap();
    *value = json!("tl:choice:1:tl-another");
    receive(&bridge, &platform, &click).await;
    assert_eq!(asked(&bridge), ["ask"]);
    assert_eq!(
        platform.bubbles().last().unwrap().text(),
        "This button no longer works."
    );
}
