//! One function: its deployment, its instances and its counters.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use serde_json::Value;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use tokio::time::timeout;

use super::cold_start::peak_rss;
use super::config::{AtCapacity, Config, FunctionConfig};
use super::instance::{Instance, Spec};
use super::logs::{LogLine, Logs};
use super::outcome::{MAX_PAYLOAD_BYTES, Outcome};
use super::stats::Stats;
use super::tasks::Tasks;

/// The account in the ARNs of functions and APIs.
pub(super) const ACCOUNT: &str = "123456789012";

/// One function of an emulator.
#[derive(Debug)]
pub struct Function {
    name: String,
    arn: String,
    timeout: Duration,
    concurrency: usize,
    at_capacity: AtCapacity,
    init_timeout: Duration,
    idle_limit: Option<Duration>,
    slots: Arc<Semaphore>,
    pool: Mutex<Pool>,
    next_id: AtomicU64,
    stats: Mutex<Stats>,
    logs: Arc<Logs>,
    tasks: Tasks,
}

#[derive(Debug)]
struct Pool {
    spec: Spec,
    /// Number of the deployment. Instances of an older one get no further event.
    generation: u64,
    idle: Vec<Idle>,
    /// Busy instances by invocation.
    busy: BTreeMap<u64, Busy>,
}

#[derive(Debug)]
struct Idle {
    instance: Instance,
    generation: u64,
    since: Instant,
}

#[derive(Debug)]
struct Busy {
    kill: watch::Sender<bool>,
    /// `None` while the instance starts.
    pid: Option<u32>,
}

impl Busy {
    /// Requests the kill; the channel closes when it has happened.
    fn kill(&self) -> watch::Sender<bool> {
        self.kill.send_replace(true);
        self.kill.clone()
    }
}

impl Function {
    pub(super) fn new(config: &FunctionConfig, shared: &Config, group: i32, tasks: Tasks) -> Self {
        let arn = format!("arn:aws:lambda:{}:{ACCOUNT}:function:{}", shared.region, config.name);
        let spec = Spec {
            function: config.name.clone(),
            arn: arn.clone(),
            binary: config.binary.clone(),
            env: config.env.clone(),
            memory_mb: config.memory_mb,
            region: shared.region.clone(),
            freeze_idle: shared.freeze_idle,
            group: Some(group),
        };
        Self {
            name: config.name.clone(),
            arn,
            timeout: config.timeout,
            concurrency: config.concurrency,
            at_capacity: config.at_capacity,
            init_timeout: shared.init_timeout,
            idle_limit: shared.idle_limit,
            slots: Arc::new(Semaphore::new(config.concurrency)),
            pool: Mutex::new(Pool {
                spec,
                generation: 0,
                idle: Vec::new(),
                busy: BTreeMap::new(),
            }),
            next_id: AtomicU64::new(0),
            stats: Mutex::new(Stats::default()),
            logs: Arc::new(Logs::new(shared.log_lines)),
            tasks,
        }
    }

    /// Name of the function.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// ARN of the function.
    pub fn arn(&self) -> &str {
        &self.arn
    }

    /// The environment that new instances get beside what Lambda sets.
    pub fn env(&self) -> BTreeMap<String, String> {
        self.pool().spec.env.clone()
    }

    /// Invokes the function with `event` and waits for the outcome.
    pub async fn invoke(self: &Arc<Self>, event: &Value) -> Outcome {
        self.invoke_bytes(Bytes::from(event.to_string())).await
    }

    /// Invokes the function. The invocation continues if the caller stops waiting.
    pub(super) async fn invoke_bytes(self: &Arc<Self>, payload: Bytes) -> Outcome {
        if payload.len() > MAX_PAYLOAD_BYTES {
            return Outcome::TooLarge;
        }
        let Some(slot) = self.slot().await else {
            self.count(|stats| stats.throttles += 1);
            return Outcome::Throttled;
        };
        let (reply, outcome) = oneshot::channel();
        self.tasks.spawn(Arc::clone(self).serve(slot, payload, reply));
        outcome.await.unwrap_or_else(|_| Outcome::Crashed {
            how: "the emulator was shut down".to_owned(),
        })
    }

    /// The counters as they are now.
    pub fn stats(&self) -> Stats {
        self.stats.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The newest `limit` log lines of all instances, oldest first.
    pub fn logs(&self, limit: usize) -> Vec<LogLine> {
        self.logs.tail(limit)
    }

    /// All kept log lines that are JSON objects, oldest first.
    pub fn json_logs(&self) -> Vec<Value> {
        let lines = self.logs.tail(usize::MAX).into_iter();
        lines
            .filter_map(|line| serde_json::from_str(&line.text).ok())
            .filter(Value::is_object)
            .collect()
    }

    /// Process ids of the living instances.
    pub fn pids(&self) -> Vec<u32> {
        let pool = self.pool();
        pool.idle
            .iter()
            .map(|idle| idle.instance.pid())
            .chain(pool.busy.values().filter_map(|busy| busy.pid))
            .collect()
    }

    /// The maximum resident memory of any living instance, in bytes, where the system reports it.
    pub fn peak_rss_bytes(&self) -> Option<u64> {
        self.pids().into_iter().filter_map(peak_rss).max()
    }

    /// Deploys another binary and environment: from now on only new instances get events. Old ones finish their
    /// invocation and end.
    pub async fn deploy(&self, binary: impl Into<PathBuf>, env: BTreeMap<String, String>) {
        let old = {
            let mut pool = self.pool();
            pool.spec.binary = binary.into();
            pool.spec.env = env;
            pool.generation += 1;
            std::mem::take(&mut pool.idle)
        };
        end_all(old).await;
    }

    /// Kills one instance with SIGKILL, a busy one if there is one, and waits for its death. Returns whether there was any.
    pub async fn kill_one(&self) -> bool {
        let busy = self.pool().busy.values().next().map(Busy::kill);
        if let Some(kill) = busy {
            kill.closed().await;
            return true;
        }
        let idle = self.pool().idle.pop();
        match idle {
            Some(mut idle) => {
                idle.instance.kill("was killed by the test").await;
                true
            }
            None => false,
        }
    }

    /// Kills all instances with SIGKILL and waits for their death.
    pub async fn kill_all(&self) {
        let (idle, busy) = {
            let mut pool = self.pool();
            let busy: Vec<_> = pool.busy.values().map(Busy::kill).collect();
            (std::mem::take(&mut pool.idle), busy)
        };
        for mut idle in idle {
            idle.instance.kill("was killed by the test").await;
        }
        for kill in busy {
            kill.closed().await;
        }
    }

    pub(super) fn timeout(&self) -> Duration {
        self.timeout
    }

    pub(super) fn concurrency(&self) -> usize {
        self.concurrency
    }

    pub(super) fn count(&self, change: impl FnOnce(&mut Stats)) {
        change(&mut self.stats.lock().unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn log(&self, text: String) {
        self.logs.push(0, super::logs::Source::Platform, text);
    }

    /// Ends idle instances after the configured limit, for as long as it runs.
    pub(super) async fn reap_idle(self: Arc<Self>) {
        let Some(limit) = self.idle_limit else { return };
        let mut tick = tokio::time::interval((limit / 4).max(Duration::from_millis(10)));
        loop {
            tick.tick().await;
            let expired: Vec<_> = {
                let mut pool = self.pool();
                pool.idle.extract_if(.., |idle| idle.since.elapsed() >= limit).collect()
            };
            end_all(expired).await;
        }
    }

    /// Kills all idle instances at once.
    pub(super) fn drop_idle(&self) {
        self.pool().idle.clear();
    }

    /// Waits until no invocation is running, at most for `grace`, then ends all instances and rejects new invocations.
    pub(super) async fn shut_down(&self, grace: Duration) {
        let all = u32::try_from(self.concurrency).unwrap_or(u32::MAX);
        let quiet = timeout(grace, self.slots.acquire_many(all)).await;
        self.slots.close();
        drop(quiet);
        let idle = std::mem::take(&mut self.pool().idle);
        end_all(idle).await;
        self.kill_all().await;
    }

    async fn slot(&self) -> Option<OwnedSemaphorePermit> {
        let slots = Arc::clone(&self.slots);
        match self.at_capacity {
            AtCapacity::Wait => slots.acquire_owned().await.ok(),
            AtCapacity::Throttle => slots.try_acquire_owned().ok(),
        }
    }

    async fn serve(self: Arc<Self>, slot: OwnedSemaphorePermit, payload: Bytes, reply: oneshot::Sender<Outcome>) {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed);
        let (kill, mut killed) = watch::channel(false);
        self.pool().busy.insert(id, Busy { kill, pid: None });
        self.count(|stats| {
            stats.invocations += 1;
            stats.running += 1;
            stats.peak_running = stats.peak_running.max(stats.running);
        });
        let report = |outcome: Outcome| {
            self.count(|stats| note(stats, &outcome));
            // The caller may have stopped waiting.
            let _ = reply.send(outcome);
        };
        let survivor = match self.obtain(&mut killed).await {
            Ok(Idle {
                instance, generation, ..
            }) => {
                if let Some(busy) = self.pool().busy.get_mut(&id) {
                    busy.pid = Some(instance.pid());
                }
                let instance = instance.invoke(payload, self.timeout, &mut killed, report).await;
                instance.map(|instance| Idle {
                    instance,
                    generation,
                    since: Instant::now(),
                })
            }
            Err(outcome) => {
                report(outcome);
                None
            }
        };
        let unwanted = self.put_back(id, survivor, &killed);
        end_all(unwanted).await;
        drop(killed);
        drop(slot);
    }

    /// An idle instance of the current deployment, or a new one.
    async fn obtain(&self, killed: &mut watch::Receiver<bool>) -> Result<Idle, Outcome> {
        loop {
            let Some(mut idle) = self.pool().idle.pop() else { break };
            if idle.instance.is_usable() {
                return Ok(idle);
            }
            idle.instance.end().await;
        }
        let (spec, generation) = {
            let pool = self.pool();
            (pool.spec.clone(), pool.generation)
        };
        self.count(|stats| stats.cold_starts += 1);
        let instance = Instance::start(&spec, Arc::clone(&self.logs))
            .await
            .map_err(|error| Outcome::Failed {
                error_type: "Runtime.InvalidEntrypoint".to_owned(),
                message: format!("can't start {}: {error}", spec.binary.display()),
            })?;
        let instance = instance.ready(self.init_timeout, killed).await?;
        Ok(Idle {
            instance,
            generation,
            since: Instant::now(),
        })
    }

    /// Ends the invocation's entry; its instance becomes idle, or is returned if it is to end: it belongs to an older
    /// deployment, or a test ordered its death while it finished.
    fn put_back(&self, id: u64, survivor: Option<Idle>, killed: &watch::Receiver<bool>) -> Option<Idle> {
        let mut pool = self.pool();
        pool.busy.remove(&id);
        let idle = survivor?;
        if idle.generation != pool.generation || *killed.borrow() {
            return Some(idle);
        }
        pool.idle.push(idle);
        None
    }

    fn pool(&self) -> MutexGuard<'_, Pool> {
        self.pool.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn note(stats: &mut Stats, outcome: &Outcome) {
    stats.running -= 1;
    match outcome {
        Outcome::Answered(_) => return,
        Outcome::TimedOut { .. } => stats.timeouts += 1,
        Outcome::Crashed { .. } => stats.crashes += 1,
        Outcome::Failed { .. } | Outcome::Throttled | Outcome::TooLarge => {}
    }
    stats.errors += 1;
}

async fn end_all(instances: impl IntoIterator<Item = Idle>) {
    for idle in instances {
        idle.instance.end().await;
    }
}
