//! Tables and queues that all processes share: the embedded engines, on simulated time.

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{Embedded, Options, StorageThread};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

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
    embedded: Arc<Embedded>,
    now_ms: Arc<AtomicI64>,
    began: Instant,
    activity: Arc<Notify>,
    n_writes: Arc<AtomicU64>,
    urls: Urls,
    past: Arc<Past>,
}

impl Engine {
    /// New, empty engines, in a runtime whose time is paused.
    pub(crate) async fn start() -> Self {
        let now_ms = Arc::new(AtomicI64::new(BEGIN_MS));
        let seen_ms = Arc::clone(&now_ms);
        let options = Options {
            clock: tieline_embedded::Clock::new(move || seen_ms.load(Ordering::SeqCst)),
            thread: StorageThread::Callers,
            ..Options::default()
        };
        let embedded = Embedded::in_memory(options).unwrap();
        let mut engine = Self {
            embedded: Arc::new(embedded),
            now_ms,
            began: Instant::now(),
            activity: Arc::default(),
            n_writes: Arc::default(),
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
            embedded: Arc::clone(&self.embedded),
            activity: Arc::clone(&self.activity),
            n_writes: Arc::clone(&self.n_writes),
        }
    }

    /// How often a table was written to.
    pub(crate) fn n_writes(&self) -> u64 {
        self.n_writes.load(Ordering::Relaxed)
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

/// The engines' time.
#[derive(Debug, Clone)]
pub(crate) struct EngineTime {
    embedded: Arc<Embedded>,
    now_ms: Arc<AtomicI64>,
    began: Instant,
    /// Something was done at a queue.
    activity: Arc<Notify>,
    n_writes: Arc<AtomicU64>,
}

impl EngineTime {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS).after(self.began.elapsed())
    }

    /// Until the queue has something to give, or until then.
    pub(crate) async fn message_in(&self, queue: &str, until: Instant) {
        loop {
            let told = self.activity.notified();
            self.set();
            let next = self.embedded.next_message_ms(queue);
            let at = next.map(|at_ms| self.began + Duration::from_millis((at_ms - BEGIN_MS).max(0).unsigned_abs()));
            let look = at.map_or(until, |at| at.min(until));
            if look <= Instant::now() || (timeout_at(look, told).await.is_err() && look == until) {
                return;
            }
        }
    }

    /// Something was done at a queue.
    pub(crate) fn tell_activity(&self) {
        self.activity.notify_waiters();
    }

    /// Something was written to a table, perhaps.
    pub(crate) fn tell_write(&self) {
        self.n_writes.fetch_add(1, Ordering::Relaxed);
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

/// The answer of the engines, which work at once on this thread.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(tokio::task::unconstrained(future));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the engines have their callers wait"),
    }
}
