//! The bundle of clients, configuration and clock that every journey needs. Built once, at the start of a process.

use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use tieline_core::connector::Connector;
use tieline_core::conversation::{LEASE, Owner};
use tieline_core::ids::IntegrationId;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_core::virtual_shard::shard_of;
use tieline_queue::Queues;
use tieline_store::Store;

use crate::clock::Clock;
use crate::connections::socket_registry::SocketRegistry;
use crate::egress::Egress;
use crate::local_claims::LocalClaims;
use crate::local_replies::LocalReplies;
use crate::local_stops::LocalStops;
use crate::memory_budget::MemoryBudget;
use crate::metrics::Metrics;
use crate::state::accounts::Accounts;
use crate::state::cooldowns::Cooldowns;
use crate::state::guess_limiter::GuessLimiter;
use crate::state::known_names::KnownNames;
use crate::state::known_users::KnownUsers;
use crate::state::log_throttle::LogThrottle;
use crate::state::long_polls::LongPolls;
use crate::state::message_limits::MessageLimits;
use crate::state::newest_targets::NewestTargets;
use crate::state::parked_runs::ParkedRuns;
use crate::state::rate_limiter::RateLimiter;
use crate::state::refusal_log::RefusalLog;
use crate::state::token_uses::TokenUses;
use crate::state::tokens::Tokens;
use crate::tenant_slots::{SlotLimits, TenantSlots};

/// The connectors, by registry.
pub type Registry = &'static [&'static dyn Connector];

/// Clients, settings, clock and shared state of a process. Cheap to clone.
#[derive(Clone)]
pub struct World {
    /// The tables.
    pub store: Store,
    /// The queues.
    pub queues: Queues,
    /// The connectors.
    pub registry: Registry,
    /// The client for addresses given by users and platforms. See [`crate::egress`].
    pub http: Egress,
    /// The clock.
    pub clock: Clock,
    /// Settings that differ between deployments.
    pub settings: Arc<Settings>,
    /// Prepared accounts. Cache; bounded.
    pub accounts: Arc<Accounts>,
    /// Access tokens of platforms, cached until shortly before they expire.
    pub tokens: Arc<Tokens>,
    /// Throttle of log lines.
    pub log_throttle: Arc<LogThrottle>,
    /// Samples of refused requests.
    pub refusal_log: Arc<RefusalLog>,
    /// Names of people and groups that platforms return on request. Cache; bounded.
    pub known_names: Arc<KnownNames>,
    /// Users already recorded, so that a message from one writes nothing. Cache; bounded.
    pub known_users: Arc<KnownUsers>,
    /// Where the newest message of each chat is answered. Cache; bounded.
    pub newest_targets: Arc<NewestTargets>,
    /// Limits of organizations on questions. Cache; bounded.
    pub message_limits: Arc<MessageLimits>,
    /// Slots for runs and deliveries, which organizations share.
    pub tenant_slots: Arc<TenantSlots>,
    /// Which task of this process has claimed which lease.
    pub local_claims: Arc<LocalClaims>,
    /// Runs that this process has parked until their agents call back.
    pub parked_runs: Arc<ParkedRuns>,
    /// Runs of this process, to be notified of stops at once.
    pub local_stops: Arc<LocalStops>,
    /// Replies that tasks of this process wait for, to be notified of this process's own writes.
    pub local_replies: Arc<LocalReplies>,
    /// This process's share of the quotas shared by all processes.
    pub rate_limiter: Arc<RateLimiter>,
    /// Cooldowns of ways that platforms have refused, and rate limits of bots.
    pub cooldowns: Arc<Cooldowns>,
    /// Bots whose long connections this process holds, and which process holds the others.
    pub sockets: Arc<SocketRegistry>,
    /// Memory budget for pictures that are sent to agents with their bytes.
    pub image_budget: Arc<MemoryBudget>,
    /// Memory budget for files that are passed on.
    pub file_budget: Arc<MemoryBudget>,
    /// Memory budget for agents' answers.
    pub answer_budget: Arc<MemoryBudget>,
    /// Metrics for operators.
    pub metrics: Arc<Metrics>,
    /// Long polls of operators in flight.
    pub long_polls: Arc<LongPolls>,
    /// Wrong tokens, by address.
    pub guesses: Arc<GuessLimiter>,
    /// When uses of tokens were last written. Cache; bounded.
    pub token_uses: Arc<TokenUses>,
}

/// Settings that differ between deployments.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Our own address, without a trailing slash.
    pub public_url: String,
    /// Base of the platforms' callback URLs, without a trailing slash. `None`: the public URL.
    pub callback_base: Option<String>,
    /// Which private addresses may be called, and whether plain HTTP.
    pub allow_private: PrivateEndpoints,
    /// The root token, which may access everything. `None`: there is none in this process.
    pub root_token: Option<Secret>,
    /// Finds this process's own credentials at AWS, for agents that are called with its role. `None`: it has none.
    pub aws_credentials: Option<SharedCredentialsProvider>,
    /// Identity of this process as a holder of leases.
    pub owner: Owner,
    /// How long a lease lasts without a heartbeat.
    pub lease: Duration,
    /// Time between heartbeats.
    pub heartbeat: Duration,
    /// Delay of the watchdog that checks whether a wake-up's work was done.
    pub watchdog: Duration,
    /// Time between two checks for `/stop` while an agent writes, if shorter than the heartbeat, which checks too. A dispatcher
    /// in the same process notifies the run at once.
    pub stop_poll: Duration,
    /// Shortest and longest time between two reads of a reply that is waited for. This process's own writes are seen at once.
    pub reply_looks: (Duration, Duration),
    /// How long a conversation may keep a slot for which other runs wait: then, between two runs, it yields.
    pub turn: Duration,
    /// Whether wake-ups for bots on long connections are sent to their relays. Relays run what is on their shards' queues in any case.
    pub relays_run: bool,
    /// Concurrency limits of this process.
    pub slots: SlotLimits,
    /// How long a wake-up waits in this process for a slot. Zero where waiting is paid for: it then returns to the queue.
    pub slot_wait: Duration,
    /// Memory budget in bytes for pictures that are sent to agents with their bytes; the others are sent as links.
    pub max_picture_bytes: usize,
    /// Memory budget in bytes for files that are passed on; the others wait.
    pub max_passing_bytes: usize,
    /// Memory budget in bytes for agents' answers. Counted once each, though an answer that is shown is held some four times.
    pub max_answers_bytes: usize,
    /// Largest file served behind a signed link.
    pub max_file_bytes: usize,
    /// Time limit for serving it.
    pub file_patience: Duration,
    /// Least rate of a download.
    pub least_download: LeastRate,
}

/// Least rate of a download: a slower one would hold its share of the memory budget for too long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeastRate {
    /// Least number of bytes within `window`, except at the end.
    pub n_bytes: usize,
    /// The window.
    pub window: Duration,
}

impl Default for LeastRate {
    /// 16 KiB/s over 10 s.
    fn default() -> Self {
        Self {
            n_bytes: 160 * 1024,
            window: Duration::from_secs(10),
        }
    }
}

impl Settings {
    /// The timing on which the guarantees are based: a crashed runner is replaced within 60 s.
    #[must_use]
    pub fn new(public_url: String, owner: Owner) -> Self {
        Self {
            public_url,
            callback_base: None,
            allow_private: PrivateEndpoints::Refused,
            root_token: None,
            aws_credentials: None,
            owner,
            lease: LEASE,
            // Rarely, for each is a write, but often enough that a lease always outlasts a call of a platform, and has more than half of its time left.
            heartbeat: Duration::from_secs(12),
            // Just after the end of a lease that was acquired at once.
            watchdog: Duration::from_secs(31),
            stop_poll: Duration::from_secs(2),
            reply_looks: (Duration::from_millis(15), Duration::from_millis(200)),
            turn: Duration::from_secs(60),
            relays_run: false,
            slots: SlotLimits {
                runs: 4096,
                deliveries: 1024,
                working: usize::MAX,
            },
            slot_wait: Duration::ZERO,
            // Encoding and sending takes three times as much memory again, and a runner on AWS may have 256 MB.
            max_picture_bytes: 24 * 1024 * 1024,
            max_passing_bytes: 256 * 1024 * 1024,
            // Twice the longest answer of one organization, in a relay's or a runner's memory.
            max_answers_bytes: 64 * 1024 * 1024,
            max_file_bytes: 100 * 1024 * 1024,
            file_patience: Duration::from_secs(60),
            least_download: LeastRate::default(),
        }
    }

    /// Base of the platforms' callback URLs, without a trailing slash.
    #[must_use]
    pub fn callback_base(&self) -> &str {
        self.callback_base.as_deref().unwrap_or(&self.public_url)
    }
}

impl World {
    /// Creates a world.
    #[must_use]
    pub fn new(store: Store, queues: Queues, registry: Registry, clock: Clock, settings: Settings) -> Self {
        let tenant_slots = Arc::new(TenantSlots::new(settings.slots));
        let file_budget = Arc::new(MemoryBudget::of(settings.max_passing_bytes));
        let answer_budget = Arc::new(MemoryBudget::of(settings.max_answers_bytes));
        let image_budget = Arc::new(MemoryBudget::of(settings.max_picture_bytes));
        Self {
            store,
            queues,
            registry,
            http: Egress::new(settings.allow_private.clone()),
            clock,
            settings: Arc::new(settings),
            accounts: Arc::default(),
            tokens: Arc::default(),
            log_throttle: Arc::default(),
            refusal_log: Arc::default(),
            known_names: Arc::default(),
            known_users: Arc::default(),
            newest_targets: Arc::default(),
            message_limits: Arc::default(),
            tenant_slots,
            local_claims: Arc::default(),
            parked_runs: Arc::default(),
            local_stops: Arc::default(),
            local_replies: Arc::default(),
            rate_limiter: Arc::default(),
            cooldowns: Arc::default(),
            sockets: Arc::default(),
            image_budget,
            file_budget,
            answer_budget,
            metrics: Arc::default(),
            long_polls: Arc::default(),
            guesses: Arc::default(),
            token_uses: Arc::default(),
        }
    }

    /// The shard of a bot's long connection. `None`: this deployment has no relays.
    #[must_use]
    pub fn shard_of(&self, integration: &IntegrationId) -> Option<usize> {
        let n_shards = self.queues.urls().relay.len();
        (n_shards > 0).then(|| shard_of(integration, n_shards))
    }

    /// The same world, with metrics gathered for `namespace`.
    #[must_use]
    pub fn watched(self, namespace: String) -> Self {
        Self {
            metrics: Arc::new(Metrics::gathering(namespace)),
            ..self
        }
    }

    /// The same world, with totals of its metrics for Prometheus.
    #[must_use]
    pub fn exposed(self) -> Self {
        // Nothing has been gathered yet.
        let metrics = Arc::into_inner(self.metrics).unwrap_or_default();
        Self {
            metrics: Arc::new(metrics.exposed()),
            ..self
        }
    }

    /// The same world in a process that polls its wake-ups itself, so that they may wait in it for a slot.
    #[must_use]
    pub fn with_slots(self, slots: SlotLimits, slot_wait: Duration) -> Self {
        let mut settings = (*self.settings).clone();
        (settings.slots, settings.slot_wait) = (slots, slot_wait);
        Self {
            settings: Arc::new(settings),
            tenant_slots: Arc::new(TenantSlots::new(slots)),
            ..self
        }
    }

    /// The connector of a platform.
    #[must_use]
    pub fn connector(&self, platform: &str) -> Option<&'static dyn Connector> {
        self.registry
            .iter()
            .copied()
            .find(|connector| connector.manifest().platform == platform)
    }
}

/// Fresh random bytes from the system.
///
/// # Panics
/// If the system has none: nothing is secure then.
#[must_use]
pub fn random<const N: usize>() -> [u8; N] {
    predictable().unwrap_or_else(|| {
        let mut bytes = [0; N];
        getrandom::fill(&mut bytes).expect("the system has random bytes");
        bytes
    })
}

/// Random bytes from a generator of this thread that the system has seeded. For the ids of frames and calls, of which there are many; not for keys.
#[must_use]
pub fn nonce<const N: usize>() -> [u8; N] {
    predictable().unwrap_or_else(rand::random)
}

/// The next bytes of a simulation that can be replayed. `None` in every program.
#[cfg(feature = "seeded")]
fn predictable<const N: usize>() -> Option<[u8; N]> {
    let mut bytes = [0; N];
    crate::seeded::fill(&mut bytes).then_some(bytes)
}

#[cfg(not(feature = "seeded"))]
const fn predictable<const N: usize>() -> Option<[u8; N]> {
    None
}

/// A random number, for jitter.
#[must_use]
pub fn chance() -> u64 {
    u64::from_ne_bytes(random())
}
