//! Throughput of one machine: messages a second from callback to final reply, the cost of a streamed piece of an answer, and the time
//! from receipt to the agent request.
//!
//!     cargo build --release && cargo bench -p tieline-tests --bench one_machine
//!
//! The release binary `tieline` runs as a process of its own; the load generator is this process, over the loopback address, and takes
//! its share of the same cores. Targets on two cores: 1,200 messages/s, 2 ms of processor time each and
//! 0.2 ms for each streamed piece; 15 ms (p50) and 60 ms (p99).

#![expect(clippy::print_stdout, reason = "a benchmark prints its numbers")]

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use axum::extract::State;
use axum::routing::post;
use axum::{Json, Router};
use futures_util::future::try_join_all;
use serde_json::{Value, json};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;
use tieline_tests::process::Bridge;
use tokio::net::TcpListener;
use tokio::time::{interval, sleep};

/// Messages of the throughput measurement: as many conversations, each with as many messages.
const N_CHATS: usize = 50;
const N_MESSAGES: usize = 60;
/// Streamed answers, each in a conversation of its own, with their number of pieces and the time between two.
const N_STREAMED: usize = 50;
const N_PIECES: usize = 20;
const BETWEEN: Duration = Duration::from_millis(100);
/// Messages of the latency measurement, each in a conversation of its own, and their rate.
const N_ASKED: usize = 1500;
const PACE: Duration = Duration::from_millis(20);
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let mut bridge = Bridge::start(&dir.path().join("data"))?;
    let console = Console::new(bridge.url());
    throughput(&console, bridge.pid()?)
        .await
        .with_context(|| bridge.log_tail())?;
    streaming(&console, bridge.pid()?)
        .await
        .with_context(|| bridge.log_tail())?;
    latency(&console).await.with_context(|| bridge.log_tail())?;
    let took = bridge.stop()?;
    println!("stopped in {} ms", took.as_millis());
    Ok(())
}

async fn throughput(console: &Console, pid: u32) -> Result<()> {
    let echo = json!({ "name": "echo", "protocol": "echo", "config": { "delayMillis": 0, "pieces": 1 } });
    let id = &console.bind(&web("busy"), &echo, &json!({})).await?["id"];
    let id = id.as_str().context("no id")?;
    converse(console, id, "warm", 1).await?;
    let (began, used) = (Instant::now(), cpu_time(pid)?);
    let chats = (0..N_CHATS).map(|chat| async move { converse(console, id, &format!("chat{chat}"), N_MESSAGES).await });
    try_join_all(chats).await?;
    let took = began.elapsed();
    let n = N_CHATS * N_MESSAGES;
    let used = cpu_time(pid)? - used;
    println!(
        "end to end, echo: {n} messages in {N_CHATS} conversations in {:.2} s: {:.0} messages/s, {:.2} ms of processor time each",
        took.as_secs_f64(),
        n as f64 / took.as_secs_f64(),
        used.as_secs_f64() * 1e3 / n as f64
    );
    Ok(())
}

/// Additional cost of a streamed piece: answers in many pieces compared with answers in one piece that take as long.
async fn streaming(console: &Console, pid: u32) -> Result<()> {
    let one_piece = Manner {
        before: BETWEEN * N_PIECES as u32,
        ..Manner::default()
    };
    let many_pieces = Manner {
        between: BETWEEN,
        answer: |_| (0..N_PIECES).map(|at| format!("piece {at} ")).collect(),
        ..Manner::default()
    };
    let whole = streamed_answers(console, pid, "whole", one_piece).await?;
    let streamed = streamed_answers(console, pid, "streamed", many_pieces).await?;
    let n_more = N_STREAMED * (N_PIECES - 1);
    println!(
        "answers in {N_PIECES} pieces: {:.2} ms of processor time each, in one piece {:.2} ms: {:.3} ms a piece",
        streamed.as_secs_f64() * 1e3 / N_STREAMED as f64,
        whole.as_secs_f64() * 1e3 / N_STREAMED as f64,
        streamed.saturating_sub(whole).as_secs_f64() * 1e3 / n_more as f64
    );
    Ok(())
}

/// Asks once in each conversation, all at once, with a reader at each. Returns the processor time used.
async fn streamed_answers(console: &Console, pid: u32, name: &str, manner: Manner) -> Result<Duration> {
    let agent = FakeAgent::start(manner).await;
    let id = &console.bind(&web(name), &agent.as_chat(name), &json!({})).await?["id"];
    let id = id.as_str().context("no id")?;
    let ask_in_all = async |round: &str| {
        let chats: Vec<String> = (0..N_STREAMED).map(|chat| format!("{round}{chat}")).collect();
        try_join_all(chats.iter().map(|chat| ask(console, id, chat))).await
    };
    // Opens connections and fills caches.
    ask_in_all("warm").await?;
    let used = cpu_time(pid)?;
    ask_in_all("chat").await?;
    Ok(cpu_time(pid)? - used)
}

/// Asks in a new conversation, and reads the answer while it grows.
async fn ask(console: &Console, id: &str, chat: &str) -> Result<()> {
    let (_, reply) = console.say(id, chat, "hello", chat).await?;
    console.read(&reply).await?;
    Ok(())
}

/// Processor time that the process has used, by all its threads: comparable on a machine that also does other things.
///
/// See [Linux manual/proc_pid_stat(5)](https://man7.org/linux/man-pages/man5/proc_pid_stat.5.html), `utime` and `stime`.
fn cpu_time(pid: u32) -> Result<Duration> {
    // The kernel reports hundredths of a second, whatever its own tick is.
    const TICK: Duration = Duration::from_millis(10);
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = stat.rsplit_once(") ").context("no process name")?;
    let ticks = fields.split(' ').skip(11).take(2).map(str::parse::<u32>);
    Ok(TICK * ticks.sum::<Result<u32, _>>()?)
}

/// Says all messages, then waits for the last answer: a conversation is answered in order.
async fn converse(console: &Console, id: &str, chat: &str, n: usize) -> Result<()> {
    let mut last = String::new();
    for at in 0..n {
        last = console
            .say(id, chat, &format!("{chat} {at}"), &format!("{chat}-{at}"))
            .await?
            .1;
    }
    let shown = console.read(&last).await?;
    let text = &shown.last().context("nothing shown")?["text"];
    ensure!(
        text.as_str()
            .is_some_and(|text| text.ends_with(&format!("{chat} {}", n - 1))),
        "{text}"
    );
    Ok(())
}

/// When the agent was asked, by the question's text.
type Asked = Arc<Mutex<HashMap<String, Instant>>>;

async fn latency(console: &Console) -> Result<()> {
    let asked = Asked::default();
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}/webhook", listener.local_addr()?);
    let router = Router::new()
        .route("/webhook", post(note))
        .with_state(Arc::clone(&asked));
    tokio::spawn(async move { axum::serve(listener, router).await });
    let agent = json!({ "name": "timed", "protocol": "webhook", "config": { "url": url, "secret": "whsec_c2VjcmV0" } });
    let id = &console.bind(&web("timed"), &agent, &json!({})).await?["id"];
    let id = id.as_str().context("no id")?;
    let said = say_at_a_pace(console, id).await?;
    let give_up_at = Instant::now() + PATIENCE;
    while asked.lock().unwrap_or_else(PoisonError::into_inner).len() < N_ASKED {
        ensure!(
            Instant::now() < give_up_at,
            "the agent was not asked all questions in time"
        );
        sleep(Duration::from_millis(10)).await;
    }
    let asked = asked.lock().unwrap_or_else(PoisonError::into_inner);
    let mut added: Vec<Duration> = said
        .iter()
        .filter_map(|(text, at)| Some(asked.get(text)?.duration_since(*at)))
        .collect();
    added.sort_unstable();
    let at = |percent: usize| added[(added.len() * percent / 100).min(added.len() - 1)].as_secs_f64() * 1e3;
    println!(
        "receipt to agent request, {} messages at {:.0}/s: p50 {:.1} ms, p90 {:.1} ms, p99 {:.1} ms",
        added.len(),
        1.0 / PACE.as_secs_f64(),
        at(50),
        at(90),
        at(99)
    );
    Ok(())
}

/// Sends messages at a fixed rate, however long the answers take. Returns when each was sent.
async fn say_at_a_pace(console: &Console, id: &str) -> Result<Vec<(String, Instant)>> {
    let mut tick = interval(PACE);
    let mut sent = Vec::with_capacity(N_ASKED);
    for n in 0..N_ASKED {
        tick.tick().await;
        let (console, id, text) = (console.clone(), id.to_owned(), format!("m{n}"));
        sent.push(tokio::spawn(async move {
            let at = Instant::now();
            console.say(&id, &format!("chat-{text}"), &text, &text).await?;
            anyhow::Ok((text, at))
        }));
    }
    try_join_all(sent).await?.into_iter().collect()
}

async fn note(State(asked): State<Asked>, Json(body): Json<Value>) -> Json<Value> {
    let now = Instant::now();
    let text = body["message"]["text"].as_str().unwrap_or_default().to_owned();
    asked
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .entry(text)
        .or_insert(now);
    Json(json!({ "text": "ok" }))
}

fn web(name: &str) -> Value {
    json!({ "name": name, "platform": "web", "connectionMode": "webhook" })
}
