//! Fairness: one tenant's backlog delays no other tenant.

use tieline_embedded::{Embedded, Options};

use crate::clients::Queue;

#[tokio::test]
async fn a_large_backlog_of_one_group_lets_the_others_through() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    for i in 0..50 {
        queue.send_to("noisy", &format!("noisy-{i}")).await;
    }
    for group in ["quiet", "calm"] {
        queue.send_to(group, group).await;
    }
    let first = queue.bodies(4).await;
    assert!(
        first.contains(&"quiet".into()) && first.contains(&"calm".into()),
        "{first:?}"
    );
}

#[tokio::test]
async fn messages_in_flight_count_against_their_group() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    for i in 0..20 {
        queue.send_to("slow", &format!("slow-{i}")).await;
    }
    assert_eq!(queue.receive(10, 30).await.len(), 10);
    for i in 0..5 {
        queue.send_to("quick", &format!("quick-{i}")).await;
    }
    let next = queue.bodies(5).await;
    assert!(next.iter().all(|body| body.starts_with("quick")), "{next:?}");
}

#[tokio::test]
async fn groups_of_a_fifo_queue_take_turns() {
    let embedded = Embedded::in_memory(Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q.fifo", &[]).await;
    for i in 0..30 {
        queue.send_to("busy", &format!("busy-{i}")).await;
    }
    queue.send_to("other", "other").await;
    let batch = queue.receive(10, 30).await;
    for message in &batch {
        queue.delete(message).await;
    }
    // The busy group is unlocked again and has the oldest messages, but it had its turn.
    assert_eq!(queue.bodies(1).await, ["other"]);
}
