//! One simulation, from its seed to its report.

use std::sync::Arc;

use tieline_bridge::redrive::{AskAgent, RedriveError, redrive};
use tieline_bridge::world::World;
use tieline_core::message_state::MessageState;
use tieline_core::trigger::BusyPolicy;
use tieline_store::deadletter;
use tokio::runtime::Builder;
use tokio::task::JoinHandle;
use tokio::time::{Duration, Instant, sleep, sleep_until};

use crate::bot::{self, Channel, Manner};
use crate::chance::SeededRng;
use crate::connector;
use crate::direct_tables;
use crate::engine::Engine;
use crate::erasure::{self, Erasures, erase_person};
use crate::faults::{FaultPlan, Rates};
use crate::mistakes::Mistake;
use crate::operator::{self, PlannedMessages, have_ended, schedule};
use crate::oracle::{MessageEnds, Oracle};
use crate::people::{AcknowledgedMessages, speak};
use crate::platform::Platform;
use crate::process::Process;

/// How long faults are injected.
pub(crate) const TROUBLE: Duration = Duration::from_secs(180);
/// Limit for all messages to end after that: a lease, its watchdog, and a wake-up whose delay grows with each failure.
const PATIENCE: Duration = Duration::from_secs(600);
/// How long after that the last wake-up may be received.
const EMPTY_WITHIN: Duration = Duration::from_secs(2 * 3600);
/// A line of a long text, and how many it has: the platform's messages have at most 4,096 characters.
const FILLER: &str = "----------------------------------------------------------------\n";
const N_FILLERS: usize = 75;
/// How often dead letters are redriven.
const REDRIVE_ROUNDS: u32 = 20;
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
    /// How often agents were asked.
    pub(crate) n_asked: u64,
    /// All calls of the processes.
    pub(crate) calls: Vec<String>,
}

/// The messages of one chat, each with the pause before it.
pub(crate) type Script = Vec<(Duration, String)>;

/// Simulates random faults, with a planted mistake if one is given.
pub(crate) fn simulate(seed: u64, mistake: Option<Mistake>) -> Result<Report, String> {
    in_simulated_time(seed, async {
        let mut rng = SeededRng::new(seed);
        let manner = Manner {
            channel: SeededRng::new(seed ^ 0xc4a7).one_of(&[Channel::Pulled, Channel::Pushed]),
            pieces: 1 + rng.below(5),
            delay_ms: rng.one_of(&[1, 50, 400, 2_000, 9_000]),
            window_s: rng.one_of(&[0, 0, 0, 2, 10]),
            busy: rng.one_of(&[BusyPolicy::Queue, BusyPolicy::Queue, BusyPolicy::Interrupt]),
        };
        let rates = Rates::of(&mut rng);
        let scripts: Vec<Script> = (0..=rng.below(2))
            .map(|chat| script(manner.channel, chat, &mut rng))
            .collect();
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
            rate_limit: SeededRng::new(seed ^ 0x429),
            n_scheduled: match manner.channel {
                Channel::Pulled => 0,
                Channel::Pushed => SeededRng::new(seed ^ 0x5c4e).below(3),
            },
            erases: manner.channel == Channel::Pushed && SeededRng::new(seed ^ 0xe7a5).below(3) == 0,
            n_processes: 1 + rng.below(3),
            faults_end: until,
            patience: PATIENCE,
            reading: Duration::from_secs(2),
        };
        run(play, rng).await
    })
}

pub(crate) fn in_simulated_time<T>(seed: u64, simulation: impl Future<Output = T>) -> T {
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

fn script(channel: Channel, chat: u64, rng: &mut SeededRng) -> Script {
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
            4 if channel == Channel::Pushed => long_text(&text),
            _ => text,
        };
        (pause, text)
    };
    (0..n).map(|number| line(number, rng)).collect()
}

/// A text whose answer takes two messages. Its first and last line are recognized in the chat.
fn long_text(text: &str) -> String {
    format!("{text}\n{}{}", FILLER.repeat(N_FILLERS), last_line(text))
}

/// The last line of a long text with this first one.
pub(crate) fn last_line(first: &str) -> String {
    format!("end of {first}")
}

/// The parameters of a simulation.
pub(crate) struct Play {
    pub(crate) manner: Manner,
    pub(crate) scripts: Vec<Script>,
    pub(crate) fault_plan: FaultPlan,
    pub(crate) rate_limit: SeededRng,
    /// Number of messages that an operator schedules.
    pub(crate) n_scheduled: u64,
    /// Whether an operator erases the person of the first chat.
    pub(crate) erases: bool,
    pub(crate) n_processes: u64,
    /// When fault injection ends.
    pub(crate) faults_end: Instant,
    /// Limit after that for all messages to end.
    pub(crate) patience: Duration,
    /// Interval of the checks of what readers see.
    pub(crate) reading: Duration,
}

pub(crate) async fn run(play: Play, rng: SeededRng) -> Result<Report, String> {
    let mut scene = Scene::begin(play, rng).await;
    let ended = scene.until_the_end().await;
    if std::env::var_os("TIELINE_TRACE").is_some() {
        scene.print_trace().await;
    }
    let (ended_after, n_redriven) = ended?;
    let message_ends = scene.check().await?;
    scene.check_requests(n_redriven)?;
    scene.erase_everybody().await?;
    let calls = scene.fault_plan.calls();
    Ok(Report {
        message_ends,
        ended_after,
        n_asked: scene.n_asked(),
        calls,
    })
}

/// A simulation in progress.
struct Scene {
    engine: Arc<Engine>,
    fault_plan: Arc<FaultPlan>,
    platform: Arc<Platform>,
    processes: Arc<Vec<Arc<Process>>>,
    manner: Manner,
    /// The terminal states that messages may have.
    allowed: Vec<MessageState>,
    acknowledged: AcknowledgedMessages,
    speaking: Vec<JoinHandle<()>>,
    planned: PlannedMessages,
    planning: Vec<JoinHandle<()>>,
    erasures: Erasures,
    oracle: Oracle,
    began: Instant,
    faults_end: Instant,
    patience: Duration,
    reading: Duration,
}

impl Scene {
    async fn begin(play: Play, mut rng: SeededRng) -> Self {
        let began = Instant::now();
        let engine = Arc::new(Engine::start().await);
        let direct = direct_tables::without_faults(&engine);
        let (store, queues) = engine.clients(connector::without_faults(&engine), Some(direct));
        let manner = play.manner;
        bot::set_up(&store, manner, engine.now()).await;
        let rate_limit = (!play.fault_plan.are_none()).then_some(play.rate_limit);
        let platform = Platform::new(rate_limit, play.faults_end);
        let fault_plan = Arc::new(play.fault_plan);
        let mut processes = Vec::new();
        for name in 0..play.n_processes {
            let ahead_ms = i64::try_from(rng.below(4_000)).unwrap() - 2_000;
            let process = Process::new(usize::try_from(name).unwrap(), ahead_ms, Arc::clone(&platform));
            let restarts = SeededRng::new(rng.below(u64::MAX));
            tokio::spawn(Arc::clone(&process).keep_alive(Arc::clone(&engine), Arc::clone(&fault_plan), restarts));
            processes.push(process);
        }
        let processes = Arc::new(processes);
        let allowed = allowed(manner, &play.scripts);
        let acknowledged = AcknowledgedMessages::default();
        let mut speaking = Vec::new();
        for (chat, texts) in play.scripts.into_iter().enumerate() {
            let own = SeededRng::new(rng.below(u64::MAX));
            speaking.push(tokio::spawn(speak(
                (manner.channel, chat),
                engine.time(),
                texts,
                Arc::clone(&processes),
                acknowledged.clone(),
                own,
            )));
        }
        let planned = PlannedMessages::default();
        let mut planning = Vec::new();
        for number in 0..play.n_scheduled {
            let chat = usize::try_from(rng.below(speaking.len() as u64)).unwrap();
            let own = SeededRng::new(rng.below(u64::MAX));
            planning.push(tokio::spawn(schedule(
                number,
                chat,
                Arc::clone(&processes),
                planned.clone(),
                own,
            )));
        }
        let erasures = Erasures::default();
        if play.erases {
            let own = SeededRng::new(rng.below(u64::MAX));
            planning.push(tokio::spawn(erase_person(
                0,
                Arc::clone(&processes),
                erasures.clone(),
                own,
            )));
        }
        Self {
            planned,
            planning,
            oracle: Oracle::new(store, queues, manner.channel, Arc::clone(&platform), erasures.clone()),
            erasures,
            engine,
            fault_plan,
            platform,
            processes,
            manner,
            allowed,
            acknowledged,
            speaking,
            began,
            faults_end: play.faults_end,
            patience: play.patience,
            reading: play.reading,
        }
    }

    /// Waits until all messages have ended and nothing happens any more. Returns when the last one ended, and how many were redriven.
    async fn until_the_end(&mut self) -> Result<(Duration, u64), String> {
        self.until_messages_have_ended().await?;
        let ended_after = self.began.elapsed();
        self.look_at_all().await?;
        sleep_until(self.faults_end).await;
        let world = Process::operator_world(&self.engine, Arc::clone(&self.platform));
        let is_pushed = self.manner.channel != Channel::Pulled;
        if is_pushed {
            // A process that was frozen sends them late, and their wake-ups follow.
            self.until_planned_messages_have_ended(&world).await?;
        }
        self.oracle.queues_are_empty(EMPTY_WITHIN).await?;
        sleep(AFTERMATH).await;
        self.look_at_all().await?;
        self.oracle.queues_are_empty(Duration::ZERO).await?;
        if !is_pushed {
            return Ok((ended_after, 0));
        }
        let n_redriven = redrive_all(&world).await?;
        self.oracle.queues_are_empty(EMPTY_WITHIN).await?;
        self.look_at_all().await?;
        Ok((ended_after, n_redriven))
    }

    async fn until_messages_have_ended(&mut self) -> Result<(), String> {
        let deadline = self.faults_end + self.patience;
        let (mut n_looks, mut have_ended, mut looked_at) = (0_u64, false, None);
        loop {
            let is_said = self.speaking.iter().all(JoinHandle::is_finished);
            let said = self.acknowledged.all();
            // Without a write, readers see what they saw before.
            let seen = Some((said.len(), self.engine.n_writes()));
            if looked_at != seen {
                (n_looks, looked_at) = (n_looks + 1, seen);
                let all = n_looks.is_multiple_of(16);
                have_ended = self.oracle.look(&said, all, self.engine.now()).await?;
            }
            if is_said && have_ended {
                return Ok(());
            }
            if Instant::now() > deadline {
                // Returns the error that names the message.
                self.check().await?;
                return Err("people can't say what they want to".to_owned());
            }
            // Without faults it is checked when each message ended.
            let is_close = Instant::now() < self.faults_end || self.fault_plan.are_none();
            sleep(if is_close { self.reading } else { LOOK }).await;
        }
    }

    async fn until_planned_messages_have_ended(&self, world: &World) -> Result<(), String> {
        let deadline = Instant::now() + self.patience;
        while !(self.planning.iter().all(JoinHandle::is_finished) && have_ended(world, &self.planned).await) {
            if Instant::now() > deadline {
                return Err(format!("scheduled messages are left of {:?}", self.planned));
            }
            sleep(LOOK).await;
        }
        self.oracle.queues_are_empty(EMPTY_WITHIN).await
    }

    async fn look_at_all(&mut self) -> Result<(), String> {
        self.oracle
            .look(&self.acknowledged.all(), true, self.engine.now())
            .await
            .map(drop)
    }

    /// Checks the invariants.
    async fn check(&self) -> Result<MessageEnds, String> {
        let said = self.acknowledged.all();
        let now = self.engine.now();
        let message_ends = self.oracle.check(&said, &self.allowed, &self.fault_plan, now).await?;
        operator::check(&self.planned, &self.platform, &self.fault_plan, &self.erasures)?;
        if self.fault_plan.are_none() {
            self.oracle.check_latencies(&said, self.manner, 2 * self.reading)?;
        }
        Ok(message_ends)
    }

    fn n_asked(&self) -> u64 {
        self.processes.iter().map(|process| process.n_asked()).sum()
    }

    /// Each message is one question, plus one for each fault, which may affect every chat.
    fn check_requests(&self, n_redriven: u64) -> Result<(), String> {
        let n_chats = self.speaking.len() as u64;
        let n_asked = self.n_asked();
        let n_said = self.acknowledged.all().len() as u64;
        // A second delivery of an erased message is a new one.
        let n_erased = if self.erasures.may_concern_chat(0) { n_said } else { 0 };
        let most = n_said + n_erased + n_redriven + self.fault_plan.n_so_far() * n_chats;
        if n_asked > most {
            return Err(format!(
                "agents were asked {n_asked} times, expected at most {most} times"
            ));
        }
        Ok(())
    }

    /// Where answers are pushed, nothing names a person after they were erased.
    async fn erase_everybody(&self) -> Result<(), String> {
        if self.manner.channel == Channel::Pulled {
            return Ok(());
        }
        let world = Process::operator_world(&self.engine, Arc::clone(&self.platform));
        for chat in 0..self.speaking.len() {
            erasure::check(&world, &self.engine, chat).await?;
        }
        Ok(())
    }

    /// Prints the result of each message, and every call.
    async fn print_trace(&self) {
        self.oracle.print(&self.acknowledged.all(), self.engine.now()).await;
        self.fault_plan.calls().iter().for_each(|call| println!("{call}"));
    }
}

/// Redrives every dead letter, as an operator does, until there is none. Returns how many were redriven.
async fn redrive_all(world: &World) -> Result<u64, String> {
    let mut n_redriven = 0;
    for _ in 0..REDRIVE_ROUNDS {
        let found = deadletter::list(&world.store, &bot::organization(), None, 100, world.clock.now()).await;
        let letters = found.unwrap().items;
        if letters.is_empty() {
            return Ok(n_redriven);
        }
        for letter in letters {
            match redrive(world, &letter, AskAgent::IfNeeded).await {
                Ok(_) => n_redriven += 1,
                // Another letter's redrive delivers the answer that is theirs too.
                Err(RedriveError::InHand | RedriveError::NotFailed(_)) => {}
                Err(error) => return Err(format!("{} can't be redriven: {error}", letter.message)),
            }
        }
        sleep(LOOK).await;
    }
    Err("dead letters are left".to_owned())
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
