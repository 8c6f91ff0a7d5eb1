//! What happens to calls and processes.

use std::future::pending;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use tokio::sync::Notify;
use tokio::time::{Duration, Instant, sleep_until};

use crate::chance::Chance;
use crate::mistakes::Mistake;

/// A call that takes so long may cost a lease.
const LONG: Duration = Duration::from_secs(1);

/// What happens to one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    Proceed,
    /// It takes so long to arrive. Longer than its caller waits, perhaps: then it is executed all the same.
    Delay(Duration),
    /// It has no effect and fails.
    FailBefore,
    /// It takes effect and fails.
    FailAfter,
    /// The caller's process dies before it.
    DieBefore,
    /// The caller's process dies after it.
    DieAfter,
    /// The caller's process stands still before it.
    Freeze(Duration),
}

/// How often what happens, in ten thousand calls.
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
    /// Nothing happens.
    pub(crate) const NONE: Self = Self {
        delay: 0,
        long_delay: 0,
        fail_before: 0,
        fail_after: 0,
        die: 0,
        freeze: 0,
    };

    /// Those of one seed: most seeds are about one or two kinds of trouble.
    pub(crate) fn of(chance: &mut Chance) -> Self {
        if chance.below(20) == 0 {
            return Self::NONE;
        }
        let mut rate = |most: u64| match chance.below(2) {
            0 => 0,
            _ => chance.below(most + 1),
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

/// How often a read that needn't be current is answered by a copy that lags, in a thousand, where there is one.
const LAGS: u64 = 300;

/// What all processes of a simulation share of its troubles.
#[derive(Debug)]
pub(crate) struct Troubles {
    chance: Mutex<Chance>,
    /// Whether copies of tables lag. `None`: there is only one. No call fails because of it.
    lags: Option<Mutex<Chance>>,
    rates: Rates,
    until: Instant,
    outage: Option<(Instant, Instant)>,
    /// The mistake of all processes.
    mistake: Option<Mistake>,
    began: Instant,
    /// Every call: when, by which process, what, and what happened to it.
    calls: Mutex<Vec<String>>,
    n_troubles: AtomicU64,
}

impl Troubles {
    pub(crate) fn new(chance: Chance, rates: Rates, until: Instant) -> Self {
        Self {
            chance: Mutex::new(chance),
            lags: None,
            rates,
            until,
            outage: None,
            mistake: None,
            began: Instant::now(),
            calls: Mutex::default(),
            n_troubles: AtomicU64::new(0),
        }
    }

    /// The same with tables of which there are copies.
    pub(crate) fn with_copies(self, chance: Chance) -> Self {
        Self {
            lags: Some(Mutex::new(chance)),
            ..self
        }
    }

    /// The same in a bridge with a mistake.
    pub(crate) fn with_mistake(self, mistake: Option<Mistake>) -> Self {
        Self { mistake, ..self }
    }

    /// No trouble but that the tables of messages and leases fail for that time.
    pub(crate) fn outage(from: Instant, until: Instant) -> Self {
        Self {
            outage: Some((from, until)),
            ..Self::new(Chance::new(0), Rates::NONE, until)
        }
    }

    /// Whether nothing happens to any call.
    pub(crate) fn are_none(&self) -> bool {
        self.rates == Rates::NONE && self.outage.is_none()
    }

    /// How often something happened so far that may have an agent asked again.
    pub(crate) fn n_so_far(&self) -> u64 {
        self.n_troubles.load(Ordering::Relaxed)
    }

    /// Every call so far.
    pub(crate) fn calls(&self) -> Vec<String> {
        self.calls.lock().unwrap().clone()
    }

    fn fate_of(&self, process: usize, target: &str) -> Fate {
        let fate = self.draw(target);
        let is_passing = matches!(fate, Fate::Delay(time) if time < LONG);
        if fate != Fate::Proceed && !is_passing {
            self.n_troubles.fetch_add(1, Ordering::Relaxed);
        }
        let operation = target.rsplit('.').next().unwrap_or_default();
        let at = self.began.elapsed().as_millis();
        self.calls
            .lock()
            .unwrap()
            .push(format!("{at} {process} {operation} {fate:?}"));
        fate
    }

    fn draw(&self, target: &str) -> Fate {
        let now = Instant::now();
        if let Some((from, until)) = self.outage {
            let fails = target.starts_with("DynamoDB") && now >= from && now < until;
            return if fails { Fate::FailBefore } else { Fate::Proceed };
        }
        if now >= self.until {
            return Fate::Proceed;
        }
        let mut chance = self.chance.lock().unwrap();
        let Rates {
            delay,
            long_delay,
            fail_before,
            fail_after,
            die,
            freeze,
        } = self.rates;
        let drawn = chance.below(10_000);
        let mut end = 0;
        let mut is_in = |rate: u64| {
            end += rate;
            drawn < end
        };
        if is_in(die) {
            return if chance.below(2) == 0 {
                Fate::DieBefore
            } else {
                Fate::DieAfter
            };
        }
        if is_in(freeze) {
            return Fate::Freeze(chance.millis(500, 90_000));
        }
        if is_in(fail_before) {
            return Fate::FailBefore;
        }
        if is_in(fail_after) {
            return Fate::FailAfter;
        }
        if is_in(long_delay) {
            return Fate::Delay(chance.millis(2_000, 60_000));
        }
        if is_in(delay) {
            return Fate::Delay(chance.millis(1, 400));
        }
        Fate::Proceed
    }
}

/// One life of a process, from its start to its death.
#[derive(Debug)]
pub(crate) struct Life {
    process: usize,
    troubles: Arc<Troubles>,
    is_dead: AtomicBool,
    died: Notify,
    frozen_until: Mutex<Option<Instant>>,
}

impl Life {
    pub(crate) fn new(process: usize, troubles: Arc<Troubles>) -> Arc<Self> {
        Arc::new(Self {
            process,
            troubles,
            is_dead: AtomicBool::new(false),
            died: Notify::new(),
            frozen_until: Mutex::new(None),
        })
    }

    pub(crate) fn fate_of(&self, target: &str) -> Fate {
        self.troubles.fate_of(self.process, target)
    }

    /// Whether the copy of a table that is read now lags. `None`: there are no copies.
    pub(crate) fn copies_lag(&self) -> Option<bool> {
        let lags = self.troubles.lags.as_ref()?;
        Some(lags.lock().unwrap().in_thousand(LAGS))
    }

    /// The mistake that is planted in the process.
    pub(crate) fn mistake(&self) -> Option<Mistake> {
        self.troubles.mistake
    }

    pub(crate) fn freeze(&self, time: Duration) {
        let until = Instant::now() + time;
        let mut frozen = self.frozen_until.lock().unwrap();
        *frozen = Some(frozen.map_or(until, |before| before.max(until)));
    }

    /// Ends the life. Nothing of it goes on.
    pub(crate) async fn die<T>(&self) -> T {
        self.is_dead.store(true, Ordering::SeqCst);
        self.died.notify_one();
        pending().await
    }

    /// Waits until the process goes on. For ever, if it is dead.
    pub(crate) async fn goes_on(&self) {
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

    /// Until it dies.
    pub(crate) async fn end(&self) {
        self.died.notified().await;
    }

    /// Whether it can take a request now.
    pub(crate) fn is_well(&self) -> bool {
        let frozen = *self.frozen_until.lock().unwrap();
        !self.is_dead.load(Ordering::SeqCst) && frozen.is_none_or(|until| until <= Instant::now())
    }
}
