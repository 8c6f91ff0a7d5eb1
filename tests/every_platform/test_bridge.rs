//! One bridge with a bot for every row, with a gate in front of each platform server.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tempfile::TempDir;
use tieline_core::notice::{Language, Notice};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::gate::Gate;
use tieline_tests::outbound::{Speaker, stays, until};
use tieline_tests::platform::PlatformSimulator;
use tieline_tests::process::Bridge;
use tieline_tests::rows::{ROWS, Row};
use url::Url;

/// Limit of every wait for something that must happen. A platform that accepts 30 messages a minute needs most of it for a long answer.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// The text of a notice, in the language of all bots here.
pub(crate) fn sentence(notice: Notice) -> &'static str {
    notice.text(Language::English)
}

/// The bridge and the operator's console.
pub(crate) struct TestBridge {
    pub(crate) bridge: Bridge,
    pub(crate) bots: Vec<Bot>,
    /// Complaints of simulators that the scenario expects.
    pub(crate) forgiven: &'static [&'static str],
    dir: TempDir,
}

/// A bot of one row: its simulator, its integration, and the agent behind it.
pub(crate) struct Bot {
    pub(crate) name: String,
    pub(crate) mode: &'static str,
    pub(crate) simulator: Box<dyn PlatformSimulator>,
    pub(crate) agent: FakeAgent,
    pub(crate) console: Console,
    pub(crate) gates: Vec<Gate>,
    /// The integration's id.
    pub(crate) id: String,
}

/// The rows to run: those of `TIELINE_PLATFORM`, else all.
pub(crate) fn rows() -> impl Iterator<Item = &'static Row> {
    let wanted = std::env::var("TIELINE_PLATFORM").ok();
    ROWS.iter()
        .filter(move |row| wanted.as_deref().is_none_or(|wanted| row.platform == wanted))
}

impl TestBridge {
    /// Starts a bridge, and waits until every bot is connected.
    pub(crate) async fn open(manner: Manner) -> Self {
        let test = Self::with(manner, |simulator| simulator.integration()).await;
        test.connected().await;
        test
    }

    /// Waits until every bot is connected.
    async fn connected(&self) {
        for bot in &self.bots {
            bot.wait_until("connected", || bot.simulator.is_connected())
                .await
                .unwrap();
        }
    }

    /// Acts on the data directory while the bridge is stopped, then starts it again.
    pub(crate) async fn while_stopped<T>(&mut self, act: impl AsyncFnOnce(&Path, &[Bot]) -> T) -> T {
        self.bridge.stop().unwrap();
        let done = act(&self.dir.path().join("data"), &self.bots).await;
        self.bridge.restart().unwrap();
        self.connected().await;
        done
    }

    /// Starts a bridge whose bots are created with the settings that `integration` returns.
    pub(crate) async fn with(manner: Manner, integration: fn(&dyn PlatformSimulator) -> Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bridge = Bridge::start(&dir.path().join("data")).unwrap();
        let console = Console::new(bridge.url());
        let bots = rows().map(|row| Bot::add(row, &console, manner.clone(), integration));
        let bots = join_all(bots).await;
        Self {
            bridge,
            bots,
            forgiven: &[],
            dir,
        }
    }

    /// Plays a scenario with every bot at once, and reports every row that fails.
    pub(crate) async fn play(&self, scenario: impl AsyncFn(&Bot) -> anyhow::Result<()>) {
        let failures = play(&self.bots, self.forgiven, scenario).await;
        let failed = self.bots.iter().filter(|bot| failures.contains(&bot.name));
        let about: String = failed.map(|bot| self.bridge.log_of(&bot.id)).collect();
        assert!(failures.is_empty(), "\n{failures}\n\nlog:\n{about}");
    }
}

/// Plays a scenario with these bots at once. Returns a line for each row that fails.
pub(crate) async fn play(
    bots: &[Bot],
    forgiven: &[&str],
    scenario: impl AsyncFn(&Bot) -> anyhow::Result<()>,
) -> String {
    let played = bots.iter().map(|bot| async {
        let failed = scenario(bot).await.err().map(|error| format!("{error:#}"));
        let mut complaints = bot.simulator.complaints();
        complaints.retain(|complaint| !forgiven.iter().any(|it| complaint.contains(it)));
        let complained = (!complaints.is_empty()).then(|| format!("complaints {complaints:?}"));
        failed
            .into_iter()
            .chain(complained)
            .map(|what| format!("{}: {what}", bot.name))
            .collect::<Vec<_>>()
    });
    join_all(played).await.concat().join("\n")
}

impl Bot {
    /// Creates a bot of a row, bound to an agent of its own, through `console`.
    pub(crate) async fn add(
        row: &'static Row,
        console: &Console,
        manner: Manner,
        integration: fn(&dyn PlatformSimulator) -> Value,
    ) -> Self {
        let simulator = (row.start)(row.mode).await;
        let agent = FakeAgent::start(manner).await;
        let name = format!("{} {}", row.platform, row.mode);
        let mut body = integration(&*simulator);
        body["name"] = json!(name);
        body["language"] = json!("en");
        let gates = behind_gates(&mut body).await;
        let made = console
            .bind(&body, &agent.as_chat(&format!("Agent of {name}")), &json!({}))
            .await;
        let made = made.unwrap_or_else(|error| panic!("{name}: {error:#}"));
        simulator.created(made["callbackUrl"].as_str().unwrap_or_default());
        if !simulator.features().typed_credentials {
            console.log_in(made["id"].as_str().unwrap(), PATIENCE).await.unwrap();
        }
        Self {
            name,
            mode: row.mode,
            simulator,
            agent,
            console: console.clone(),
            gates,
            id: made["id"].as_str().unwrap().to_owned(),
        }
    }

    /// Sends a person's message to the bot; in a group it mentions the bot.
    pub(crate) fn say(&self, from: &Speaker, text: &str) -> String {
        self.simulator.say(from, text, true)
    }

    /// Changes the bot's trigger.
    pub(crate) async fn change_trigger(&self, change: &Value) -> anyhow::Result<()> {
        let triggers = self.console.get("/api/v1/orgs/default/triggers?limit=200").await?;
        let all = triggers["items"].as_array().into_iter().flatten();
        let own = all.filter(|trigger| trigger["integrationId"] == self.id.as_str());
        for trigger in own {
            let path = format!(
                "/api/v1/orgs/default/triggers/{}",
                trigger["id"].as_str().unwrap_or_default()
            );
            self.console.patch(&path, change).await?;
        }
        Ok(())
    }

    /// Makes the bot's agent unreachable: nothing listens at its address.
    pub(crate) async fn agent_is_gone(&self) -> anyhow::Result<()> {
        let config = json!({ "baseUrl": "http://127.0.0.1:9/v1", "model": "m", "apiKey": "k" });
        self.change_agent(&json!({ "protocol": "openai_chat", "config": config }))
            .await
    }

    /// Has the bot's agent asked by our webhook protocol, in which agents can send cards.
    pub(crate) async fn agent_speaks_our_contract(&self) -> anyhow::Result<()> {
        let agent = self.agent.as_webhook("");
        self.change_agent(&json!({ "protocol": agent["protocol"], "config": agent["config"] }))
            .await
    }

    async fn change_agent(&self, change: &Value) -> anyhow::Result<()> {
        let triggers = self.console.get("/api/v1/orgs/default/triggers?limit=200").await?;
        let all = triggers["items"].as_array().into_iter().flatten();
        for trigger in all.filter(|trigger| trigger["integrationId"] == self.id.as_str()) {
            let agent = trigger["agentId"].as_str().unwrap_or_default();
            self.console
                .patch(&format!("/api/v1/orgs/default/agents/{agent}"), change)
                .await?;
        }
        Ok(())
    }

    /// The bot's abilities in its mode, by the catalogue.
    pub(crate) async fn abilities(&self) -> anyhow::Result<Value> {
        let integration = format!("/api/v1/orgs/default/integrations/{}", self.id);
        let integration = self.console.get(&integration).await?;
        let catalogue = self.console.get("/api/v1/platforms").await?;
        let platforms = catalogue["items"].as_array().into_iter().flatten();
        let mut modes = platforms
            .filter(|platform| platform["platform"] == integration["platform"])
            .flat_map(|platform| platform["modes"].as_array().into_iter().flatten());
        let mode = modes.find(|mode| mode["connectionMode"] == integration["connectionMode"]);
        Ok(mode.context("no such mode in the catalogue")?["abilities"].clone())
    }

    /// The newest text of every message that the bot shows in a chat.
    pub(crate) fn texts(&self, chat: &Speaker) -> Vec<String> {
        let shown = self.simulator.shown(chat);
        shown.iter().map(|bubble| bubble.text().to_owned()).collect()
    }

    /// Waits until the bot shows exactly these messages in a chat.
    pub(crate) async fn shows(&self, chat: &Speaker, expected: &[&str]) -> anyhow::Result<()> {
        self.wait_until("the exact final text", || self.texts(chat) == expected)
            .await
            .map_err(|error| error.context(format!("expected {expected:?}, shown {:?}", self.texts(chat))))
    }

    /// Checks for a while that the bot shows exactly these messages in a chat and no more.
    pub(crate) async fn keeps_showing(&self, chat: &Speaker, expected: &[&str]) -> anyhow::Result<()> {
        let kept = stays("the final text", Duration::from_secs(2), || {
            self.texts(chat) == expected
        });
        kept.await
            .map_err(|error| error.context(format!("expected {expected:?}, shown {:?}", self.texts(chat))))
    }

    /// Waits until the agent was asked exactly these texts.
    pub(crate) async fn agent_is_asked(&self, expected: &[&str]) -> anyhow::Result<()> {
        self.wait_until("the agent's requests", || self.agent.asked() == expected)
            .await
            .map_err(|error| error.context(format!("expected {expected:?}, asked {:?}", self.agent.asked())))
    }

    /// Waits for a condition, for at most [`PATIENCE`].
    pub(crate) async fn wait_until(&self, what: &str, condition: impl Fn() -> bool) -> anyhow::Result<()> {
        until(what, PATIENCE, || condition().then_some(())).await
    }

    /// The integration's status.
    pub(crate) async fn status(&self) -> anyhow::Result<Value> {
        let path = format!("/api/v1/orgs/default/integrations/{}/status", self.id);
        self.console.get(&path).await
    }

    /// Waits until the integration's status is `state` for `reason`.
    pub(crate) async fn status_is(&self, state: &str, reason: &str) -> anyhow::Result<()> {
        let began = tokio::time::Instant::now();
        loop {
            let status = self.status().await?;
            if status["state"] == state && status["reason"] == reason {
                return Ok(());
            }
            anyhow::ensure!(
                began.elapsed() < PATIENCE,
                "expected status {state} ({reason}), found {status}"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Puts a gate in front of each server that the integration's endpoints name.
async fn behind_gates(integration: &mut Value) -> Vec<Gate> {
    let mut gates: HashMap<SocketAddr, Gate> = HashMap::new();
    let endpoints = integration["endpoints"].as_object_mut();
    for endpoint in endpoints.into_iter().flat_map(|endpoints| endpoints.values_mut()) {
        let mut url: Url = endpoint.as_str().unwrap().parse().unwrap();
        let server = url.socket_addrs(|| None).unwrap()[0];
        let gate = match gates.get(&server) {
            Some(gate) => gate.clone(),
            None => Gate::start(server).await,
        };
        url.set_port(Some(gate.address().port())).unwrap();
        *endpoint = json!(url.as_str().trim_end_matches('/'));
        gates.insert(server, gate);
    }
    gates.into_values().collect()
}
