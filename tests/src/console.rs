//! A client of the management API and of our own channel, for an operator.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use reqwest::{Client, Method, RequestBuilder};
use serde_json::{Value, json};

use crate::process::ADMIN_TOKEN;
use crate::test_bridge::PATIENCE;

/// An operator's client.
#[derive(Clone)]
pub struct Console {
    http: Client,
    url: String,
    token: String,
}

impl Console {
    /// Creates a client with the root token.
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

    /// The same client at another address.
    #[must_use]
    pub fn at(&self, url: String) -> Self {
        Self { url, ..self.clone() }
    }

    /// An authenticated request to a path.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.url))
            .bearer_auth(&self.token)
    }

    /// Sends a POST request and expects success.
    ///
    /// # Errors
    /// With the response's body, if it isn't successful.
    pub async fn post(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answered(self.request(Method::POST, path).json(body))
            .await
            .with_context(|| path.to_owned())
    }

    /// Sends a PATCH request and expects success.
    ///
    /// # Errors
    /// With the response's body, if it isn't successful.
    pub async fn patch(&self, path: &str, body: &Value) -> anyhow::Result<Value> {
        answered(self.request(Method::PATCH, path).json(body))
            .await
            .with_context(|| path.to_owned())
    }

    /// Sends a GET request and expects success.
    ///
    /// # Errors
    /// With the response's body, if it isn't successful.
    pub async fn get(&self, path: &str) -> anyhow::Result<Value> {
        answered(self.request(Method::GET, path))
            .await
            .with_context(|| path.to_owned())
    }

    /// Waits until a list has an item, and returns the first. The ledger may lag behind the chat by one write.
    ///
    /// # Errors
    /// If there is none in time.
    pub async fn first(&self, path: &str) -> anyhow::Result<Value> {
        let began = Instant::now();
        loop {
            let list = self.get(path).await?;
            if let Some(first) = list["items"].get(0) {
                return Ok(first.clone());
            }
            ensure!(began.elapsed() < PATIENCE, "{path} has no item");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Creates an object in the default organization and returns its id.
    ///
    /// # Errors
    /// If it isn't created.
    pub async fn create(&self, kind: &str, body: &Value) -> anyhow::Result<String> {
        let made = self.post(&format!("/api/v1/orgs/default/{kind}"), body).await?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    /// Creates a bot, an agent and a trigger between them. Returns the integration.
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

    /// Logs in a bot whose platform confirms QR codes at once.
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
            ensure!(
                tokio::time::Instant::now() < give_up_at,
                "the bot is not logged in: {login}"
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Sends a message on our own channel. Returns the ids of message and reply.
    ///
    /// # Errors
    /// If it isn't accepted.
    pub async fn say(&self, integration: &str, chat: &str, text: &str, id: &str) -> anyhow::Result<(String, String)> {
        let body = json!({ "text": text, "chatId": chat, "senderId": chat, "messageId": id });
        let said = self.post(&format!("/api/web/webhook/{integration}"), &body).await?;
        let field = |name: &str| said[name].as_str().map(str::to_owned).context("no id");
        Ok((field("messageId")?, field("replyId")?))
    }

    /// Waits for the whole answer. Returns every state that was shown until then.
    ///
    /// # Errors
    /// If it isn't complete within a minute.
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
        anyhow::bail!("the answer is not complete: {shown:?}")
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
