//! The tables and queues that all processes share: the embedded engines, on simulated time.

use std::collections::HashMap;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::types::AttributeValue;
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use aws_sdk_sqs::config::retry::RetryPartition;
use aws_smithy_runtime_api::client::http::SharedHttpClient;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{DirectTables, Embedded, Options, StorageThread};
use tieline_queue::{Queues, Urls, definitions};
use tieline_store::{Keyring, Store, TableClient, Tables, create_missing};
use tokio::sync::Notify;
use tokio::time::{Duration, Instant, timeout_at};

use crate::past::Past;

/// Start of the simulated time.
const BEGIN_MS: i64 = 1_800_000_000_000;
const PREFIX: &str = "tieline-";
const KEY: [u8; 32] = [7; 32];
/// The timeouts of the deployed programs.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
const QUEUE_TRY_TIMEOUT: Duration = Duration::from_secs(25);

/// Number of processes so far, in all simulations.
static N_PROCESSES: AtomicU64 = AtomicU64::new(0);

/// The engines and their clock.
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
        let (dynamo, sqs) = clients(crate::connector::without_faults(&engine));
        create_missing(&dynamo, &Tables::with_prefix(PREFIX)).await.unwrap();
        engine.urls = definitions::create_missing(&sqs, PREFIX, 0).await.unwrap();
        engine
    }

    /// The engine's own HTTP client.
    pub(crate) fn http_client(&self) -> SharedHttpClient {
        self.embedded.http_client()
    }

    /// The previous versions of items.
    pub(crate) fn past(&self) -> Arc<Past> {
        Arc::clone(&self.past)
    }

    /// The engines' clock, which is set before each call.
    pub(crate) fn time(&self) -> EngineTime {
        EngineTime {
            now_ms: Arc::clone(&self.now_ms),
            began: self.began,
            embedded: Arc::clone(&self.embedded),
            activity: Arc::clone(&self.activity),
            n_writes: Arc::clone(&self.n_writes),
        }
    }

    /// All items of the tables.
    pub(crate) async fn items(&self) -> Vec<HashMap<String, AttributeValue>> {
        let (dynamo, _) = clients(crate::connector::without_faults(self));
        let tables = Tables::with_prefix(PREFIX);
        let mut items = Vec::new();
        for table in [&tables.config, &tables.state] {
            let mut pages = dynamo.scan().table_name(table).into_paginator().items().send();
            while let Some(item) = pages.next().await {
                items.push(item.unwrap());
            }
        }
        items
    }

    /// Number of writes to tables.
    pub(crate) fn n_writes(&self) -> u64 {
        self.n_writes.load(Ordering::Relaxed)
    }

    /// The simulated time.
    pub(crate) fn now(&self) -> Timestamp {
        self.time().now()
    }

    /// The engine's tables.
    pub(crate) fn direct_tables(&self) -> DirectTables {
        self.embedded.direct_tables().expect("calls are not observed")
    }

    /// Store and queues of a process whose calls go through `http`, except those that `direct` executes.
    pub(crate) fn clients(
        &self,
        http: SharedHttpClient,
        direct: Option<Arc<dyn tieline_store::DirectTables>>,
    ) -> (Store, Queues) {
        let (dynamo, sqs) = clients(http);
        let dynamo = TableClient::from(dynamo);
        let dynamo = match direct {
            Some(tables) => dynamo.directly(tables),
            None => dynamo,
        };
        let store = Store::new(dynamo, Tables::with_prefix(PREFIX), Keyring::new(KEY));
        (store, Queues::new(sqs, self.urls.clone()))
    }
}

/// The engines' clock.
#[derive(Debug, Clone)]
pub(crate) struct EngineTime {
    embedded: Arc<Embedded>,
    now_ms: Arc<AtomicI64>,
    began: Instant,
    /// Notified after each operation on a queue.
    activity: Arc<Notify>,
    n_writes: Arc<AtomicU64>,
}

impl EngineTime {
    pub(crate) fn now(&self) -> Timestamp {
        Timestamp::from_millis(BEGIN_MS).after(self.began.elapsed())
    }

    /// Waits until the queue has a visible message, but no longer than `until`.
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

    /// Reports an operation on a queue.
    pub(crate) fn notify_activity(&self) {
        self.activity.notify_waiters();
    }

    /// Counts an operation that may have written to a table.
    pub(crate) fn count_write(&self) {
        self.n_writes.fetch_add(1, Ordering::Relaxed);
    }

    /// Sets the engines' clock to the simulated time.
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
        // The SDK's random jitter would make runs differ.
        .retry_config(RetryConfig::standard().with_use_static_exponential_base(true))
        .http_client(http)
        .build();
    // Processes don't share the SDK's retry budget.
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

/// The answer of the engines, which run synchronously on this thread.
pub(crate) fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(tokio::task::unconstrained(future));
    match future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(done) => done,
        Poll::Pending => panic!("the engines must answer synchronously"),
    }
}
