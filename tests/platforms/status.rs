//! What a delivery learns of the bot is in its status and its log.

use tieline_core::trigger::TriggerSettings;
use tieline_store::log::{self, Level};
use tieline_store::status::{self, Status};
use tieline_tests::lark::{Answer, Fault, Platform};
use tieline_tests::outbound::Speaker;

use crate::house::House;

const APP: &str = "cli_a1";

async fn house() -> (House, Platform) {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let house = House::open("lark", &integration, TriggerSettings::default()).await;
    (house, platform)
}

async fn say(house: &House, platform: &Platform, text: &str) {
    let event = platform.text(APP, &Speaker::alone("ou_lisi"), text);
    house.hear(&platform.request(APP, &event)).await;
}

async fn status(house: &House) -> Status {
    status::get(&house.world.store, &house.bot).await.unwrap()
}

/// The codes of the warnings in the bot's log.
async fn warnings(house: &House) -> Vec<String> {
    let now = house.world.clock.now();
    let page = log::list(&house.world.store, &house.bot, Level::Warn, None, 50, now).await;
    page.unwrap().items.into_iter().map(|entry| entry.code).collect()
}

#[tokio::test]
async fn credentials_refused_to_a_delivery_show_in_the_status() {
    let (house, platform) = house().await;
    platform.add_app(APP, "another");
    platform.expire_tokens(APP);
    say(&house, &platform, "one").await;
    house.work().await;
    let status = status(&house).await;
    assert_eq!(status.last_error.unwrap().code, "10014");
    assert_eq!(status.credentials_refused.unwrap().code, "10014");
    assert!(warnings(&house).await.contains(&"config_invalid".to_owned()));
}

#[tokio::test]
async fn rate_limit_shows_in_the_status_with_its_end() {
    let (house, platform) = house().await;
    platform.misbehave(|faults| {
        let answer = Answer::Refused(429, 99_991_400, Some(20));
        faults.answers.push_back(Fault { call: "reply", answer });
    });
    say(&house, &platform, "one").await;
    house.dispatch().await;
    let begun = house.world.clock.now();
    house.run(None).await;
    let until = status(&house).await.rate_limited_until.unwrap();
    assert!((19..=21).contains(&until.since(begun).as_secs()), "{begun} to {until}");
}

#[tokio::test]
async fn refusal_for_good_is_the_last_error() {
    let (house, platform) = house().await;
    platform.misbehave(|faults| {
        let answer = || Answer::Refused(400, 230_002, None);
        let call = |call| Fault { call, answer: answer() };
        faults.answers.extend(["reply", "send"].map(call));
    });
    say(&house, &platform, "one").await;
    house.work().await;
    assert_eq!(status(&house).await.last_error.unwrap().code, "230002");
}

#[tokio::test]
async fn platform_that_fails_again_and_again_shows_in_status_and_log() {
    let (house, platform) = house().await;
    platform.misbehave(|faults| {
        let call = |_| Fault {
            call: "reply",
            answer: Answer::Refused(500, 1, None),
        };
        faults.answers.extend((0..4).map(call));
    });
    say(&house, &platform, "one").await;
    house.work().await;
    assert_eq!(status(&house).await.last_error.unwrap().code, "1");
    assert!(warnings(&house).await.contains(&"platform_unavailable".to_owned()));
    // It is delivered all the same.
    assert_eq!(platform.bubbles().last().unwrap().text(), "echo: one");
}
