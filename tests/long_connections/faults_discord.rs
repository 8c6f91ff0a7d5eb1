//! Discord's gateway and interactions: what goes wrong there, and what an operator and the people in the chat see of it.

use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::discord::Platform;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::process::Bridge;

use crate::stage::SOON;

const APP: &str = "1390000000000000500";
/// How long a connection that failed several times may take.
const LATER: Duration = Duration::from_secs(60);

struct Scene {
    platform: Platform,
    agent: FakeAgent,
    bridge: Bridge,
    console: Console,
    id: String,
    _dir: TempDir,
}

impl Scene {
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
        // Chat Completions streams; our own contract shows what comes with a text.
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
        let scene = Self::open("long_connection", Manner::default(), |_| {}).await;
        scene.platform.connected(APP, SOON).await.unwrap();
        scene
    }

    fn say(&self, from: &Speaker, text: &str) {
        let message = self.platform.message(APP, from, text, true);
        self.platform.push_message(APP, &message).unwrap();
    }

    /// Waits until the bot shows exactly this in a chat.
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

    /// Waits until this many connections are open, sessions begun, sessions resumed.
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
async fn what_was_said_during_an_outage_is_answered() {
    let scene = Scene::connected().await;
    scene.platform.cut(APP);
    scene.say(&mia(), "one");
    scene.shows(&mia(), &["echo: one"]).await;
    scene.platform.control(APP, 7, &Value::Null);
    scene.connections((1, 1, 2)).await;
    scene.platform.close(APP, 4000);
    scene.say(&mia(), "two");
    scene.shows(&mia(), &["echo: one", "echo: two"]).await;
    scene.connections((1, 1, 3)).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn session_that_the_platform_forgot_is_followed_by_another() {
    let scene = Scene::connected().await;
    scene.platform.forget_sessions(APP);
    scene.platform.cut(APP);
    scene.connections((1, 2, 0)).await;
    scene.say(&mia(), "one");
    scene.shows(&mia(), &["echo: one"]).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn orderly_restart_goes_on_with_the_session() {
    let mut scene = Scene::connected().await;
    scene.bridge.stop().unwrap();
    scene.say(&mia(), "while the bridge is away");
    scene.bridge.restart().unwrap();
    scene.shows(&mia(), &["echo: while the bridge is away"]).await;
    scene.connections((1, 1, 1)).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn connection_without_heartbeat_acknowledgements_is_replaced() {
    let scene = Scene::open("long_connection", Manner::default(), |platform| {
        platform.misbehave(|faults| {
            faults.heartbeat_interval = 1500;
            faults.no_heartbeat_ack = true;
        });
    })
    .await;
    let resumed = || (scene.platform.connections(APP).2 >= 1).then_some(());
    until("a resumed session", LATER, resumed).await.unwrap();
    scene.platform.misbehave(|faults| faults.no_heartbeat_ack = false);
    scene.say(&mia(), "one");
    scene.shows(&mia(), &["echo: one"]).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn intent_that_was_switched_off_leaves_mentions_and_direct_messages() {
    let scene = Scene::connected().await;
    assert_eq!(scene.platform.intents(APP), 37377);
    scene.platform.allow_content(APP, false);
    scene.platform.forget_sessions(APP);
    scene.platform.cut(APP);
    scene.connections((1, 2, 0)).await;
    assert_eq!(scene.platform.intents(APP), 4609);
    let group = Speaker::in_group("42", "7");
    scene.say(&group, "one");
    scene.shows(&group, &["echo: one"]).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn refusals_for_good_show_in_the_status() {
    for (code, expected) in [(4011, "4011"), (4013, "4013")] {
        let scene = Scene::open("long_connection", Manner::default(), |platform| {
            platform.misbehave(|faults| faults.refuse_identify = Some(code));
        })
        .await;
        scene.status_is("disconnected", expected).await;
        assert_eq!(scene.platform.connections(APP), (0, 0, 0));
    }
    let scene = Scene::open("long_connection", Manner::default(), |platform| {
        platform.misbehave(|faults| faults.remaining_sessions = 0);
    })
    .await;
    scene.status_is("retrying", "session_start_limit_reached").await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn servers_are_heard_when_they_mention_the_bot_or_reply_to_it() {
    let scene = Scene::connected().await;
    let group = Speaker::in_group("42", "7");
    let aside = scene.platform.message(APP, &group, "not for the bot", false);
    scene.platform.push_message(APP, &aside).unwrap();
    scene.say(&group, "one");
    scene.shows(&group, &["echo: one"]).await;
    let earlier = scene.platform.message_ids(APP, &group);
    let reply = scene.platform.reply(APP, &group, "two", &earlier[0]);
    scene.platform.push_message(APP, &reply).unwrap();
    scene.shows(&group, &["echo: one", "echo: two"]).await;
    let bubbles = scene.platform.bubbles();
    assert!(
        bubbles.iter().all(|it| it.answers.is_some()),
        "an answer refers to its question: {bubbles:#?}"
    );
    let told = &scene.agent.seen()[1].body["message"]["quoted"]["text"];
    assert_eq!(told, "echo: one", "{}", scene.agent.seen()[1].body);
    scene.nothing_wrong();
}

#[tokio::test]
async fn files_reach_the_agent() {
    let scene = Scene::connected().await;
    let message = scene.platform.message(APP, &mia(), "see file", true);
    let message = scene.platform.with_file(message, "log.txt");
    scene.platform.push_message(APP, &message).unwrap();
    scene.shows(&mia(), &["echo: see file"]).await;
    let body = scene.agent.seen()[0].body.to_string();
    assert!(body.contains("log.txt"), "{body}");
    scene.nothing_wrong();
}

#[tokio::test]
async fn answer_whose_confirmation_was_lost_is_shown_once() {
    let scene = Scene::connected().await;
    scene.platform.misbehave(|faults| faults.lost.push_back("send"));
    scene.say(&mia(), "one");
    scene.shows(&mia(), &["echo: one"]).await;
    let n_sent = || scene.platform.calls().iter().filter(|call| call.name == "send").count();
    until("the repetition", SOON, || (n_sent() == 2).then_some(()))
        .await
        .unwrap();
    scene.shows(&mia(), &["echo: one"]).await;
    scene.nothing_wrong();
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
    let scene = Scene::open("long_connection", held(), |_| {}).await;
    scene.platform.connected(APP, SOON).await.unwrap();
    assert_eq!(scene.platform.commands(APP), ["ask", "new", "stop", "status", "help"]);
    let (mia, leo) = (Speaker::in_group("42", "7"), Speaker::in_group("77", "7"));
    let asked = scene.platform.command(APP, &mia, "ask", Some("one")).unwrap();
    scene.platform.deliver(APP, &asked).await.unwrap();
    scene.shows(&mia, &["The answer to one"]).await;
    let label = || (scene.platform.buttons(APP, &mia) == ["Stop"]).then_some(());
    until("the button", SOON, label).await.unwrap();
    let pressed = scene.platform.press(APP, &leo, "Stop").unwrap();
    scene.platform.deliver(APP, &pressed).await.unwrap();
    let whispered = || {
        scene
            .platform
            .responses()
            .iter()
            .any(|it| it["type"] == 4 && it["data"]["flags"] == 64)
            .then_some(())
    };
    until("a word to the other person alone", SOON, whispered)
        .await
        .unwrap();
    let pressed = scene.platform.press(APP, &mia, "Stop").unwrap();
    scene.platform.deliver(APP, &pressed).await.unwrap();
    scene
        .shows(&mia, &["The answer to one\n\n(Stopped.)", "(Stopped.)"])
        .await;
    assert_eq!(scene.platform.buttons(APP, &mia), Vec::<String>::new());
    let new = scene.platform.command(APP, &mia, "new", None).unwrap();
    scene.platform.deliver(APP, &new).await.unwrap();
    let label = || (scene.platform.buttons(APP, &mia) == ["New session"]).then_some(());
    until("the button", SOON, label).await.unwrap();
    scene.nothing_wrong();
}

#[tokio::test]
async fn answer_whose_token_ended_goes_on_in_the_channel() {
    let scene = Scene::open("webhook", held(), |_| {}).await;
    let registered = || scene.platform.endpoint(APP);
    until("the address", SOON, registered).await.unwrap();
    let asked = scene.platform.command(APP, &mia(), "ask", Some("one")).unwrap();
    scene.platform.deliver(APP, &asked).await.unwrap();
    scene.shows(&mia(), &["The answer to one"]).await;
    scene.platform.misbehave(|faults| faults.token_life = Duration::ZERO);
    scene.agent.open_gate();
    scene.shows(&mia(), &["The answer to one", "has an end."]).await;
    scene.nothing_wrong();
}

#[tokio::test]
async fn operators_speak_to_people_and_channels() {
    let scene = Scene::connected().await;
    let path = format!("/api/v1/orgs/default/integrations/{}/messages", scene.id);
    let person = scene.platform.message(APP, &mia(), "", true)["author"]["id"].clone();
    scene
        .console
        .post(&path, &json!({ "userId": person, "text": "Hello" }))
        .await
        .unwrap();
    scene.shows(&mia(), &["Hello"]).await;
    let group = Speaker::in_group("42", "7");
    let channel = scene.platform.message(APP, &group, "", false)["channel_id"].clone();
    scene
        .console
        .post(&path, &json!({ "chatId": channel, "text": "All" }))
        .await
        .unwrap();
    scene.shows(&group, &["All"]).await;
    scene.nothing_wrong();
}
