//! A bot that doesn't know its own id relies on the platform's mark of a mention.

use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::{Answer, Fault};
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};

#[tokio::test]
async fn bot_with_callbacks_does_not_fetch_its_own_id() {
    let (bridge, platform) = lark::open(TriggerSettings::default()).await;
    let answer = Answer::Refused(500, 1, None);
    platform.misbehave(|faults| faults.answers.push_back(Fault { call: "bot", answer }));
    for text in ["one", "two", "three"] {
        let event = platform.text(APP, &Speaker::in_group("ou_lisi", "oc_g"), text);
        bridge.receive(&platform.request(APP, &event)).await;
    }
    bridge.work().await;
    assert_eq!(bridge.agent.asked(), ["one", "two", "three"]);
    assert!(platform.calls().iter().all(|it| it.name != "bot"));
}
