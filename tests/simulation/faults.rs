//! Fault injection: the faults of calls and processes.

use std::fmt::Debug;
use std::future::pending;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Mutex, OnceLock};

use tokio::sync::{Notify, oneshot};
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::chance::SeededRng;
use crate::mistakes::Mistake;

/// A call that takes this long may cost its caller the lease.
const LONG: Duration = Duration::from_secs(1);

/// Longest time between a fault and its last effect: the longest freeze, and then a wake-up whose work another process has taken over.
pub(crate) const FAULT_LASTS: Duration = Duration::from_secs(120);

/// The fault of one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    Proceed,
    /// The call arrives late, perhaps after its caller's timeout; it is executed all the same.
    Delay(Duration),
    /// The call fails without an effect.
    FailBefore,
    /// The call takes effect, and its response is an error.
    FailAfter,
    /// The caller's process dies before the call.
    DieBefore,
    /// The caller's process dies after the call.
    DieAfter,
    /// The caller's process is frozen before the call.
    Freeze(Duration),
}

/// How often each fault happens, in ten thousand calls.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rates {
    pub(crate) delay: u64,
    pub(crate) long_delay: u64,
    pub(crate) fail_before: u64,
    pub(crate) fail_after: u64,
    pub(crate) die: u64,
    pub(crate) freeze: u64,
}

impl Rates {
    /// No faults.
    pub(crate) const NONE: Self = Self {
        delay: 0,
        long_delay: 0,
        fail_before: 0,
        fail_after: 0,
        die: 0,
        freeze: 0,
    };

    /// The rates of one seed: most seeds have one or two kinds of faults.
    pub(crate) fn of(rng: &mut SeededRng) -> Self {
        if rng.below(20) == 0 {
            return Self::NONE;
        }
        let mut rate = |most: u64| match rng.below(2) {
            0 => 0,
            _ => rng.below(most + 1),
        };
        Self {
            delay: rate(3000),
            long_delay: rate(60),
            fail_before: rate(600),
            fail_after: rate(600),
            die: rate(150),
            freeze: rate(80),
        }
    }
}

/// A table that hangs as soon as the first wake-up is sent, until after the process has died.
#[derive(Debug, Default)]
struct Hang {
    began: OnceLock<Instant>,
    has_died: AtomicBool,
}

/// Faults at chosen calls, and no others.
#[derive(Debug)]
enum Scripted {
    /// A table hangs, and its caller dies.
    Hang(Hang),
    /// The first read of a run's messages takes longer than its lease. The flag says whether it was.
    SlowRead(AtomicBool),
    /// The process is frozen before its first write of the reply, until another one has taken the run over and waits for the agent. Counts the
    /// items that were put.
    LateWrite(AtomicU32),
}

impl Scripted {
    /// Longer than a lease of 30 s, and less than another process takes to notice.
    const SLOW: Duration = Duration::from_millis(31_500);
    /// From the first piece of the answer, 30 s after the run began, until the other process has just taken over. The next piece comes after that.
    const FROZEN: Duration = Duration::from_millis(25_200);

    fn fault(&self, target: &str) -> Fault {
        match self {
            Self::Hang(hang) => hang.fault(target),
            Self::SlowRead(was) if target.ends_with(".BatchGetItem") && !was.swap(true, Ordering::Relaxed) => {
                Fault::Delay(Self::SLOW)
            }
            Self::LateWrite(n_puts) if target.ends_with(".PutItem") => {
                // The message, its conversation, and the reply.
                match n_puts.fetch_add(1, Ordering::Relaxed) {
                    2 => Fault::Freeze(Self::FROZEN),
                    _ => Fault::Proceed,
                }
            }
            Self::SlowRead(_) | Self::LateWrite(_) => Fault::Proceed,
        }
    }
}

impl Hang {
    /// Long enough for a wake-up and its watchdog, 31 s later, to be hidden for longer than at first, which happens after 40 s.
    const DEATH_AFTER: Duration = Duration::from_secs(75);
    const LASTS: Duration = Duration::from_secs(95);

    fn fault(&self, target: &str) -> Fault {
        if target.ends_with(".SendMessageBatch") {
            self.began.get_or_init(Instant::now);
            return Fault::Proceed;
        }
        let Some(began) = self.began.get() else {
            return Fault::Proceed;
        };
        let passed = began.elapsed();
        if passed >= Self::DEATH_AFTER && !self.has_died.swap(true, Ordering::Relaxed) {
            return Fault::DieBefore;
        }
        match Self::LASTS.checked_sub(passed) {
            Some(left) if target.starts_with("DynamoDB") => Fault::Delay(left),
            _ => Fault::Proceed,
        }
    }
}

/// How many of a thousand eventually consistent reads are answered by a lagging replica, where there are replicas.
const LAGS: u64 = 300;

/// The faults of all processes of a simulation.
#[derive(Debug)]
pub(crate) struct FaultPlan {
    rng: Mutex<SeededRng>,
    /// Whether replicas of tables lag. `None`: there are no replicas. No call fails because of a replica.
    lags: Option<Mutex<SeededRng>>,
    /// Whether processes call the tables directly, as the standalone program does.
    are_tables_direct: bool,
    rates: Rates,
    until: Instant,
    outage: Option<(Instant, Instant)>,
    scripted: Option<Scripted>,
    /// The mistake that is planted in all processes.
    mistake: Option<Mistake>,
    began: Instant,
    /// Every call: time, process, operation and fault.
    calls: Mutex<Vec<String>>,
    /// When each fault was injected after which work may be repeated.
    fault_times: Mutex<Vec<Instant>>,
    /// When a process died or was frozen.
    interruptions: Mutex<Vec<Instant>>,
}

impl FaultPlan {
    pub(crate) fn new(rng: SeededRng, rates: Rates, until: Instant) -> Self {
        Self {
            rng: Mutex::new(rng),
            lags: None,
            are_tables_direct: false,
            rates,
            until,
            outage: None,
            scripted: None,
            mistake: None,
            began: Instant::now(),
            calls: Mutex::default(),
            fault_times: Mutex::default(),
            interruptions: Mutex::default(),
        }
    }

    /// The same plan, with lagging replicas of the tables.
    pub(crate) fn with_replicas(self, rng: SeededRng) -> Self {
        Self {
            lags: Some(Mutex::new(rng)),
            ..self
        }
    }

    /// The same plan, for processes that call the tables directly.
    pub(crate) fn with_direct_tables(self) -> Self {
        Self {
            are_tables_direct: true,
            ..self
        }
    }

    /// The same plan, for a bridge with a planted mistake.
    pub(crate) fn with_mistake(self, mistake: Option<Mistake>) -> Self {
        Self { mistake, ..self }
    }

    /// A plan without faults, except that the tables are unavailable for this time.
    pub(crate) fn outage(from: Instant, until: Instant) -> Self {
        Self {
            outage: Some((from, until)),
            ..Self::new(SeededRng::new(0), Rates::NONE, until)
        }
    }

    /// A plan for one process that dies while a table hangs, before it has sent on the watchdog of the only conversation. No other faults.
    pub(crate) fn death_while_a_table_hangs(until: Instant) -> Self {
        Self::scripted(Scripted::Hang(Hang::default()), until)
    }

    /// A plan for two processes, of which the first reads the messages of its run for longer than its lease lasts. No other faults.
    pub(crate) fn slow_read(until: Instant) -> Self {
        Self::scripted(Scripted::SlowRead(AtomicBool::new(false)), until)
    }

    /// A plan for two processes, of which the first writes to the reply of its run only when the second has taken the run over. No other faults.
    pub(crate) fn late_write(until: Instant) -> Self {
        Self::scripted(Scripted::LateWrite(AtomicU32::new(0)), until)
    }

    fn scripted(scripted: Scripted, until: Instant) -> Self {
        Self {
            scripted: Some(scripted),
            ..Self::new(SeededRng::new(0), Rates::NONE, until)
        }
        // A client over HTTP gives up after seconds.
        .with_direct_tables()
    }

    /// Whether the plan has no faults.
    pub(crate) fn are_none(&self) -> bool {
        self.rates == Rates::NONE && self.outage.is_none() && self.scripted.is_none()
    }

    /// Number of faults so far after which an agent may be asked again.
    pub(crate) fn n_so_far(&self) -> u64 {
        self.fault_times.lock().unwrap().len() as u64
    }

    /// Whether a fault can have had an effect between the two times.
    pub(crate) fn has_fault(&self, from: Instant, until: Instant) -> bool {
        let within = from.checked_sub(FAULT_LASTS).unwrap_or(self.began)..=until;
        self.fault_times.lock().unwrap().iter().any(|at| within.contains(at))
    }

    /// Whether a process may have been frozen until then.
    pub(crate) fn has_freeze_before(&self, at: Instant) -> bool {
        self.n_interruptions(at.checked_sub(FAULT_LASTS).unwrap_or(self.began)..=at) > 0
    }

    /// How often a process died or was frozen in this time.
    pub(crate) fn n_interruptions(&self, within: RangeInclusive<Instant>) -> usize {
        let interruptions = self.interruptions.lock().unwrap();
        interruptions.iter().filter(|at| within.contains(at)).count()
    }

    /// A process dies or is frozen now, perhaps long after the call began that it was drawn for.
    fn interrupted(&self) {
        self.interruptions.lock().unwrap().push(Instant::now());
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn fault_of(&self, process: usize, target: &str) -> Fault {
        let fault = self.draw(target);
        let is_passing = matches!(fault, Fault::Delay(time) if time < LONG);
        if fault != Fault::Proceed && !is_passing {
            self.fault_times.lock().unwrap().push(Instant::now());
        }
        let operation = target.rsplit('.').next().unwrap_or_default();
        let at = self.began.elapsed().as_millis();
        self.calls
            .lock()
            .unwrap()
            .push(format!("{at} {process} {operation} {fault:?}"));
        fault
    }

    fn draw(&self, target: &str) -> Fault {
        let now = Instant::now();
        if let Some((from, until)) = self.outage {
            let fails = target.starts_with("DynamoDB") && now >= from && now < until;
            return if fails { Fault::FailBefore } else { Fault::Proceed };
        }
        if let Some(scripted) = &self.scripted {
            return scripted.fault(target);
        }
        if now >= self.until {
            return Fault::Proceed;
        }
        let mut rng = self.rng.lock().unwrap();
        let Rates {
            delay,
            long_delay,
            fail_before,
            fail_after,
            die,
            freeze,
        } = self.rates;
        let drawn = rng.below(10_000);
        let mut end = 0;
        let mut is_in = |rate: u64| {
            end += rate;
            drawn < end
        };
        if is_in(die) {
            return if rng.below(2) == 0 {
                Fault::DieBefore
            } else {
                Fault::DieAfter
            };
        }
        if is_in(freeze) {
            return Fault::Freeze(rng.millis(500, 90_000));
        }
        if is_in(fail_before) {
            return Fault::FailBefore;
        }
        if is_in(fail_after) {
            return Fault::FailAfter;
        }
        if is_in(long_delay) {
            return Fault::Delay(rng.millis(2_000, 60_000));
        }
        if is_in(delay) {
            return Fault::Delay(rng.millis(1, 400));
        }
        Fault::Proceed
    }
}

/// One run of a process, from its start to its death.
#[derive(Debug)]
pub(crate) struct ProcessRun {
    process: usize,
    fault_plan: Arc<FaultPlan>,
    is_dead: AtomicBool,
    died: Notify,
    frozen_until: Mutex<Option<Instant>>,
}

impl ProcessRun {
    pub(crate) fn new(process: usize, fault_plan: Arc<FaultPlan>) -> Arc<Self> {
        Arc::new(Self {
            process,
            fault_plan,
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
            frozen_until: Mutex::new(None),
        })
    }

    pub(crate) fn fault_of(&self, target: &str) -> Fault {
        self.fault_plan.fault_of(self.process, target)
    }

    /// Whether the replica that is read now lags. `None`: there are no replicas.
    pub(crate) fn replica_lags(&self) -> Option<bool> {
        let lags = self.fault_plan.lags.as_ref()?;
        Some(lags.lock().unwrap().in_thousand(LAGS))
    }

    /// Whether the process calls the tables directly.
    pub(crate) fn are_tables_direct(&self) -> bool {
        self.fault_plan.are_tables_direct
    }

    /// The mistake that is planted in the process.
    pub(crate) fn mistake(&self) -> Option<Mistake> {
        self.fault_plan.mistake
    }

    pub(crate) fn freeze(&self, time: Duration) {
        self.fault_plan.interrupted();
        let until = Instant::now() + time;
        let mut frozen = self.frozen_until.lock().unwrap();
        *frozen = Some(frozen.map_or(until, |before| before.max(until)));
    }

    /// Kills the process: no call of it continues.
    pub(crate) async fn die<T>(&self) -> T {
        if !self.is_dead.swap(true, Ordering::SeqCst) {
            self.fault_plan.interrupted();
        }
        self.died.notify_one();
        pending().await
    }

    /// Waits while the process is frozen; for ever, if it is dead.
    pub(crate) async fn until_running(&self) {
        loop {
            if self.is_dead.load(Ordering::SeqCst) {
                return pending().await;
            }
            let frozen = *self.frozen_until.lock().unwrap();
            match frozen.filter(|until| *until > Instant::now()) {
                Some(until) => sleep_until(until).await,
                None => return,
            }
        }
    }

    /// Waits until the process dies.
    pub(crate) async fn end(&self) {
        self.died.notified().await;
    }

    /// Whether the process can accept a request now.
    pub(crate) fn is_running(&self) -> bool {
        let frozen = *self.frozen_until.lock().unwrap();
        !self.is_dead.load(Ordering::SeqCst) && frozen.is_none_or(|until| until <= Instant::now())
    }
}

/// Executes a call of a process with the fault that is drawn for it. A call that is in flight is executed even if its caller dies, but not one that
/// is delayed for longer than `longest`: its connection is closed by then.
pub(crate) async fn with_fault<T: Debug + Send + 'static>(
    process_run: Arc<ProcessRun>,
    target: &str,
    longest: Duration,
    executed: impl Future<Output = T> + Send + 'static,
    internal_error: impl Fn() -> T,
) -> T {
    process_run.until_running().await;
    let fault = process_run.fault_of(target);
    match fault {
        Fault::FailBefore => return internal_error(),
        Fault::DieBefore => return process_run.die().await,
        Fault::Freeze(time) => {
            process_run.freeze(time);
            process_run.until_running().await;
        }
        Fault::Proceed | Fault::Delay(_) | Fault::FailAfter | Fault::DieAfter => {}
    }
    let (answerer, answered) = oneshot::channel();
    tokio::spawn(async move {
        if let Fault::Delay(time) = fault {
            sleep(time.min(longest)).await;
            if time > longest {
                return;
            }
        }
        // The caller may have given up.
        let _ = answerer.send(executed.await);
    });
    let answer = answered.await;
    process_run.until_running().await;
    match fault {
        Fault::FailAfter => internal_error(),
        Fault::DieAfter => process_run.die().await,
        _ => answer.unwrap_or_else(|_| internal_error()),
    }
}
