//! What becomes of messages on their road, as the ledger and the list of people tell it.

use std::time::Duration;

use serde_json::Value;
use tieline_bridge::dispatch;
use tieline_core::envelope::{EnvelopeV1, StoredEvent};
use tieline_core::event::{Chat, ChatKind, Event, Message, Quoted, Sender};
use tieline_core::ids::{ChatId, IntegrationId, MessageId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use crate::place::{DEFAULT, Place};

const HOUR: Duration = Duration::from_hours(1);

/// A message of lisi's in a direct chat.
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

impl Place {
    /// Dispatches a message that came at that time, and gives it as the ledger tells it.
    async fn dispatch(&self, message: Message, received_at: Timestamp) -> Value {
        let id = MessageId::new("tl-road");
        let integration = message.target.integration.clone();
        let event = serde_json::to_vec(&StoredEvent::from(Event::Message(message))).unwrap();
        let envelope = EnvelopeV1 {
            organization: OrganizationId::new("default"),
            integration,
            reply: ReplyId::new("tl-road-reply"),
            received_at,
            event: self.world.store.keyring().seal(&event, id.as_str()),
            message: id,
        };
        dispatch::dispatch(&self.world, &envelope).await.unwrap();
        self.get(&format!("{DEFAULT}/messages/{}", envelope.message)).await.ok()
    }
}

/// An integration of our own with an echo behind it.
async fn bound(place: &Place) -> String {
    let (web, agent) = (place.web("Web").await, place.echo("Echo").await);
    place.trigger(&web, &agent).await;
    web
}

#[tokio::test]
async fn stale_is_what_was_old_when_it_came() {
    for (age_when_it_came, state) in [(23 * HOUR, "queued"), (25 * HOUR, "refused")] {
        let place = Place::new().await;
        let web = bound(&place).await;
        let sent_at = place.world.clock.now().before(72 * HOUR);
        let late = Message {
            sent_at: Some(sent_at),
            ..message(&web, "hello")
        };
        let shown = place.dispatch(late, sent_at.after(age_when_it_came)).await;
        assert_eq!(shown["state"], state, "{shown}");
    }
}

#[tokio::test]
async fn a_quotation_is_something_to_be_answered() {
    let quoting = |text: &str| Quoted {
        text: text.to_owned(),
        parts: Vec::new(),
    };
    for (quoted, state) in [
        (None, "refused"),
        (Some(quoting("")), "refused"),
        (Some(quoting("look at this")), "queued"),
    ] {
        let place = Place::new().await;
        let web = bound(&place).await;
        let wordless = Message {
            quoted,
            ..message(&web, "")
        };
        let shown = place.dispatch(wordless, place.world.clock.now()).await;
        assert_eq!(shown["state"], state, "{shown}");
    }
}
