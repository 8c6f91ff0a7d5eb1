//! Questions per minute: never more than the limit, however many processes count.

use std::time::Duration;

use tieline_core::ids::SenderId;
use tieline_store::message_rate::{Whose, count};

use crate::tables::{NOW, fresh, integration, organization, race};

const MINUTE: Duration = Duration::from_secs(60);

#[tokio::test]
async fn concurrent_questions_are_admitted_up_to_the_limit() {
    let it = fresh().await;
    let counted = race((0..20).map(|_| {
        let store = it.store.clone();
        async move {
            // Like a dispatcher, whose event is redelivered.
            loop {
                if let Ok(counted) = count(&store, Whose::Organization(&organization()), 7, NOW).await {
                    break counted;
                }
            }
        }
    }))
    .await;
    assert_eq!(counted.iter().filter(|it| it.is_ok()).count(), 7);
    assert!(counted.iter().all(|it| it.is_ok() || *it == Err(NOW.after(MINUTE))));
}

#[tokio::test]
async fn a_new_minute_starts_with_the_first_question_after_the_last() {
    let it = fresh().await;
    let (bot, ann, bob) = (integration(), SenderId::new("ann"), SenderId::new("bob"));
    let ask = async |who: &SenderId, at| count(&it.store, Whose::Person(&bot, who), 2, at).await.unwrap();
    let next = NOW.after(MINUTE);
    assert_eq!(ask(&ann, NOW).await, Ok(()));
    assert_eq!(ask(&ann, NOW.after(MINUTE / 2)).await, Ok(()));
    assert_eq!(ask(&ann, NOW.after(MINUTE / 2)).await, Err(next));
    assert_eq!(
        ask(&bob, NOW.after(MINUTE / 2)).await,
        Ok(()),
        "each person has a minute of their own"
    );
    assert_eq!(ask(&ann, next.before(Duration::from_millis(1))).await, Err(next));
    assert_eq!(ask(&ann, next).await, Ok(()));
    assert_eq!(ask(&ann, next).await, Ok(()));
    assert_eq!(ask(&ann, next).await, Err(next.after(MINUTE)));
}

#[tokio::test]
async fn a_clock_hours_ahead_does_not_block_questions() {
    let it = fresh().await;
    let (bot, ann) = (integration(), SenderId::new("ann"));
    let ask = async |at| count(&it.store, Whose::Person(&bot, &ann), 1, at).await.unwrap();
    assert_eq!(ask(NOW.after(Duration::from_secs(7200))).await, Ok(()));
    assert_eq!(ask(NOW).await, Ok(()));
    assert_eq!(ask(NOW).await, Err(NOW.after(MINUTE)));
}
