//! Official accounts that can only answer in the response to the callback.

use std::time::Duration;

use serde_json::json;
use tieline_bridge::reply_links::{ReplyPage, page};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids::OrganizationId;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::outbound::Speaker;
use tieline_tests::platform::PlatformSimulator as _;
use tieline_tests::wechat_mp::Platform;

use crate::test_bridge::TestBridge;

async fn open() -> (TestBridge, Platform) {
    let platform = Platform::start(false).await;
    let mut integration = platform.integration();
    integration["credentials"]["replies"] = json!("passive");
    let bridge = TestBridge::open("wechat_mp", &integration, TriggerSettings::default()).await;
    (bridge, platform)
}

fn show(platform: &Platform, document: &str, answer: &WebhookAnswer) -> String {
    let body = String::from_utf8(answer.body.clone()).unwrap();
    platform.read_answer(document, answer.status, &body).unwrap();
    platform
        .bubbles()
        .last()
        .map_or_else(String::new, |it| it.text().to_owned())
}

#[tokio::test]
async fn callback_waits_for_the_answer() {
    let (bridge, platform) = open().await;
    let document = platform.text(&Speaker::alone("o1"), "one");
    let request = platform.request(&document);
    let working = async {
        while bridge.agent.asked().is_empty() {
            bridge.work().await;
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        bridge.work().await;
    };
    let (answer, ()) = tokio::join!(bridge.receive(&request), working);
    assert_eq!(show(&platform, &document, &answer), "echo: one");
    // The platform delivers the callback again, as after a response that got lost.
    let again = bridge.receive(&platform.request(&document)).await;
    assert_eq!(show(&platform, &document, &again), "echo: one");
    bridge.work().await;
    assert_eq!(bridge.agent.asked(), ["one"]);
    assert_eq!(platform.bubbles().len(), 1);
    assert!(platform.calls().iter().all(|call| *call != "send"));
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn last_delivery_is_answered_with_a_link_to_the_answer() {
    let (bridge, platform) = open().await;
    let said = platform.text(&Speaker::alone("o1"), "one");
    let now = tieline_tests::sealed_xml::field(&said, "CreateTime").unwrap();
    let earlier = (now.parse::<i64>().unwrap() - 10).to_string();
    let document = said.replace(&now, &earlier);
    let answer = bridge.receive(&platform.request(&document)).await;
    let shown = show(&platform, &document, &answer);
    let token = shown.rsplit('/').next().unwrap();
    assert!(shown.contains("/api/replies/"), "expected `/api/replies/` in {shown}");
    let read = async || page(&bridge.world, token).await.unwrap();
    assert_eq!(read().await, Some(ReplyPage::Pending));
    bridge.work().await;
    let organization = OrganizationId::new("default");
    let expected = ReplyPage::Text(organization, "echo: one".to_owned());
    assert_eq!(read().await, Some(expected));
}
