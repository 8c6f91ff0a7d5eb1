//! Notifications of organizations.

use tieline_core::ids::MessageId;
use tieline_core::incident::{Incident, IncidentBook, IncidentKind, UntoldLetters};
use tieline_store::StoreError;
use tieline_store::notifications::{self, Attempt, Notifications, Outgoing};

use crate::tables::{at, fresh, integration, organization, with_other_key};

fn full(mut of: Notifications) -> Notifications {
    of.book = IncidentBook {
        incidents: vec![Incident {
            integration: integration(),
            kind: IncidentKind::Down,
            reason: "kicked".to_owned(),
            since: at(1),
            is_told: true,
            told_at: Some(at(2)),
            is_over: false,
            unproven_since: Some(at(5)),
        }],
        letters: UntoldLetters {
            n: 3,
            told_at: Some(at(4)),
        },
    };
    of.letters_until = Some(at(5));
    of.outbox = vec![Outgoing {
        id: "ntf_1".to_owned(),
        at: at(6),
        attempts: 1,
        next_at: at(7),
        body: "an agent's own words".to_owned(),
    }];
    of.own_messages = vec![MessageId::new("msg_1")];
    of.last_attempt = Some(Attempt {
        at: at(8),
        error: Some("status 500".to_owned()),
        message: Some(MessageId::new("msg_2")),
    });
    of
}

#[tokio::test]
async fn notifications_round_trip_and_their_texts_are_sealed() {
    let it = fresh().await;
    let first = notifications::get(&it.store, &organization()).await.unwrap();
    let mut kept = full(first);
    notifications::save(&it.store, &organization(), &mut kept)
        .await
        .unwrap();
    assert_eq!(notifications::get(&it.store, &organization()).await.unwrap(), kept);
    let raw = it.client.scan().table_name(&it.tables.state).send().await.unwrap();
    assert!(!format!("{raw:?}").contains("own words"));
    let stolen = notifications::get(&with_other_key(&it), &organization()).await;
    assert!(matches!(stolen, Err(StoreError::Unsealable)));
}

#[tokio::test]
async fn one_of_two_processes_that_read_the_same_version_writes() {
    let it = fresh().await;
    let read = async || notifications::get(&it.store, &organization()).await.unwrap();
    let (mut one, mut other) = (read().await, read().await);
    notifications::save(&it.store, &organization(), &mut one).await.unwrap();
    let late = notifications::save(&it.store, &organization(), &mut other).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    // The process that wrote may write again.
    notifications::save(&it.store, &organization(), &mut one).await.unwrap();
    let late = notifications::save(&it.store, &organization(), &mut read().await).await;
    assert!(late.is_ok());
}
