//! A person who opens the chat gets the trigger's welcome, once a day.

use tieline_core::access::Access;
use tieline_core::ids::SenderId;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::Platform;
use tieline_tests::outbound::Speaker;

use crate::test_bridge::TestBridge;

const APP: &str = "cli_a1";

/// Welcomes that are shown when these people open their chats one after the other, with their chats.
async fn told(settings: TriggerSettings, opened_by: &[&str]) -> Vec<(String, String)> {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let bridge = TestBridge::open("lark", &integration, settings).await;
    for person in opened_by {
        let event = platform.enter(APP, &Speaker::alone(person));
        bridge.receive(&platform.request(APP, &event)).await;
        bridge.work().await;
    }
    assert_eq!(platform.complaints(), Vec::<String>::new());
    assert_eq!(bridge.agent.asked(), Vec::<String>::new());
    let bubbles = platform.bubbles();
    bubbles
        .iter()
        .map(|it| (it.chat.clone(), it.text().to_owned()))
        .collect()
}

fn welcoming() -> TriggerSettings {
    TriggerSettings {
        welcome: Some("Ask me anything.".to_owned()),
        ..TriggerSettings::default()
    }
}

#[tokio::test]
async fn each_person_is_welcomed_once_a_day() {
    let said = |to: &str| (to.to_owned(), "Ask me anything.".to_owned());
    let told = told(welcoming(), &["ou_lisi", "ou_lisi", "ou_tom", "ou_lisi"]).await;
    assert_eq!(told, [said("ou_lisi"), said("ou_tom")]);
}

#[tokio::test]
async fn no_welcome_is_shown_without_a_text_or_without_access() {
    assert_eq!(told(TriggerSettings::default(), &["ou_lisi"]).await, []);
    let closed = TriggerSettings {
        access: Access {
            users: vec![SenderId::new("ou_tom")],
            ..Access::default()
        },
        ..welcoming()
    };
    assert_eq!(told(closed, &["ou_lisi"]).await, []);
}
