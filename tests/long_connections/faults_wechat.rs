//! Personal WeChat, whole: login by QR code, long poll, answers within the platform's window.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::process::Bridge;
use tieline_tests::wechat::Platform;

/// How long anything on this machine may take.
const SOON: Duration = Duration::from_secs(60);
const LISI: &str = "lisi@im.wechat";

struct Scene {
    platform: Platform,
    agent: FakeAgent,
    bridge: Bridge,
    console: Console,
    id: String,
    _dir: TempDir,
}

impl Scene {
    /// A bridge with a bot that is not logged in.
    async fn logged_out(manner: Manner) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        let console = Console::new(bridge.url());
        let (platform, agent) = (Platform::start().await, FakeAgent::start(manner).await);
        let mut integration = platform.as_integration("WeChat");
        integration["language"] = json!("en");
        let made = console
            .bind(&integration, &agent.as_chat("Agent"), &json!({}))
            .await
            .unwrap();
        Self {
            platform,
            agent,
            bridge,
            console,
            id: made["id"].as_str().unwrap().to_owned(),
            _dir: dir,
        }
    }

    /// A bridge with a bot of a person.
    async fn logged_in(manner: Manner) -> Self {
        let scene = Self::logged_out(manner).await;
        scene.platform.confirm_codes_of(LISI);
        scene.log_in().await;
        scene
    }

    async fn log_in(&self) {
        self.start_login().await;
        self.login_is("confirmed").await;
        self.platform.polled(LISI, SOON).await.unwrap();
    }

    fn path(&self, rest: &str) -> String {
        format!("/api/v1/orgs/default/integrations/{}{rest}", self.id)
    }

    async fn start_login(&self) -> String {
        let begun = self.console.post(&self.path("/login"), &json!({})).await.unwrap();
        assert_eq!(begun["state"], "waiting", "{begun}");
        assert!(begun["expiresAt"].is_string(), "{begun}");
        begun["qrUrl"].as_str().unwrap().to_owned()
    }

    async fn login_is(&self, state: &str) -> Value {
        let began = Instant::now();
        loop {
            let login = self.console.get(&self.path("/login")).await.unwrap();
            if login["state"] == state {
                return login;
            }
            assert!(
                began.elapsed() < SOON,
                "not {state}: {login}\n{}",
                self.bridge.log_tail()
            );
        }
    }

    async fn status_is(&self, state: &str, reason: Value) {
        let began = Instant::now();
        loop {
            let status = self.console.get(&self.path("/status")).await.unwrap();
            if status["state"] == state && status["reason"] == reason {
                return;
            }
            assert!(
                began.elapsed() < SOON,
                "not {state}: {status}\n{}",
                self.bridge.log_tail()
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    fn texts(&self) -> Vec<String> {
        let bubbles = self.platform.bubbles();
        bubbles.iter().map(|bubble| bubble.text().to_owned()).collect()
    }

    async fn shows(&self, expected: &[&str]) {
        let shown = until("the answers", SOON, || (self.texts() == expected).then_some(())).await;
        shown.unwrap_or_else(|error| panic!("{error}: {:?}\n{}", self.texts(), self.bridge.log_tail()));
    }

    #[track_caller]
    fn nothing_wrong(&self) {
        assert_eq!(self.platform.complaints(), Vec::<String>::new());
    }
}

fn lisi() -> Speaker {
    Speaker::alone(LISI)
}

#[tokio::test(flavor = "multi_thread")]
async fn login_with_digits_connects_the_bot_also_after_a_restart() {
    let mut scene = Scene::logged_out(Manner::default()).await;
    scene.status_is("needs_login", Value::Null).await;
    let code = scene.start_login().await;
    // The login goes on in another process.
    tokio::task::block_in_place(|| scene.bridge.restart()).unwrap();
    let waiting = scene.login_is("waiting").await;
    assert_eq!(waiting["qrUrl"], code);
    scene.platform.scan(&code, LISI, Some("1234"));
    scene.login_is("verify_code_needed").await;
    let path = scene.path("/login");
    let wrong = scene.console.post(&path, &json!({ "verifyCode": "9" })).await.unwrap();
    assert_eq!(wrong["state"], "verify_code_needed");
    let right = scene
        .console
        .post(&path, &json!({ "verifyCode": "1234" }))
        .await
        .unwrap();
    assert_eq!(right["state"], "scanned");
    scene.platform.confirm(&code, &scene.platform.url());
    let confirmed = scene.login_is("confirmed").await;
    assert_eq!(confirmed["qrUrl"], Value::Null);
    scene.platform.polled(LISI, SOON).await.unwrap();
    scene.status_is("connected", Value::Null).await;
    // What was obtained can't be read, and a change of something else keeps it.
    let shown = scene.console.get(&scene.path("")).await.unwrap();
    assert_eq!(shown["credentials"], json!({}));
    let patch = scene
        .console
        .request(Method::PATCH, &scene.path(""))
        .json(&json!({ "name": "Mine" }));
    assert!(patch.send().await.unwrap().status().is_success());
    scene.status_is("connected", Value::Null).await;
    scene.platform.say(&lisi(), "你好");
    scene.shows(&["echo: 你好"]).await;
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_names_a_foreign_host_is_refused_and_an_expired_code_can_be_replaced() {
    let scene = Scene::logged_out(Manner::default()).await;
    let code = scene.start_login().await;
    scene.platform.scan(&code, LISI, None);
    scene.login_is("scanned").await;
    scene
        .platform
        .confirm(&code, "https://ilinkai.weixin.qq.com.evil.example");
    let refused = scene.login_is("refused").await;
    assert_eq!(refused["code"], "host_not_allowed");
    let code = scene.start_login().await;
    scene.platform.expire(&code);
    scene.login_is("expired").await;
    scene.status_is("needs_login", Value::Null).await;
    scene.platform.confirm_codes_of(LISI);
    scene.log_in().await;
    // A person has one bot.
    let mut other = scene.platform.as_integration("Another");
    other["enabled"] = json!(false);
    let other = scene.console.create("integrations", &other).await.unwrap();
    let path = format!("/api/v1/orgs/default/integrations/{other}/login");
    scene.console.post(&path, &json!({})).await.unwrap();
    let refused = scene.console.get(&path).await.unwrap();
    assert_eq!(
        (&refused["state"], &refused["code"]),
        (&json!("refused"), &json!("account_in_use"))
    );
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn message_that_comes_again_is_answered_once_also_under_another_id() {
    let scene = Scene::logged_in(Manner::default()).await;
    let id = scene.platform.say(&lisi(), "once");
    scene.platform.deliver_again(id, false);
    scene.shows(&["echo: once"]).await;
    scene.platform.deliver_again(id, true);
    scene.platform.deliver_again(id, false);
    let kept = stays("one answer", Duration::from_secs(3), || scene.texts() == ["echo: once"]);
    kept.await.unwrap();
    assert_eq!(scene.agent.asked(), ["once"]);
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_goes_on_at_its_cursor() {
    let mut scene = Scene::logged_in(Manner::default()).await;
    let id = scene.platform.say(&lisi(), "one");
    scene.shows(&["echo: one"]).await;
    scene.bridge.kill();
    scene.platform.say(&lisi(), "two");
    tokio::task::block_in_place(|| scene.bridge.restart()).unwrap();
    scene.shows(&["echo: one", "echo: two"]).await;
    // Known as a copy by a process that did not see the first.
    scene.platform.deliver_again(id, true);
    let two = ["echo: one", "echo: two"];
    let kept = stays("the answers", Duration::from_secs(2), || scene.texts() == two);
    kept.await.unwrap();
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn login_elsewhere_is_told_and_another_login_connects_again() {
    let scene = Scene::logged_in(Manner::default()).await;
    scene.status_is("connected", Value::Null).await;
    scene.platform.log_in_elsewhere(LISI);
    scene.status_is("needs_login", json!("login_expired")).await;
    let logs = scene.console.get(&scene.path("/logs?level=warn")).await.unwrap();
    let codes = logs["items"].as_array().unwrap().iter().map(|entry| &entry["code"]);
    assert_eq!(codes.filter(|code| *code == "login_expired").count(), 1, "{logs}");
    scene.log_in().await;
    scene.status_is("connected", Value::Null).await;
    scene.platform.say(&lisi(), "back");
    scene.shows(&["echo: back"]).await;
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_answer_is_tried_once_more_and_then_fails() {
    let scene = Scene::logged_in(Manner::default()).await;
    scene
        .platform
        .misbehave(|faults| faults.refuse_messages.extend([-2, -2]));
    scene.platform.say(&lisi(), "late");
    let path = format!("/api/v1/orgs/default/messages?integrationId={}", scene.id);
    let began = Instant::now();
    let message = loop {
        let messages = scene.console.get(&path).await.unwrap();
        let message = messages["items"][0].clone();
        if message["state"] == "failed" {
            break message;
        }
        assert!(began.elapsed() < SOON, "{messages}\n{}", scene.bridge.log_tail());
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(message["reason"], "window_closed", "{message}");
    assert!(began.elapsed() >= Duration::from_secs(5), "tried again too soon");
    let kept = stays("two tries", Duration::from_secs(3), || scene.platform.n_refused() == 2);
    kept.await.unwrap();
    scene.platform.say(&lisi(), "next");
    scene.shows(&["echo: next"]).await;
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_sign_stands_while_the_agent_works_and_long_answers_are_split() {
    let scene = Scene::logged_in(Manner {
        answer: |_| vec!["字".repeat(1000), "\n\n".to_owned(), "段".repeat(1000)],
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    scene.platform.say(&lisi(), "long");
    // Renewed, for it stands only for some seconds.
    until("the sign", SOON, || (scene.platform.typing(LISI).1 >= 2).then_some(()))
        .await
        .unwrap();
    assert_eq!(
        scene.texts(),
        Vec::<String>::new(),
        "nothing is sent before it is whole"
    );
    scene.agent.open_gate();
    scene
        .shows(&["字".repeat(1000).as_str(), "段".repeat(1000).as_str()])
        .await;
    until("no sign", SOON, || (!scene.platform.typing(LISI).0).then_some(()))
        .await
        .unwrap();
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_is_decrypted_for_the_agent() {
    let scene = Scene::logged_in(Manner::default()).await;
    let picture = b"\x89PNG\r\n\x1a\n and so on, in the clear";
    scene.platform.send_picture(&lisi(), picture);
    until("an answer", SOON, || (!scene.texts().is_empty()).then_some(()))
        .await
        .unwrap();
    let asked = serde_json::to_string(&scene.agent.seen().last().unwrap().body).unwrap();
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(picture);
    assert!(asked.contains(&encoded), "{asked}");
    scene.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn front_end_that_gives_up_waiting_is_no_failure() {
    let scene = Scene::logged_in(Manner::default()).await;
    scene.platform.misbehave(|faults| faults.poll_status = Some(524));
    let before = scene.platform.n_polls(LISI);
    until("more polls", SOON, || {
        (scene.platform.n_polls(LISI) > before + 4).then_some(())
    })
    .await
    .unwrap();
    scene.status_is("connected", Value::Null).await;
    scene.platform.misbehave(|faults| faults.poll_status = None);
    scene.platform.say(&lisi(), "still here");
    scene.shows(&["echo: still here"]).await;
    scene.nothing_wrong();
}
