//! Relays that call the agents themselves: a bot's messages are answered by the process that holds its socket, and by another one if that
//! is killed or gives the socket away in the middle of an answer.

use std::time::{Duration, Instant};

use tieline_tests::fleet::Fleet;
use tieline_tests::outbound::{Bubble, Speaker, until};
use tieline_tests::relay::Relay;
use tieline_tests::wecom_socket::Platform;

use crate::agent::Agent;

const SOON: Duration = Duration::from_secs(60);
/// How long a conversation is a dead process's own.
const LEASE: Duration = Duration::from_secs(30);
/// Before any watchdog comes, which would make up for a wake-up that was lost.
const BEFORE_WATCHDOGS: Duration = Duration::from_secs(25);
const N_BOTS: usize = 12;

/// Bots on relays, and nothing else that could call an agent.
struct Scene {
    fleet: Fleet,
    platform: Platform,
    agent: Agent,
}

fn bot(n: usize) -> String {
    format!("bot{n:02}")
}

/// An agent that takes so long from piece to piece, at the first question: a second one about the same is answered at once.
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

impl Scene {
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

    /// Waits until every bot is connected, on each of the relays some of them.
    async fn connected(&self, relays: &[&Relay]) {
        let all = || {
            let are_shared = relays.iter().all(|relay| relay.n_connected() > 0);
            (self.n_connected() == N_BOTS && are_shared).then_some(())
        };
        until("all connections", SOON, all).await.unwrap();
        // Nothing moves any more.
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

    /// Waits until everything that a bot shows is finished and holds the whole answer to `text`.
    async fn answered(&self, n: usize, text: &str, limit: Duration) -> Vec<Bubble> {
        let is_done = |told: &[Bubble]| !told.is_empty() && told.iter().all(|it| it.done) && finals(told, text) > 0;
        self.bubbles(n, "the whole answer", limit, is_done).await
    }
}

fn person(n: usize) -> Speaker {
    Speaker::alone(&format!("person{n}"))
}

/// How many bubbles end as the whole answer to `text`.
fn finals(told: &[Bubble], text: &str) -> usize {
    told.iter()
        .filter(|it| it.text().trim().ends_with(&whole(text)))
        .count()
}

/// More time where programs are not optimized.
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
async fn relays_answer_for_their_bots_in_order_without_any_runner() {
    let scene = Scene::start(slow_agent(Duration::from_millis(600)).await).await;
    let (a, b) = (scene.fleet.relay("a"), scene.fleet.relay("b"));
    scene.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        for k in 0..2 {
            scene.say(n, &format!("m{n}-{k}"), &format!("text {n} {k}"));
        }
    }
    for n in 0..N_BOTS {
        scene.answered(n, &format!("text {n} 1"), BEFORE_WATCHDOGS).await;
        let told = scene.told(n);
        let texts: Vec<&str> = told.iter().map(|it| it.text().trim()).collect();
        assert_eq!(texts, [whole(&format!("text {n} 0")), whole(&format!("text {n} 1"))]);
        assert!(told[0].states.len() > 2, "it streams: {told:#?}");
    }
    assert_eq!(scene.agent.asked().len(), 2 * N_BOTS);
    assert_eq!(scene.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn relay_killed_in_the_middle_of_answers_is_replaced_and_each_ends_once() {
    let scene = Scene::start(slow_agent(Duration::from_secs(1)).await).await;
    let (mut a, b) = (scene.fleet.relay("a"), scene.fleet.relay("b"));
    scene.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        scene.say(n, &format!("m{n}"), &format!("text {n}"));
    }
    for n in 0..N_BOTS {
        scene.growing(n).await;
    }
    a.kill();
    let limit = Instant::now() + within(LEASE + Duration::from_secs(5));
    for n in 0..N_BOTS {
        let text = format!("text {n}");
        let left = limit.saturating_duration_since(Instant::now());
        let told = scene.answered(n, &text, left).await;
        assert_eq!(finals(&told, &text), 1, "{told:#?}");
    }
    let n_asked = scene.agent.asked().len();
    assert!(
        (N_BOTS + 1..2 * N_BOTS).contains(&n_asked),
        "those of the killed relay are asked again: {n_asked}"
    );
    // Nothing comes after it.
    tokio::time::sleep(Duration::from_secs(3)).await;
    for n in 0..N_BOTS {
        assert_eq!(finals(&scene.told(n), &format!("text {n}")), 1);
    }
    assert_eq!(scene.agent.asked().len(), n_asked);
    assert_eq!(scene.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn answers_go_on_where_they_are_while_their_bots_move_to_another_relay() {
    let scene = Scene::start(slow_agent(Duration::from_millis(1500)).await).await;
    let a = scene.fleet.relay("a");
    scene.connected(&[&a]).await;
    for n in 0..N_BOTS {
        scene.say(n, &format!("m{n}"), &format!("text {n}"));
    }
    for n in 0..N_BOTS {
        scene.growing(n).await;
    }
    let b = scene.fleet.relay("b");
    for n in 0..N_BOTS {
        let text = format!("text {n}");
        let told = scene.answered(n, &text, SOON).await;
        assert_eq!(finals(&told, &text), 1, "{told:#?}");
    }
    assert!(b.n_connected() > 0, "none has moved");
    assert_eq!(scene.agent.asked().len(), N_BOTS, "{:?}", scene.agent.asked());
    // What comes next is run by those who hold the bots now.
    scene.connected(&[&a, &b]).await;
    for n in 0..N_BOTS {
        scene.say(n, &format!("n{n}"), &format!("next {n}"));
    }
    for n in 0..N_BOTS {
        scene.answered(n, &format!("next {n}"), SOON).await;
    }
    assert_eq!(scene.platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_ends_an_answer_that_a_relay_runs() {
    let scene = Scene::start(slow_agent(Duration::from_secs(2)).await).await;
    let relay = scene.fleet.relay("a");
    scene.connected(&[&relay]).await;
    scene.say(0, "m0", "text 0");
    scene.growing(0).await;
    scene.say(0, "m1", "/stop");
    let is_stopped = |told: &[Bubble]| told.len() > 1 && told.iter().all(|it| it.done);
    let told = scene.bubbles(0, "the end", Duration::from_secs(8), is_stopped).await;
    assert_eq!(finals(&told, "text 0"), 0, "{told:#?}");
    scene.say(0, "m2", "text 1");
    scene.answered(0, "text 1", SOON).await;
    assert_eq!(scene.agent.asked().len(), 2);
    assert_eq!(scene.platform.complaints(), Vec::<String>::new());
}
