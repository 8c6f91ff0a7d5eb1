//! DingTalk refuses a way of sending, or fails: the answer is delivered all the same, and the next reply knows of the cooldown.

use std::time::Duration;

use tieline_core::trigger::TriggerSettings;
use tieline_tests::dingtalk::{Answer, Fault, Platform};
use tieline_tests::outbound::Speaker;

use crate::test_bridge::TestBridge;

const APP: &str = "dingapp1";

async fn bridge(faults: &[(&'static str, u16, &'static str)]) -> (TestBridge, Platform) {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let bridge = TestBridge::open("dingtalk", &integration, TriggerSettings::default()).await;
    let faults = faults.iter().map(|&(call, status, code)| Fault {
        call,
        answer: Answer::Refused(status, code),
    });
    platform.misbehave(|found| found.answers.extend(faults));
    (bridge, platform)
}

/// A person asks for help in a group. Returns the number of messages that the bot shows then.
async fn help(bridge: &TestBridge, platform: &Platform) -> usize {
    let message = platform.text(APP, &Speaker::in_group("lisi", "cidGROUP1=="), "/help");
    bridge.receive(&platform.request(APP, &message)).await;
    bridge.work().await;
    platform.bubbles().len()
}

#[tokio::test]
async fn refused_address_is_tried_by_one_reply_only() {
    let (bridge, platform) = bridge(&[("session", 200, "410100"), ("session", 200, "410100")]).await;
    assert_eq!(help(&bridge, &platform).await, 1);
    assert_eq!(help(&bridge, &platform).await, 2);
    let mut n_left = 0;
    platform.misbehave(|faults| n_left = faults.answers.len());
    assert_eq!(n_left, 1, "the second reply tried the refused way again");
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test]
async fn transient_token_failure_loses_no_answer() {
    let fails = ("token", 500, "unknownError");
    let (bridge, platform) = bridge(&[("session", 200, "300001"), fails, fails]).await;
    assert_eq!(help(&bridge, &platform).await, 1);
}

#[tokio::test]
async fn answer_to_an_outsider_uses_the_address_of_their_newest_message() {
    let (bridge, platform) = bridge(&[]).await;
    // Someone outside the organization: the API doesn't reach them.
    let says = async |text: &str, life| {
        platform.misbehave(|faults| faults.webhook_life = life);
        let mut message = platform.text(APP, &Speaker::alone("lisi"), text);
        message.as_object_mut().unwrap().remove("senderStaffId");
        bridge.receive(&platform.request(APP, &message)).await;
        bridge.work().await;
        let bubbles = platform.bubbles();
        bubbles.iter().map(|it| it.text().to_owned()).collect::<Vec<_>>()
    };
    // The answer took longer than the address of the message is valid.
    assert_eq!(says("one", Duration::from_secs(30)).await, Vec::<String>::new());
    let mut shown = says("two", Duration::from_mins(90)).await;
    shown.sort();
    assert_eq!(shown, ["echo: one", "echo: two"]);
    assert_eq!(bridge.agent.asked(), ["one", "two"]);
    assert_eq!(platform.complaints(), Vec::<String>::new());
}
