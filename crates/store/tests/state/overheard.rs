//! Group messages that are not addressed to the bot.

use tieline_core::conversation::Heard;
use tieline_core::event::{Chat, ChatKind, Sender};
use tieline_core::ids::{ChatId, IntegrationId, MessageId, SenderId, UserId};
use tieline_store::erase;
use tieline_store::overheard::{self, Overheard, Place};

use crate::tables::{Fresh, at, fresh};

fn group(id: &str) -> Chat {
    Chat {
        kind: ChatKind::Group,
        id: ChatId::new(id),
        thread: None,
    }
}

fn said(text: &str) -> Overheard {
    Overheard {
        sender: Sender {
            id: SenderId::new("lisi"),
            name: None,
        },
        text: text.to_owned(),
    }
}

/// Stores a message until second 100.
async fn keep(it: &Fresh, chat: &str, second: i64, user: &str, text: &str) {
    let place = Place {
        integration: &IntegrationId::new("int_1"),
        chat: &group(chat),
        received_at: at(second),
        message: &MessageId::new(format!("msg_{text}")),
        user: &UserId::new(user),
    };
    overheard::put(&it.store, place, &said(text), at(100)).await.unwrap();
}

async fn latest(it: &Fresh, chat: &str, (from, to): (i64, i64), limit: usize, now: i64) -> Vec<String> {
    let heard = Heard {
        from: at(from),
        to: at(to),
    };
    let integration = IntegrationId::new("int_1");
    let found = overheard::latest(&it.store, &integration, &group(chat), heard, limit, at(now)).await;
    found.unwrap().into_iter().map(|(_, said)| said.text).collect()
}

#[tokio::test]
async fn latest_messages_of_a_period_are_returned_oldest_first() {
    let it = fresh().await;
    for (chat, second, text) in [("g", 3, "c"), ("g", 1, "a"), ("h", 2, "other"), ("g", 2, "b")] {
        keep(&it, chat, second, "usr_1", text).await;
    }
    assert_eq!(latest(&it, "g", (0, 9), 9, 9).await, ["a", "b", "c"]);
    assert_eq!(latest(&it, "g", (0, 9), 2, 9).await, ["b", "c"]);
    assert_eq!(
        latest(&it, "g", (1, 2), 9, 9).await,
        ["b"],
        "the beginning is not part of it"
    );
    assert!(latest(&it, "g", (3, 3), 9, 9).await.is_empty());
    assert!(latest(&it, "g", (0, 9), 9, 101).await.is_empty(), "expired");
}

#[tokio::test]
async fn message_that_is_delivered_again_counts_once() {
    let it = fresh().await;
    for second in [1, 1, 4] {
        keep(&it, "g", second, "usr_1", "once").await;
    }
    assert_eq!(latest(&it, "g", (0, 9), 9, 9).await, ["once"]);
}

#[tokio::test]
async fn messages_of_one_person_can_be_erased_in_all_groups() {
    let it = fresh().await;
    for (chat, user, text) in [("g", "usr_1", "a"), ("h", "usr_1", "b"), ("g", "usr_11", "c")] {
        keep(&it, chat, 1, user, text).await;
    }
    erase::overheard(&it.store, &IntegrationId::new("int_1"), &UserId::new("usr_1"))
        .await
        .unwrap();
    assert_eq!(latest(&it, "g", (0, 9), 9, 9).await, ["c"]);
    assert!(latest(&it, "h", (0, 9), 9, 9).await.is_empty());
}

#[tokio::test]
async fn one_message_can_be_erased() {
    let it = fresh().await;
    for (chat, text) in [("g", "a"), ("g", "b"), ("h", "a")] {
        keep(&it, chat, 1, "usr_1", text).await;
    }
    let (integration, message) = (IntegrationId::new("int_1"), MessageId::new("msg_a"));
    erase::overheard_message(&it.store, &integration, &group("g"), &message)
        .await
        .unwrap();
    assert_eq!(latest(&it, "g", (0, 9), 9, 9).await, ["b"]);
    assert_eq!(latest(&it, "h", (0, 9), 9, 9).await, ["a"]);
}
