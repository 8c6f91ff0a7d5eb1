//! The target of a proactive message.

use tieline_core::account::ConnectionMode;
use tieline_core::connector::Connector;
use tieline_core::conversation::Conversation;

use super::*;
use crate::conversation::{Change, update};
use crate::test_support::{self, FakeConnector};

const CONNECTOR: &dyn Connector = &FakeConnector::LASTING;

/// The target of a message to a chat in which this person has spoken before.
async fn target_of(kind: ChatKind, scope: SessionScope) -> (ReplyTarget, Option<SenderId>) {
    let (_engine, world) = test_support::world(&[CONNECTOR]).await;
    let bot = test_support::bot(CONNECTOR, ConnectionMode::Webhook, true);
    let (chat, sender) = (
        Chat {
            kind,
            id: ChatId::new("room"),
            thread: None,
        },
        SenderId::new("lisi"),
    );
    let (organization, integration) = (&bot.account.organization, &bot.account.integration);
    let key = ConversationKey::of(organization, integration, &chat, &sender, scope);
    let (id, empty) = (key.id(), Conversation::new(key, world.clock.now()));
    let made = update::<_, StoreError>(&world, &id, |_| Change::save(empty.clone(), ()));
    made.await.unwrap();
    let (message, listener) = message(&world, &bot, Recipient::Chat(chat.id), [7; 12]).await.unwrap();
    assert_eq!(message.sender.id, message.target.asker);
    (message.target, listener)
}

#[tokio::test]
async fn known_direct_chat_is_reached_by_its_person_too() {
    let person = SenderId::new("lisi");
    let (target, listener) = target_of(ChatKind::Direct, SessionScope::Sender).await;
    assert_eq!((target.chat.kind, target.chat.id.as_str()), (ChatKind::Direct, "room"));
    assert_eq!((&target.asker, listener.as_ref()), (&person, Some(&person)));
}

#[tokio::test]
async fn no_person_is_assumed_in_a_group_or_a_shared_conversation() {
    for (kind, scope) in [
        (ChatKind::Direct, SessionScope::Chat),
        (ChatKind::Group, SessionScope::Sender),
        (ChatKind::Group, SessionScope::Chat),
    ] {
        let (target, listener) = target_of(kind, scope).await;
        assert_eq!((target.asker.as_str(), listener), ("", None), "{kind:?} {scope:?}");
    }
}
