//! Personal WeChat, end to end: login by QR code, long polling, answers within the platform's reply window.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::process::Bridge;
use tieline_tests::wechat::Platform;

/// Limit of every wait on this machine.
const SOON: Duration = Duration::from_secs(60);
const LISI: &str = "lisi@im.wechat";

struct Scenario {
    platform: Platform,
    agent: FakeAgent,
    bridge: Bridge,
    console: Console,
    id: String,
    _dir: TempDir,
}

impl Scenario {
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

    /// A bridge with a logged-in bot of a person.
    async fn logged_in(manner: Manner) -> Self {
        let scenario = Self::logged_out(manner).await;
        scenario.platform.confirm_codes_of(LISI);
        scenario.log_in().await;
        scenario
    }

    /// The bot's newest message, once it is as wanted.
    async fn newest_message(&self, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/orgs/default/messages?integrationId={}", self.id);
        self.reads(&path, "/items/0", wanted).await
    }

    /// A message, once it is as wanted.
    async fn message(&self, id: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let path = format!("/api/v1/orgs/default/messages/{id}");
        self.reads(&path, "", wanted).await
    }

    async fn reads(&self, path: &str, part: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let found = self.console.get(path).await.unwrap();
            if let Some(part) = found.pointer(part).filter(|part| wanted(part)) {
                return part.clone();
            }
            assert!(began.elapsed() < SOON, "{found}\n{}", self.bridge.log_tail());
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
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
        assert!(begun["expiresAt"].is_string(), "expected the time of expiry in {begun}");
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
    let mut scenario = Scenario::logged_out(Manner::default()).await;
    scenario.status_is("needs_login", Value::Null).await;
    let code = scenario.start_login().await;
    // The login continues in another process.
    tokio::task::block_in_place(|| scenario.bridge.restart()).unwrap();
    let waiting = scenario.login_is("waiting").await;
    assert_eq!(waiting["qrUrl"], code);
    scenario.platform.scan(&code, LISI, Some("1234"));
    scenario.login_is("verify_code_needed").await;
    let path = scenario.path("/login");
    let wrong = scenario
        .console
        .post(&path, &json!({ "verifyCode": "9" }))
        .await
        .unwrap();
    assert_eq!(wrong["state"], "verify_code_needed");
    let right = scenario
        .console
        .post(&path, &json!({ "verifyCode": "1234" }))
        .await
        .unwrap();
    assert_eq!(right["state"], "scanned");
    scenario.platform.confirm(&code, &scenario.platform.url());
    let confirmed = scenario.login_is("confirmed").await;
    assert_eq!(confirmed["qrUrl"], Value::Null);
    scenario.platform.polled(LISI, SOON).await.unwrap();
    scenario.status_is("connected", Value::Null).await;
    // The credentials that the login obtained can't be read, and a change of another setting keeps them.
    let shown = scenario.console.get(&scenario.path("")).await.unwrap();
    assert_eq!(shown["credentials"], json!({}));
    let patch = scenario
        .console
        .request(Method::PATCH, &scenario.path(""))
        .json(&json!({ "name": "Mine" }));
    assert!(patch.send().await.unwrap().status().is_success());
    scenario.status_is("connected", Value::Null).await;
    scenario.platform.say(&lisi(), "你好");
    scenario.shows(&["echo: 你好"]).await;
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn login_that_names_a_foreign_host_is_refused_and_an_expired_code_can_be_replaced() {
    let scenario = Scenario::logged_out(Manner::default()).await;
    let code = scenario.start_login().await;
    scenario.platform.scan(&code, LISI, None);
    scenario.login_is("scanned").await;
    scenario
        .platform
        .confirm(&code, "https://ilinkai.weixin.qq.com.evil.example");
    let refused = scenario.login_is("refused").await;
    assert_eq!(refused["code"], "host_not_allowed");
    let code = scenario.start_login().await;
    scenario.platform.expire(&code);
    scenario.login_is("expired").await;
    scenario.status_is("needs_login", Value::Null).await;
    scenario.platform.confirm_codes_of(LISI);
    scenario.log_in().await;
    // A person can have one bot.
    let mut other = scenario.platform.as_integration("Another");
    other["enabled"] = json!(false);
    let other = scenario.console.create("integrations", &other).await.unwrap();
    let path = format!("/api/v1/orgs/default/integrations/{other}/login");
    scenario.console.post(&path, &json!({})).await.unwrap();
    let refused = scenario.console.get(&path).await.unwrap();
    assert_eq!(
        (&refused["state"], &refused["code"]),
        (&json!("refused"), &json!("account_in_use"))
    );
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn redelivered_message_is_answered_once_even_under_another_id() {
    let scenario = Scenario::logged_in(Manner::default()).await;
    let id = scenario.platform.say(&lisi(), "once");
    scenario.platform.deliver_again(id, false);
    scenario.shows(&["echo: once"]).await;
    scenario.platform.deliver_again(id, true);
    scenario.platform.deliver_again(id, false);
    let kept = stays("one answer", Duration::from_secs(3), || {
        scenario.texts() == ["echo: once"]
    });
    kept.await.unwrap();
    assert_eq!(scenario.agent.asked(), ["once"]);
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_bridge_continues_at_its_cursor() {
    let mut scenario = Scenario::logged_in(Manner::default()).await;
    let id = scenario.platform.say(&lisi(), "one");
    scenario.shows(&["echo: one"]).await;
    scenario.bridge.kill();
    scenario.platform.say(&lisi(), "two");
    tokio::task::block_in_place(|| scenario.bridge.restart()).unwrap();
    scenario.shows(&["echo: one", "echo: two"]).await;
    // The process that recognizes the copy has not seen the first delivery.
    scenario.platform.deliver_again(id, true);
    let two = ["echo: one", "echo: two"];
    let kept = stays("the answers", Duration::from_secs(2), || scenario.texts() == two);
    kept.await.unwrap();
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn login_elsewhere_is_reported_and_a_new_login_reconnects() {
    let scenario = Scenario::logged_in(Manner::default()).await;
    scenario.status_is("connected", Value::Null).await;
    scenario.platform.log_in_elsewhere(LISI);
    scenario.status_is("needs_login", json!("login_expired")).await;
    let logs = scenario.console.get(&scenario.path("/logs?level=warn")).await.unwrap();
    let codes = logs["items"].as_array().unwrap().iter().map(|entry| &entry["code"]);
    assert_eq!(codes.filter(|code| *code == "login_expired").count(), 1, "{logs}");
    scenario.log_in().await;
    scenario.status_is("connected", Value::Null).await;
    scenario.platform.say(&lisi(), "back");
    scenario.shows(&["echo: back"]).await;
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn refused_answer_is_retried_once_and_delivered_when_the_person_writes_again() {
    let scenario = Scenario::logged_in(Manner::default()).await;
    scenario
        .platform
        .misbehave(|faults| faults.refuse_messages.extend([-2, -2]));
    scenario.platform.say(&lisi(), "late");
    let began = Instant::now();
    let message = scenario.newest_message(|message| message["state"] == "failed").await;
    assert_eq!(message["reason"], "window_closed", "{message}");
    assert!(began.elapsed() >= Duration::from_secs(5), "retried too soon");
    let kept = stays("two tries", Duration::from_secs(3), || {
        scenario.platform.n_refused() == 2
    });
    kept.await.unwrap();
    scenario.platform.say(&lisi(), "next");
    scenario.shows(&["echo: late", "echo: next"]).await;
    let id = message["id"].as_str().unwrap();
    scenario.message(id, |message| message["state"] == "answered").await;
    let kept = stays("the answers", Duration::from_secs(2), || scenario.texts().len() == 2);
    kept.await.unwrap();
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_that_is_refused_again_waits_for_another_message() {
    let scenario = Scenario::logged_in(Manner {
        holds: |text| text == "slow",
        ..Manner::default()
    })
    .await;
    let refuse = |codes: &[i64]| {
        scenario
            .platform
            .misbehave(|faults| faults.refuse_messages.extend(codes))
    };
    refuse(&[-2, -2]);
    scenario.platform.say(&lisi(), "late");
    let message = scenario.newest_message(|message| message["state"] == "failed").await;
    refuse(&[-2]);
    scenario.platform.say(&lisi(), "slow");
    let n_refusals = |message: &Value| {
        let steps = message["steps"].as_array().unwrap().iter();
        steps.filter(|step| step["step"] == "delivery_refused").count()
    };
    let id = message["id"].as_str().unwrap();
    scenario.message(id, |message| n_refusals(message) == 2).await;
    assert_eq!(
        scenario.platform.n_refused(),
        3,
        "an answer that is delivered again is tried once"
    );
    scenario.agent.open_gate();
    scenario.shows(&["echo: slow"]).await;
    scenario.platform.say(&lisi(), "again");
    scenario.shows(&["echo: slow", "echo: late", "echo: again"]).await;
    scenario.message(id, |message| message["state"] == "answered").await;
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn typing_indicator_is_shown_while_the_agent_works_and_long_answers_are_split() {
    let scenario = Scenario::logged_in(Manner {
        answer: |_| vec!["字".repeat(1000), "\n\n".to_owned(), "段".repeat(1000)],
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    scenario.platform.say(&lisi(), "long");
    // The sign is renewed, because the platform shows it for some seconds only.
    until("the sign", SOON, || {
        (scenario.platform.typing(LISI).1 >= 2).then_some(())
    })
    .await
    .unwrap();
    assert_eq!(
        scenario.texts(),
        Vec::<String>::new(),
        "nothing may be sent before the answer is complete"
    );
    scenario.agent.open_gate();
    scenario
        .shows(&["字".repeat(1000).as_str(), "段".repeat(1000).as_str()])
        .await;
    until("no sign", SOON, || (!scenario.platform.typing(LISI).0).then_some(()))
        .await
        .unwrap();
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_uses_the_token_of_the_newest_message() {
    let scenario = Scenario::logged_in(Manner {
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    scenario.platform.say(&lisi(), "first");
    let asked = || (scenario.agent.asked() == ["first"]).then_some(());
    until("the first question", SOON, asked).await.unwrap();
    let newest = scenario.platform.say(&lisi(), "second");
    let began = Instant::now();
    let messages = "/api/v1/orgs/default/messages";
    while scenario.console.get(messages).await.unwrap()["items"]
        .as_array()
        .unwrap()
        .len()
        < 2
    {
        assert!(began.elapsed() < SOON, "the second message is not received");
    }
    scenario.agent.open_gate();
    scenario.shows(&["echo: first", "echo: second"]).await;
    let tokens: Vec<_> = scenario
        .platform
        .bubbles()
        .into_iter()
        .map(|bubble| bubble.answers)
        .collect();
    assert_eq!(tokens, [Some(format!("CTX-{newest}")), Some(format!("CTX-{newest}"))]);
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_is_decrypted_for_the_agent() {
    let scenario = Scenario::logged_in(Manner::default()).await;
    let picture = b"\x89PNG\r\n\x1a\n and so on, in the clear";
    scenario.platform.send_picture(&lisi(), picture);
    until("an answer", SOON, || (!scenario.texts().is_empty()).then_some(()))
        .await
        .unwrap();
    let asked = serde_json::to_string(&scenario.agent.seen().last().unwrap().body).unwrap();
    use base64::Engine as _;
    let encoded = base64::engine::general_purpose::STANDARD.encode(picture);
    assert!(asked.contains(&encoded), "expected the picture's bytes in {asked}");
    scenario.nothing_wrong();
}

#[tokio::test(flavor = "multi_thread")]
async fn poll_that_times_out_at_a_proxy_is_no_failure() {
    let scenario = Scenario::logged_in(Manner::default()).await;
    scenario.platform.misbehave(|faults| faults.poll_status = Some(524));
    let before = scenario.platform.n_polls(LISI);
    until("more polls", SOON, || {
        (scenario.platform.n_polls(LISI) > before + 4).then_some(())
    })
    .await
    .unwrap();
    scenario.status_is("connected", Value::Null).await;
    scenario.platform.misbehave(|faults| faults.poll_status = None);
    scenario.platform.say(&lisi(), "still here");
    scenario.shows(&["echo: still here"]).await;
    scenario.nothing_wrong();
}
