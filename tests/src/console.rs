//! A client of the management API and of our own channel, as an operator would write one.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::process::ADMIN_TOKEN;

/// An operator at work.
#[derive(Clone)]
pub struct Console {
    http: Client,
    url: String,
    token: String,
}

impl Console {
    /// Signs in with the token that sees all.
    ///
    /// # Panics
    /// If no HTTP client can be made.
    #[must_use]
    pub fn new(url: String) -> Self {
        let http = Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(30))
            .build()
            .expect("a client can be made");
        Self {
            http,
            url,
            token: ADMIN_TOKEN.to_owned(),
        }
    }

    /// The same operator at another address.
    #[must_use]
    pub fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    /// A request to a path, signed in.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// Posts, and expects success.
    ///
    /// # Errors
    /// With the answer's body, if it isn't.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answered(self.request(Method::POST, path).json(body))
            .await
            .with_context(|| path.to_owned())
    }

    /// Patches, and expects success.
    ///
    /// # Errors
    /// With the answer's body, if it isn't.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answered(self.request(Method::PATCH, path).json(body))
            .await
            .with_context(|| path.to_owned())
    }

    /// Gets, and expects success.
    ///
    /// # Errors
    /// With the answer's body, if it isn't.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answered(self.request(Method::GET, path))
            .await
            .with_context(|| path.to_owned())
    }

    /// Creates something of the default organization and gives its id.
    ///
    /// # Errors
    /// If it isn't created.
    pub async fn create(&self, kind: &str, body: &Value) -> anyhow::Result<String> {
        let made = self.post(&format!("/api/v1/orgs/default/{kind}"), body).await?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    /// A bot, an agent and a trigger between them. Gives the integration.
    ///
    /// # Errors
    /// If one isn't created.
    pub async fn bind(&self, integration: &Value, agent: &Value, trigger: &Value) -> anyhow::Result<Value> {
        let made = self.post("/api/v1/orgs/default/integrations", integration).await?;
        let agent = self.create("agents", agent).await?;
        let mut trigger = trigger.clone();
        trigger["integrationId"] = made["id"].clone();
        trigger["agentId"] = json!(agent);
        trigger["enabled"] = json!(true);
        self.create("triggers", &trigger).await?;
        Ok(made)
    }

    /// Logs a bot in whose codes its platform confirms at once.
    ///
    /// # Errors
    /// If it isn't logged in within `limit`.
    pub async fn log_in(&self, integration: &str, limit: Duration) -> anyhow::Result<()> {
        let path = format!("/api/v1/orgs/default/integrations/{integration}/login");
        self.post(&path, &json!({})).await?;
        let give_up_at = tokio::time::Instant::now() + limit;
        loop {
            let login = self.get(&path).await?;
            if login["state"] == "confirmed" {
                return Ok(());
            }
            ensure!(tokio::time::Instant::now() < give_up_at, "not logged in: {login}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Says something on our own channel. Gives the message's and the reply's id.
    ///
    /// # Errors
    /// If it isn't taken.
    pub async fn say(&self, integration: &str, chat: &str, text: &str, id: &str) -> anyhow::Result<(String, String)> {
        let body = json!({ "text": text, "chatId": chat, "senderId": chat, "messageId": id });
        let said = self.post(&format!("/api/web/webhook/{integration}"), &body).await?;
        let field = |name: &str| said[name].as_str().map(str::to_owned).context("no id");
        Ok((field("messageId")?, field("replyId")?))
    }

    /// Waits for the whole answer. Gives every state that was shown on the way.
    ///
    /// # Errors
    /// If it isn't done within a minute.
    pub async fn read(&self, reply: &str) -> anyhow::Result<Vec<Value>> {
        let mut shown = Vec::new();
        let mut after = 0;
        let give_up_at = tokio::time::Instant::now() + Duration::from_secs(60);
        while tokio::time::Instant::now() < give_up_at {
            let state = self.get(&format!("/api/web/replies/{reply}?after={after}")).await?;
            after = state["version"].as_u64().unwrap_or(after);
            let done = state["done"] == true;
            shown.push(state);
            if done {
                return Ok(shown);
            }
        }
        anyhow::bail!("the answer is not done: {shown:?}")
    }
}

async fn answered(request: RequestBuilder) -> anyhow::Result<Value> {
    let response = request.send().await?;
    let status = response.status();
    let body = response.text().await?;
    ensure!(status.is_success(), "{status}: {body}");
    Ok(if body.is_empty() {
        Value::Null
    } else {
        serde_json::from_str(&body)?
    })
}
