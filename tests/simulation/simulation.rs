//! One simulation, from its seed to its report.

use std::sync::Arc;

use tieline_core::message_state::MessageState;
use tieline_core::trigger::BusyPolicy;
use tokio::runtime::Builder;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::bot::{self, Manner};
use crate::chance::Chance;
use crate::connector;
use crate::engine::Engine;
use crate::faults::{Rates, Troubles};
use crate::mistakes::Mistake;
use crate::oracle::{Fates, Oracle};
use crate::people::{Protocol, speak};
use crate::process::Process;

/// How long there is trouble.
const TROUBLE: Duration = Duration::from_secs(180);
/// How long after it everything must have come to its end: a lease, its watchdog, and a wake-up that waits longer the more often it failed.
const PATIENCE: Duration = Duration::from_secs(600);
/// The same after an outage of hours, in which events wait a quarter of an hour from try to try.
const PATIENCE_AFTER_OUTAGE: Duration = Duration::from_secs(1_800);
/// How long after that the last wake-up may come.
const EMPTY_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// How long is watched after the queues are empty: what might still happen is only in a process then.
const AFTERMATH: Duration = Duration::from_secs(120);
/// Time between two looks when there is no trouble any more.
const LOOK: Duration = Duration::from_secs(15);

/// What came of a simulation.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) fates: Fates,
    /// When the last message ended, since the beginning.
    pub(crate) ended_after: Duration,
    /// All calls of the processes.
    pub(crate) calls: Vec<String>,
}

/// What people say in one chat, each after a pause.
type Script = Vec<(Duration, String)>;

/// A simulation of random trouble, of a bridge with a mistake perhaps.
pub(crate) fn simulate(seed: u64, mistake: Option<Mistake>) -> Result<Report, String> {
    in_simulated_time(seed, async {
        let mut chance = Chance::new(seed);
        let manner = Manner {
            pieces: 1 + chance.below(5),
            delay_ms: chance.one_of(&[1, 50, 400, 2_000, 9_000]),
            window_s: chance.one_of(&[0, 0, 0, 2, 10]),
            busy: chance.one_of(&[BusyPolicy::Queue, BusyPolicy::Queue, BusyPolicy::Interrupt]),
        };
        let rates = Rates::of(&mut chance);
        let scripts: Vec<Script> = (0..=chance.below(2)).map(|chat| script(chat, &mut chance)).collect();
        let until = Instant::now() + TROUBLE;
        let troubles = Troubles::new(Chance::new(seed ^ 0xfa7e), rates, until).with_mistake(mistake);
        let troubles = match seed.is_multiple_of(2) {
            true => troubles.with_copies(Chance::new(seed ^ 0x1a95)),
            false => troubles,
        };
        let play = Play {
            manner,
            scripts,
            troubles,
            n_processes: 1 + chance.below(3),
            calm_from: until,
            patience: PATIENCE,
            reading: Duration::from_secs(2),
        };
        run(play, chance).await
    })
}

/// Six hours without tables, while people go on talking.
pub(crate) fn outage() -> Result<Report, String> {
    in_simulated_time(0, async {
        let chance = Chance::new(1);
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
        let troubles = Troubles::outage(from, until);
        let play = Play {
            manner,
            scripts: vec![texts(0), texts(1)],
            troubles,
            n_processes: 2,
            calm_from: until,
            patience: PATIENCE_AFTER_OUTAGE,
            reading: Duration::from_secs(900),
        };
        run(play, chance).await
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

fn script(chat: u64, chance: &mut Chance) -> Script {
    let n = 1 + chance.below(5);
    let line = |number: u64, chance: &mut Chance| {
        let pause = match chance.below(3) {
            0 => chance.millis(0, 300),
            1 => chance.millis(300, 6_000),
            _ => chance.millis(6_000, 50_000),
        };
        let text = format!("c{chat} n{number}");
        let text = match chance.below(12) {
            0 => "/new".to_owned(),
            1 => format!("/new {text}"),
            2 => "/stop".to_owned(),
            3 => "/status".to_owned(),
            _ => text,
        };
        (pause, text)
    };
    (0..n).map(|number| line(number, chance)).collect()
}

/// What is simulated.
struct Play {
    manner: Manner,
    scripts: Vec<Script>,
    troubles: Troubles,
    n_processes: u64,
    /// When the troubles end.
    calm_from: Instant,
    /// How long after that everything must have come to its end.
    patience: Duration,
    /// Time between two looks at what readers see.
    reading: Duration,
}

async fn run(play: Play, mut chance: Chance) -> Result<Report, String> {
    let began = Instant::now();
    let engine = Arc::new(Engine::start().await);
    let (store, queues) = engine.clients(connector::undisturbed(&engine));
    let Play {
        manner,
        scripts,
        n_processes,
        calm_from,
        reading,
        ..
    } = play;
    bot::set_up(&store, manner, engine.now()).await;
    let allowed = allowed(manner, &scripts);
    let troubles = Arc::new(play.troubles);
    let mut processes = Vec::new();
    let mut tasks = Vec::new();
    for name in 0..n_processes {
        let ahead_ms = i64::try_from(chance.below(4_000)).unwrap() - 2_000;
        let process = Process::new(usize::try_from(name).unwrap(), ahead_ms);
        let restarts = Chance::new(chance.below(u64::MAX));
        let living = Arc::clone(&process).keep_alive(Arc::clone(&engine), Arc::clone(&troubles), restarts);
        tasks.push(tokio::spawn(living));
        processes.push(process);
    }
    let processes = Arc::new(processes);
    let protocol = Protocol::default();
    let mut speaking = Vec::new();
    for (chat, texts) in scripts.into_iter().enumerate() {
        let own = Chance::new(chance.below(u64::MAX));
        speaking.push(tokio::spawn(speak(
            chat,
            texts,
            Arc::clone(&processes),
            protocol.clone(),
            own,
        )));
    }
    let mut oracle = Oracle::new(store, queues);
    let deadline = calm_from + play.patience;
    let (mut n_looks, mut have_ended, mut looked_at) = (0_u64, false, None);
    loop {
        let is_said = speaking.iter().all(tokio::task::JoinHandle::is_finished);
        let said = protocol.all();
        // Without a write readers see what they saw.
        let seen = Some((said.len(), engine.n_writes()));
        if looked_at != seen {
            (n_looks, looked_at) = (n_looks + 1, seen);
            have_ended = oracle.look(&said, n_looks.is_multiple_of(16), engine.now()).await?;
        }
        if is_said && have_ended {
            break;
        }
        if Instant::now() > deadline {
            // Says which.
            oracle.check(&said, &allowed, engine.now()).await?;
            return Err("people can't say what they want to".to_owned());
        }
        sleep(if Instant::now() < calm_from { reading } else { LOOK }).await;
    }
    let ended_after = began.elapsed();
    let said = protocol.all();
    oracle.look(&said, true, engine.now()).await?;
    sleep_until(calm_from).await;
    oracle.queues_are_empty(EMPTY_WITHIN).await?;
    sleep(AFTERMATH).await;
    oracle.look(&said, true, engine.now()).await?;
    oracle.queues_are_empty(Duration::ZERO).await?;
    if std::env::var_os("TIELINE_TRACE").is_some() {
        oracle.print(&said, engine.now()).await;
        troubles.calls().iter().for_each(|call| println!("{call}"));
    }
    let fates = oracle.check(&said, &allowed, engine.now()).await?;
    if troubles.are_none() {
        oracle.nobody_waited(&said, manner, 2 * reading)?;
    }
    // A message is asked about once, and once more for whatever went wrong, which may concern all chats.
    let n_chats = speaking.len() as u64;
    let n_asked: u64 = processes.iter().map(|process| process.n_asked()).sum();
    let most = said.len() as u64 + troubles.n_so_far() * n_chats;
    if n_asked > most {
        return Err(format!(
            "agents were asked {n_asked} times, at most {most} times are right"
        ));
    }
    let calls = troubles.calls();
    Ok(Report {
        fates,
        ended_after,
        calls,
    })
}

/// The ends that messages may come to.
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
