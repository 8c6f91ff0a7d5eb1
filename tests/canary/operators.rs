//! Calls of an organization to third parties other than agents: the mapper of people, and notifications of operators about incidents.

use axum::{Json, Router};
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::outbound::Speaker;
use tieline_tests::telegram;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, until, until_within};

use crate::{LeakyServer, ORG, Planted};

/// An organization whose operators are notified in a chat, and whose mapper answers. In the default one, mapper and notification endpoint refuse
/// every request.
pub(crate) const ORGANIZATION: &str = "acme";

/// The operator's id in the chat.
const OPERATOR: &str = "1001";

/// Operators who are notified, of each organization in another way.
pub(crate) struct Operators {
    chat: telegram::Platform,
    /// A chat page whose agent always fails.
    failing: String,
}

impl Operators {
    /// Gives both organizations a mapper and notifications. `personal` collects what only the console and agents may show.
    pub(crate) async fn set_up(
        bridge: &TestBridge,
        (planted, personal): (&mut Planted, &mut Planted),
        careless: &str,
    ) -> Self {
        let webhook =
            json!({ "url": format!("{careless}/notify"), "secret": planted.fresh("secret of notifications") });
        let notify = json!({ "webhook": webhook, "language": "en" });
        bridge.patch(&format!("{ORG}/notify"), &notify).await;
        let mapper = json!({ "url": format!("{careless}/mapper"), "secret": planted.fresh("secret of a mapper") });
        bridge.patch(&format!("{ORG}/mapper"), &mapper).await;

        let other = json!({ "id": ORGANIZATION, "name": "Acme" });
        bridge.post("/api/v1/orgs", &other).await;
        let base = format!("/api/v1/orgs/{ORGANIZATION}");
        let mapper = json!({ "url": constant_mapper(personal).await, "unknown": "refuse",
            "secret": planted.fresh("secret of a mapper that answers") });
        bridge.patch(&format!("{base}/mapper"), &mapper).await;
        let chat = operators_chat(bridge, planted, personal).await;
        let agent = json!({ "protocol": "openai_chat", "config": { "baseUrl": format!("{careless}/v1"), "model": "m",
            "apiKey": planted.fresh("key of an agent of the other organization") } });
        let failing = bridge.web_of(ORGANIZATION, &agent, &json!({})).await;
        let failing = failing["integrationId"].as_str().unwrap().to_owned();
        Self { chat, failing }
    }

    /// Makes a bot of the other organization fail too, and waits until the operators of both are notified.
    pub(crate) async fn notified_of_an_incident(
        &self,
        bridge: &TestBridge,
        planted: &mut Planted,
        careless: &LeakyServer,
    ) {
        let words = planted.fresh("words to an agent of the other organization");
        let shown = bridge.ask(&self.failing, "wangwu", &words).await;
        assert!(shown.contains("(Ref "), "expected `(Ref ` in {shown}");
        // Each process checks its bots for incidents once a minute.
        until_within(PATIENCE * 2, "operators are notified", || {
            let posted = careless.requests_to("POST /notify");
            posted.iter().any(|said| said.contains("answers_failing"))
                && self.chat_texts().iter().any(|text| text.contains("Web "))
        })
        .await;
    }

    /// Everything that operators and mappers were sent, headers and signatures included.
    pub(crate) fn sent(&self, careless: &LeakyServer) -> Vec<(String, Vec<u8>)> {
        let posted = ["POST /notify", "POST /mapper"].map(|path| careless.requests_to(path));
        assert!(
            posted.iter().all(|heard| !heard.is_empty()),
            "expected a post to each endpoint, found {posted:?}"
        );
        let sent = posted.into_iter().flatten().chain(self.chat_texts());
        sent.map(|said| (format!("sent to operators: {said}"), said.into_bytes()))
            .collect()
    }

    fn chat_texts(&self) -> Vec<String> {
        let shown = self.chat.bubbles().into_iter().filter(|bubble| bubble.chat == OPERATOR);
        shown.flat_map(|bubble| bubble.states).collect()
    }
}

/// A chat of the other organization, in which its bot notifies operators.
async fn operators_chat(bridge: &TestBridge, planted: &mut Planted, personal: &Planted) -> telegram::Platform {
    let base = format!("/api/v1/orgs/{ORGANIZATION}");
    let chat = telegram::Platform::start().await;
    let token = chat.add_bot(4713, &planted.fresh("name in the Telegram token of operators"));
    planted.keep("the Telegram token of operators", token.clone());
    let bot = chat.as_integration(&token, "Operations", "long_connection");
    let bot = bridge.post(&format!("{base}/integrations"), &bot).await;
    let agent = FakeAgent::start(Manner::default()).await;
    let made = bridge
        .post(&format!("{base}/agents"), &agent.as_webhook("Answers"))
        .await;
    let trigger = json!({ "integrationId": bot["id"], "agentId": made["id"] });
    bridge.post(&format!("{base}/triggers"), &trigger).await;
    until("the operators' bot polls", || chat.is_connected(&token)).await;
    // A bot can write only to people who have written to it.
    chat.text(&token, &Speaker::alone(OPERATOR), "hello", false);
    until("the operator is answered", || {
        chat.bubbles().iter().any(|bubble| bubble.text() == "echo: hello")
    })
    .await;
    let told = agent.seen()[0].body.to_string();
    assert_eq!(
        personal.found_in(told.as_bytes()).count(),
        3,
        "the agent isn't told who asks: {told}"
    );
    let notify = json!({ "chat": { "integrationId": bot["id"], "chatId": OPERATOR }, "language": "en" });
    bridge.patch(&format!("{base}/notify"), &notify).await;
    chat
}

/// A mapper that returns the same person for every account. Returns its address.
async fn constant_mapper(personal: &mut Planted) -> String {
    let person = json!({ "id": personal.fresh("id of a person"), "name": personal.fresh("name of a person"),
        "email": format!("{}@example.com", personal.fresh("mail address of a person")) });
    let answer = move || async move { Json(json!({ "person": person })) as Json<Value> };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/mapper", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, Router::new().fallback(answer)).await });
    url
}
