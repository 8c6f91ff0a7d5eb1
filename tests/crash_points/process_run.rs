//! One run of a bridge process on a data directory: it works until the queues are empty, or until it dies at its crash point.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Settings, World, random};
use tieline_bridge::{dispatch, run};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::envelope::{Envelope, WakeUp};
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::timestamp::Timestamp;
use tieline_embedded::{CrashPoint, Embedded, Moment, Observer, Options, Service, Verdict};
use tieline_queue::receive::{MAX_BATCH, delete, receive};
use tieline_standalone::local;
use tieline_store::{Keyring, Store, Tables};
use tokio::sync::watch;

/// The data key; all processes have the same.
const KEY: [u8; 32] = [7; 32];

/// Counts the durable writes, and decides at which of them the process dies.
#[derive(Clone)]
pub(crate) struct CrashPlan {
    watches: Arc<AtomicBool>,
    n_points: Arc<AtomicU64>,
    dies_at: Option<u64>,
    last: Arc<Mutex<String>>,
    died: Arc<watch::Sender<bool>>,
    fails: Arc<Mutex<Option<Failing>>>,
}

type Failing = Box<dyn Fn(&CrashPoint<'_>) -> bool + Send>;

impl CrashPlan {
    /// Dies at the crash point of this number; `None` never dies.
    pub(crate) fn new(dies_at: Option<u64>) -> Self {
        Self {
            watches: Arc::default(),
            n_points: Arc::default(),
            dies_at,
            last: Arc::default(),
            died: Arc::new(watch::Sender::new(false)),
            fails: Arc::default(),
        }
    }

    fn observer(&self) -> Observer {
        let plan = self.clone();
        Observer::new(move |point| plan.decide(point))
    }

    /// From now on, table writes fail while `fails` returns true.
    pub(crate) fn fail_tables_while(&self, fails: impl Fn() -> bool + Send + 'static) {
        self.fail(move |point| point.service == Service::DynamoDb && fails());
    }

    /// From now on, the calls for which `fails` returns true fail.
    pub(crate) fn fail(&self, fails: impl Fn(&CrashPoint<'_>) -> bool + Send + 'static) {
        *self.fails.lock().unwrap() = Some(Box::new(fails));
    }

    fn decide(&self, point: &CrashPoint<'_>) -> Verdict {
        if self.fails.lock().unwrap().as_ref().is_some_and(|fails| fails(point)) {
            return Verdict::Fail;
        }
        if !self.watches.load(Ordering::SeqCst) {
            return Verdict::Proceed;
        }
        let number = self.n_points.fetch_add(1, Ordering::SeqCst);
        let side = match point.moment {
            Moment::Before => "before",
            Moment::After => "after",
        };
        if self.dies_at != Some(number) {
            return Verdict::Proceed;
        }
        *self.last.lock().unwrap() = format!("{side} {} no. {number}", point.operation);
        self.died.send_replace(true);
        Verdict::Die
    }

    /// Number of crash points that were passed.
    pub(crate) fn n_points(&self) -> u64 {
        self.n_points.load(Ordering::SeqCst)
    }

    /// The crash point at which it died.
    pub(crate) fn crash_point(&self) -> String {
        self.last.lock().unwrap().clone()
    }

    pub(crate) fn has_died(&self) -> bool {
        *self.died.borrow()
    }

    /// Runs `living` to its end and returns its value. `None` if the process dies first, which stops it.
    pub(crate) async fn unless_dead<T>(&self, living: impl Future<Output = T>) -> Option<T> {
        let mut died = self.died.subscribe();
        tokio::select! {
            biased;
            _ = died.wait_for(|died| *died) => None,
            done = living => Some(done),
        }
    }
}

/// A bridge process on one data directory.
pub(crate) struct ProcessRun {
    pub(crate) world: World,
    pub(crate) plan: CrashPlan,
    embedded: Embedded,
    ahead_ms: Arc<AtomicI64>,
}

impl ProcessRun {
    /// Starts a process on `dir`, with a clock that is `ahead` of the machine's.
    pub(crate) async fn begin(dir: &Path, plan: CrashPlan, ahead: Duration) -> Self {
        let ahead_ms = Arc::new(AtomicI64::new(millis(ahead)));
        let queues_ahead = Arc::clone(&ahead_ms);
        let options = Options {
            clock: tieline_embedded::Clock::new(move || machine_ms() + queues_ahead.load(Ordering::SeqCst)),
            observer: Some(plan.observer()),
            ..Options::default()
        };
        let embedded = Embedded::open(dir, options).unwrap();
        // As on AWS, where a process can't know that it replaces another one: leases have to expire.
        let owner = Owner {
            node: hex::encode(random::<8>()),
            life: hex::encode(random::<8>()),
        };
        let settings = Settings {
            allow_private: PrivateEndpoints::Allowed,
            ..Settings::new("http://127.0.0.1:1".to_owned(), owner)
        };
        let world = local::world(&embedded, KEY, registry::ALL, settings).await.unwrap();
        let mut process = Self {
            world,
            plan,
            embedded,
            ahead_ms,
        };
        process.set_clock();
        process
    }

    /// From here on, durable writes are counted.
    pub(crate) fn watch(&self) {
        self.plan.watches.store(true, Ordering::SeqCst);
    }

    /// Moves the time forward.
    pub(crate) fn pass(&mut self, time: Duration) {
        self.ahead_ms.fetch_add(millis(time), Ordering::SeqCst);
        self.set_clock();
        self.embedded.wake();
    }

    fn set_clock(&mut self) {
        let now = machine_ms() + self.ahead_ms.load(Ordering::SeqCst);
        self.world.clock = Clock::starting_at(Timestamp::from_millis(now));
    }

    /// Works until both queues have no visible message.
    pub(crate) async fn work(&self) {
        while self.dispatch().await | self.run().await {}
    }

    /// Dispatches the inbound events. Returns whether there were any.
    pub(crate) async fn dispatch(&self) -> bool {
        let url = &self.world.queues.urls().inbound;
        let received = receive::<Envelope>(&self.world.queues, url, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        let failed = dispatch::batch::dispatch_batch(&self.world, received).await;
        assert!(failed.is_empty(), "dispatching failed though the process did not die");
        delete(&self.world.queues, url, &receipts).await.unwrap();
        !receipts.is_empty()
    }

    /// Works the wake-ups that are due. Returns whether there were any.
    pub(crate) async fn run(&self) -> bool {
        let url = &self.world.queues.urls().work;
        let received = receive::<WakeUp>(&self.world.queues, url, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap();
        let any = !received.is_empty();
        for it in received {
            let receipt = it.receipt.clone();
            if run::batch::run(&self.world, vec![it], None).await.is_empty() {
                delete(&self.world.queues, url, &[receipt]).await.unwrap();
            }
        }
        any
    }

    /// Works the wake-ups that are due, each deleted when it is received, as relays do.
    pub(crate) async fn run_deleted(&self) {
        let url = &self.world.queues.urls().work;
        let received = receive::<WakeUp>(&self.world.queues, url, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap();
        let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
        delete(&self.world.queues, url, &receipts).await.unwrap();
        run::batch::run(&self.world, received, None).await;
    }

    /// A store of another process on the same tables.
    pub(crate) fn elsewhere(&self) -> Store {
        Store::new(self.tables(), Tables::with_prefix("tieline-"), Keyring::new(KEY))
    }

    /// A plain client of the tables, for writes that the store never makes.
    pub(crate) fn tables(&self) -> aws_sdk_dynamodb::Client {
        local::clients(&self.embedded).0
    }

    /// Closes the files. Acknowledged writes are kept.
    pub(crate) async fn end(self) {
        drop(self.world);
        self.embedded.close().await;
    }
}

fn machine_ms() -> i64 {
    millis(SystemTime::UNIX_EPOCH.elapsed().unwrap())
}

fn millis(time: Duration) -> i64 {
    i64::try_from(time.as_millis()).unwrap()
}
