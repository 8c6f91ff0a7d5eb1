//! Events that can't be dispatched are retried soon, with all that follow in their group.

use std::time::{Duration, Instant};

use serde_json::json;
use tieline_bridge::dispatch::batch;
use tieline_bridge::operator::Operator;
use tieline_bridge::receive as callback;
use tieline_bridge::world::World;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::http_types::WebhookRequest;
use tieline_core::ids::IntegrationId;
use tieline_queue::receive::{MAX_BATCH, MAX_WAIT, Received, delete, receive};

use crate::test_bridge::{TestBridge, web_bot};

/// Receives `n` events, waiting for the first.
async fn seen(world: &World, n: usize) -> Vec<Received<Envelope>> {
    let mut all = Vec::new();
    while all.len() < n {
        let url = &world.queues.urls().inbound;
        let received = receive(&world.queues, url, MAX_BATCH, MAX_WAIT).await.unwrap();
        assert!(
            !received.is_empty(),
            "{} of {n} have come within {MAX_WAIT:?}",
            all.len()
        );
        all.extend(received);
    }
    all
}

fn bodies(received: &[Received<Envelope>], group: &str) -> Vec<String> {
    let of_group = received.iter().filter(|it| it.group == group);
    of_group.map(|it| it.unreadable.clone().unwrap()).collect()
}

/// A person sends "hello" over our own channel.
async fn type_in(world: &World, bot: &IntegrationId, chat: &str, id: &str) {
    let body = json!({ "text": "hello", "chatId": chat, "senderId": "lisi", "messageId": id });
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query: String::new(),
        headers: Vec::new(),
        body: body.to_string().into_bytes(),
    };
    let answer = callback::receive(world, "web", bot, &request, Some(&Operator::Root)).await;
    assert_eq!(answer.status, 200);
}

/// The number of wake-ups on `work` per conversation, without delayed ones.
async fn wake_ups(world: &World) -> Vec<usize> {
    let found = receive::<WakeUp>(&world.queues, &world.queues.urls().work, MAX_BATCH, Duration::ZERO);
    let mut counted: Vec<(_, usize)> = Vec::new();
    for it in found.await.unwrap() {
        let WakeUp::V1(wake) = it.message.unwrap();
        match counted.iter_mut().find(|(of, _)| *of == wake.conversation) {
            Some((_, n)) => *n += 1,
            None => counted.push((wake.conversation, 1)),
        }
    }
    counted.into_iter().map(|(_, n)| n).collect()
}

#[tokio::test]
async fn a_conversation_is_woken_once_for_messages_of_a_batch() {
    let bridge = TestBridge::new().await;
    let world = bridge.world();
    let bot = web_bot(&world).await;
    for (chat, id) in [("a", "1"), ("a", "2"), ("b", "3"), ("a", "4")] {
        type_in(&world, &bot, chat, id).await;
    }
    let received = seen(&world, 4).await;
    assert!(batch::dispatch_batch(&world, received).await.is_empty());
    assert_eq!(wake_ups(&world).await, [1, 1]);
}

#[tokio::test]
async fn an_event_is_not_done_before_its_wake_up_is_on_the_queue() {
    let bridge = TestBridge::new().await;
    let world = bridge.world();
    let bot = web_bot(&world).await;
    for (chat, id) in [("a", "1"), ("b", "2"), ("a", "3")] {
        type_in(&world, &bot, chat, id).await;
    }
    let received = seen(&world, 3).await;
    let failed = batch::dispatch_batch(&bridge.world_without_work(), received).await;
    assert_eq!(failed.len(), 3, "the queue for wake-ups could not be reached");

    let again = seen(&world, 3).await;
    assert!(again.iter().all(|it| it.attempt == 2), "they come again soon");
    let receipts: Vec<String> = again.iter().map(|it| it.receipt.clone()).collect();
    assert!(batch::dispatch_batch(&world, again).await.is_empty());
    delete(&world.queues, &world.queues.urls().inbound, &receipts)
        .await
        .unwrap();
    assert_eq!(wake_ups(&world).await, [1, 1]);
}

#[tokio::test]
async fn an_unreadable_event_and_those_behind_it_are_retried_soon_in_order() {
    let bridge = TestBridge::new().await;
    let world = bridge.world();
    for (group, body) in [("a", "first"), ("a", "second"), ("b", "other")] {
        let message = bridge.sqs.send_message().queue_url(&world.queues.urls().inbound);
        let message = message.message_group_id(group).message_deduplication_id(body);
        message.message_body(body).send().await.unwrap();
    }

    let received = seen(&world, 3).await;
    let ids: Vec<String> = received.iter().map(|it| it.id.clone()).collect();
    let failed = batch::dispatch_batch(&world, received).await;
    assert_eq!(failed.len(), 3);
    assert!(ids.iter().all(|id| failed.contains(id)), "none of them is done");

    let begun = Instant::now();
    let again = seen(&world, 3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "not after the queue's time-out"
    );
    assert_eq!(bodies(&again, "a"), ["first", "second"]);
    assert_eq!(bodies(&again, "b"), ["other"]);
    assert!(again.iter().all(|it| it.attempt == 2));
}

#[tokio::test]
async fn an_event_that_stays_unreadable_moves_to_the_dead_letters() {
    let bridge = TestBridge::new().await;
    let world = bridge.world();
    let inbound = &world.queues.urls().inbound;
    let message = bridge.sqs.send_message().queue_url(inbound).message_group_id("a");
    message
        .message_deduplication_id("1")
        .message_body("from a later version")
        .send()
        .await
        .unwrap();

    let mut received = seen(&world, 1).await;
    received[0].attempt = 40;
    assert!(batch::dispatch_batch(&world, received).await.is_empty(), "it is done");

    let dead = inbound.replace("inbound.fifo", "inbound-dead.fifo");
    let parked: Vec<Received<Envelope>> = receive(&world.queues, &dead, MAX_BATCH, MAX_WAIT).await.unwrap();
    assert_eq!(bodies(&parked, "a"), ["from a later version"]);
}
