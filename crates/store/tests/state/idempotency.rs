use std::time::Duration;

use tieline_store::idempotency::{self, Answer, Claim, Claimed, LEASE, LIFETIME, Seed};

use crate::tables::{NOW, fresh};

const KEY: (&str, &str) = ("root", "key-1");
const SEED: Seed = [1; 64];

#[track_caller]
fn mine(claim: Claim) -> Claimed {
    match claim {
        Claim::Mine(claimed) => claimed,
        other => panic!("{other:?}"),
    }
}

fn answer() -> Answer {
    Answer {
        status: 201,
        headers: vec![("etag".to_owned(), "\"v1\"".to_owned())],
        body: "{\"token\":\"tl_secret\"}".to_owned(),
    }
}

#[tokio::test]
async fn a_request_is_answered_once_and_repeated_answers_are_the_same() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let claimed = mine(idempotency::claim(store, KEY, &["POST", "a"], SEED, NOW).await.unwrap());
    assert_eq!((claimed.seed, claimed.is_repeat), (SEED, false));
    let again = |request: &'static str, now| async move {
        idempotency::claim(store, KEY, &["POST", request], [2; 64], now)
            .await
            .unwrap()
    };
    assert_eq!(again("a", NOW).await, Claim::Running);
    assert_eq!(again("b", NOW).await, Claim::Reused);
    idempotency::answer(store, &claimed, &answer()).await.unwrap();
    let late = NOW.after(LIFETIME).before(Duration::from_secs(1));
    assert_eq!(again("a", late).await, Claim::Answered(answer()));
    let other = idempotency::claim(store, ("acme/tok_1", "key-1"), &["POST", "a"], SEED, NOW).await;
    mine(other.unwrap());
    assert_eq!(mine(again("b", NOW.after(LIFETIME)).await).seed, [2; 64]);
}

#[tokio::test]
async fn a_request_of_a_dead_process_is_repeated_with_its_seed() {
    let fresh = fresh().await;
    let store = &fresh.store;
    let first = mine(idempotency::claim(store, KEY, &["a"], SEED, NOW).await.unwrap());
    let later = NOW.after(LEASE);
    let second = mine(idempotency::claim(store, KEY, &["a"], [2; 64], later).await.unwrap());
    assert_eq!((second.seed, second.at, second.is_repeat), (SEED, NOW, true));
    assert_eq!(
        idempotency::claim(store, KEY, &["a"], [3; 64], later).await.unwrap(),
        Claim::Running
    );
    // The answer of the first process is not stored.
    let lost = Answer {
        status: 500,
        ..answer()
    };
    idempotency::answer(store, &first, &lost).await.unwrap();
    idempotency::release(store, &first).await.unwrap();
    assert_eq!(
        idempotency::claim(store, KEY, &["a"], [3; 64], later).await.unwrap(),
        Claim::Running
    );
    idempotency::release(store, &second).await.unwrap();
    let third = mine(idempotency::claim(store, KEY, &["a"], [4; 64], later).await.unwrap());
    assert_eq!((third.seed, third.is_repeat), (SEED, true));
    idempotency::answer(store, &third, &answer()).await.unwrap();
    assert_eq!(
        idempotency::claim(store, KEY, &["a"], [5; 64], later).await.unwrap(),
        Claim::Answered(answer())
    );
}
