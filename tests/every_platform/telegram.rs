//! Telegram's long polling: webhooks exclude it, and the typing indicator is repeated while the agent is silent. Albums, in both modes.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::platform::Upload;
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
        self.create_with(mode, &json!({})).await
    }

    async fn create_with(&self, mode: &str, trigger: &Value) -> String {
        let mut integration = self.platform.as_integration(&self.token, "Bot", mode);
        integration["language"] = json!("en");
        let made = self
            .console
            .bind(&integration, &self.agent.as_chat("Agent"), trigger)
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

    /// What the agent was asked, and the number of pictures with each question.
    fn questions(&self) -> Vec<(String, usize)> {
        let n_pictures = self.agent.seen().into_iter().map(|seen| {
            let newest = seen.body["messages"].as_array().and_then(|it| it.last().cloned());
            let content = newest.unwrap_or_default()["content"].clone();
            let parts = content.as_array().into_iter().flatten();
            parts.filter(|part| part["type"] == "image_url").count()
        });
        self.agent.asked().into_iter().zip(n_pictures).collect()
    }

    async fn is_asked(&self, expected: &[(&str, usize)]) {
        let expected: Vec<_> = expected.iter().map(|(text, n)| ((*text).to_owned(), *n)).collect();
        let found = until("the question", PATIENCE, || {
            (self.questions() == expected).then_some(())
        })
        .await;
        found.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.questions(), self.bridge.log_tail()));
    }

    async fn status(&self, id: &str) -> Value {
        self.console
            .get(&format!("/api/v1/orgs/default/integrations/{id}/status"))
            .await
            .unwrap()
    }
}

#[tokio::test]
async fn webhook_of_another_program_is_kept_and_reported() {
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
        assert!(
            began.elapsed() < PATIENCE,
            "the webhook is not reported in time: {status}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(scenario.platform.webhook(&scenario.token).is_some());
}

#[tokio::test]
async fn own_webhook_is_removed_for_polling() {
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
async fn typing_indicator_is_repeated_and_does_not_delay_the_answer() {
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
        "the typing indicator delayed the answer: {:?}",
        opened.elapsed()
    );
}

fn holding() -> Manner {
    Manner {
        answer: |_| vec!["Seen".to_owned(), ".".to_owned()],
        holds: |_| true,
        ..Manner::default()
    }
}

async fn album_is_one_question(mode: &str) {
    let scenario = Scenario::start(holding()).await;
    scenario.agent.open_gate();
    scenario.create_with(mode, &json!({ "busyPolicy": "interrupt" })).await;
    scenario.connected().await;
    let (platform, token, lisi) = (&scenario.platform, &scenario.token, Speaker::alone("1001"));
    platform.album(token, &lisi, "What are these?", &[Upload::PICTURE; 3]);
    scenario.shows(&["Seen."]).await;
    scenario.is_asked(&[("What are these?", 3)]).await;
    let one = || platform.bubbles().len() == 1 && scenario.agent.seen().len() == 1;
    stays("one answer", Duration::from_secs(3), one).await.unwrap();
}

#[tokio::test]
async fn album_is_one_question_over_a_webhook() {
    album_is_one_question("webhook").await;
}

#[tokio::test]
async fn album_is_one_question_over_polling() {
    album_is_one_question("long_connection").await;
}

#[tokio::test]
async fn late_part_of_an_album_does_not_stop_its_answer() {
    let scenario = Scenario::start(holding()).await;
    scenario
        .create_with("long_connection", &json!({ "busyPolicy": "interrupt" }))
        .await;
    scenario.connected().await;
    let picture = |id: &str, caption: &str| {
        let photo = json!([{ "file_id": id, "file_unique_id": id, "width": 8, "height": 8 }]);
        let fields = json!({ "photo": photo, "media_group_id": "13900000000001", "caption": caption });
        scenario.platform.say(&scenario.token, &Speaker::alone("1001"), fields);
    };
    picture("AgACAgI-1", "What are these?");
    picture("AgACAgI-2", "");
    let asked = until("the question", PATIENCE, || {
        (!scenario.questions().is_empty()).then_some(())
    });
    asked.await.unwrap();
    picture("AgACAgI-3", "");
    let one = || scenario.questions().len() == 1;
    stays("the first answer", Duration::from_secs(4), one).await.unwrap();
    scenario.agent.open_gate();
    scenario.shows(&["Seen.", "Seen."]).await;
    assert_eq!(scenario.questions()[0].0, "What are these?");
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_loses_no_part_of_an_album() {
    let mut scenario = Scenario::start(holding()).await;
    scenario.agent.open_gate();
    scenario.create("long_connection").await;
    scenario.connected().await;
    let (platform, token) = (scenario.platform.clone(), scenario.token.clone());
    platform.album(
        &token,
        &Speaker::alone("1001"),
        "What are these?",
        &[Upload::PICTURE; 2],
    );
    let took = until("the parts are acknowledged", PATIENCE, || {
        platform.has_delivered_all(&token).then_some(())
    });
    took.await.unwrap();
    tokio::task::block_in_place(|| scenario.bridge.restart()).unwrap();
    scenario.shows(&["Seen."]).await;
    scenario.is_asked(&[("What are these?", 2)]).await;
}
