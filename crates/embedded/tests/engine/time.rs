//! Deduplication windows, delays and timeouts, with a clock that the test moves.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_sqs::types::QueueAttributeName as Attribute;
use tokio::time::timeout;

use tieline_embedded::{Clock, Embedded, Options, StorageThread};

use crate::clients::Queue;

/// An engine whose clock moves only when the test moves it.
struct Slow {
    embedded: Embedded,
    now_ms: Arc<AtomicI64>,
}

impl Slow {
    fn start() -> Self {
        Self::on(StorageThread::Own)
    }

    fn on(thread: StorageThread) -> Self {
        let now_ms = Arc::new(AtomicI64::new(1_800_000_000_000));
        let read = Arc::clone(&now_ms);
        let clock = Clock::new(move || read.load(Ordering::SeqCst));
        let options = Options {
            clock,
            thread,
            ..Options::default()
        };
        Self {
            embedded: Embedded::in_memory(options).unwrap(),
            now_ms,
        }
    }

    fn pass_s(&self, seconds: i64) {
        self.now_ms.fetch_add(seconds * 1_000, Ordering::SeqCst);
        self.embedded.wake();
    }
}

#[tokio::test]
async fn a_deduplication_id_is_free_again_after_five_minutes() {
    let slow = Slow::start();
    let queue = Queue::create(&slow.embedded, "q.fifo", &[]).await;
    let first = queue.send_to("g", "same").await;
    slow.pass_s(299);
    assert_eq!(queue.send_to("g", "same").await, first);
    // A repeated send doesn't restart the window.
    slow.pass_s(1);
    assert_ne!(queue.send_to("g", "same").await, first);
    assert_eq!(queue.bodies(10).await, ["same", "same"]);
}

#[tokio::test]
async fn a_delay_ends_on_the_exact_second() {
    let slow = Slow::start();
    let queue = Queue::create(&slow.embedded, "q", &[]).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    send.delay_seconds(900).send().await.unwrap();
    slow.pass_s(899);
    assert_eq!(queue.bodies(1).await, [""; 0]);
    slow.pass_s(1);
    assert_eq!(queue.bodies(1).await, ["x"]);
}

#[tokio::test]
async fn a_visibility_timeout_ends_on_the_exact_second() {
    let slow = Slow::start();
    let queue = Queue::create(&slow.embedded, "q.fifo", &[(Attribute::VisibilityTimeout, "60")]).await;
    queue.send_to("g", "x").await;
    let receive = queue.client.receive_message().queue_url(&queue.url);
    assert_eq!(receive.clone().send().await.unwrap().messages().len(), 1);
    slow.pass_s(59);
    assert_eq!(receive.clone().send().await.unwrap().messages().len(), 0);
    slow.pass_s(1);
    assert_eq!(receive.send().await.unwrap().messages().len(), 1);
}

#[tokio::test]
async fn a_waiting_receiver_gets_a_message_the_moment_it_is_due() {
    let slow = Slow::start();
    let queue = Queue::create(&slow.embedded, "q", &[]).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    send.delay_seconds(600).send().await.unwrap();
    let receive = queue
        .client
        .receive_message()
        .queue_url(&queue.url)
        .wait_time_seconds(20);
    let mut waiting = tokio::spawn(async move { receive.send().await });
    let still_waits = timeout(Duration::from_millis(200), &mut waiting).await.is_err();
    assert!(still_waits, "nothing is due yet");
    slow.pass_s(600);
    let received = timeout(Duration::from_secs(5), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
    assert_eq!(received.messages()[0].body(), Some("x"));
}

#[tokio::test]
async fn a_delivery_lasts_twelve_hours_at_most() {
    let slow = Slow::start();
    let queue = Queue::create(&slow.embedded, "q", &[]).await;
    queue.send("x").await;
    let message = queue.receive(1, 3_600).await.pop().unwrap();
    slow.pass_s(1_800);
    let extend = queue.client.change_message_visibility().queue_url(&queue.url);
    let extend = extend.set_receipt_handle(message.receipt_handle);
    extend.clone().visibility_timeout(43_200 - 1_800).send().await.unwrap();
    assert!(extend.visibility_timeout(43_200 - 1_799).send().await.is_err());
}

#[tokio::test]
async fn an_unreceived_message_expires_with_its_retention() {
    let slow = Slow::start();
    let short = [(Attribute::MessageRetentionPeriod, "3600")];
    let (queue, other) = (
        Queue::create(&slow.embedded, "q", &short).await,
        Queue::create(&slow.embedded, "other", &[]).await,
    );
    queue.send("old").await;
    other.send("old").await;
    slow.pass_s(3_000);
    queue.send("young").await;
    slow.pass_s(601);
    assert_eq!(queue.bodies(10).await, ["young"]);
    assert_eq!(other.bodies(10).await, ["old"]);
}

#[tokio::test]
async fn storage_on_the_callers_thread_reports_when_a_message_is_due() {
    let slow = Slow::on(StorageThread::Callers);
    let queue = Queue::create(&slow.embedded, "q.fifo", &[(Attribute::VisibilityTimeout, "60")]).await;
    let now_ms = || slow.now_ms.load(Ordering::SeqCst);
    assert_eq!(slow.embedded.next_message_ms("q.fifo"), None);
    queue.send_to("g", "one").await;
    queue.send_to("g", "two").await;
    assert_eq!(slow.embedded.next_message_ms("q.fifo"), Some(now_ms()));
    let receive = queue.client.receive_message().queue_url(&queue.url);
    assert_eq!(receive.clone().send().await.unwrap().messages().len(), 1);
    // The second message can be delivered when the first one's visibility timeout ends.
    assert_eq!(slow.embedded.next_message_ms("q.fifo"), Some(now_ms() + 60_000));
    slow.pass_s(60);
    assert_eq!(slow.embedded.next_message_ms("q.fifo"), Some(now_ms()));
    assert_eq!(receive.send().await.unwrap().messages()[0].body(), Some("one"));
}

/// Its delay would else last until then.
#[tokio::test]
async fn a_delay_stored_by_a_clock_that_was_ahead_has_ended() {
    let dir = tempfile::tempdir().unwrap();
    let open = |now_ms| {
        let options = Options {
            clock: Clock::new(move || now_ms),
            ..Options::default()
        };
        Embedded::open(dir.path(), options).unwrap()
    };
    let now_ms = 1_800_000_000_000;
    let ahead = open(now_ms + 8 * 3_600_000);
    let queue = Queue::create(&ahead, "q", &[]).await;
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    send.delay_seconds(30).send().await.unwrap();
    ahead.close().await;
    let corrected = open(now_ms);
    let queue = Queue::create(&corrected, "q", &[]).await;
    assert_eq!(queue.bodies(1).await, ["x"]);
}
