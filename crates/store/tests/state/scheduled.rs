//! Scheduled messages: stored together with their place among those that are due.

use std::time::Duration;

use tieline_core::ids::{ChatId, IntegrationId};
use tieline_store::Store;
use tieline_store::scheduled::{self, Audience, Content, Scheduled, State};

use crate::tables::{NOW, fresh, organization};

pub(crate) fn later() -> Scheduled {
    Scheduled {
        id: "sch_1".to_owned(),
        organization: organization(),
        integration: IntegrationId::new("int_1"),
        at: NOW.after(Duration::from_mins(1)),
        to: Audience::Chat(ChatId::new("ops")),
        content: Content::Text("stand-up".to_owned()),
        state: State::Waiting,
        n_said: 0,
        cursor: None,
        begun: false,
        created_at: NOW,
        version: 1,
    }
}

/// How many are due, and whether the message is stored.
pub(crate) async fn left(store: &Store) -> (usize, bool) {
    let due = scheduled::due(store, 10, NOW.after(Duration::from_hours(1)))
        .await
        .unwrap();
    let found = scheduled::get(store, &organization(), "sch_1", NOW).await.unwrap();
    (due.len(), found.is_some())
}

#[tokio::test]
async fn message_is_created_once() {
    let fresh = fresh().await;
    for _ in 0..2 {
        scheduled::create(&fresh.store, &later()).await.unwrap();
        assert_eq!(left(&fresh.store).await, (1, true));
    }
}
