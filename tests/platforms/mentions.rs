//! A bot that doesn't know its own id asks for it as soon as it matters.

use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::{Answer, Fault, Platform};
use tieline_tests::outbound::Speaker;

use crate::house::House;

const APP: &str = "cli_a1";

#[tokio::test]
async fn mention_is_known_by_an_id_that_is_asked_for_when_it_is_missing() {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let house = House::open("lark", &integration, TriggerSettings::default()).await;
    let lisi = Speaker::in_group("ou_lisi", "oc_g");
    let mut event = platform.text(APP, &lisi, "one");
    event["event"]["message"]["mentions"][0]["mentioned_type"].take();
    house.hear(&platform.request(APP, &event)).await;
    let mut other = platform.text(APP, &lisi, "for somebody else");
    other["event"]["message"]["mentions"][0]["id"]["open_id"] = "ou_other".into();
    house.hear(&platform.request(APP, &other)).await;
    house.work().await;
    assert_eq!(house.agent.asked(), ["one"]);
    let asked = platform.calls().iter().filter(|it| it.name == "bot").count();
    assert_eq!(asked, 1, "it is asked for until it is known");
}

#[tokio::test]
async fn platform_that_does_not_tell_is_not_asked_with_every_message() {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let house = House::open("lark", &integration, TriggerSettings::default()).await;
    let answer = Answer::Refused(500, 1, None);
    platform.misbehave(|faults| faults.answers.push_back(Fault { call: "bot", answer }));
    for text in ["one", "two", "three"] {
        let event = platform.text(APP, &Speaker::in_group("ou_lisi", "oc_g"), text);
        house.hear(&platform.request(APP, &event)).await;
    }
    house.work().await;
    assert_eq!(house.agent.asked(), ["one", "two", "three"]);
    assert!(platform.calls().iter().all(|it| it.name != "bot"));
}
