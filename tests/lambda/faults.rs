//! Messages while something fails.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use serde_json::Value;
use tieline_core::notice::{Language, Notice};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::cloud::{Cloud, Plan, Servers};
use tieline_tests::langgraph::FakeLanggraph;
use tokio::time::sleep;

use super::{PATIENCE, deploy, web, writer};

async fn until(cloud: &Cloud, what: &str, condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(
            start.elapsed() < PATIENCE,
            "{what} did not happen\n{}",
            cloud.log_tail()
        );
        sleep(Duration::from_millis(10)).await;
    }
}

pub(crate) async fn unreadable_event_delays_no_other_chat(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = FakeAgent::start(Manner::default()).await;
    let id = cloud.bind(&web("page"), &agent.as_webhook("hook")).await.unwrap();
    let dispatcher = cloud.emulator.function("dispatcher");
    let garbage = cloud.sqs.send_message().queue_url(&cloud.urls.inbound);
    let garbage = garbage.message_group_id("garbage").message_deduplication_id("garbage");
    garbage.message_body("unreadable").send().await.unwrap();
    let console = cloud.console();
    let said = (0..8).map(|n| {
        let (console, id) = (console.clone(), id.clone());
        async move {
            let (_, reply) = console.say(&id, &format!("chat{n}"), "hi", &format!("m{n}")).await?;
            console.read(&reply).await
        }
    });
    for shown in try_join_all(said).await.unwrap() {
        assert_eq!(shown.last().unwrap()["text"], "echo: hi");
    }
    until(&cloud, "the refusal", || dispatcher.stats().item_failures >= 1).await;
    until(&cloud, "the deletion", || dispatcher.stats().deleted == 8).await;
    let stats = dispatcher.stats();
    assert_eq!((stats.errors, stats.failed_batches), (0, 0), "{}", cloud.log_tail());
    assert_eq!(agent.seen().len(), 8);
}

fn forty_pieces(_: &str) -> Vec<String> {
    (0..40).map(|n| format!("piece {n} ")).collect()
}

/// Its protocol can't resume, so the runner shows that the answer is incomplete, before Lambda ends it.
pub(crate) async fn run_that_outlives_its_function_is_shown_as_incomplete(servers: Servers) {
    let plan = Plan {
        runner_timeout: Some(Duration::from_secs(20)),
        ..Plan::default()
    };
    let cloud = deploy(servers, &plan).await;
    let agent = writer(Duration::from_secs(1), forty_pieces).await;
    let id = cloud.bind(&web("page"), &agent.as_chat("slow")).await.unwrap();
    let console = cloud.console();
    let (_, reply) = console.say(&id, "chat", "tell", "m1").await.unwrap();
    let shown = console.read(&reply).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    let text = shown.last().unwrap()["text"].as_str().unwrap().to_owned();
    assert!(
        text.starts_with("piece 0 piece 1 ") && text.contains(Notice::Incomplete.text(Language::default())),
        "{text}"
    );
    let stats = cloud.emulator.function("runner").stats();
    assert_eq!(
        (stats.timeouts, stats.errors, agent.seen().len()),
        (0, 0, 1),
        "{}",
        cloud.log_tail()
    );
}

fn fourteen_pieces(_: &str) -> Vec<String> {
    (0..14).map(|n| format!("piece {n} ")).collect()
}

/// Its protocol can resume: the run continues over several invocations, and the reader sees one answer.
pub(crate) async fn run_that_outlives_its_function_is_resumed(servers: Servers) {
    let plan = Plan {
        runner_timeout: Some(Duration::from_secs(20)),
        ..Plan::default()
    };
    let cloud = deploy(servers, &plan).await;
    let agent = FakeLanggraph::start(Duration::from_secs(1), forty_pieces).await;
    let id = cloud.bind(&web("page"), &agent.as_agent("slow")).await.unwrap();
    let console = cloud.console();
    let (_, reply) = console.say(&id, "chat", "tell", "m1").await.unwrap();
    let shown = console.read(&reply).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    assert_eq!(last_text(&shown), forty_pieces("").concat().trim_end());
    assert_grows(&shown);
    let stats = cloud.emulator.function("runner").stats();
    assert_eq!((stats.timeouts, stats.errors), (0, 0), "{}", cloud.log_tail());
    assert_eq!(agent.asked(), ["tell"]);
    assert!(
        agent.n_joins() >= 2,
        "expected at least 2 resumed streams, found {}",
        agent.n_joins()
    );
}

fn last_text(shown: &[Value]) -> &str {
    let last = shown.last().and_then(|last| last["text"].as_str());
    last.unwrap_or_default().trim_end()
}

/// Each state begins with the text of the state before.
fn assert_grows(shown: &[Value]) {
    let texts: Vec<&str> = shown.iter().filter_map(|it| it["text"].as_str()).collect();
    for two in texts.windows(2) {
        assert!(
            two[1].starts_with(two[0].trim_end()),
            "the text must only grow: {two:?}"
        );
    }
}

/// Killed in the middle of an answer: the next runner resumes the run, and the agent is asked once.
pub(crate) async fn killed_runner_resumes_the_run(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let agent = FakeLanggraph::start(Duration::from_millis(500), fourteen_pieces).await;
    let id = cloud.bind(&web("page"), &agent.as_agent("writer")).await.unwrap();
    let console = cloud.console();
    let (_, reply) = console.say(&id, "chat", "a", "m1").await.unwrap();
    until(&cloud, "the question", || agent.asked().len() == 1).await;
    // The run's reference is stored before anything is shown.
    let begun = Instant::now();
    while console.get(&format!("/api/web/replies/{reply}?after=0")).await.unwrap()["text"] == "" {
        assert!(begun.elapsed() < PATIENCE, "no text is shown\n{}", cloud.log_tail());
    }
    assert!(cloud.emulator.function("runner").kill_one().await);
    let shown = console.read(&reply).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    assert_eq!(last_text(&shown), fourteen_pieces("").concat().trim_end());
    assert_eq!((agent.asked().len(), agent.n_threads()), (1, 1));
    // The session continues in the same thread.
    let (_, reply) = console.say(&id, "chat", "b", "m2").await.unwrap();
    console.read(&reply).await.unwrap();
    assert_eq!(
        (agent.asked(), agent.n_threads()),
        (vec!["a".to_owned(), "b".to_owned()], 1)
    );
}

fn twenty_pieces(text: &str) -> Vec<String> {
    (0..20).map(|n| format!("{text}{n} ")).collect()
}

/// Killed in the middle of an answer: the watchdog starts another runner, which asks again, and the reader sees one answer.
pub(crate) async fn killed_runner_is_replaced(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let kill = async || assert!(cloud.emulator.function("runner").kill_one().await);
    answer_after_a_kill(&cloud, kill).await;
}

/// The page shows one whole answer within a minute, although the process that asked the agent is killed in the middle.
pub(crate) async fn answer_after_a_kill(cloud: &Cloud, kill: impl AsyncFnOnce()) {
    let agent = writer(Duration::from_millis(100), twenty_pieces).await;
    let id = cloud.bind(&web("page"), &agent.as_chat("writer")).await.unwrap();
    let console = cloud.console();
    let (_, reply) = console.say(&id, "chat", "a", "m1").await.unwrap();
    until(cloud, "the first question", || agent.seen().len() == 1).await;
    kill().await;
    let killed = Instant::now();
    let shown = console.read(&reply).await;
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    assert!(
        killed.elapsed() < Duration::from_secs(60),
        "the answer took {:?} after the kill, limit 60 s",
        killed.elapsed()
    );
    assert_eq!(shown.last().unwrap()["text"], twenty_pieces("a").concat());
    assert_eq!(agent.seen().len(), 2);
}

fn five_pieces(text: &str) -> Vec<String> {
    (0..5).map(|n| format!("{text}{n} ")).collect()
}

const N_CHATS: usize = 10;
const N_MESSAGES: usize = 4;

pub(crate) async fn deploy_loses_and_repeats_no_answer(servers: Servers) {
    let cloud = deploy(servers, &Plan::default()).await;
    let deploy = async |version: usize| {
        let env = BTreeMap::from([("VERSION".to_owned(), version.to_string())]);
        cloud.redeploy(&env).await.unwrap();
    };
    answers_through_two_deploys(&cloud, deploy).await;
    let started: u64 = cloud.emulator.functions().map(|it| it.stats().cold_starts).sum();
    assert!(started > 4, "no function instance was replaced");
}

/// Chats that keep writing during two deployments: each message has one whole answer, and each chat's order is kept.
pub(crate) async fn answers_through_two_deploys(cloud: &Cloud, mut deploy: impl AsyncFnMut(usize)) {
    let agent = writer(Duration::from_millis(50), five_pieces).await;
    let id = cloud.bind(&web("page"), &agent.as_chat("writer")).await.unwrap();
    let (console, id) = (&cloud.console(), &id);
    let chats = (0..N_CHATS).map(|chat| async move {
        let mut replies = Vec::new();
        for n in 0..N_MESSAGES {
            let (text, message) = (format!("{chat}.{n}:"), format!("m{chat}.{n}"));
            let (_, reply) = console.say(id, &format!("chat{chat}"), &text, &message).await?;
            replies.push(reply);
        }
        let mut shown = Vec::new();
        for reply in &replies {
            shown.push(console.read(reply).await?.pop().unwrap_or_default());
        }
        anyhow::Ok(shown)
    });
    let deploys = async {
        for version in 1..=2 {
            let asked = N_CHATS * version;
            until(cloud, "half of the way", || agent.seen().len() >= asked).await;
            deploy(version).await;
        }
    };
    let (shown, ()) = tokio::join!(try_join_all(chats), deploys);
    let shown = shown.unwrap_or_else(|error| panic!("{error:#}\n{}", cloud.log_tail()));
    for (chat, answers) in shown.iter().enumerate() {
        for (n, answer) in answers.iter().enumerate() {
            assert_eq!(answer["text"], five_pieces(&format!("{chat}.{n}:")).concat());
        }
    }
    assert_eq!(
        order_of(&agent, N_CHATS),
        vec![(0..N_MESSAGES).collect::<Vec<_>>(); N_CHATS]
    );
}

/// By chat, the message numbers in the order in which the agent was asked.
fn order_of(agent: &FakeAgent, n_chats: usize) -> Vec<Vec<usize>> {
    let mut order = vec![Vec::new(); n_chats];
    for seen in agent.seen() {
        let messages = seen.body["messages"].as_array().unwrap();
        let text = match &messages.last().unwrap()["content"] {
            Value::String(text) => text.clone(),
            parts => parts[0]["text"].as_str().unwrap_or_default().to_owned(),
        };
        let (chat, n) = text.trim_end_matches(':').split_once('.').unwrap();
        order[chat.parse::<usize>().unwrap()].push(n.parse().unwrap());
    }
    order
}
