//! Relays that call the agents themselves: a bot's messages are answered by the relay that holds its socket, and by another one if that
//! relay is killed or hands the socket over in the middle of an answer.

use std::time::{Duration, Instant};

use tieline_tests::fleet::Fleet;
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::relay::Relay;
use tieline_tests::wecom_socket::Platform;

use crate::agent::Agent;

const SOON: Duration = Duration::from_secs(60);
/// Lease of a dead process's conversations.
const LEASE: Duration = Duration::from_secs(30);
/// Shorter than the delay of the first watchdog, which would hide a lost wake-up.
const BEFORE_WATCHDOGS: Duration = Duration::from_secs(25);
const N_BOTS: usize = 12;

/// Bots on relays; no other process could call an agent.
struct RelayScenario {
    fleet: Fleet,
    platform: Platform,
    agent: Agent,
}

fn bot(n: usize) -> String {
    format!("bot{n:02}")
}

/// An agent that streams its first answer to each question slowly, with `between` after each piece, and repeats the answer at once.
async fn slow_agent(between: Duration) -> Agent {
    let asked = std::sync::Mutex::new(std::collections::HashSet::new());
    Agent::start(move |question| {
        let is_first = asked.lock().unwrap().insert(question.text.clone());
        let pieces = (0..8).map(|n| format!("{} part{n}. ", question.text)).collect();
        (pieces, if is_first { between } else { Duration::ZERO })
    })
    .await
}

fn whole(text: &str) -> String {
    (0..8)
        .map(|n| format!("{text} part{n}. "))
        .collect::<String>()
        .trim()
        .to_owned()
}

impl RelayScenario {
    async fn start(agent: Agent) -> Self {
        let (fleet, platform) = (Fleet::without_runners().await, Platform::start().await);
        let bots = (0..N_BOTS).map(|n| {
            platform.add_bot(&bot(n), "s3");
            platform.as_integration(&bot(n), &bot(n))
        });
        fleet.bind(bots.collect(), &agent.settings("agent")).await;
        Self { fleet, platform, agent }
    }

    fn n_connected(&self) -> usize {
        (0..N_BOTS).filter(|n| self.platform.is_connected(&bot(*n))).count()
    }

    /// Waits until every bot is connected, and each relay holds some of them.
    async fn connected(&self, relays: &[&Relay]) {
        let all = || {
            let are_shared = relays.iter().all(|relay| relay.n_connected() > 0);
            (self.n_connected() == N_BOTS && are_shared).then_some(())
        };
        until("all connections", SOON, all).await.unwrap();
        // No bot moves any more.
        let counts = || relays.iter().map(|relay| relay.n_connected()).sum::<usize>();
        let (mut before, mut since) = (counts(), Instant::now());
        while since.elapsed() < Duration::from_secs(3) {
            tokio::time::sleep(Duration::from_millis(100)).await;
            if counts() != before {
                (before, since) = (counts(), Instant::now());
            }
        }
        until("all connections", SOON, all).await.unwrap();
    }

    fn say(&self, n: usize, id: &str, text: &str) {
        self.platform.say(&bot(n), &person(n), id, text).unwrap();
    }

    fn told(&self, n: usize) -> Vec<Bubble> {
        self.platform
            .bubbles()
            .into_iter()
            .filter(|it| it.bot == bot(n))
            .collect()
    }

    async fn bubbles(&self, n: usize, what: &str, limit: Duration, wanted: impl Fn(&[Bubble]) -> bool) -> Vec<Bubble> {
        let found = until(what, limit, || Some(self.told(n)).filter(|told| wanted(told))).await;
        found.unwrap_or_else(|error| panic!("{error}: {:#?}", self.told(n)))
    }

    /// Waits until a bot shows the beginning of an answer.
    async fn growing(&self, n: usize) {
        let grows = |told: &[Bubble]| told.iter().any(|it| !it.done && it.text().contains("part1"));
        self.bubbles(n, "a growing answer", SOON, grows).await;
    }

    /// Waits until every bubble of a bot is finished, and the whole answer to `text` is among them.
    async fn answered(&self, n: usize, text: &str, limit: Duration) -> Vec<Bubble> {
        let is_done = |told: &[Bubble]| !told.is_empty() && told.iter().all(|it| it.done) && finals(told, text) > 0;
        self.bubbles(n, "the whole answer", limit, is_done).await
    }
}

fn person(n: usize) -> Speaker {
    Speaker::alone(&format!("person{n}"))
}

/// Number of bubbles that end as the whole answer to `text`.
fn finals(told: &[Bubble], text: &str) -> usize {
    told.iter()
        .filter(|it| it.text().trim().ends_with(&whole(text)))
        .count()
}

/// A longer limit where programs are not optimized.
fn within(limit: Duration) -> Duration {
    let path = tieline_tests::process::binary("relay").unwrap();
    let is_optimized = path.parent().is_some_and(|dir| dir.ends_with("release"));
    if is_optimized {
        limit
    } else {
        limit + Duration::from_secs(15)
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relays_answer_their_bots_in_order_without_a_runner() {
    let scenario = RelayScenario::start(slow_agent(Duration::from_millis(600)).await).await;
    let (a, b) = (scenario.fleet.relay("a"), scenario.fleet.relay("b"));
    scenario.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        for k in 0..2 {
            scenario.say(n, &format!("m{n}-{k}"), &format!("text {n} {k}"));
        }
    }
    for n in 0..N_BOTS {
        scenario.answered(n, &format!("text {n} 1"), BEFORE_WATCHDOGS).await;
        let told = scenario.told(n);
        let texts: Vec<&str> = told.iter().map(|it| it.text().trim()).collect();
        assert_eq!(texts, [whole(&format!("text {n} 0")), whole(&format!("text {n} 1"))]);
        assert!(told[0].states.len() > 2, "the answer must be streamed: {told:#?}");
    }
    assert_eq!(scenario.agent.asked().len(), 2 * N_BOTS);
    assert_eq!(scenario.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_of_a_killed_relay_are_completed_once_by_another() {
    let scenario = RelayScenario::start(slow_agent(Duration::from_secs(1)).await).await;
    let (mut a, b) = (scenario.fleet.relay("a"), scenario.fleet.relay("b"));
    scenario.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        scenario.say(n, &format!("m{n}"), &format!("text {n}"));
    }
    for n in 0..N_BOTS {
        scenario.growing(n).await;
    }
    a.kill();
    let limit = Instant::now() + within(LEASE + Duration::from_secs(5));
    for n in 0..N_BOTS {
        let text = format!("text {n}");
        let left = limit.saturating_duration_since(Instant::now());
        let told = scenario.answered(n, &text, left).await;
        assert_eq!(finals(&told, &text), 1, "{told:#?}");
    }
    let n_asked = scenario.agent.asked().len();
    assert!(
        (N_BOTS + 1..2 * N_BOTS).contains(&n_asked),
        "only the questions of the killed relay are asked again: {n_asked}"
    );
    // Nothing is sent after it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for n in 0..N_BOTS {
        assert_eq!(finals(&scenario.told(n), &format!("text {n}")), 1);
    }
    assert_eq!(scenario.agent.asked().len(), n_asked);
    assert_eq!(scenario.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn running_answers_stay_on_their_relay_while_the_bots_move() {
    let scenario = RelayScenario::start(slow_agent(Duration::from_millis(1500)).await).await;
    let a = scenario.fleet.relay("a");
    scenario.connected(&[&a]).await;
    for n in 0..N_BOTS {
        scenario.say(n, &format!("m{n}"), &format!("text {n}"));
    }
    for n in 0..N_BOTS {
        scenario.growing(n).await;
    }
    let b = scenario.fleet.relay("b");
    for n in 0..N_BOTS {
        let text = format!("text {n}");
        let told = scenario.answered(n, &text, SOON).await;
        assert_eq!(finals(&told, &text), 1, "{told:#?}");
    }
    assert!(b.n_connected() > 0, "no bot has moved");
    assert_eq!(scenario.agent.asked().len(), N_BOTS, "{:?}", scenario.agent.asked());
    // The next messages are run by the relays that hold the bots now.
    scenario.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        scenario.say(n, &format!("n{n}"), &format!("next {n}"));
    }
    for n in 0..N_BOTS {
        scenario.answered(n, &format!("next {n}"), SOON).await;
    }
    assert_eq!(scenario.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_ends_an_answer_that_a_relay_runs() {
    let scenario = RelayScenario::start(slow_agent(Duration::from_secs(2)).await).await;
    let relay = scenario.fleet.relay("a");
    scenario.connected(&[&relay]).await;
    scenario.say(0, "m0", "text 0");
    scenario.growing(0).await;
    scenario.say(0, "m1", "/stop");
    let is_stopped = |told: &[Bubble]| told.len() > 1 && told.iter().all(|it| it.done);
    let told = scenario.bubbles(0, "the end", Duration::from_secs(8), is_stopped).await;
    assert_eq!(finals(&told, "text 0"), 0, "{told:#?}");
    scenario.say(0, "m2", "text 1");
    scenario.answered(0, "text 1", SOON).await;
    assert_eq!(scenario.agent.asked().len(), 2);
    assert_eq!(scenario.platform.complaints(), Vec::<String>::new());
}
