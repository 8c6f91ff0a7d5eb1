//! Bridge processes: as they are standing alone, without a server.

use std::sync::{Arc, Mutex, OnceLock};

use tieline_bridge::clock::Clock;
use tieline_bridge::egress::Egress;
use tieline_bridge::metrics::Metrics;
use tieline_bridge::pollers::{self, Concurrency};
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tokio::sync::watch;
use tokio::time::{Duration, sleep};

use crate::chance::Chance;
use crate::connector;
use crate::engine::Engine;
use crate::faults::{Life, Troubles};

/// Event pollers and wake-ups in flight of one process.
const DISPATCHERS: usize = 2;
/// What all processes of all simulations call others with.
static HTTP: OnceLock<Egress> = OnceLock::new();

/// One process after the other under one name: when one dies, the next comes.
pub(crate) struct Process {
    name: usize,
    /// How far its clock is ahead.
    ahead_ms: i64,
    current: Mutex<Option<(Arc<Life>, World)>>,
    /// The numbers of all its lives.
    metrics: Arc<Metrics>,
}

impl Process {
    pub(crate) fn new(name: usize, ahead_ms: i64) -> Arc<Self> {
        Arc::new(Self {
            name,
            ahead_ms,
            current: Mutex::new(None),
            metrics: Arc::default(),
        })
    }

    /// Lives again and again.
    pub(crate) async fn keep_alive(self: Arc<Self>, engine: Arc<Engine>, troubles: Arc<Troubles>, mut chance: Chance) {
        for number in 0_u64.. {
            let life = Life::new(self.name, Arc::clone(&troubles));
            let world = self.world(&engine, &life, number);
            *self.current.lock().unwrap() = Some((Arc::clone(&life), world.clone()));
            // Nothing ever stops it.
            let (_stop, stopped) = watch::channel(false);
            let concurrency = Concurrency {
                dispatchers: DISPATCHERS,
                ..Concurrency::of(&world, DISPATCHERS)
            };
            let dispatching = tokio::spawn(pollers::dispatch(world.clone(), concurrency, stopped.clone()));
            let running = tokio::spawn(pollers::run(world, concurrency, stopped));
            life.end().await;
            dispatching.abort();
            running.abort();
            *self.current.lock().unwrap() = None;
            sleep(chance.millis(100, 20_000)).await;
        }
    }

    /// How often it has asked an agent, in all its lives.
    pub(crate) fn n_asked(&self) -> u64 {
        self.metrics.n_asked()
    }

    /// The world of the process, if it can take a request now.
    pub(crate) fn world_if_well(&self) -> Option<World> {
        let current = self.current.lock().unwrap();
        let (life, world) = current.as_ref()?;
        life.is_well().then(|| world.clone())
    }

    fn world(&self, engine: &Engine, life: &Arc<Life>, number: u64) -> World {
        let (store, queues) = engine.clients(connector::of_process(engine, Arc::clone(life)));
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
        let settings = Settings::new("http://127.0.0.1:1".to_owned(), owner);
        let world = World::new(store, queues, registry::ALL, Clock::starting_at(shown), settings);
        World {
            metrics: Arc::clone(&self.metrics),
            // Nothing is called by it, and it takes its time to set up.
            http: HTTP.get_or_init(|| Egress::new(false)).clone(),
            ..world
        }
    }
}
