//! Event source mappings: which messages are deleted and which are received again.

use std::sync::Arc;
use std::time::Duration;

use aws_sdk_sqs::types::MessageAttributeValue;
use serde_json::{Value, json};
use tieline_tests::lambda::{AtCapacity, Config, Emulator, FunctionConfig, MappingConfig, Stats};

use super::queue::Queue;
use super::{Journal, probe, until_true};

pub(crate) async fn start(function: FunctionConfig, mapping: MappingConfig) -> Emulator {
    let config = Config {
        functions: vec![function],
        mappings: vec![mapping],
        ..Config::default()
    };
    Emulator::start(config).await.unwrap()
}

/// The final counters: running invocations are finished first.
pub(crate) async fn end(emulator: Emulator) -> Stats {
    let function = Arc::clone(emulator.function("probe"));
    emulator.shutdown().await;
    function.stats()
}

pub(crate) fn numbers(lines: &[Value]) -> Vec<u64> {
    let mut numbers: Vec<_> = lines.iter().map(|line| line["n"].as_u64().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

#[tokio::test]
async fn record_carries_attributes() {
    let (journal, queue) = (Journal::new(), Queue::new("attributes").await);
    let attribute = MessageAttributeValue::builder()
        .data_type("String")
        .string_value("v")
        .build()
        .unwrap();
    let message = queue
        .client
        .send_message()
        .queue_url(&queue.url)
        .message_body(r#"{"n":1}"#);
    message.message_attributes("k", attribute).send().await.unwrap();
    let emulator = start(journal.probe(), queue.mapping()).await;
    queue.until_empty(emulator.function("probe")).await;
    let done = journal.steps("done");
    assert_eq!((numbers(&done), &done[0]["received"]), (vec![1], &json!(1)));
    assert_eq!(done[0]["attributes"]["k"]["stringValue"], "v");
}

#[tokio::test]
async fn only_failed_items_are_received_again() {
    let (journal, queue) = (Journal::new(), Queue::new("partial").await);
    let order = |n| match n {
        3 | 7 => json!({ "n": n, "do": "fail_item", "until_receive": 2 }),
        _ => json!({ "n": n }),
    };
    queue.send(&(0..10).map(order).collect::<Vec<_>>()).await;
    let emulator = start(journal.probe(), queue.mapping()).await;
    let function = emulator.function("probe");
    for n_failures in [2, 4] {
        until_true(function, || {
            function.stats().item_failures == n_failures && function.stats().deleted == 8
        })
        .await;
        assert_eq!(queue.n_messages().await, 2);
        queue.expire();
    }
    queue.until_empty(function).await;
    assert_eq!(numbers(&journal.steps("done")), (0..10).collect::<Vec<_>>());
    assert_eq!(numbers(&journal.steps("failed")), [3, 3, 7, 7]);
    let stats = end(emulator).await;
    assert_eq!((stats.item_failures, stats.failed_batches, stats.errors), (4, 0, 0));
    assert_eq!((stats.messages, stats.deleted, stats.delete_failures), (14, 10, 0));
}

#[tokio::test]
async fn without_reporting_every_answer_is_a_success() {
    let (journal, queue) = (Journal::new(), Queue::new("unreported").await);
    queue
        .send(&[json!({ "n": 1, "do": "fail_item" }), json!({ "n": 2 })])
        .await;
    let mapping = MappingConfig {
        report_batch_item_failures: false,
        ..queue.mapping()
    };
    let emulator = start(journal.probe(), mapping).await;
    queue.until_empty(emulator.function("probe")).await;
    assert_eq!(numbers(&journal.steps("failed")), [1]);
}

#[tokio::test]
async fn message_is_received_again_after_a_deadline_kill() {
    let (journal, queue) = (Journal::new(), Queue::new("deadline").await);
    queue
        .send(&[json!({ "n": 1, "do": "sleep", "ms": 600_000, "until_receive": 1 })])
        .await;
    let function = FunctionConfig {
        timeout: Duration::from_secs(2),
        ..journal.probe()
    };
    let emulator = start(function, queue.mapping()).await;
    let function = emulator.function("probe");
    until_true(function, || function.stats().failed_batches == 1).await;
    assert_eq!(
        (
            queue.n_messages().await,
            function.stats().timeouts,
            function.pids().len()
        ),
        (1, 1, 0)
    );
    queue.expire();
    queue.until_empty(function).await;
    let done = journal.steps("done");
    assert_eq!((numbers(&done), &done[0]["received"]), (vec![1], &json!(2)));
    let stats = end(emulator).await;
    assert_eq!(
        (stats.timeouts, stats.failed_batches, stats.batches, stats.deleted),
        (1, 1, 2, 1)
    );
}

#[tokio::test]
async fn whole_batch_is_received_again_after_a_panic_or_a_crash() {
    for order in ["exit", "abort", "panic"] {
        let (journal, queue) = (Journal::new(), Queue::new("whole").await);
        queue
            .send(&[json!({ "n": 1 }), json!({ "n": 2, "do": order, "until_receive": 1 })])
            .await;
        let emulator = start(journal.probe(), queue.mapping()).await;
        let function = emulator.function("probe");
        until_true(function, || function.stats().failed_batches == 1).await;
        // Message 1 was handled before message 2 ended the batch, and is received again all the same.
        assert_eq!(
            (numbers(&journal.steps("done")), queue.n_messages().await),
            (vec![1], 2),
            "{order}"
        );
        queue.expire();
        queue.until_empty(function).await;
        assert_eq!(numbers(&journal.steps("done")), [1, 1, 2], "{order}");
        let stats = end(emulator).await;
        assert_eq!(
            (stats.errors, stats.failed_batches, stats.messages, stats.deleted),
            (1, 1, 4, 2),
            "{order}"
        );
    }
}

#[tokio::test]
async fn malformed_answer_deletes_nothing() {
    let (journal, queue) = (Journal::new(), Queue::new("malformed").await);
    queue
        .send(&[json!({ "batch_answer": { "batchItemFailures": [{ "itemIdentifier": "unknown" }] } })])
        .await;
    let emulator = start(journal.probe(), queue.mapping()).await;
    let function = emulator.function("probe");
    for n_failures in [1, 2] {
        until_true(function, || function.stats().failed_batches == n_failures).await;
        assert_eq!(queue.n_messages().await, 1);
        queue.expire();
    }
    assert_eq!((function.stats().deleted, function.stats().errors), (0, 0));
}

#[tokio::test]
async fn standard_queue_uses_the_mappings_maximum_of_instances() {
    let (journal, queue) = (Journal::new(), Queue::new("parallel").await);
    queue
        .send(&(0..40).map(|n| json!({ "n": n, "work_ms": 100 })).collect::<Vec<_>>())
        .await;
    let mapping = MappingConfig {
        batch_size: 1,
        maximum_concurrency: Some(3),
        ..queue.mapping()
    };
    let emulator = start(journal.probe(), mapping).await;
    queue.until_empty(emulator.function("probe")).await;
    assert_eq!(numbers(&journal.steps("done")), (0..40).collect::<Vec<_>>());
    let stats = end(emulator).await;
    assert_eq!((stats.peak_running, stats.batches, stats.deleted), (3, 40, 40));
}

#[tokio::test]
async fn throttled_batch_is_retried_within_its_visibility_timeout() {
    let (journal, queue) = (Journal::new(), Queue::new("throttled").await);
    let refusing = FunctionConfig {
        concurrency: 1,
        at_capacity: AtCapacity::Throttle,
        timeout: Duration::from_secs(60),
        ..journal.probe()
    };
    let emulator = start(refusing, queue.mapping()).await;
    let function = emulator.function("probe");
    let busy = tokio::spawn({
        let function = Arc::clone(function);
        async move { function.invoke(&json!({ "do": "sleep", "ms": 600_000 })).await }
    });
    until_true(function, || function.pids().len() == 1).await;
    queue.send(&[json!({ "n": 1 })]).await;
    until_true(function, || function.stats().throttles >= 2).await;
    emulator.kill_all().await;
    busy.await.unwrap();
    queue.until_empty(function).await;
    assert_eq!(journal.steps("done")[0]["received"], 1);
}

#[tokio::test]
async fn shutdown_finishes_the_batch_in_flight() {
    let (journal, queue) = (Journal::new(), Queue::new("shutdown").await);
    let emulator = start(journal.probe(), queue.mapping()).await;
    let function = Arc::clone(emulator.function("probe"));
    queue.send(&[json!({ "n": 1, "work_ms": 300 })]).await;
    until_true(&function, || function.stats().running == 1).await;
    let stats = end(emulator).await;
    assert_eq!(
        (journal.steps("done").len(), stats.deleted, queue.n_messages().await),
        (1, 1, 0)
    );
}

#[tokio::test]
async fn mapping_that_aws_rejects_is_rejected() {
    let queue = Queue::new("refused").await;
    let refused = [
        // The function's timeout exceeds the visibility timeout of the queue.
        (
            FunctionConfig {
                timeout: Duration::from_secs(61),
                ..probe()
            },
            queue.mapping(),
        ),
        (
            probe(),
            MappingConfig {
                batch_size: 11,
                ..queue.mapping()
            },
        ),
        (
            probe(),
            MappingConfig {
                maximum_concurrency: Some(1),
                ..queue.mapping()
            },
        ),
        (
            probe(),
            MappingConfig {
                queue_url: format!("{}-absent", queue.url),
                ..queue.mapping()
            },
        ),
    ];
    for (function, mapping) in refused {
        let config = Config {
            functions: vec![function],
            mappings: vec![mapping.clone()],
            ..Config::default()
        };
        assert!(
            Emulator::start(config).await.is_err(),
            "expected an error for {mapping:?}"
        );
    }
    drop(start(probe(), queue.mapping()).await);
}
