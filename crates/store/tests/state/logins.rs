//! QR code logins.

use tieline_store::login::{self, LoginRecord, LoginState};
use tieline_store::{StoreError, login::put};

use crate::tables::{at, fresh, integration, with_other_key};

fn begun(version: u64) -> LoginRecord {
    LoginRecord {
        state: LoginState::Waiting,
        code: None,
        qr_url: "https://example.com/q/1".to_owned(),
        ticket: "t".to_owned(),
        expires_at: at(300),
        polled_until: None,
        version,
    }
}

#[tokio::test]
async fn one_of_two_concurrent_writes_is_a_conflict() {
    let it = fresh().await;
    let (mut one, mut other) = (begun(0), begun(0));
    put(&it.store, &integration(), &mut one, at(0)).await.unwrap();
    let refused = put(&it.store, &integration(), &mut other, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
    let mut read = login::get(&it.store, &integration(), at(0)).await.unwrap().unwrap();
    assert_eq!(read, one);
    read.state = LoginState::Scanned;
    read.polled_until = Some(at(10));
    put(&it.store, &integration(), &mut read, at(0)).await.unwrap();
    let refused = put(&it.store, &integration(), &mut one, at(0)).await;
    assert!(matches!(refused, Err(StoreError::Conflict)));
    assert_eq!(login::get(&it.store, &integration(), at(0)).await.unwrap(), Some(read));
}

#[tokio::test]
async fn login_expires_a_day_after_its_code_and_another_can_start() {
    let it = fresh().await;
    put(&it.store, &integration(), &mut begun(0), at(0)).await.unwrap();
    let later = at(300 + 24 * 3600);
    assert_eq!(login::get(&it.store, &integration(), later).await.unwrap(), None);
    put(&it.store, &integration(), &mut begun(0), later).await.unwrap();
    login::remove(&it.store, &integration()).await.unwrap();
    assert_eq!(login::get(&it.store, &integration(), at(0)).await.unwrap(), None);
}

#[tokio::test]
async fn code_is_sealed() {
    let it = fresh().await;
    put(&it.store, &integration(), &mut begun(0), at(0)).await.unwrap();
    let unsealed = login::get(&with_other_key(&it), &integration(), at(0)).await;
    assert!(matches!(unsealed, Err(StoreError::Unsealable)));
}
