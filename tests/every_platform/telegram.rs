//! Telegram's long polling: webhooks exclude it, and signs are repeated while the agent is silent.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::process::Bridge;
use tieline_tests::telegram::Platform;

use crate::test_bridge::PATIENCE;

struct Scenario {
    bridge: Bridge,
    console: Console,
    platform: Platform,
    agent: FakeAgent,
    token: String,
    _dir: TempDir,
}

impl Scenario {
    async fn start(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        let platform = Platform::start().await;
        Self {
            console: Console::new(bridge.url()),
            token: platform.add_bot(7_012_345_678, "tieline_demo_bot"),
            agent: FakeAgent::start(manner).await,
            bridge,
            platform,
            _dir: dir,
        }
    }

    async fn create(&self, mode: &str) -> String {
        let mut integration = self.platform.as_integration(&self.token, "Bot", mode);
        integration["language"] = json!("en");
        let made = self
            .console
            .bind(&integration, &self.agent.as_chat("Agent"), &json!({}))
            .await;
        made.unwrap()["id"].as_str().unwrap().to_owned()
    }

    async fn connected(&self) {
        let connected = until("a connection", PATIENCE, || {
            self.platform.is_connected(&self.token).then_some(())
        })
        .await;
        connected.unwrap_or_else(|error| panic!("{error}\n{}", self.bridge.log_tail()));
    }

    async fn shows(&self, expected: &[&str]) {
        let shown = || {
            self.platform
                .bubbles()
                .iter()
                .map(|it| it.text().to_owned())
                .collect::<Vec<_>>()
        };
        let found = until("the answer", PATIENCE, || (shown() == expected).then_some(())).await;
        found.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", shown(), self.bridge.log_tail()));
        assert_eq!(self.platform.complaints(), Vec::<String>::new());
    }

    async fn status(&self, id: &str) -> Value {
        self.console
            .get(&format!("/api/v1/orgs/default/integrations/{id}/status"))
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn webhook_of_another_program_is_left_alone_and_told() {
    let scenario = Scenario::start(Manner::default()).await;
    scenario
        .platform
        .set_foreign_webhook(&scenario.token, "http://127.0.0.1:1/elsewhere");
    let id = scenario.create("long_connection").await;
    let began = std::time::Instant::now();
    loop {
        let status = scenario.status(&id).await;
        if status["reason"] == "config_invalid" {
            assert!(
                status["lastError"].to_string().contains("webhook_of_another_program"),
                "{status}"
            );
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{status}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(scenario.platform.webhook(&scenario.token).is_some());
}

#[tokio::test]
async fn own_webhook_gives_way_to_polling() {
    let scenario = Scenario::start(Manner::default()).await;
    let id = scenario.create("webhook").await;
    scenario.connected().await;
    let path = format!("/api/v1/orgs/default/integrations/{id}");
    let change = json!({ "connectionMode": "long_connection" });
    let changed = scenario
        .console
        .request(reqwest::Method::PATCH, &path)
        .json(&change)
        .send()
        .await
        .unwrap();
    assert!(changed.status().is_success(), "{}", changed.text().await.unwrap());
    let gone = until("the webhook is removed", PATIENCE, || {
        scenario.platform.webhook(&scenario.token).is_none().then_some(())
    })
    .await;
    gone.unwrap_or_else(|error| panic!("{error}\n{}", scenario.bridge.log_tail()));
    scenario
        .platform
        .text(&scenario.token, &Speaker::alone("1001"), "hello", true);
    scenario.shows(&["echo: hello"]).await;
}

#[tokio::test]
async fn typing_is_repeated_and_holds_nothing_back() {
    let scenario = Scenario::start(Manner {
        answer: |_| vec!["Done.".to_owned()],
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    scenario.create("long_connection").await;
    scenario.connected().await;
    scenario
        .platform
        .text(&scenario.token, &Speaker::alone("1001"), "hello", true);
    let twice = until("typing again", PATIENCE, || {
        (scenario.platform.typing(&scenario.token) >= 2).then_some(())
    })
    .await;
    twice.unwrap_or_else(|error| panic!("{error}\n{}", scenario.bridge.log_tail()));
    let opened = std::time::Instant::now();
    scenario.agent.open_gate();
    scenario.shows(&["Done."]).await;
    assert!(
        opened.elapsed() < Duration::from_secs(3),
        "the typing sign held the answer back: {:?}",
        opened.elapsed()
    );
}
