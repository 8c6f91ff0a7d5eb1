//! Bridge processes: like the standalone program, without its HTTP server.

use std::sync::{Arc, Mutex, OnceLock};

use tieline_bridge::clock::Clock;
use tieline_bridge::egress::Egress;
use tieline_bridge::metrics::Metrics;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::scheduled;
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::timestamp::Timestamp;
use tieline_queue::Queues;
use tieline_store::Store;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::chance::SeededRng;
use crate::connector;
use crate::direct_tables;
use crate::engine::Engine;
use crate::faults::{FaultPlan, ProcessRun};
use crate::platform::{Platform, ReachedPlatform};

/// Number of event pollers, and of wake-ups in flight, of one process.
const DISPATCHERS: usize = 2;
/// HTTP client for calls of all processes to agents and platforms.
static HTTP: OnceLock<Egress> = OnceLock::new();

/// A named process that is restarted whenever it dies.
pub(crate) struct Process {
    name: usize,
    /// Clock skew.
    ahead_ms: i64,
    platform: Arc<Platform>,
    current: Mutex<Option<(Arc<ProcessRun>, World)>>,
    /// The metrics of all its runs.
    metrics: Arc<Metrics>,
}

impl Process {
    pub(crate) fn new(name: usize, ahead_ms: i64, platform: Arc<Platform>) -> Arc<Self> {
        Arc::new(Self {
            name,
            ahead_ms,
            platform,
            current: Mutex::new(None),
            metrics: Arc::default(),
        })
    }

    /// Restarts the process for ever.
    pub(crate) async fn keep_alive(
        self: Arc<Self>,
        engine: Arc<Engine>,
        fault_plan: Arc<FaultPlan>,
        mut rng: SeededRng,
    ) {
        for number in 0_u64.. {
            let process_run = ProcessRun::new(self.name, Arc::clone(&fault_plan));
            let world = self.world(&engine, &process_run, number);
            *self.current.lock().unwrap() = Some((Arc::clone(&process_run), world.clone()));
            // The process is never asked to stop.
            let (_stop, stopped) = watch::channel(false);
            let concurrency = Concurrency {
                dispatchers: DISPATCHERS,
                ..Concurrency::of(&world, DISPATCHERS)
            };
            let dispatching = tokio::spawn(pollers::dispatch(world.clone(), concurrency, stopped.clone()));
            let running = tokio::spawn(pollers::run(world.clone(), concurrency, stopped));
            let saying = tokio::spawn(say_due_each_minute(world));
            process_run.end().await;
            dispatching.abort();
            running.abort();
            saying.abort();
            *self.current.lock().unwrap() = None;
            sleep(rng.millis(100, 20_000)).await;
        }
    }

    /// Number of agent requests in all its runs.
    pub(crate) fn n_asked(&self) -> u64 {
        self.metrics.n_asked()
    }

    /// The world of a random one of these processes, if that can accept a request now.
    pub(crate) fn any_running(processes: &[Arc<Self>], rng: &mut SeededRng) -> Option<World> {
        let at = usize::try_from(rng.below(processes.len() as u64)).unwrap();
        processes[at].world_if_running()
    }

    /// The process's world, if it can accept a request now.
    fn world_if_running(&self) -> Option<World> {
        let current = self.current.lock().unwrap();
        let (process_run, world) = current.as_ref()?;
        process_run.is_running().then(|| world.clone())
    }

    /// The world of an operator's program, without faults.
    pub(crate) fn operator_world(engine: &Engine, platform: Arc<Platform>) -> World {
        let direct = direct_tables::without_faults(engine);
        let (store, queues) = engine.clients(connector::without_faults(engine), Some(direct));
        let owner = Owner {
            node: "operator".to_owned(),
            life: "life0".to_owned(),
        };
        let platform = ReachedPlatform {
            platform,
            process_run: None,
        };
        create_world(store, queues, engine.now(), owner, platform)
    }

    fn world(&self, engine: &Engine, process_run: &Arc<ProcessRun>, number: u64) -> World {
        let http = connector::of_process(engine, Arc::clone(process_run));
        let direct = process_run.are_tables_direct();
        let direct = direct.then(|| direct_tables::of_process(engine, Arc::clone(process_run)));
        let (store, queues) = engine.clients(http, direct);
        let owner = Owner {
            node: format!("node{}", self.name),
            life: format!("life{number}"),
        };
        let now = engine.now();
        let ahead = Duration::from_millis(self.ahead_ms.unsigned_abs());
        let shown = if self.ahead_ms < 0 {
            now.before(ahead)
        } else {
            now.after(ahead)
        };
        let platform = ReachedPlatform {
            platform: Arc::clone(&self.platform),
            process_run: Some(Arc::clone(process_run)),
        };
        World {
            metrics: Arc::clone(&self.metrics),
            ..create_world(store, queues, shown, owner, platform)
        }
    }
}

/// Sends scheduled messages, as the periodic work of a program does.
async fn say_due_each_minute(world: World) {
    loop {
        sleep(Duration::from_secs(60)).await;
        scheduled::say_due(&world).await;
    }
}

fn create_world(store: Store, queues: Queues, now: Timestamp, owner: Owner, platform: ReachedPlatform) -> World {
    let settings = Settings::new("http://127.0.0.1:1".to_owned(), owner);
    // Shared because it is slow to set up; the echo agent makes no calls.
    let http = HTTP.get_or_init(|| Egress::new(PrivateEndpoints::Refused)).clone();
    World {
        http: http.to_simulated(Arc::new(platform)),
        ..World::new(store, queues, registry::ALL, Clock::starting_at(now), settings)
    }
}
