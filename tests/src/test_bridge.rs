//! A bridge in a directory of its own, with its operator and clients.

use std::time::{Duration, Instant};

use crate::console::Console;
use crate::process::Bridge;
use crate::wecom::{Bot, Cipher, ResponseServer};
use reqwest::Method;
use serde_json::{Value, json};
use tempfile::TempDir;

/// Limit of every wait for something that must happen.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// A running bridge with an operator.
pub struct TestBridge {
    /// The process.
    pub process: Bridge,
    /// The operator.
    pub console: Console,
    /// The process's data directory.
    pub dir: TempDir,
}

impl TestBridge {
    /// Starts a bridge.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start() -> Self {
        Self::start_with(&[])
    }

    /// Starts a bridge with these flags.
    ///
    /// # Panics
    /// If it doesn't start.
    #[must_use]
    pub fn start_with(flags: &[&str]) -> Self {
        let dir = tempfile::tempdir().expect("a directory can be made");
        let process = Bridge::start_with(dir.path(), flags).expect("the bridge starts");
        let console = Console::new(process.url());
        Self { process, console, dir }
    }

    /// The same bridge, with new connections.
    #[must_use]
    pub fn afresh(self) -> Self {
        Self {
            console: Console::new(self.process.url()),
            ..self
        }
    }

    /// Creates a WeCom bot. `trigger` has the differences from the defaults.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn wecom(&self, agent: &Value, trigger: &Value) -> (Bot, ResponseServer) {
        let responses = ResponseServer::start().await;
        let cipher = Cipher::fresh();
        let name = format!("WeCom {}", cipher.token);
        let mut integration = Bot::new(cipher.clone(), String::new()).as_integration(&name);
        integration["endpoints"] = json!({ "apiBase": responses.url });
        integration["language"] = json!("en");
        let mut agent = agent.clone();
        agent["name"] = json!(format!("Agent of {name}"));
        let made = self
            .console
            .bind(&integration, &agent, trigger)
            .await
            .expect("a bot can be bound");
        let bot = Bot::new(
            cipher,
            made["callbackUrl"].as_str().expect("it has an address").to_owned(),
        );
        (bot, responses)
    }

    /// Creates a bot on our own channel in the default organization. Returns its id.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn web(&self, agent: &Value, trigger: &Value) -> String {
        self.web_of("default", agent, trigger).await["integrationId"]
            .as_str()
            .expect("it has an id")
            .to_owned()
    }

    /// Creates a bot on our own channel in any organization. Returns the trigger.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn web_of(&self, organization: &str, agent: &Value, trigger: &Value) -> Value {
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

    /// Sends a POST request and expects success.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn post(&self, path: &str, body: &Value) -> Value {
        self.console
            .post(path, body)
            .await
            .expect("the API accepts the request")
    }

    /// Sends a PATCH request and expects success.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn patch(&self, path: &str, body: &Value) {
        let answer = self
            .console
            .request(Method::PATCH, path)
            .json(body)
            .send()
            .await
            .expect("the bridge responds");
        assert!(
            answer.status().is_success(),
            "{path}: {}",
            answer.text().await.unwrap_or_default()
        );
    }

    /// Sends a message on our own channel and waits for the answer.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn ask(&self, integration: &str, chat: &str, text: &str) -> String {
        let (_, reply) = self
            .console
            .say(integration, chat, text, &uuid())
            .await
            .expect("the message is accepted");
        self.answer(&reply).await
    }

    /// The whole answer of a reply.
    ///
    /// # Panics
    /// If the bridge refuses.
    pub async fn answer(&self, reply: &str) -> String {
        let shown = self.console.read(reply).await.expect("the answer is complete in time");
        shown
            .last()
            .and_then(|it| it["text"].as_str())
            .expect("it has a text")
            .to_owned()
    }
}

/// A unique name.
///
/// # Panics
/// If the system has no random bytes.
#[must_use]
pub fn uuid() -> String {
    let mut bytes = [0; 8];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    hex::encode(bytes)
}

/// Waits until `condition` is true.
///
/// # Panics
/// On timeout.
pub async fn until(what: &str, condition: impl FnMut() -> bool) {
    until_within(PATIENCE, what, condition).await;
}

/// Like [`until`], with a limit of its own.
///
/// # Panics
/// On timeout.
pub async fn until_within(limit: Duration, what: &str, mut condition: impl FnMut() -> bool) {
    let began = Instant::now();
    while !condition() {
        assert!(began.elapsed() < limit, "it never came: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Prints a measured figure beside the test's result.
#[expect(clippy::print_stdout, reason = "the figure is part of the result")]
pub fn figure(what: &str, value: impl std::fmt::Display) {
    println!("{what}: {value}");
}
