//! After the platform refuses a card, cards have a cooldown for the whole bot.

use tieline_core::trigger::TriggerSettings;
use tieline_store::log::{self, Level};
use tieline_tests::dingtalk::{Answer, Fault, Platform};
use tieline_tests::outbound::Speaker;

use crate::test_bridge::TestBridge;

const APP: &str = "ding1";

#[tokio::test]
async fn refused_cards_have_a_cooldown() {
    let platform = Platform::start().await;
    platform.add_app(APP, "s3");
    let integration = platform.as_integration(APP, "Bot", "webhook");
    let bridge = TestBridge::open("dingtalk", &integration, TriggerSettings::default()).await;
    platform.misbehave(|faults| {
        let answer = Answer::Refused(403, "Forbidden.AccessDenied.ApiCountLimitForOrg");
        faults.answers.push_back(Fault {
            call: "create_card",
            answer,
        });
    });
    for text in ["one", "two"] {
        let message = platform.text(APP, &Speaker::alone("lisi"), text);
        bridge.receive(&platform.request(APP, &message)).await;
        bridge.work().await;
    }
    let shown: Vec<(&str, String)> = platform
        .bubbles()
        .iter()
        .map(|it| (it.way, it.text().to_owned()))
        .collect();
    assert_eq!(
        shown,
        [("session", "echo: one".to_owned()), ("session", "echo: two".to_owned())]
    );
    assert!(platform.calls().iter().all(|it| it.name != "create_card"));
    let log = log::list(
        &bridge.world.store,
        &bridge.bot,
        Level::Warn,
        None,
        10,
        bridge.world.clock.now(),
    )
    .await
    .unwrap()
    .items;
    assert!(
        log.iter().any(|it| it.code == "way_closed"),
        "expected `way_closed` in {log:?}"
    );
}
