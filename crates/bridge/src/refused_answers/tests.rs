//! What happens to refused answers when the person writes again.

use tieline_core::conversation::ConversationKey;
use tieline_core::event::{Chat, ChatKind};
use tieline_core::ids::{ChatId, SenderId};
use tieline_core::message_state::MessageState;
use tieline_core::reply::Progress;
use tieline_core::trigger::SessionScope;
use tieline_store::reply::{self, ReplyRecord};
use tieline_store::{conversation, deadletter, message};

use super::*;
use crate::integration_log;
use crate::run::fixture::PolledFixture;

/// A message in this state whose recorded answer was refused after a part of it, and its conversation.
async fn refused(state: MessageState) -> (PolledFixture, Conversation) {
    let it = PolledFixture::with(|message| message.state = state).await;
    let (world, now) = (&it.world, it.world.clock.now());
    let before = it.reply().await;
    let mut after = ReplyRecord {
        delivered: true,
        progress: Progress::write(&"a part"),
        ..before.clone()
    };
    reply::save(&world.store, Some(&before), &mut after, now).await.unwrap();
    integration_log::dead_letter(world, &it.message, "window_closed")
        .await
        .unwrap();
    let chat = Chat {
        kind: ChatKind::Direct,
        id: ChatId::new("lisi"),
        thread: None,
    };
    let (organization, integration) = (&it.message.organization, &it.message.integration);
    let sender = SenderId::new("lisi");
    let key = ConversationKey::of(organization, integration, &chat, &sender, SessionScope::Sender);
    let id = key.id();
    let empty = Conversation::new(key, now);
    let made = update::<_, StoreError>(world, &id, |_| Change::save(empty.clone(), ()));
    made.await.unwrap();
    keep(world, &id, &it.message.id).await.unwrap();
    let kept = conversation::load(&world.store, &id, now).await.unwrap().unwrap();
    assert_eq!(kept.refused_answers, std::slice::from_ref(&it.message.id));
    (it, kept)
}

/// Checks that the answer waits no longer, and returns the reply.
async fn delivered(it: &PolledFixture, conversation: &Conversation) -> ReplyRecord {
    let done = deliver(&it.world, conversation).await.done;
    assert_eq!(done, conversation.refused_answers);
    it.reply().await
}

async fn n_dead_letters(it: &PolledFixture) -> usize {
    let (store, now) = (&it.world.store, it.world.clock.now());
    let found = deadletter::list(store, &it.message.organization, None, 10, now).await;
    found.unwrap().items.len()
}

#[tokio::test]
async fn rest_of_a_refused_answer_is_delivered_once() {
    let (it, conversation) = refused(MessageState::Failed).await;
    // The process died before it was forgotten.
    for _ in 0..2 {
        let reply = delivered(&it, &conversation).await;
        assert_eq!((reply.delivered, reply.redrive), (false, 1));
        assert_eq!(reply.progress, Progress::write(&"a part"));
        assert_eq!(n_dead_letters(&it).await, 0);
    }
}

#[tokio::test]
async fn redelivery_that_a_crash_interrupted_is_continued() {
    let (it, conversation) = refused(MessageState::Failed).await;
    let (store, now) = (&it.world.store, it.world.clock.now());
    assert!(message::note_redelivery(store, &it.message.id, 0, now).await.unwrap());
    let reply = delivered(&it, &conversation).await;
    assert_eq!((reply.delivered, reply.redrive), (false, 1));
}

#[tokio::test]
async fn answer_that_an_operator_has_redriven_is_left() {
    let (it, conversation) = refused(MessageState::Answered).await;
    let reply = delivered(&it, &conversation).await;
    assert_eq!((reply.delivered, reply.redrive), (true, 0));
}
