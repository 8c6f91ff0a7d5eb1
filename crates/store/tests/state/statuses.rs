//! The status of an integration.

use std::time::Duration;

use tieline_store::message::Troubles;
use tieline_store::status::{
    self, ConnectionState, HandOver, KickRecord, SignatureFailure, Status, StatusChange, StatusError,
};
use tieline_store::{Store, StoreError};

use crate::tables::{at, fresh, integration, race};

async fn get(store: &Store) -> Status {
    status::get(store, &integration()).await.unwrap()
}

#[tokio::test]
async fn the_status_is_empty_at_first() {
    let it = fresh().await;
    assert_eq!(get(&it.store).await, Status::default());
}

#[tokio::test]
async fn the_status_round_trips_and_can_be_cleared() {
    let it = fresh().await;
    let error = StatusError {
        at: at(4),
        code: "40014".into(),
        message: "invalid token".into(),
    };
    let kick = KickRecord {
        at: at(9),
        down: true,
        version: 10,
    };
    let unproved = SignatureFailure {
        reason: "signature does not match".into(),
        field: Some("token".into()),
    };
    let handed_over = HandOver::new(at(13), Duration::from_millis(14));
    assert_eq!(handed_over.gap(), Duration::from_millis(14));
    let changes = [
        StatusChange::State(ConnectionState::Disconnected, Some("kicked".into())),
        StatusChange::ConnectedAt(Some(at(1))),
        StatusChange::LastEventAt(at(2)),
        StatusChange::LastReplyAt(at(3)),
        StatusChange::LastError(error.clone()),
        StatusChange::CredentialsRefused(Some(error.clone())),
        StatusChange::RateLimitedUntil(Some(at(5))),
        StatusChange::ReconnectAttempts(6),
        StatusChange::Owner(Some("node".into())),
        StatusChange::VerifiedAt(at(7)),
        StatusChange::LastSignatureFailureAt(at(8)),
        StatusChange::SignatureFailure(unproved.clone()),
        StatusChange::LastConnectedAt(at(11)),
        StatusChange::LastDisconnectedAt(at(12)),
        StatusChange::LastHandOver(handed_over),
        StatusChange::Kick(kick),
    ];
    status::merge(&it.store, &integration(), &changes).await.unwrap();
    let full = Status {
        state: Some(ConnectionState::Disconnected),
        reason: Some("kicked".into()),
        connected_at: Some(at(1)),
        last_event_at: Some(at(2)),
        last_reply_at: Some(at(3)),
        last_error: Some(error.clone()),
        credentials_refused: Some(error),
        rate_limited_until: Some(at(5)),
        reconnect_attempts: 6,
        owner: Some("node".into()),
        verified_at: Some(at(7)),
        last_signature_failure_at: Some(at(8)),
        signature_failure: Some(unproved),
        last_connected_at: Some(at(11)),
        last_disconnected_at: Some(at(12)),
        last_hand_over: Some(handed_over),
        kick: Some(kick),
        failed_answer: None,
        troubles: Troubles::default(),
    };
    assert_eq!(get(&it.store).await, full);
    let changes = [
        StatusChange::State(ConnectionState::Connected, None),
        StatusChange::ConnectedAt(None),
        StatusChange::CredentialsRefused(None),
        StatusChange::RateLimitedUntil(None),
        StatusChange::ReconnectAttempts(0),
        StatusChange::Owner(None),
    ];
    status::merge(&it.store, &integration(), &changes).await.unwrap();
    let emptied = Status {
        state: Some(ConnectionState::Connected),
        reason: None,
        connected_at: None,
        credentials_refused: None,
        rate_limited_until: None,
        reconnect_attempts: 0,
        owner: None,
        ..full
    };
    assert_eq!(get(&it.store).await, emptied);
    status::remove(&it.store, &integration()).await.unwrap();
    assert_eq!(get(&it.store).await, Status::default());
}

#[tokio::test(flavor = "multi_thread")]
async fn several_processes_change_parts_of_a_status() {
    let it = fresh().await;
    let changes = [
        StatusChange::LastEventAt(at(1)),
        StatusChange::LastReplyAt(at(2)),
        StatusChange::VerifiedAt(at(3)),
        StatusChange::State(ConnectionState::Connected, None),
    ];
    race(changes.map(|change| {
        let store = it.store.clone();
        async move { status::merge(&store, &integration(), &[change]).await.unwrap() }
    }))
    .await;
    let status = get(&it.store).await;
    assert_eq!((status.last_event_at, status.last_reply_at), (Some(at(1)), Some(at(2))));
    assert_eq!(
        (status.verified_at, status.state),
        (Some(at(3)), Some(ConnectionState::Connected))
    );
}

#[tokio::test]
async fn holder_with_an_old_fence_is_refused() {
    let it = fresh().await;
    let up = [StatusChange::State(ConnectionState::Connected, None)];
    let down = [StatusChange::State(ConnectionState::Retrying, None)];
    status::merge_as_holder(&it.store, &integration(), 1, &down)
        .await
        .unwrap();
    status::merge_as_holder(&it.store, &integration(), 2, &up)
        .await
        .unwrap();
    status::merge_as_holder(&it.store, &integration(), 2, &up)
        .await
        .unwrap();
    let late = status::merge_as_holder(&it.store, &integration(), 1, &down).await;
    assert!(matches!(late, Err(StoreError::Conflict)));
    assert_eq!(get(&it.store).await.state, Some(ConnectionState::Connected));
}
