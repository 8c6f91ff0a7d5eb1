//! Two relay processes: what happens to two hundred bots when a relay is killed or stopped, or when queues or tables fail.

use std::collections::HashMap;
use std::ops::RangeBounds;
use std::time::{Duration, Instant};

use serde_json::Value;
use tieline_tests::fleet::Fleet;
use tieline_tests::outbound::{Speaker, until};
use tieline_tests::relay::Relay;
use tieline_tests::{dingtalk, wecom_socket};

use crate::agent::Agent;

const N_BOTS: usize = 200;
/// Number of bots that receive messages.
const N_TALKERS: usize = 60;
/// Lease of a dead process's bots.
const LEASE: Duration = Duration::from_secs(10);

/// Whether the programs are optimized. If not, what they wait for is slow too: tables and queues run in this test.
fn is_optimized() -> bool {
    let path = tieline_tests::process::binary("relay").unwrap();
    path.parent().is_some_and(|dir| dir.ends_with("release"))
}

/// Limit of a hand-over.
fn within(limit: Duration) -> Duration {
    if is_optimized() {
        limit
    } else {
        limit + Duration::from_secs(15)
    }
}

/// Number of messages under load, and the time between two.
fn load() -> (usize, Duration) {
    if is_optimized() {
        (400, Duration::from_millis(25))
    } else {
        (100, Duration::from_millis(200))
    }
}

fn bot(n: usize) -> String {
    format!("bot{n:03}")
}

fn person(n: usize) -> Speaker {
    Speaker::alone(&format!("person{n}"))
}

async fn agent() -> Agent {
    Agent::start(|asked| (vec![format!("heard {}.", asked.text)], Duration::ZERO)).await
}

/// Two hundred bots of WeCom, which allows one socket each, on two relays.
async fn wecom(fleet: &Fleet, agent: &Agent) -> (wecom_socket::Platform, Relay, Relay) {
    let platform = wecom_socket::Platform::start().await;
    let settings = (0..N_BOTS).map(|n| {
        platform.add_bot(&bot(n), "s3");
        platform.as_integration(&bot(n), &bot(n))
    });
    fleet.bind(settings.collect(), &agent.settings("agent")).await;
    let relays = (fleet.relay("a"), fleet.relay("b"));
    let all = || (n_connected(&platform) == N_BOTS && relays.1.n_connected() > 0).then_some(());
    let all_connected = until("two hundred connections", Duration::from_secs(60), all).await;
    all_connected.unwrap_or_else(|error| panic!("{error}\n{}", tail(&relays.0)));
    // The shares are stable: both relays hold theirs.
    tokio::time::sleep(Duration::from_secs(3)).await;
    (platform, relays.0, relays.1)
}

fn n_connected(platform: &wecom_socket::Platform) -> usize {
    (0..N_BOTS).filter(|n| platform.is_connected(&bot(*n))).count()
}

fn tail(relay: &Relay) -> String {
    let log = relay.log();
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(15)..].join("\n")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bots_of_a_killed_relay_are_connected_elsewhere_in_time() {
    let (fleet, agent) = (Fleet::start().await, agent().await);
    let (platform, mut a, b) = wecom(&fleet, &agent).await;
    let before = n_connected(&platform);
    a.kill();
    let began = Instant::now();
    let lost = until("lost connections", Duration::from_secs(2), || {
        Some(before - n_connected(&platform)).filter(|lost| *lost > N_BOTS / 5)
    });
    let lost = lost.await.unwrap();
    let all = || (n_connected(&platform) == N_BOTS).then_some(());
    let limit = within(LEASE + Duration::from_secs(5));
    until("all connections", limit, all)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", tail(&b)));
    report("killed", lost, began);
    // All bots work, including those that moved.
    for n in 0..N_TALKERS {
        platform
            .say(&bot(n), &person(n), &format!("m{n}"), &format!("text {n}"))
            .unwrap();
    }
    let done = || platform.bubbles().iter().filter(|it| it.done).count();
    let answered = until("all answers", Duration::from_secs(60), || {
        (done() == N_TALKERS).then_some(())
    });
    answered
        .await
        .unwrap_or_else(|error| panic!("{error}: {} asked, {} done\n{}", agent.asked().len(), done(), tail(&b)));
    for n in 0..N_TALKERS {
        let told: Vec<_> = platform.bubbles().into_iter().filter(|it| it.bot == bot(n)).collect();
        assert_eq!((told.len(), told[0].chat.as_str()), (1, person(n).user.as_str()));
        assert_eq!(told[0].text(), format!("heard text {n}."));
    }
    assert_eq!(platform.complaints(), Vec::<String>::new());
    // An operator sees for how long, from the last heartbeat on: longer than a lease.
    let began = Instant::now();
    while gaps_of(&fleet, LEASE..).await.len() < lost {
        let gaps = gaps_of(&fleet, Duration::ZERO..).await;
        assert!(began.elapsed() < Duration::from_secs(30), "{lost} bots moved: {gaps:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// How long bots were disconnected at their last change of relay, where that is within `range`.
async fn gaps_of(fleet: &Fleet, range: impl RangeBounds<Duration>) -> Vec<Duration> {
    let path = "/api/v1/orgs/default/integrations?include=status&limit=200";
    let bots = fleet.console.get(path).await.unwrap();
    let gap = |bot: &Value| bot["status"]["lastHandOver"]["gapMillis"].as_u64();
    let gaps = bots["items"].as_array().unwrap().iter().filter_map(gap);
    gaps.map(Duration::from_millis)
        .filter(|gap| range.contains(gap))
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stopping_relay_hands_its_bots_over_one_socket_at_a_time() {
    let (fleet, agent) = (Fleet::start().await, agent().await);
    let (platform, mut a, b) = wecom(&fleet, &agent).await;
    let subscribed: usize = (0..N_BOTS).map(|n| platform.subscriptions(&bot(n)).1).sum();
    a.terminate();
    let began = Instant::now();
    // All of them are connected to the other relay, by a subscription of its own.
    let moved = || {
        let now: usize = (0..N_BOTS).map(|n| platform.subscriptions(&bot(n)).1).sum();
        (now - subscribed >= N_BOTS / 5 && n_connected(&platform) == N_BOTS && b.n_connected() >= N_BOTS)
            .then_some(now - subscribed)
    };
    let moved = until("all connections", within(Duration::from_secs(3)), moved).await;
    let moved = moved.unwrap_or_else(|error| panic!("{error}\n{}\n{}", tail(&a), tail(&b)));
    report("stopped, one socket each", moved, began);
    assert!(a.ended(Duration::from_secs(10)).await);
    assert!(
        !a.log().contains("kicked") && !b.log().contains("kicked"),
        "two sockets were open at a time"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn stop_under_load_loses_and_repeats_no_message_where_two_sockets_are_allowed() {
    let (fleet, agent) = (Fleet::start().await, agent().await);
    let platform = dingtalk::Platform::start().await;
    let settings = (0..N_BOTS).map(|n| {
        platform.add_app(&bot(n), "s3");
        platform.as_integration(&bot(n), &bot(n), "long_connection")
    });
    fleet.bind(settings.collect(), &agent.settings("agent")).await;
    let (mut a, b) = (fleet.relay("a"), fleet.relay("b"));
    let open = || (0..N_BOTS).filter(|n| platform.connections(&bot(*n)).0 > 0).count();
    let all = || (open() == N_BOTS && b.n_connected() > 0).then_some(());
    until("two hundred connections", Duration::from_secs(60), all)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", tail(&a)));
    tokio::time::sleep(Duration::from_secs(3)).await;

    let mut stopped = None;
    let (n_messages, between) = load();
    for n in 0..n_messages {
        if n == n_messages / 4 {
            a.terminate();
            stopped = Some(Instant::now());
        }
        let app = bot(n % N_BOTS);
        let message = platform.text(&app, &person(n), &format!("text {n}"));
        platform
            .push(&app, &message)
            .unwrap_or_else(|error| panic!("{app}: {error} after {:?}", stopped.map(|it| it.elapsed())));
        tokio::time::sleep(between).await;
    }
    assert!(a.ended(Duration::from_secs(30)).await, "{}", tail(&a));
    let asked = || (agent.asked().len() >= n_messages).then_some(());
    until("all messages at the agent", Duration::from_secs(60), asked)
        .await
        .unwrap_or_else(|error| panic!("{error}\n{}", tail(&b)));
    let answered = || (platform.bubbles().iter().filter(|it| it.done).count() >= n_messages).then_some(());
    until("all answers", Duration::from_secs(60), answered).await.unwrap();
    let mut times: HashMap<String, usize> = HashMap::new();
    for asked in agent.asked() {
        *times.entry(asked.text).or_default() += 1;
    }
    let doubled: Vec<_> = times.iter().filter(|(_, times)| **times != 1).collect();
    assert!(
        doubled.is_empty() && times.len() == n_messages,
        "expected every message once; repeated: {doubled:?}"
    );
    assert_eq!(platform.bubbles().len(), n_messages);
    for bubble in platform.bubbles() {
        let n: usize = bubble.chat.trim_start_matches("person").parse().unwrap();
        assert_eq!(bubble.text(), format!("heard text {n}."));
        assert_eq!(bubble.bot, bot(n % N_BOTS));
    }
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

/// While queues or tables fail, no message is lost or answered twice.
async fn outage(of_tables: bool) {
    let (fleet, agent) = (Fleet::start().await, agent().await);
    let (platform, a, b) = wecom(&fleet, &agent).await;
    let gate = if of_tables { &fleet.tables } else { &fleet.queues };
    let talking = async {
        for n in 0..40 {
            // Between two connections of a bot there is no listener.
            while platform
                .say(&bot(n), &person(n), &format!("m{n}"), &format!("text {n}"))
                .is_err()
            {
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    };
    tokio::join!(gate.close_for(Duration::from_secs(20)), talking);
    let answered = || (platform.bubbles().iter().filter(|it| it.done).count() >= 40).then_some(());
    let answered = until("all answers", Duration::from_secs(60), answered).await;
    answered.unwrap_or_else(|error| panic!("{error}: {:#?}\n{}\n{}", platform.bubbles(), tail(&a), tail(&b)));
    for n in 0..40 {
        let told: Vec<_> = platform.bubbles().into_iter().filter(|it| it.bot == bot(n)).collect();
        assert_eq!(told.len(), 1, "{told:#?}");
        assert_eq!(told[0].text(), format!("heard text {n}."));
    }
    assert_eq!(agent.asked().len(), 40);
    let all = || (n_connected(&platform) == N_BOTS).then_some(());
    until("all connections", Duration::from_secs(20), all).await.unwrap();
    assert_eq!(platform.complaints(), Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_queues_lose_and_repeat_no_message() {
    outage(false).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_tables_lose_and_repeat_no_message() {
    outage(true).await;
}

#[expect(clippy::print_stderr, reason = "the measured times are part of the test's output")]
fn report(what: &str, n: usize, began: Instant) {
    eprintln!("{what}: {n} bots connected elsewhere after {:?}", began.elapsed());
}
