//! Downloads of attachments survive transient faults.

use tieline_bridge::media;
use tieline_core::trigger::TriggerSettings;
use tieline_tests::lark::{Answer, Fault};
use tieline_tests::outbound::Speaker;

use crate::lark::{self, APP};

#[tokio::test]
async fn download_gets_a_new_token_and_is_retried() {
    let (bridge, platform) = lark::open(TriggerSettings::default()).await;
    let event = platform.file(APP, &Speaker::alone("ou_lisi"), "a.pdf");
    bridge.receive(&platform.request(APP, &event)).await;
    bridge.work().await;
    let seen = bridge.agent.seen();
    let link = seen[0].body["message"]["parts"][0]["url"].as_str().unwrap();
    let token = link.rsplit('/').next().unwrap();
    platform.expire_tokens(APP);
    platform.misbehave(|faults| {
        let answer = Answer::Refused(400, 234_019, None);
        faults.answers.push_back(Fault {
            call: "download",
            answer,
        });
    });
    let fetched = media::open(&bridge.world, token).await.unwrap();
    assert!(fetched.bytes.starts_with(b"bytes of file_v3_"));
    assert_eq!(fetched.name.as_deref(), Some("a.pdf"));
    platform.misbehave(|faults| {
        let answer = Answer::Refused(400, 234_037, None);
        faults.answers.push_back(Fault {
            call: "download",
            answer,
        });
    });
    assert!(
        media::open(&bridge.world, token).await.is_err(),
        "a permanent failure must not be retried"
    );
}
