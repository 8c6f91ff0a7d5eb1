//! Tables and queues that all processes share: the embedded engines, on simulated time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::Thread;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{Embedded, Options};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout};

use crate::past::Past;

/// When simulated time begins.
const BEGIN_MS: i64 = 1_800_000_000_000;
const PREFIX: &str = "tieline-";
const KEY: [u8; 32] = [7; 32];
/// As the deployed programs have it.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const QUEUE_TRY_TIMEOUT: Duration = Duration::from_secs(25);

/// Processes so far, in all simulations.
static N_PROCESSES: AtomicU64 = AtomicU64::new(0);

/// The engines, and the time that they see.
pub(crate) struct Engine {
    embedded: Embedded,
    now_ms: Arc<AtomicI64>,
    began: Instant,
    queues: Arc<QueueActivity>,
    look: Duration,
    urls: Urls,
    past: Arc<Past>,
}

impl Engine {
    /// New, empty engines, in a runtime whose time is paused.
    pub(crate) async fn start(look: Duration) -> Self {
        let now_ms = Arc::new(AtomicI64::new(BEGIN_MS));
        let seen_ms = Arc::clone(&now_ms);
        let options = Options {
            clock: tieline_embedded::Clock::new(move || seen_ms.load(Ordering::SeqCst)),
            ..Options::default()
        };
        let embedded = Embedded::in_memory(options).unwrap();
        let mut engine = Self {
            embedded,
            now_ms,
            began: Instant::now(),
            queues: Arc::default(),
            look,
            urls: Urls::default(),
            past: Arc::default(),
        };
        let (dynamo, sqs) = clients(crate::connector::undisturbed(&engine));
        create_missing(&dynamo, &Tables::with_prefix(PREFIX)).await.unwrap();
        engine.urls = definitions::create_missing(&sqs, PREFIX, 0).await.unwrap();
        engine
    }

    /// The clients' way in, as the engine itself offers it.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        self.embedded.http_client()
    }

    /// What items were before they were last written.
    pub(crate) fn past(&self) -> Arc<Past> {
        Arc::clone(&self.past)
    }

    /// The engines' time, to be set before each call.
    pub(crate) fn time(&self) -> EngineTime {
        EngineTime {
            now_ms: Arc::clone(&self.now_ms),
            began: self.began,
            queues: Arc::clone(&self.queues),
            look: self.look,
        }
    }

    /// The time.
    pub(crate) fn now(&self) -> Timestamp {
        self.time().now()
    }

    /// Tables and queues as a process has them whose calls go through `http`.
    pub(crate) fn clients(&self, http: SharedHttpClient) -> (Store, Queues) {
        let (dynamo, sqs) = clients(http);
        let store = Store::new(dynamo, Tables::with_prefix(PREFIX), Keyring::new(KEY));
        (store, Queues::new(sqs, self.urls.clone()))
    }
}

/// When something was last done at a queue.
#[derive(Debug, Default)]
struct QueueActivity {
    last_ms: AtomicI64,
    told: Notify,
}

/// The engines' time.
#[derive(Debug, Clone)]
pub(crate) struct EngineTime {
    now_ms: Arc<AtomicI64>,
    began: Instant,
    queues: Arc<QueueActivity>,
    /// Shortest time between two looks of a receive that waits. One of a queue at which something is done looks at once.
    look: Duration,
}

impl EngineTime {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS).after(self.began.elapsed())
    }

    /// Until something is done at a queue, or it is time to look whether something has become visible. The longer nothing was done, the
    /// later: what has waited for a minute may wait some seconds more.
    pub(crate) async fn next_look(&self) {
        let last = self.queues.last_ms.load(Ordering::SeqCst);
        let quiet = Duration::from_millis((self.now().as_millis() - last).max(0).unsigned_abs());
        // Its end is no error: then it is time.
        let _ = timeout(self.look.max(quiet / 8), self.queues.told.notified()).await;
    }

    /// Something was done at a queue.
    pub(crate) fn tell_activity(&self) {
        self.queues.last_ms.store(self.now().as_millis(), Ordering::SeqCst);
        self.queues.told.notify_waiters();
    }

    /// Has the engines see what time it is.
    pub(crate) fn set(&self) {
        self.now_ms.store(self.now().as_millis(), Ordering::SeqCst);
    }
}

fn clients(http: SharedHttpClient) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(tieline_embedded::REGION))
        .endpoint_url(tieline_embedded::ENDPOINT_URL)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        // The SDK's jitter would differ each time.
        .retry_config(RetryConfig::standard().with_use_static_exponential_base(true))
        .http_client(http)
        .build();
    // Processes don't share the SDK's budget of retries.
    let number = N_PROCESSES.fetch_add(1, Ordering::Relaxed);
    let partition = || RetryPartition::new(format!("process {number}"));
    let limited = |longest| TimeoutConfig::builder().operation_attempt_timeout(longest).build();
    let dynamo = aws_sdk_dynamodb::config::Builder::from(&sdk).allow_no_auth();
    let sqs = aws_sdk_sqs::config::Builder::from(&sdk).allow_no_auth();
    (
        aws_sdk_dynamodb::Client::from_conf(
            dynamo
                .timeout_config(limited(TRY_TIMEOUT))
                .retry_partition(partition())
                .build(),
        ),
        aws_sdk_sqs::Client::from_conf(
            sqs.timeout_config(limited(QUEUE_TRY_TIMEOUT))
                .retry_partition(partition())
                .build(),
        ),
    )
}

/// Runs a future of the engines to its end on this thread, so that simulated time stands still meanwhile.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    struct Unpark(Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
    let mut future = pin!(tokio::task::unconstrained(future));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(done) => return done,
            Poll::Pending => std::thread::park(),
        }
    }
}
