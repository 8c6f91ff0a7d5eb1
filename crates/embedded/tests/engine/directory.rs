//! Contents of the directory outlive the engine.

use aws_sdk_sqs::types::QueueAttributeName as Attribute;

use tieline_embedded::{Durability, Embedded, InHand, OpenError, Options};

use crate::clients::{Queue, dynamodb};

#[tokio::test]
async fn everything_is_there_after_closing_and_opening() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
    let queue = Queue::create(&embedded, "q.fifo", &[(Attribute::VisibilityTimeout, "77")]).await;
    for body in ["locked", "behind", "counted"] {
        queue.send_to(if body == "counted" { "h" } else { "g" }, body).await;
    }
    let locked = queue.receive(1, 600).await;
    assert_eq!(locked[0].body(), Some("locked"));
    let counted = queue.receive(1, 0).await;
    assert_eq!(counted[0].body(), Some("counted"));
    embedded.close().await;

    let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
    let queue = queue.reopened(&embedded);
    assert_eq!(queue.count(Attribute::VisibilityTimeout).await, 77);
    let there = queue.receive(10, 30).await;
    assert_eq!(there.len(), 1, "the first group is locked still: {there:?}");
    // A receipt from before the restart is valid, and deleting with it unlocks the group.
    queue.delete(&locked[0]).await;
    assert_eq!(queue.bodies(10).await, ["behind"]);
    // The deduplication id from before the restart is still known.
    queue.send_to("g", "locked").await;
    assert_eq!(queue.bodies(10).await, [""; 0]);
    embedded.close().await;
}

#[tokio::test]
async fn in_flight_messages_are_returned_on_open_if_requested() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
    let fifo = Queue::create(&embedded, "q.fifo", &[]).await;
    let standard = Queue::create(&embedded, "q", &[]).await;
    for body in ["in-hand", "behind"] {
        fifo.send_to("g", body).await;
    }
    standard.send("in-hand").await;
    let delayed = standard.client.send_message().queue_url(&standard.url);
    delayed.message_body("delayed").delay_seconds(600).send().await.unwrap();
    let in_hand = (fifo.receive(1, 600).await, standard.receive(1, 600).await);
    assert_eq!((in_hand.0.len(), in_hand.1.len()), (1, 1));
    embedded.close().await;

    let options = Options {
        in_hand: InHand::Returned,
        ..Options::default()
    };
    let embedded = Embedded::open(dir.path(), options).unwrap();
    let (fifo, standard) = (fifo.reopened(&embedded), standard.reopened(&embedded));
    assert_eq!(fifo.bodies(10).await, ["in-hand", "behind"]);
    assert_eq!(standard.bodies(10).await, ["in-hand"], "what is delayed stays delayed");
    embedded.close().await;
}

#[tokio::test]
async fn sequence_numbers_rise_across_openings() {
    let dir = tempfile::tempdir().unwrap();
    let mut last = String::new();
    for round in ["1", "2", "3"] {
        let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
        let queue = Queue::create(&embedded, "q.fifo", &[]).await;
        let send = queue.client.send_message().queue_url(&queue.url).message_body(round);
        let sent = send
            .message_group_id("g")
            .message_deduplication_id(round)
            .send()
            .await
            .unwrap();
        let number = sent.sequence_number.unwrap();
        assert!(number > last, "{number} after {last}");
        last = number;
        // No message is left from which the number could be read.
        let message = queue.receive(1, 30).await.pop().unwrap();
        queue.delete(&message).await;
        embedded.close().await;
    }
}

#[tokio::test]
async fn a_directory_belongs_to_one_engine() {
    let dir = tempfile::tempdir().unwrap();
    let first = Embedded::open(dir.path(), Options::default()).unwrap();
    let second = Embedded::open(dir.path(), Options::default());
    assert!(matches!(second, Err(OpenError::InUse)), "{second:?}");
    drop(first);
    Embedded::open(dir.path(), Options::default()).unwrap();
}

#[tokio::test]
async fn files_that_are_no_databases_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(
        dir.path().join("queues.sqlite"),
        "not a database, and long enough to show it".repeat(50),
    )
    .unwrap();
    let opened = Embedded::open(dir.path(), Options::default());
    assert!(matches!(opened, Err(OpenError::Queues(_))), "{opened:?}");
}

#[tokio::test]
async fn durability_against_power_loss_works_the_same() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options {
        durability: Durability::PowerLoss,
        ..Options::default()
    };
    let embedded = Embedded::open(dir.path(), options.clone()).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    queue.send("x").await;
    dynamodb(&embedded).list_tables().send().await.unwrap();
    embedded.close().await;
    let embedded = Embedded::open(dir.path(), options).unwrap();
    assert_eq!(queue.reopened(&embedded).bodies(1).await, ["x"]);
}
