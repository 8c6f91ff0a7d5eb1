//! Simulations of chosen faults.

use tieline_core::trigger::BusyPolicy;
use tokio::time::{Duration, Instant};

use crate::bot::{Channel, Manner};
use crate::chance::SeededRng;
use crate::faults::FaultPlan;
use crate::simulation::{Play, Report, TROUBLE, in_simulated_time, run};

/// Limit for all messages to end after an outage of hours, when events are retried every quarter of an hour.
const PATIENCE_AFTER_OUTAGE: Duration = Duration::from_secs(1_800);

/// Simulates six hours without tables, while people keep writing.
pub(crate) fn outage() -> Result<Report, String> {
    in_simulated_time(0, async {
        let rng = SeededRng::new(1);
        let manner = Manner {
            channel: Channel::Pulled,
            pieces: 2,
            delay_ms: 500,
            window_s: 0,
            busy: BusyPolicy::Queue,
        };
        let every = Duration::from_secs(197);
        let texts = |chat: u64| (0..100).map(|n| (every, format!("c{chat} n{n}"))).collect();
        let from = Instant::now() + Duration::from_secs(600);
        let until = from + Duration::from_secs(6 * 3600);
        let fault_plan = FaultPlan::outage(from, until);
        let play = Play {
            manner,
            scripts: vec![texts(0), texts(1)],
            fault_plan,
            rate_limit: SeededRng::new(0),
            n_scheduled: 0,
            erases: false,
            n_processes: 2,
            faults_end: until,
            patience: PATIENCE_AFTER_OUTAGE,
            reading: Duration::from_secs(900),
        };
        run(play, rng).await
    })
}

/// Simulates one message, whose process dies while a table hangs.
pub(crate) fn death_while_a_table_hangs() -> Result<Report, String> {
    one_message(FaultPlan::death_while_a_table_hangs, 1, 500)
}

/// Simulates one message, which a process reads for longer than its lease lasts, beside another process.
pub(crate) fn slow_read() -> Result<Report, String> {
    one_message(FaultPlan::slow_read, 2, 500)
}

/// Simulates one message, to whose reply a process writes when another one has taken its run over. It has no result then.
pub(crate) fn late_write() -> Result<Report, String> {
    one_message(FaultPlan::late_write, 2, 30_000)
}

fn one_message(fault_plan: fn(Instant) -> FaultPlan, n_processes: u64, delay_ms: u64) -> Result<Report, String> {
    in_simulated_time(0, async {
        let manner = Manner {
            channel: Channel::Pulled,
            pieces: 2,
            delay_ms,
            window_s: 0,
            busy: BusyPolicy::Queue,
        };
        let until = Instant::now() + TROUBLE;
        let play = Play {
            manner,
            scripts: vec![vec![(Duration::from_secs(1), "c0 n0".to_owned())]],
            fault_plan: fault_plan(until),
            rate_limit: SeededRng::new(0),
            n_scheduled: 0,
            erases: false,
            n_processes,
            faults_end: until,
            patience: PATIENCE_AFTER_OUTAGE,
            reading: Duration::from_secs(2),
        };
        run(play, SeededRng::new(1)).await
    })
}
