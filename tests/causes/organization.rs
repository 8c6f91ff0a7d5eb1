//! An organization with the bot into which a cause is injected.

use std::time::Duration;

use anyhow::{Context as _, bail};
use reqwest::Method;
use serde_json::{Value, json};
use tieline_tests::console::Console;
use tieline_tests::test_bridge::uuid;
use tokio::time::{Instant, sleep};

/// Limit of every wait.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// One organization, as its operator sees it.
pub(crate) struct Organization {
    console: Console,
    base: String,
    agents: String,
}

/// A bot that is bound to an agent.
pub(crate) struct Bot {
    pub(crate) id: String,
    pub(crate) trigger: String,
    pub(crate) callback_url: String,
}

impl Organization {
    pub(crate) async fn create(console: &Console, cause: &str, agents: &str) -> anyhow::Result<Self> {
        let id = cause.replace('_', "-");
        console.post("/api/v1/orgs", &json!({ "id": id })).await?;
        Ok(Self {
            console: console.clone(),
            base: format!("/api/v1/orgs/{id}"),
            agents: agents.to_owned(),
        })
    }

    pub(crate) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.console.get(&format!("{}{path}", self.base)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        self.console.post(&format!("{}{path}", self.base), body).await
    }

    pub(crate) async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        let request = self.console.request(Method::PATCH, &format!("{}{path}", self.base));
        let response = request.json(body).send().await?.error_for_status()?;
        Ok(response.json().await?)
    }

    async fn create_one(&self, kind: &str, body: &Value) -> anyhow::Result<Value> {
        self.post(&format!("/{kind}"), body).await
    }

    /// Creates an agent at this address. Returns its id.
    pub(crate) async fn agent_at(&self, address: &str) -> anyhow::Result<String> {
        let config = json!({ "baseUrl": format!("{address}/v1"), "model": "m", "apiKey": "k-secret" });
        let body = json!({ "name": "Support", "protocol": "openai_chat", "config": config });
        let made = self.create_one("agents", &body).await?;
        Ok(text(&made["id"]))
    }

    /// Creates an agent that fails in this way. Returns its id.
    pub(crate) async fn agent(&self, way: &str) -> anyhow::Result<String> {
        self.agent_at(&format!("{}/{way}", self.agents)).await
    }

    /// Host of the failing agents.
    pub(crate) fn agents_host(&self) -> &str {
        host(&self.agents)
    }

    /// Creates a bot without a trigger. Returns the integration.
    pub(crate) async fn unbound(&self, integration: &Value) -> anyhow::Result<Value> {
        let mut integration = integration.clone();
        integration["language"] = json!("en");
        self.create_one("integrations", &integration).await
    }

    /// Creates a bot that is bound to an agent, with changes to the trigger's defaults.
    pub(crate) async fn bound(&self, integration: &Value, agent: &str, trigger: &Value) -> anyhow::Result<Bot> {
        let made = self.unbound(integration).await?;
        let mut trigger = trigger.clone();
        trigger["integrationId"] = made["id"].clone();
        trigger["agentId"] = json!(agent);
        let bound = self.create_one("triggers", &trigger).await?;
        Ok(Bot {
            id: text(&made["id"]),
            trigger: text(&bound["id"]),
            callback_url: text(&made["callbackUrl"]),
        })
    }

    /// Creates a bot with a working agent.
    pub(crate) async fn bot(&self, integration: &Value) -> anyhow::Result<Bot> {
        let agent = self.agent("fine").await?;
        self.bound(integration, &agent, &json!({})).await
    }

    /// Creates a bot on our own channel.
    pub(crate) async fn web(&self, agent: &str) -> anyhow::Result<Bot> {
        self.bound(&web("Web"), agent, &json!({})).await
    }

    /// Sends a message on our own channel.
    pub(crate) async fn say(&self, bot: &str, text: &str) -> anyhow::Result<()> {
        let chat = uuid();
        self.console.say(bot, &chat, text, &uuid()).await.map(drop)
    }

    /// Waits until `n` messages of a bot are in a state. Returns the newest of them.
    pub(crate) async fn ended(&self, bot: &str, state: &str, n: usize) -> anyhow::Result<Value> {
        let path = format!("/messages?integrationId={bot}&state={state}");
        let found = self
            .wait(&path, |found| {
                found["items"].as_array().is_some_and(|items| items.len() >= n)
            })
            .await;
        match found {
            Ok(found) => Ok(found["items"][0].clone()),
            Err(error) => {
                let all = self.get(&format!("/messages?integrationId={bot}")).await?;
                Err(error.context(format!("expected {n} messages in state {state}: {all}")))
            }
        }
    }

    /// Waits until a bot's status has this state.
    pub(crate) async fn status_is(&self, bot: &str, state: &str) -> anyhow::Result<()> {
        self.wait(&format!("/integrations/{bot}/status"), |status| {
            status["state"] == state
        })
        .await?;
        Ok(())
    }

    /// Polls a path until the answer satisfies the condition.
    pub(crate) async fn wait(&self, path: &str, is_so: impl Fn(&Value) -> bool) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let found = self.get(path).await?;
            if is_so(&found) {
                return Ok(found);
            }
            if began.elapsed() > PATIENCE {
                bail!("{path} still answers {found}");
            }
            sleep(Duration::from_millis(100)).await;
        }
    }

    /// Logs a bot in with a code that its platform confirms at once.
    pub(crate) async fn log_in(&self, bot: &str) -> anyhow::Result<()> {
        let path = format!("/integrations/{bot}/login");
        self.post(&path, &json!({})).await?;
        let confirmed = self.wait(&path, |login| login["state"] == "confirmed").await;
        confirmed.context("the login").map(drop)
    }
}

/// Request body that creates a bot on our own channel.
pub(crate) fn web(name: &str) -> Value {
    json!({ "name": name, "platform": "web", "connectionMode": "webhook" })
}

/// The host of an address.
pub(crate) fn host(address: &str) -> &str {
    let rest = address.split_once("://").map_or(address, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}
