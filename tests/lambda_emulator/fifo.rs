//! Event source mappings of FIFO queues: the order within a group, whatever fails.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use serde_json::{Value, json};
use tieline_tests::lambda::MappingConfig;

use super::queue::Queue;
use super::queues::{end, numbers, start};
use super::{Journal, until_true};

/// The state of one group's messages, by the journal.
#[derive(Default)]
struct Group {
    done: BTreeSet<u64>,
    /// Number of the message that is being processed, and the process that does so.
    at_work: Option<(u64, u64)>,
}

impl Group {
    #[track_caller]
    fn follow(&mut self, line: &Value) {
        let (n, pid) = (line["n"].as_u64().unwrap(), line["pid"].as_u64().unwrap());
        if line["step"] == "begin" {
            assert_eq!(
                self.at_work, None,
                "another message of the group was being processed when {line} began"
            );
            assert!(
                n == 0 || self.done.contains(&(n - 1)),
                "{line} began before the one before it was done"
            );
            self.at_work = Some((n, pid));
        } else {
            assert_eq!(self.at_work.take(), Some((n, pid)), "{line}");
            if line["step"] == "done" {
                self.done.insert(n);
            }
        }
    }
}

#[tokio::test]
async fn fifo_groups_keep_order_and_exclusion_under_failures() {
    let (journal, queue) = (Journal::new(), Queue::new("order.fifo").await);
    let (n_groups, per_group) = (6, 15);
    // Every group has some failures, at different places.
    let order = |n: u64, g: u64| {
        let trouble = match (n + 2 * g) % 15 {
            3 | 8 => "fail_item",
            6 => "exit",
            11 => "panic",
            _ => return json!({ "n": n, "g": format!("g{g}"), "work_ms": 5 }),
        };
        json!({ "n": n, "g": format!("g{g}"), "do": trouble, "until_receive": 1, "work_ms": 5 })
    };
    let orders: Vec<_> = (0..per_group)
        .flat_map(|n| (0..n_groups).map(move |g| order(n, g)))
        .collect();
    queue.send(&orders).await;
    // Small batches leave groups for other instances.
    let emulator = start(
        journal.probe(),
        MappingConfig {
            batch_size: 3,
            ..queue.mapping()
        },
    )
    .await;
    let function = emulator.function("probe");
    // The clock is advanced again and again, sometimes while messages are in flight: order and exclusion must not depend on it.
    let empty = queue.until_empty(function);
    let time = async {
        loop {
            tokio::time::sleep(Duration::from_millis(100)).await;
            queue.expire();
        }
    };
    tokio::select! {
        () = empty => {}
        () = time => {}
    }

    let mut groups: HashMap<String, Group> = HashMap::new();
    for line in journal.lines() {
        groups
            .entry(line["group"].as_str().unwrap().to_owned())
            .or_default()
            .follow(&line);
    }
    assert_eq!(groups.len(), usize::try_from(n_groups).unwrap());
    assert!(
        groups
            .values()
            .all(|group| group.done.len() == 15 && group.at_work.is_none())
    );
    let stats = end(emulator).await;
    assert!(
        stats.item_failures > 0 && stats.crashes > 0 && stats.errors > stats.crashes,
        "{stats:?}"
    );
    assert!(stats.peak_running > 1, "expected concurrent invocations: {stats:?}");
}

#[tokio::test]
async fn group_has_one_invocation_even_if_its_messages_become_visible_again() {
    let (journal, queue) = (Journal::new(), Queue::new("reappear.fifo").await);
    queue
        .send(&[json!({ "n": 0, "g": "g", "work_ms": 500 }), json!({ "n": 1, "g": "g" })])
        .await;
    let emulator = start(
        journal.probe(),
        MappingConfig {
            batch_size: 1,
            ..queue.mapping()
        },
    )
    .await;
    let function = emulator.function("probe");
    until_true(function, || !journal.steps("begin").is_empty()).await;
    // The message's visibility timeout expires while the function still works on it.
    queue.expire();
    queue.until_empty(function).await;
    let mut group = Group::default();
    journal.lines().iter().for_each(|line| group.follow(line));
    assert_eq!(numbers(&journal.steps("done")), [0, 0, 1]);
    let stats = end(emulator).await;
    // The first receipt had expired, so the message was deleted only after its second round.
    assert_eq!(
        (stats.peak_running, stats.delete_failures, stats.deleted, stats.errors),
        (1, 1, 2, 0)
    );
}

#[tokio::test]
async fn batch_too_large_for_one_event_is_split_in_order() {
    let (journal, queue) = (Journal::new(), Queue::new("large.fifo").await);
    for n in 0..9 {
        let mut order = json!({ "n": n, "g": "g", "filler": "x".repeat(950_000) });
        if n == 2 {
            order["do"] = json!("fail_item");
            order["until_receive"] = json!(1);
        }
        queue.send(&[order]).await;
    }
    let emulator = start(journal.probe(), queue.mapping()).await;
    let function = emulator.function("probe");
    until_true(function, || {
        function.stats().item_failures > 0 && function.stats().deleted == 2
    })
    .await;
    // The second half of the batch has to wait for what failed in the first.
    assert_eq!((function.stats().batches, queue.n_messages().await), (1, 7));
    queue.expire();
    queue.until_empty(function).await;
    assert_eq!(
        journal
            .steps("done")
            .iter()
            .map(|line| line["n"].clone())
            .collect::<Vec<_>>(),
        (0..9).collect::<Vec<_>>()
    );
    assert_eq!(end(emulator).await.errors, 0);
}
