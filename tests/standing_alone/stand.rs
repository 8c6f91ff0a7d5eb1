//! A bridge in a directory of its own, and who speaks with it.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_tests::agents::FakeAgent;
use tieline_tests::console::Console;
use tieline_tests::process::Bridge;
use tieline_tests::wecom::{Bot, Cipher, ResponseServer};

/// Limit of every wait for something that must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A running bridge with an operator.
pub(crate) struct Stand {
    pub(crate) bridge: Bridge,
    pub(crate) console: Console,
    pub(crate) dir: TempDir,
}

impl Stand {
    pub(crate) fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(dir.path()).unwrap();
        let console = Console::new(bridge.url());
        Self { bridge, console, dir }
    }

    /// A WeCom bot whose agent is asked in Chat Completions. `trigger` has what differs from the defaults.
    pub(crate) async fn wecom(&self, agent: &FakeAgent, trigger: &Value) -> (Bot, ResponseServer) {
        let responses = ResponseServer::start().await;
        let cipher = Cipher::fresh();
        let name = format!("WeCom {}", cipher.token);
        let mut integration = Bot::new(cipher.clone(), String::new()).as_integration(&name);
        integration["endpoints"] = json!({ "apiBase": responses.url });
        integration["language"] = json!("en");
        let asked = agent.as_chat(&format!("Agent of {name}"));
        let made = self.console.bind(&integration, &asked, trigger).await.unwrap();
        let bot = Bot::new(cipher, made["callbackUrl"].as_str().unwrap().to_owned());
        (bot, responses)
    }

    /// A bot of our own channel, in the default organization. Gives its id.
    pub(crate) async fn web(&self, agent: &Value, trigger: &Value) -> String {
        self.web_of("default", agent, trigger).await["integrationId"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// The same in any organization. Gives the trigger.
    pub(crate) async fn web_of(&self, organization: &str, agent: &Value, trigger: &Value) -> Value {
        let base = format!("/api/v1/orgs/{organization}");
        let name = format!("Web {}", uuid());
        let integration = json!({ "name": name, "platform": "web", "connectionMode": "webhook", "language": "en" });
        let made = self.post(&format!("{base}/integrations"), &integration).await;
        let mut agent = agent.clone();
        agent["name"] = json!(format!("Agent of {name}"));
        let agent = self.post(&format!("{base}/agents"), &agent).await;
        let mut trigger = trigger.clone();
        trigger["integrationId"] = made["id"].clone();
        trigger["agentId"] = agent["id"].clone();
        self.post(&format!("{base}/triggers"), &trigger).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Value {
        self.console.post(path, body).await.unwrap()
    }

    /// Changes something and expects success.
    pub(crate) async fn patch(&self, path: &str, body: &Value) {
        let answer = self
            .console
            .request(Method::PATCH, path)
            .json(body)
            .send()
            .await
            .unwrap();
        assert!(answer.status().is_success(), "{path}: {}", answer.text().await.unwrap());
    }

    /// Says something on our own channel and waits for the answer.
    pub(crate) async fn ask(&self, integration: &str, chat: &str, text: &str) -> String {
        let (_, reply) = self.console.say(integration, chat, text, &uuid()).await.unwrap();
        self.answer(&reply).await
    }

    /// The whole answer of a reply.
    pub(crate) async fn answer(&self, reply: &str) -> String {
        let shown = self.console.read(reply).await.unwrap();
        shown.last().unwrap()["text"].as_str().unwrap().to_owned()
    }
}

/// Something that nobody else has.
pub(crate) fn uuid() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).unwrap();
    hex::encode(bytes)
}

/// Waits until `condition` holds.
pub(crate) async fn until(what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < PATIENCE, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[expect(clippy::print_stdout, reason = "a figure that somebody wants to read")]
pub(crate) fn figure(what: &str, value: impl std::fmt::Display) {
    println!("{what}: {value}");
}
