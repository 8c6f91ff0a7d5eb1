//! A platform that waits for the first response gets it quickly.

use std::time::{Duration, Instant};

use serde_json::json;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::wecom::Speaker;

use crate::alone;
use tieline_tests::test_bridge::{TestBridge, figure};

#[tokio::test]
async fn the_first_response_is_fast() {
    let _alone = alone().await;
    let bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        before: Duration::from_secs(2),
        ..Manner::default()
    })
    .await;
    let (bot, responses) = bridge.wecom(&agent.as_chat(""), &json!({})).await;
    let mut took = Vec::new();
    for at in 0..40 {
        let person = Speaker::alone(&format!("user{at}"));
        let message = bot.text(&person, &format!("m{at}"), "hello", &responses.url_for(&at.to_string()));
        let (query, body, nonce) = bot.cipher.callback(&message.to_string());
        let began = Instant::now();
        let (status, body, _) = bot.send_raw(&query, body).await.unwrap();
        took.push(began.elapsed());
        assert_eq!(status, 200);
        assert!(
            bot.cipher
                .open_reply(&body, &nonce)
                .unwrap()
                .contains("\"finish\":false")
        );
    }
    took.sort();
    let (quick, median, worst) = (took[took.len() / 4], took[took.len() / 2], took[took.len() - 1]);
    figure("first passive answer, median of 40", format!("{median:?}"));
    figure("first passive answer, worst of 40", format!("{worst:?}"));
    // The target is 100 ms for each. The slowest may take longer, for machines with other work, before this fails.
    assert!(
        quick < Duration::from_millis(100),
        "the first quartile should be below 100 ms: {took:?}"
    );
    assert!(
        worst < Duration::from_millis(2500),
        "the slowest should be below 2.5 s: {took:?}"
    );
}
