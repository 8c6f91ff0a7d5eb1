//! Faults of Discord's gateway and interactions, and what an operator and the people in the chat see of them.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::discord::Platform;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::platform::Upload;
use tieline_tests::process::Bridge;

use crate::test_bridge::SOON;

const APP: &str = "1390000000000000500";
/// Limit of a connection that failed several times.
const LATER: Duration = Duration::from_secs(60);

struct Scenario {
    platform: Platform,
    agent: FakeAgent,
    bridge: Bridge,
    console: Console,
    id: String,
    _dir: TempDir,
}

impl Scenario {
    async fn open(mode: &str, manner: Manner, prepare: impl FnOnce(&Platform)) -> Self {
        let platform = Platform::start().await;
        platform.add_app(APP, "MTM5.t0k3n");
        prepare(&platform);
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        let console = Console::new(bridge.url());
        let agent = FakeAgent::start(manner.clone()).await;
        let mut integration = platform.as_integration(APP, "Bot", mode);
        integration["language"] = json!("en");
        // Chat Completions streams; our webhook protocol can send elements beside the text.
        let agent_settings = match (manner.holds)("") {
            true => agent.as_chat("Agent"),
            false => agent.as_webhook("Agent"),
        };
        let made = console.bind(&integration, &agent_settings, &json!({})).await.unwrap();
        Self {
            id: made["id"].as_str().unwrap().to_owned(),
            platform,
            agent,
            bridge,
            console,
            _dir: dir,
        }
    }

    async fn connected() -> Self {
        let scenario = Self::open("long_connection", Manner::default(), |_| {}).await;
        scenario.platform.connected(APP, SOON).await.unwrap();
        scenario
    }

    fn say(&self, from: &Speaker, text: &str) {
        let message = self.platform.message(APP, from, text, true);
        self.platform.push_message(APP, &message).unwrap();
    }

    /// Waits until the bot shows exactly these messages in a chat.
    async fn shows(&self, chat: &Speaker, expected: &[&str]) {
        let shown = || -> Vec<String> {
            let all = self.platform.bubbles().into_iter();
            all.filter(|it| it.chat == chat.chat())
                .map(|it| it.text().to_owned())
                .collect()
        };
        let reached = until("the texts", LATER, || (shown() == expected).then_some(())).await;
        assert!(
            reached.is_ok(),
            "expected {expected:?}, shown {:?}\n{}",
            shown(),
            self.bridge.log_tail()
        );
    }

    /// Waits until the counts of open connections, begun sessions and resumed sessions are these.
    async fn connections(&self, expected: (usize, usize, usize)) {
        let actual = || self.platform.connections(APP);
        let reached = until("the connections", LATER, || (actual() == expected).then_some(())).await;
        assert!(
            reached.is_ok(),
            "expected {expected:?}, are {:?}\n{}",
            actual(),
            self.bridge.log_tail()
        );
    }

    async fn status_is(&self, state: &str, error: &str) {
        let path = format!("/api/v1/orgs/default/integrations/{}/status", self.id);
        let began = tokio::time::Instant::now();
        loop {
            let status = self.console.get(&path).await.unwrap();
            let code = status["lastError"]["code"].as_str().unwrap_or_default();
            if status["state"] == state && code.starts_with(error) {
                return;
            }
            assert!(began.elapsed() < LATER, "not {state} ({error}): {status}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    fn nothing_wrong(&self) {
        assert_eq!(self.platform.complaints(), Vec::<String>::new());
    }
}

fn mia() -> Speaker {
    Speaker::alone("42")
}

#[tokio::test]
async fn messages_during_an_outage_are_answered() {
    let scenario = Scenario::connected().await;
    scenario.platform.cut(APP);
    scenario.say(&mia(), "one");
    scenario.shows(&mia(), &["echo: one"]).await;
    scenario.platform.control(APP, 7, &Value::Null);
    scenario.connections((1, 1, 2)).await;
    scenario.platform.close(APP, 4000);
    scenario.say(&mia(), "two");
    scenario.shows(&mia(), &["echo: one", "echo: two"]).await;
    scenario.connections((1, 1, 3)).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn session_that_the_platform_forgot_is_replaced() {
    let scenario = Scenario::connected().await;
    scenario.platform.forget_sessions(APP);
    scenario.platform.cut(APP);
    scenario.connections((1, 2, 0)).await;
    scenario.say(&mia(), "one");
    scenario.shows(&mia(), &["echo: one"]).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn orderly_restart_resumes_the_session() {
    let mut scenario = Scenario::connected().await;
    scenario.bridge.stop().unwrap();
    scenario.say(&mia(), "while the bridge is away");
    scenario.bridge.restart().unwrap();
    scenario.shows(&mia(), &["echo: while the bridge is away"]).await;
    scenario.connections((1, 1, 1)).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn connection_without_heartbeat_acknowledgements_is_replaced() {
    let scenario = Scenario::open("long_connection", Manner::default(), |platform| {
        platform.misbehave(|faults| {
            faults.heartbeat_interval = 1500;
            faults.no_heartbeat_ack = true;
        });
    })
    .await;
    let resumed = || (scenario.platform.connections(APP).2 >= 1).then_some(());
    until("a resumed session", LATER, resumed).await.unwrap();
    scenario.platform.misbehave(|faults| faults.no_heartbeat_ack = false);
    scenario.say(&mia(), "one");
    scenario.shows(&mia(), &["echo: one"]).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn without_the_content_intent_mentions_and_direct_messages_are_answered() {
    let scenario = Scenario::connected().await;
    assert_eq!(scenario.platform.intents(APP), 37377);
    scenario.platform.allow_content(APP, false);
    scenario.platform.forget_sessions(APP);
    scenario.platform.cut(APP);
    scenario.connections((1, 2, 0)).await;
    assert_eq!(scenario.platform.intents(APP), 4609);
    let group = Speaker::in_group("42", "7");
    scenario.say(&group, "one");
    scenario.shows(&group, &["echo: one"]).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn permanent_rejections_show_in_the_status() {
    for (code, expected) in [(4011, "4011"), (4013, "4013")] {
        let scenario = Scenario::open("long_connection", Manner::default(), |platform| {
            platform.misbehave(|faults| faults.refuse_identify = Some(code));
        })
        .await;
        scenario.status_is("disconnected", expected).await;
        assert_eq!(scenario.platform.connections(APP), (0, 0, 0));
    }
    let scenario = Scenario::open("long_connection", Manner::default(), |platform| {
        platform.misbehave(|faults| faults.remaining_sessions = 0);
    })
    .await;
    scenario.status_is("retrying", "session_start_limit_reached").await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn guild_messages_are_answered_if_they_mention_or_reply_to_the_bot() {
    let scenario = Scenario::connected().await;
    let group = Speaker::in_group("42", "7");
    let aside = scenario.platform.message(APP, &group, "not for the bot", false);
    scenario.platform.push_message(APP, &aside).unwrap();
    scenario.say(&group, "one");
    scenario.shows(&group, &["echo: one"]).await;
    let earlier = scenario.platform.message_ids(APP, &group);
    let reply = scenario.platform.reply(APP, &group, "two", &earlier[0]);
    scenario.platform.push_message(APP, &reply).unwrap();
    scenario.shows(&group, &["echo: one", "echo: two"]).await;
    let bubbles = scenario.platform.bubbles();
    assert!(
        bubbles.iter().all(|it| it.answers.is_some()),
        "an answer refers to its question: {bubbles:#?}"
    );
    let told = &scenario.agent.seen()[1].body["message"]["quoted"]["text"];
    assert_eq!(told, "echo: one", "{}", scenario.agent.seen()[1].body);
    scenario.nothing_wrong();
}

#[tokio::test]
async fn files_reach_the_agent() {
    let scenario = Scenario::connected().await;
    let message = scenario.platform.message(APP, &mia(), "see file", true);
    let message = scenario.platform.with_file(message, Upload::FILE);
    scenario.platform.push_message(APP, &message).unwrap();
    scenario.shows(&mia(), &["echo: see file"]).await;
    let body = scenario.agent.seen()[0].body.to_string();
    assert!(body.contains("notes.txt"), "expected `notes.txt` in {body}");
    scenario.nothing_wrong();
}

#[tokio::test]
async fn answer_whose_confirmation_was_lost_is_shown_once() {
    let scenario = Scenario::connected().await;
    scenario.platform.misbehave(|faults| faults.lost.push_back("send"));
    scenario.say(&mia(), "one");
    scenario.shows(&mia(), &["echo: one"]).await;
    let n_sent = || {
        scenario
            .platform
            .calls()
            .iter()
            .filter(|call| call.name == "send")
            .count()
    };
    until("the repetition", SOON, || (n_sent() == 2).then_some(()))
        .await
        .unwrap();
    scenario.shows(&mia(), &["echo: one"]).await;
    scenario.nothing_wrong();
}

fn held() -> Manner {
    Manner {
        answer: |text| vec![format!("The answer to {text}"), " has an end.".to_owned()],
        holds: |_| true,
        ..Manner::default()
    }
}

#[tokio::test]
async fn slash_commands_and_buttons_work_over_the_gateway() {
    let scenario = Scenario::open("long_connection", held(), |_| {}).await;
    scenario.platform.connected(APP, SOON).await.unwrap();
    assert_eq!(
        scenario.platform.commands(APP),
        ["ask", "new", "stop", "status", "help"]
    );
    let (mia, leo) = (Speaker::in_group("42", "7"), Speaker::in_group("77", "7"));
    let asked = scenario.platform.command(APP, &mia, "ask", Some("one")).unwrap();
    scenario.platform.deliver(APP, &asked).await.unwrap();
    scenario.shows(&mia, &["The answer to one"]).await;
    let label = || (scenario.platform.buttons(APP, &mia) == ["Stop"]).then_some(());
    until("the button", SOON, label).await.unwrap();
    let pressed = scenario.platform.press(APP, &leo, "Stop").unwrap();
    scenario.platform.deliver(APP, &pressed).await.unwrap();
    let whispered = || {
        scenario
            .platform
            .responses()
            .iter()
            .any(|it| it["type"] == 4 && it["data"]["flags"] == 64)
            .then_some(())
    };
    until("a word to the other person alone", SOON, whispered)
        .await
        .unwrap();
    let pressed = scenario.platform.press(APP, &mia, "Stop").unwrap();
    scenario.platform.deliver(APP, &pressed).await.unwrap();
    scenario
        .shows(&mia, &["The answer to one\n\n(Stopped.)", "(Stopped.)"])
        .await;
    assert_eq!(scenario.platform.buttons(APP, &mia), Vec::<String>::new());
    let new = scenario.platform.command(APP, &mia, "new", None).unwrap();
    scenario.platform.deliver(APP, &new).await.unwrap();
    let label = || (scenario.platform.buttons(APP, &mia) == ["New session"]).then_some(());
    until("the button", SOON, label).await.unwrap();
    scenario.nothing_wrong();
}

#[tokio::test]
async fn answer_whose_interaction_token_expired_continues_in_the_channel() {
    let scenario = Scenario::open("webhook", held(), |_| {}).await;
    let registered = || scenario.platform.endpoint(APP);
    until("the address", SOON, registered).await.unwrap();
    let asked = scenario.platform.command(APP, &mia(), "ask", Some("one")).unwrap();
    scenario.platform.deliver(APP, &asked).await.unwrap();
    scenario.shows(&mia(), &["The answer to one"]).await;
    scenario.platform.misbehave(|faults| faults.token_life = Duration::ZERO);
    scenario.agent.open_gate();
    scenario.shows(&mia(), &["The answer to one", "has an end."]).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn commands_come_over_the_gateway_once_the_mode_is_a_long_connection() {
    let scenario = Scenario::open("webhook", Manner::default(), |_| {}).await;
    let registered = || scenario.platform.endpoint(APP);
    until("the address", SOON, registered).await.unwrap();
    let path = format!("/api/v1/orgs/default/integrations/{}", scenario.id);
    let mode = json!({ "connectionMode": "long_connection" });
    scenario.console.patch(&path, &mode).await.unwrap();
    scenario.platform.connected(APP, SOON).await.unwrap();
    let withdrawn = || scenario.platform.endpoint(APP).is_none().then_some(());
    until("the withdrawal of the address", SOON, withdrawn).await.unwrap();
    let asked = scenario.platform.command(APP, &mia(), "ask", Some("one")).unwrap();
    scenario.platform.deliver(APP, &asked).await.unwrap();
    scenario.shows(&mia(), &["echo: one"]).await;
    scenario.nothing_wrong();
}

#[tokio::test]
async fn operators_can_message_people_and_channels() {
    let scenario = Scenario::connected().await;
    let path = format!("/api/v1/orgs/default/integrations/{}/messages", scenario.id);
    let person = scenario.platform.message(APP, &mia(), "", true)["author"]["id"].clone();
    scenario
        .console
        .post(&path, &json!({ "userId": person, "text": "Hello" }))
        .await
        .unwrap();
    scenario.shows(&mia(), &["Hello"]).await;
    let group = Speaker::in_group("42", "7");
    let channel = scenario.platform.message(APP, &group, "", false)["channel_id"].clone();
    scenario
        .console
        .post(&path, &json!({ "chatId": channel, "text": "All" }))
        .await
        .unwrap();
    scenario.shows(&group, &["All"]).await;
    scenario.nothing_wrong();
}
