//! Old ids of groups.

use tieline_core::ids::{ChatId, IntegrationId};
use tieline_core::timestamp::Timestamp;
use tieline_store::{Store, moved_chat};

use crate::tables::{DAY, NOW, fresh, integration};

async fn old_id(store: &Store, bot: &IntegrationId, chat: &str, now: Timestamp) -> Option<ChatId> {
    moved_chat::old_id(store, bot, &ChatId::new(chat), now).await.unwrap()
}

#[tokio::test]
async fn old_id_of_a_group_is_kept_for_as_long_as_it_is_read() {
    let it = fresh().await;
    let (bot, old) = (integration(), ChatId::new("-400"));
    moved_chat::put(&it.store, &bot, &ChatId::new("-1009"), &old, NOW)
        .await
        .unwrap();
    assert_eq!(old_id(&it.store, &bot, "-1008", NOW).await, None);
    assert_eq!(
        old_id(&it.store, &IntegrationId::new("int_2"), "-1009", NOW).await,
        None
    );
    for days in [199, 399, 798] {
        let found = old_id(&it.store, &bot, "-1009", NOW.after(DAY * days)).await;
        assert_eq!(found.as_ref(), Some(&old), "after {days} days");
    }
    assert_eq!(old_id(&it.store, &bot, "-1009", NOW.after(DAY * 1199)).await, None);
}
