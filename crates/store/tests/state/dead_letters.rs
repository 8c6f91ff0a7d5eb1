//! Dead letters.

use tieline_core::ids::{ConversationId, MessageId, OrganizationId};
use tieline_store::deadletter::{self, DeadLetter};

use crate::tables::{DAY, Fresh, NOW, at, fresh, integration, organization};

fn letter(second: i64) -> DeadLetter {
    DeadLetter {
        message: MessageId::new(format!("msg_-{second}")),
        organization: organization(),
        integration: Some(integration()),
        conversation: Some(ConversationId::new("cnv_1")),
        received_at: at(second),
        failed_at: at(second + 60),
        reason: "connect".into(),
        body: None,
    }
}

/// The letters that are listed after the one of this second, which may have been removed.
async fn below(it: &Fresh, second: i64) -> Vec<DeadLetter> {
    let cursor = letter(second).cursor();
    let page = deadletter::list(&it.store, &organization(), Some(&cursor), 9, at(99)).await;
    page.unwrap().items
}

#[tokio::test]
async fn letters_are_listed_newest_first_and_found_by_id() {
    let it = fresh().await;
    for second in [2, 1, 3] {
        deadletter::put(&it.store, &letter(second)).await.unwrap();
    }
    for limit in [1, 2, 100] {
        let mut found = Vec::new();
        let mut cursor = None;
        loop {
            let page = deadletter::list(&it.store, &organization(), cursor.as_deref(), limit, at(99))
                .await
                .unwrap();
            found.extend(page.items);
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(found, [letter(3), letter(2), letter(1)]);
    }
    assert_eq!(below(&it, 3).await, [letter(2), letter(1)]);
    let id = letter(2).id();
    assert_eq!(
        deadletter::get(&it.store, &organization(), &id, NOW).await.unwrap(),
        Some(letter(2))
    );
    deadletter::remove(&it.store, &letter(2)).await.unwrap();
    deadletter::remove(&it.store, &letter(2)).await.unwrap();
    assert_eq!(
        deadletter::get(&it.store, &organization(), &id, NOW).await.unwrap(),
        None
    );
    assert_eq!(below(&it, 2).await, [letter(1)]);
}

#[tokio::test]
async fn removing_the_first_letter_leaves_a_newer_one() {
    let it = fresh().await;
    deadletter::put(&it.store, &letter(1)).await.unwrap();
    let again = DeadLetter {
        failed_at: at(500),
        reason: "other".into(),
        ..letter(1)
    };
    for put in [&again, &letter(1)] {
        deadletter::put(&it.store, put).await.unwrap();
    }
    // The operator who redrove the message has seen the first one.
    deadletter::remove(&it.store, &letter(1)).await.unwrap();
    let page = deadletter::list(&it.store, &organization(), None, 9, NOW)
        .await
        .unwrap();
    assert_eq!(page.items, [again]);
}

/// The redrive is about to remove the first one.
#[tokio::test]
async fn a_machine_whose_clock_is_behind_can_write_a_newer_letter() {
    let it = fresh().await;
    deadletter::put(&it.store, &letter(1)).await.unwrap();
    let again = DeadLetter {
        failed_at: at(59),
        ..letter(1)
    };
    deadletter::put(&it.store, &again).await.unwrap();
    deadletter::remove(&it.store, &letter(1)).await.unwrap();
    let found = deadletter::get(&it.store, &organization(), &again.id(), NOW).await;
    assert_eq!(found.unwrap(), Some(again));
}

#[tokio::test]
async fn letters_of_others_and_expired_ones_are_not_seen() {
    let it = fresh().await;
    deadletter::put(&it.store, &letter(1)).await.unwrap();
    let (other, id) = (OrganizationId::new("other"), letter(1).id());
    assert_eq!(deadletter::get(&it.store, &other, &id, NOW).await.unwrap(), None);
    let later = at(61).after(DAY * 30);
    assert_eq!(
        deadletter::get(&it.store, &organization(), &id, later).await.unwrap(),
        None
    );
    let page = deadletter::list(&it.store, &organization(), None, 9, later)
        .await
        .unwrap();
    assert_eq!(page.items, []);
}

#[tokio::test]
async fn invalid_ids_find_nothing() {
    let it = fresh().await;
    for id in ["", "x", "1760000000000-", "-msg_1", "17600000000xx-msg_1"] {
        assert_eq!(
            deadletter::get(&it.store, &organization(), id, NOW).await.unwrap(),
            None
        );
    }
}

#[tokio::test]
async fn an_unreadable_body_is_stored_sealed() {
    let it = fresh().await;
    let unreadable = DeadLetter {
        organization: OrganizationId::new(""),
        body: Some("{not json".into()),
        ..letter(1)
    };
    deadletter::put(&it.store, &unreadable).await.unwrap();
    let found = deadletter::get(&it.store, &unreadable.organization, &unreadable.id(), NOW)
        .await
        .unwrap();
    assert_eq!(found, Some(unreadable.clone()));
    let scan = it.client.scan().table_name(&it.tables.state).send().await.unwrap();
    assert!(!format!("{:?}", scan.items()).contains("not json"));
    let long = DeadLetter {
        received_at: at(2),
        body: Some("长".repeat(400_000)),
        ..unreadable
    };
    deadletter::put(&it.store, &long).await.unwrap();
    let found = deadletter::get(&it.store, &long.organization, &long.id(), NOW)
        .await
        .unwrap();
    assert_eq!(found, Some(long));
}
