//! Messages from receipt to their terminal state, as the ledger and the list of people show them.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::{dispatch, receive, wakeups};
use tieline_core::envelope::{EnvelopeV1, StoredEvent};
use tieline_core::event::{Chat, ChatKind, Event, Message, Quoted, Sender};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{ChatId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use crate::test_api::{DEFAULT, TestApi};

const HOUR: Duration = Duration::from_hours(1);

/// A message from the user `lisi` in a direct chat.
fn message(integration: &str, text: &str) -> Message {
    let id = PlatformMessageId::new("m1");
    Message {
        id: id.clone(),
        sender: Sender {
            id: SenderId::new("lisi"),
            name: None,
        },
        sent_at: None,
        text: text.to_owned(),
        parts: Vec::new(),
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        target: ReplyTarget {
            integration: IntegrationId::new(integration),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new("c"),
                thread: None,
            },
            asker: SenderId::new("lisi"),
            message: id,
            handle: ReplyHandle::default(),
            expires_at: None,
        },
    }
}

impl TestApi {
    /// Dispatches a message received at this time and returns its record from the ledger.
    async fn dispatch(&self, message: Message, received_at: Timestamp) -> Value {
        let id = MessageId::new("tl-road");
        let integration = message.target.integration.clone();
        let event = serde_json::to_vec(&StoredEvent::from(Event::Message(message))).unwrap();
        let envelope = EnvelopeV1 {
            event_file: None,
            organization: OrganizationId::new("default"),
            integration,
            account: None,
            reply: ReplyId::new("tl-road-reply"),
            received_at,
            event: self.world.store.keyring().seal(&event, id.as_str()),
            message: id,
        };
        let wake = dispatch::dispatch(&self.world, &envelope).await.unwrap();
        wakeups::send_watched(&self.world, wake).await.unwrap();
        self.get(&format!("{DEFAULT}/messages/{}", envelope.message)).await.ok()
    }

    async fn users(&self) -> usize {
        let found = self.get(&format!("{DEFAULT}/users")).await.ok();
        found["items"].as_array().unwrap().len()
    }
}

/// A web integration with an echo agent.
async fn bound(api: &TestApi) -> String {
    let (web, agent) = (api.web("Web").await, api.echo("Echo").await);
    api.trigger(&web, &agent).await;
    web
}

#[tokio::test]
async fn staleness_is_measured_at_receipt() {
    for (age_when_it_came, state) in [(23 * HOUR, "queued"), (25 * HOUR, "refused")] {
        let api = TestApi::new().await;
        let web = bound(&api).await;
        let sent_at = api.world.clock.now().before(72 * HOUR);
        let late = Message {
            sent_at: Some(sent_at),
            ..message(&web, "hello")
        };
        let shown = api.dispatch(late, sent_at.after(age_when_it_came)).await;
        assert_eq!(shown["state"], state, "{shown}");
    }
}

#[tokio::test]
async fn message_with_only_a_quotation_is_answered() {
    let quoting = |text: &str| Quoted {
        text: text.to_owned(),
        parts: Vec::new(),
    };
    for (quoted, state) in [
        (None, "refused"),
        (Some(quoting("")), "refused"),
        (Some(quoting("look at this")), "queued"),
    ] {
        let api = TestApi::new().await;
        let web = bound(&api).await;
        let wordless = Message {
            quoted,
            ..message(&web, "")
        };
        let shown = api.dispatch(wordless, api.world.clock.now()).await;
        assert_eq!(shown["state"], state, "{shown}");
    }
}

#[tokio::test]
async fn sender_of_any_message_is_recorded() {
    for first_word in ["/new", "/help", "/status", "/stop", "hello"] {
        let api = TestApi::new().await;
        let web = bound(&api).await;
        let now = api.world.clock.now();
        api.dispatch(message(&web, first_word), now).await;
        assert_eq!(api.users().await, 1, "{first_word}");
    }
    let api = TestApi::new().await;
    let unbound = api.web("Web").await;
    let shown = api.dispatch(message(&unbound, "hello"), api.world.clock.now()).await;
    assert_eq!((&shown["state"], api.users().await), (&json!("refused"), 1));
}

#[tokio::test]
async fn erased_person_is_recorded_again() {
    let api = TestApi::new().await;
    api.work();
    let web = bound(&api).await;
    let users = format!("{DEFAULT}/users");
    for _ in 0..2 {
        api.say(&web, "hello").await;
        let shown = api.wait(&users, |it| !it["items"][0].is_null()).await;
        let id = shown["items"][0]["id"].as_str().unwrap();
        assert_eq!(api.delete(&format!("{users}/{id}")).await.status, 204);
    }
}

#[tokio::test]
async fn webhook_of_an_unknown_integration_is_refused_unread() {
    let api = TestApi::new().await;
    let request = |method: &str| WebhookRequest {
        method: method.to_owned(),
        ..WebhookRequest::default()
    };
    for id in ["int_unknown".to_owned(), format!("int_{}", "a".repeat(3000))] {
        let id = IntegrationId::new(id);
        let answer = async |method| receive::receive(&api.world, "web", &id, &request(method), None).await;
        assert_eq!(answer("POST").await, WebhookAnswer::empty(401));
        assert_eq!(answer("GET").await.status, 200, "a probe");
    }
}
