//! `kill -9` at random moments, repeatedly, while messages are in flight and data keys are rotated.
//!
//! `TIELINE_SOAK=1` runs it at full size, `TIELINE_SEED=n` repeats the moments of a run.

use std::collections::HashMap;
use std::env;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use aws_sdk_dynamodb::types::AttributeValue;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use serde_json::{Value, json};
use tieline_bridge::world::Settings;
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_embedded::{Embedded, Options};
use tieline_standalone::local;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::console::Console;

use tieline_tests::test_bridge::{PATIENCE, TestBridge, figure};

struct Size {
    kills: usize,
    conversations: usize,
    per_conversation: usize,
}

impl Size {
    fn of_this_run() -> Self {
        match env::var_os("TIELINE_SOAK") {
            Some(_) => Self {
                kills: 50,
                conversations: 50,
                per_conversation: 10,
            },
            None => Self {
                kills: 8,
                conversations: 12,
                per_conversation: 10,
            },
        }
    }
}

/// Numbers every request, so that each answer is unique.
static N_ASKED: AtomicU64 = AtomicU64::new(0);

fn numbered(text: &str) -> Vec<String> {
    let number = N_ASKED.fetch_add(1, Ordering::SeqCst);
    vec![format!("{number} "), "answers ".to_owned(), text.to_owned()]
}

/// A conversation: texts and the answers that were shown, in order.
type Turns = Vec<(String, String)>;

#[tokio::test(flavor = "multi_thread")]
async fn every_message_has_one_answer_whenever_the_process_is_killed() {
    let size = Size::of_this_run();
    let mut bridge = TestBridge::start();
    let agent = FakeAgent::start(Manner {
        before: Duration::from_millis(30),
        between: Duration::from_millis(30),
        answer: numbered,
        ..Manner::default()
    })
    .await;
    let bot = bridge.web(&agent.as_chat(""), &json!({})).await;
    let n_kills = AtomicUsize::new(0);
    let console = bridge.console.clone();
    let people = (0..size.conversations).map(|person| speak(&console, &bot, person, &size, &n_kills));
    let people = join_all(people);
    let killer = kill_again_and_again(&mut bridge, &size, &n_kills);
    let began = Instant::now();
    let (conversations, ()) = tokio::join!(people, killer);
    figure("messages", size.conversations * size.per_conversation);
    figure("kills", size.kills);
    figure("requests to the agent", agent.asked().len());
    figure("time", format!("{:?}", began.elapsed()));

    let histories = histories(&agent);
    for turns in &conversations {
        check_order(turns);
        check_history(turns, &histories);
    }
    let newest = rotated(&console).await;
    bridge.process.stop().unwrap();
    let (ledger, older) = kept(bridge.dir.path(), newest).await;
    assert!(older.is_empty(), "sealed with an older key than {newest}: {older:?}");
    assert_eq!(ledger.len(), size.conversations * size.per_conversation);
    for record in ledger {
        assert_eq!(record.state, MessageState::Answered, "{:?}", record.steps);
    }
}

/// Sends all messages of a person, waits for the answers, and reads them again in the end.
async fn speak(console: &Console, bot: &str, person: usize, size: &Size, n_kills: &AtomicUsize) -> Turns {
    let chat = format!("chat{person}");
    let mut replies = Vec::new();
    for n in 0..size.per_conversation {
        // The messages are spread over all runs of the process.
        while n_kills.load(Ordering::SeqCst) * size.per_conversation < n * size.kills {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let text = format!("{chat}-{n}");
        replies.push((text.clone(), say(console, bot, &chat, &text).await));
    }
    let mut turns = Turns::new();
    for (text, reply) in replies {
        let first = read(console, &reply).await;
        turns.push((text, first["text"].as_str().unwrap().to_owned()));
        assert_eq!(read(console, &reply).await, first, "a complete answer has changed");
    }
    turns
}

/// Sends like a platform: until the message is acknowledged, with the same id.
async fn say(console: &Console, bot: &str, chat: &str, text: &str) -> String {
    let began = Instant::now();
    loop {
        match console.say(bot, chat, text, text).await {
            Ok((_, reply)) => return reply,
            Err(error) => assert!(
                began.elapsed() < PATIENCE,
                "the message is not acknowledged in time: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn read(console: &Console, reply: &str) -> Value {
    let began = Instant::now();
    loop {
        match console.read(reply).await {
            Ok(shown) => return shown.last().unwrap().clone(),
            Err(error) => assert!(
                began.elapsed() < 2 * PATIENCE,
                "the reply can't be read in time: {error:?}"
            ),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn kill_again_and_again(bridge: &mut TestBridge, size: &Size, n_kills: &AtomicUsize) {
    let mut moments = Moments::new();
    for _ in 0..size.kills {
        // The key is rotated right before the kill, or a while before.
        let (before, after) = (moments.next(), moments.next());
        tokio::time::sleep(before).await;
        let begun = bridge.console.post("/api/v1/keys/rotate", &json!({})).await.unwrap();
        assert!(
            begun["keys"].as_array().unwrap().len() > 1,
            "expected a second data key in {begun}"
        );
        tokio::time::sleep(after / 4).await;
        tokio::task::block_in_place(|| bridge.process.restart()).unwrap();
        n_kills.fetch_add(1, Ordering::SeqCst);
    }
}

/// Waits until everything is sealed with the newest key. Returns its version.
async fn rotated(console: &Console) -> u8 {
    let began = Instant::now();
    loop {
        let keys = console.get("/api/v1/keys").await.unwrap();
        if keys["phase"] == "retiring" {
            figure("data keys", keys["keys"].as_array().unwrap().len());
            assert_eq!(keys["nUnreadable"], 0, "{keys}");
            return u8::try_from(keys["keys"][0]["version"].as_u64().unwrap()).unwrap();
        }
        assert!(
            began.elapsed() < 2 * PATIENCE,
            "the rotation has not ended in time: {keys}"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

/// Random moments, reproducible by their seed.
struct Moments(u64);

impl Moments {
    fn new() -> Self {
        let given = env::var("TIELINE_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| {
            let mut bytes = [0; 8];
            getrandom::fill(&mut bytes).unwrap();
            u64::from_ne_bytes(bytes) >> 32
        });
        figure("TIELINE_SEED", seed);
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> Duration {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        Duration::from_millis(50 + self.0 % 700)
    }
}

/// Each message has the whole answer of one request, and the requests are in the order of the messages.
fn check_order(turns: &Turns) {
    let mut before = None;
    for (text, answer) in turns {
        let (number, rest) = answer.split_once(' ').unwrap_or_else(|| panic!("{text}: {answer:?}"));
        assert_eq!(rest, format!("answers {text}"));
        let number: u64 = number.parse().unwrap();
        assert!(before < Some(number), "{text} was answered out of order: {turns:?}");
        before = Some(number);
    }
}

/// The longest history that the agent was sent, by its last text.
fn histories(agent: &FakeAgent) -> HashMap<String, Vec<Value>> {
    let mut histories = HashMap::<String, Vec<Value>>::new();
    for (seen, text) in agent.seen().into_iter().zip(agent.asked()) {
        let messages = seen.body["messages"].as_array().unwrap().clone();
        let longest = histories.entry(text).or_default();
        if messages.len() > longest.len() {
            *longest = messages;
        }
    }
    histories
}

/// The last request contains all earlier messages once and in order, with the answers that were shown.
fn check_history(turns: &Turns, histories: &HashMap<String, Vec<Value>>) {
    let (last, earlier) = turns.split_last().unwrap();
    let told: Vec<&Value> = histories[&last.0].iter().map(|message| &message["content"]).collect();
    let mut expected: Vec<Value> = Vec::new();
    for (text, answer) in earlier {
        expected.extend([json!(text), json!(answer)]);
    }
    expected.push(json!(last.0));
    assert_eq!(told, expected.iter().collect::<Vec<_>>());
}

/// The ledger, and the keys of items with a value sealed by an older data key, read from the files of the stopped process.
async fn kept(dir: &Path, newest: u8) -> (Vec<MessageRecord>, Vec<String>) {
    let embedded = Embedded::open(dir, Options::default()).unwrap();
    let owner = Owner {
        node: "reader".to_owned(),
        life: "reader".to_owned(),
    };
    let settings = Settings::new("http://127.0.0.1:1".to_owned(), owner);
    let world = local::world(&embedded, local::Keys::In(dir.to_owned()), registry::ALL, settings)
        .await
        .unwrap();
    let organization = OrganizationId::new(DEFAULT);
    let filter = Filter::default();
    let (mut all, mut after) = (Vec::new(), None::<String>);
    loop {
        let now = world.clock.now();
        let page = message::list(&world.store, &organization, &filter, after.as_deref(), 100, now);
        let page = page.await.unwrap();
        all.extend(page.items);
        after = page.cursor;
        if after.is_none() {
            break;
        }
    }
    let older = sealed_before(&local::clients(&embedded).0, newest).await;
    embedded.close().await;
    (all, older)
}

async fn sealed_before(tables: &aws_sdk_dynamodb::Client, newest: u8) -> Vec<String> {
    let mut found = Vec::new();
    for table in ["tieline-config", "tieline-state"] {
        let items = tables.scan().table_name(table).into_paginator().items().send();
        for item in items.collect::<Result<Vec<_>, _>>().await.unwrap() {
            let key = item["pk"].as_s().unwrap();
            if key != "KEYRING" && item.values().any(|value| is_older(value, newest)) {
                found.push(key.clone());
            }
        }
    }
    found
}

/// Whether an attribute looks like a version byte, a nonce and a tag, with an older version.
fn is_older(value: &AttributeValue, newest: u8) -> bool {
    let looks_older = |bytes: &[u8]| bytes.len() >= 1 + 12 + 16 && (1..newest).contains(&bytes[0]);
    match value {
        AttributeValue::B(bytes) => looks_older(bytes.as_ref()),
        AttributeValue::S(text) => STANDARD.decode(text).is_ok_and(|bytes| looks_older(&bytes)),
        AttributeValue::L(all) => all.iter().any(|value| is_older(value, newest)),
        AttributeValue::M(all) => all.values().any(|value| is_older(value, newest)),
        _ => false,
    }
}
