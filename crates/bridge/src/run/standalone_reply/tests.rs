//! Who pushes the rest of a polled reply, and when.

use tieline_core::account::ConnectionMode;
use tieline_store::deadletter;

use super::*;
use crate::lease_watch::{LeaseSignal, LeaseWatch};
use crate::run::fixture::{PolledFixture, with_unknown_key};
use crate::test_support;

/// The poll that ended polling has sent a wake-up for it too, and the platform accepts the rest once.
#[tokio::test]
async fn run_does_not_push_the_rest_of_a_polled_answer() {
    let it = PolledFixture::new().await;
    let now = it.world.clock.now();
    let bot = test_support::bot(it.platform, ConnectionMode::Webhook, true);
    let Some(Event::Message(asked)) = crate::event_of(&it.world, &it.message).unwrap() else {
        panic!("no message");
    };
    let lease = now.after(it.world.settings.lease);
    let (_keeper, hold) = LeaseWatch::new(it.world.clock, lease, LeaseSignal::Nothing);
    let found = it.reply().await;
    assert!(found.closed.is_some());
    let mut showing =
        ReplyDelivery::new(&it.world, &bot, &asked.target, Some(found.clone()), || found).under_lease(hold, 7);
    let shown = showing.finish(None).await.unwrap();
    assert!(
        matches!(shown, DeliveryOutcome::NotBefore(at) if at <= it.world.clock.now()),
        "{shown:?}"
    );
    assert_eq!(it.n_pushed(), 0);
}

#[tokio::test]
async fn rest_of_a_polled_answer_is_pushed_once_its_message_has_ended() {
    let it = PolledFixture::new().await;
    assert_eq!(it.wake(None).await.unwrap(), Next::Again(UNTIL_ENDED));
    let reply = it.reply().await;
    assert_eq!((reply.lease, reply.delivered, it.n_pushed()), (None, false, 0));
    it.end_message().await;
    assert_eq!(it.wake(None).await.unwrap(), Next::Done);
    assert_eq!(it.n_pushed(), 1);
    assert!(it.reply().await.delivered);
    assert_eq!(it.wake(None).await.unwrap(), Next::Done);
    assert_eq!(it.n_pushed(), 1);
}

/// The chat may show the answer that the redrive has brought, though the reply's own record doesn't say so.
#[tokio::test]
async fn wake_up_of_a_reply_that_was_redriven_since_does_nothing() {
    for (sent_after, expected) in [(Some(0), 0), (Some(1), 1), (Some(2), 1), (None, 1)] {
        let it = PolledFixture::new().await;
        it.end_message().await;
        let before = it.reply().await;
        let mut after = ReplyRecord {
            redrive: 1,
            ..before.clone()
        };
        let (store, now) = (&it.world.store, it.world.clock.now());
        reply::restart(store, &before, &mut after, now).await.unwrap();
        reply::close(store, &before.id, &Progress::write(&"some"), now)
            .await
            .unwrap();
        assert_eq!(it.wake(sent_after).await.unwrap(), Next::Done);
        assert_eq!(it.n_pushed(), expected, "{sent_after:?}");
    }
}

/// The queue delivers the wake-up again: another process may have sealed the message with a key that this one reads a little later.
#[tokio::test]
async fn reply_whose_message_has_an_unknown_key_is_retried() {
    let it = PolledFixture::with(|message| message.event = with_unknown_key(&message.event)).await;
    it.end_message().await;
    let woken = it.wake(None).await;
    assert!(
        matches!(woken, Err(RunError::Store(StoreError::UnknownKey))),
        "{woken:?}"
    );
    assert!(!it.reply().await.delivered);
}

/// The process that wrote the dead letter was cut off before it recorded that the reply is given up.
#[tokio::test]
async fn reply_that_a_later_attempt_delivers_leaves_no_dead_letter() {
    let it = PolledFixture::new().await;
    it.end_message().await;
    let letters = async || {
        let (store, now) = (&it.world.store, it.world.clock.now());
        let found = deadletter::list(store, &it.message.organization, None, 10, now).await;
        found.unwrap().items.len()
    };
    note_refusal(&it.world, &it.message, "unknown_outcome").await.unwrap();
    assert_eq!(letters().await, 1);
    assert_eq!(it.wake(None).await.unwrap(), Next::Done);
    assert_eq!((it.n_pushed(), letters().await), (1, 0));
}

/// An operator can restore the integration, and then redrive the answer.
#[tokio::test]
async fn answer_whose_integration_is_deleted_is_kept_as_a_dead_letter() {
    let it = PolledFixture::new().await;
    it.end_message().await;
    let (store, now) = (&it.world.store, it.world.clock.now());
    let bot = integration::get(store, &it.message.integration).await.unwrap().unwrap();
    integration::delete(store, &bot, now).await.unwrap();
    assert_eq!(it.wake(None).await.unwrap(), Next::Done);
    assert_eq!(it.n_pushed(), 0);
    assert!(it.reply().await.delivered);
    let kept = deadletter::list(store, &it.message.organization, None, 10, now)
        .await
        .unwrap();
    let reasons: Vec<_> = kept
        .items
        .iter()
        .map(|letter| (&letter.message, &*letter.reason))
        .collect();
    assert_eq!(reasons, [(&it.message.id, INTEGRATION_GONE)]);
    let message = message::get(store, &it.message.id, now).await.unwrap().unwrap();
    let last = message.steps.last().unwrap();
    assert_eq!(
        (last.step.as_str(), last.code.as_deref()),
        ("delivery_refused", Some(INTEGRATION_GONE))
    );
}
