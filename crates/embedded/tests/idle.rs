//! Waiting receivers use no CPU. In a process of its own, since other tests' threads would be counted too.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

#[path = "engine/clients.rs"]
#[expect(dead_code, reason = "the tests of the engine use the rest")]
mod clients;

use std::time::Duration;

use tieline_embedded::{Embedded, Options};

use clients::Queue;

#[tokio::test(flavor = "multi_thread")]
async fn waiting_receivers_use_no_cpu() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    let waiting = (0..50).map(|_| {
        let receive = queue.client.receive_message().queue_url(&queue.url);
        tokio::spawn(receive.wait_time_seconds(20).send())
    });
    let waiting: Vec<_> = waiting.collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let before = cpu_time();
    tokio::time::sleep(Duration::from_secs(1)).await;
    let used = cpu_time().saturating_sub(before);
    // A polling thread would use the whole second.
    assert!(
        used < Duration::from_millis(100),
        "the storage thread worked for {used:?}"
    );
    for waiter in waiting {
        waiter.abort();
    }
}

/// CPU time that the queues' threads have used so far.
fn cpu_time() -> Duration {
    let tasks = std::fs::read_dir("/proc/self/task").unwrap();
    let ticks = tasks.flatten().filter_map(|task| {
        let stat = std::fs::read_to_string(task.path().join("stat")).ok()?;
        let (name, rest) = stat.split_once(") ")?;
        let fields: Vec<&str> = rest.split(' ').collect();
        let used: u64 = fields[11].parse::<u64>().ok()? + fields[12].parse::<u64>().ok()?;
        name.ends_with("(sqs-writer").then_some(used)
    });
    Duration::from_millis(ticks.sum::<u64>() * 10)
}
