//! Receivers that wait, compete, and are dropped.

use std::time::{Duration, Instant};

use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use futures_util::future::join_all;
use tokio::time::timeout;

use tieline_embedded::{Embedded, Options};

use crate::clients::Queue;

fn wait(queue: &Queue) -> impl Future<Output = Vec<String>> + Send + 'static {
    let receive = queue
        .client
        .receive_message()
        .queue_url(&queue.url)
        .wait_time_seconds(20);
    async move {
        let messages = receive.send().await.unwrap().messages.unwrap_or_default();
        messages.into_iter().filter_map(|m| m.body).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_message_wakes_one_waiting_receiver() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    let waiting: Vec<_> = (0..20).map(|_| tokio::spawn(wait(&queue))).collect();
    let sends: Vec<String> = (0..20).map(|i| format!("m{i}")).collect();
    join_all(sends.iter().map(|body| queue.send(body))).await;
    let received = timeout(Duration::from_secs(10), join_all(waiting)).await.unwrap();
    let mut bodies: Vec<String> = received.into_iter().flat_map(Result::unwrap).collect();
    bodies.sort();
    let mut expected = sends;
    expected.sort();
    assert_eq!(bodies, expected);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_receiver_loses_no_message() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    for round in 0..200 {
        let long = [(Attribute::VisibilityTimeout, "600")];
        let queue = Queue::create(&embedded, &format!("q{round}.fifo"), &long).await;
        let waiting = tokio::spawn(wait(&queue));
        let sending = queue.send_to("g", "x");
        let leaving = async {
            // Dropped before, while and after the message arrives, depending on the round.
            tokio::time::sleep(Duration::from_micros(round * 20)).await;
            waiting.abort();
            waiting.await.ok()
        };
        let (_, got) = tokio::join!(sending, leaving);
        let received = match got {
            Some(received) => received,
            None => timeout(Duration::from_secs(5), wait(&queue)).await.unwrap(),
        };
        assert_eq!(received, ["x"], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn closing_ends_a_wait_at_once() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    let receive = queue
        .client
        .receive_message()
        .queue_url(&queue.url)
        .wait_time_seconds(20);
    let waiting = tokio::spawn(async move { receive.send().await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let started = Instant::now();
    embedded.close().await;
    assert!(waiting.await.unwrap().is_err());
    assert!(started.elapsed() < Duration::from_secs(5));
    assert!(queue.client.list_queues().send().await.is_err(), "it is closed");
}
