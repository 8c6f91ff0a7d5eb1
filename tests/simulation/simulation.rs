//! One simulation, from its seed to its report.

use std::sync::Arc;

use tieline_core::message_state::MessageState;
use tieline_core::trigger::BusyPolicy;
use tokio::runtime::Builder;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::bot::{self, Manner};
use crate::chance::SeededRng;
use crate::connector;
use crate::direct_tables;
use crate::engine::Engine;
use crate::faults::{FaultPlan, Rates};
use crate::mistakes::Mistake;
use crate::oracle::{MessageEnds, Oracle};
use crate::people::{AcknowledgedMessages, Said, speak};
use crate::process::Process;

/// How long faults are injected.
const TROUBLE: Duration = Duration::from_secs(180);
/// Limit for all messages to end after that: a lease, its watchdog, and a wake-up whose delay grows with each failure.
const PATIENCE: Duration = Duration::from_secs(600);
/// The same limit after an outage of hours, when events are retried every quarter of an hour.
const PATIENCE_AFTER_OUTAGE: Duration = Duration::from_secs(1_800);
/// How long after that the last wake-up may be received.
const EMPTY_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// How long the simulation continues after the queues are empty: late effects can only come from a process then.
const AFTERMATH: Duration = Duration::from_secs(120);
/// Interval of the checks after the faults have ended.
const LOOK: Duration = Duration::from_secs(15);

/// The result of a simulation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) message_ends: MessageEnds,
    /// Time from the beginning until the last message ended.
    pub(crate) ended_after: Duration,
    /// All calls of the processes.
    pub(crate) calls: Vec<String>,
}

/// The messages of one chat, each with the pause before it.
type Script = Vec<(Duration, String)>;

/// Simulates random faults, with a planted mistake if one is given.
pub(crate) fn simulate(seed: u64, mistake: Option<Mistake>) -> Result<Report, String> {
    in_simulated_time(seed, async {
        let mut rng = SeededRng::new(seed);
        let manner = Manner {
            pieces: 1 + rng.below(5),
            delay_ms: rng.one_of(&[1, 50, 400, 2_000, 9_000]),
            window_s: rng.one_of(&[0, 0, 0, 2, 10]),
            busy: rng.one_of(&[BusyPolicy::Queue, BusyPolicy::Queue, BusyPolicy::Interrupt]),
        };
        let rates = Rates::of(&mut rng);
        let scripts: Vec<Script> = (0..=rng.below(2)).map(|chat| script(chat, &mut rng)).collect();
        let until = Instant::now() + TROUBLE;
        let fault_plan = FaultPlan::new(SeededRng::new(seed ^ 0xfa7e), rates, until).with_mistake(mistake);
        let fault_plan = match seed.is_multiple_of(2) {
            // As on AWS.
            true => fault_plan.with_replicas(SeededRng::new(seed ^ 0x1a95)),
            // As standing alone. Mistakes are planted in requests over HTTP.
            false if mistake.is_none() => fault_plan.with_direct_tables(),
            false => fault_plan,
        };
        let play = Play {
            manner,
            scripts,
            fault_plan,
            n_processes: 1 + rng.below(3),
            faults_end: until,
            patience: PATIENCE,
            reading: Duration::from_secs(2),
        };
        run(play, rng).await
    })
}

/// Simulates six hours without tables, while people keep writing.
pub(crate) fn outage() -> Result<Report, String> {
    in_simulated_time(0, async {
        let rng = SeededRng::new(1);
        let manner = Manner {
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
    in_simulated_time(0, async {
        let manner = Manner {
            pieces: 2,
            delay_ms: 500,
            window_s: 0,
            busy: BusyPolicy::Queue,
        };
        let until = Instant::now() + TROUBLE;
        let play = Play {
            manner,
            scripts: vec![vec![(Duration::from_secs(1), "c0 n0".to_owned())]],
            fault_plan: FaultPlan::death_while_a_table_hangs(until),
            n_processes: 1,
            faults_end: until,
            patience: PATIENCE_AFTER_OUTAGE,
            reading: Duration::from_secs(2),
        };
        run(play, SeededRng::new(1)).await
    })
}

fn in_simulated_time<T>(seed: u64, simulation: impl Future<Output = T>) -> T {
    let runtime = Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    tieline_bridge::seeded::seed(Some(seed));
    let report = runtime.block_on(simulation);
    tieline_bridge::seeded::seed(None);
    report
}

fn script(chat: u64, rng: &mut SeededRng) -> Script {
    let n = 1 + rng.below(5);
    let line = |number: u64, rng: &mut SeededRng| {
        let pause = match rng.below(3) {
            0 => rng.millis(0, 300),
            1 => rng.millis(300, 6_000),
            _ => rng.millis(6_000, 50_000),
        };
        let text = format!("c{chat} n{number}");
        let text = match rng.below(12) {
            0 => "/new".to_owned(),
            1 => format!("/new {text}"),
            2 => "/stop".to_owned(),
            3 => "/status".to_owned(),
            _ => text,
        };
        (pause, text)
    };
    (0..n).map(|number| line(number, rng)).collect()
}

/// The parameters of a simulation.
struct Play {
    manner: Manner,
    scripts: Vec<Script>,
    fault_plan: FaultPlan,
    n_processes: u64,
    /// When fault injection ends.
    faults_end: Instant,
    /// Limit after that for all messages to end.
    patience: Duration,
    /// Interval of the checks of what readers see.
    reading: Duration,
}

async fn run(play: Play, mut rng: SeededRng) -> Result<Report, String> {
    let began = Instant::now();
    let engine = Arc::new(Engine::start().await);
    let direct = direct_tables::without_faults(&engine);
    let (store, queues) = engine.clients(connector::without_faults(&engine), Some(direct));
    let Play {
        manner,
        scripts,
        n_processes,
        faults_end,
        reading,
        ..
    } = play;
    bot::set_up(&store, manner, engine.now()).await;
    let allowed = allowed(manner, &scripts);
    let fault_plan = Arc::new(play.fault_plan);
    let mut processes = Vec::new();
    let mut tasks = Vec::new();
    for name in 0..n_processes {
        let ahead_ms = i64::try_from(rng.below(4_000)).unwrap() - 2_000;
        let process = Process::new(usize::try_from(name).unwrap(), ahead_ms);
        let restarts = SeededRng::new(rng.below(u64::MAX));
        let living = Arc::clone(&process).keep_alive(Arc::clone(&engine), Arc::clone(&fault_plan), restarts);
        tasks.push(tokio::spawn(living));
        processes.push(process);
    }
    let processes = Arc::new(processes);
    let acknowledged = AcknowledgedMessages::default();
    let mut speaking = Vec::new();
    for (chat, texts) in scripts.into_iter().enumerate() {
        let own = SeededRng::new(rng.below(u64::MAX));
        speaking.push(tokio::spawn(speak(
            chat,
            texts,
            Arc::clone(&processes),
            acknowledged.clone(),
            own,
        )));
    }
    let mut oracle = Oracle::new(store, queues);
    let deadline = faults_end + play.patience;
    let (mut n_looks, mut have_ended, mut looked_at) = (0_u64, false, None);
    loop {
        let is_said = speaking.iter().all(tokio::task::JoinHandle::is_finished);
        let said = acknowledged.all();
        // Without a write, readers see what they saw before.
        let seen = Some((said.len(), engine.n_writes()));
        if looked_at != seen {
            (n_looks, looked_at) = (n_looks + 1, seen);
            have_ended = oracle.look(&said, n_looks.is_multiple_of(16), engine.now()).await?;
        }
        if is_said && have_ended {
            break;
        }
        if Instant::now() > deadline {
            print_trace(&oracle, &said, &engine, &fault_plan).await;
            // Returns the error that names the message.
            oracle.check(&said, &allowed, &fault_plan, engine.now()).await?;
            return Err("people can't say what they want to".to_owned());
        }
        sleep(if Instant::now() < faults_end { reading } else { LOOK }).await;
    }
    let ended_after = began.elapsed();
    let said = acknowledged.all();
    oracle.look(&said, true, engine.now()).await?;
    sleep_until(faults_end).await;
    oracle.queues_are_empty(EMPTY_WITHIN).await?;
    sleep(AFTERMATH).await;
    oracle.look(&said, true, engine.now()).await?;
    oracle.queues_are_empty(Duration::ZERO).await?;
    print_trace(&oracle, &said, &engine, &fault_plan).await;
    let message_ends = oracle.check(&said, &allowed, &fault_plan, engine.now()).await?;
    if fault_plan.are_none() {
        oracle.check_latencies(&said, manner, 2 * reading)?;
    }
    // Each message is one question, plus one for each fault, which may affect every chat.
    let n_chats = speaking.len() as u64;
    let n_asked: u64 = processes.iter().map(|process| process.n_asked()).sum();
    let most = said.len() as u64 + fault_plan.n_so_far() * n_chats;
    if n_asked > most {
        return Err(format!(
            "agents were asked {n_asked} times, expected at most {most} times"
        ));
    }
    let calls = fault_plan.calls();
    Ok(Report {
        message_ends,
        ended_after,
        calls,
    })
}

/// Prints the result of each message, and every call, if `TIELINE_TRACE` asks for that.
async fn print_trace(oracle: &Oracle, said: &[Said], engine: &Engine, fault_plan: &FaultPlan) {
    if std::env::var_os("TIELINE_TRACE").is_some() {
        oracle.print(said, engine.now()).await;
        fault_plan.calls().iter().for_each(|call| println!("{call}"));
    }
}

/// The terminal states that messages may have.
fn allowed(manner: Manner, scripts: &[Script]) -> Vec<MessageState> {
    let says = |word: &str| {
        let mut all = scripts.iter().flatten();
        all.any(|(_, text)| text.split(' ').next() == Some(word))
    };
    let mut allowed = vec![MessageState::Answered, MessageState::Commanded];
    if says("/stop") || says("/new") || manner.busy == BusyPolicy::Interrupt {
        allowed.push(MessageState::Stopped);
    }
    if says("/new") {
        allowed.push(MessageState::Dropped);
    }
    allowed
}
