//! The whole bridge with an agent of every protocol, each behind a bot on our own channel.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use futures_util::future::join_all;
use serde_json::{Value, json};
use tieline_core::notice::{Language, Notice};
use tieline_tests::console::Console;
use tieline_tests::test_bridge::{PATIENCE, TestBridge, uuid};
use tokio::time::{Instant, sleep, timeout};

use crate::faults::{self, Fault};
use crate::runs::{QUESTION, TOOL};
use crate::servers::{AgentServer, Asks, Cancel, ROWS, Resume};

/// Limit from `/stop` until the agent's run is cancelled.
const CANCEL_WITHIN: Duration = Duration::from_secs(2);

/// A bot with its agent.
struct Bot {
    agent: AgentServer,
    id: String,
}

struct Scenario {
    bridge: TestBridge,
    bots: Vec<Bot>,
}

fn sentence(notice: Notice) -> &'static str {
    notice.text(Language::English)
}

impl Scenario {
    async fn start() -> Self {
        Self::start_with(&json!({})).await
    }

    /// Starts a bridge with agents of every protocol that have these settings too.
    async fn start_with(settings: &Value) -> Self {
        let bridge = TestBridge::start();
        let mut bots = Vec::new();
        for row in ROWS {
            let agent = AgentServer::start(row).await;
            let mut described = agent.as_agent();
            for (name, value) in settings.as_object().unwrap() {
                described["config"][name] = value.clone();
            }
            let id = bridge.web(&described, &json!({})).await;
            let path = format!("/api/v1/orgs/default/integrations/{id}");
            bridge.patch(&path, &json!({"reasoning": "full"})).await;
            bots.push(Bot { agent, id });
        }
        Self { bridge, bots }
    }

    /// Plays a scenario with every protocol at once, and reports every row that fails.
    async fn play(&self, scenario: impl AsyncFn(&TestBridge, &Bot) -> anyhow::Result<()>) {
        let played = self.bots.iter().map(|bot| async {
            let failed = scenario(&self.bridge, bot).await.err();
            failed.map(|error| format!("{}: {error:#}", bot.agent.name()))
        });
        let failures: Vec<String> = join_all(played).await.into_iter().flatten().collect();
        assert!(
            failures.is_empty(),
            "\n{}\n\nlog:\n{}",
            failures.join("\n"),
            self.bridge.process.log_tail()
        );
    }
}

impl Bot {
    /// Waits until the agent's run is cancelled.
    async fn run_is_cancelled(&self) -> anyhow::Result<()> {
        let told = async {
            match self.agent.row.cancel {
                Cancel::Close => self.agent.server.hung_up().await,
                Cancel::Call(part) => {
                    let is_told = || {
                        let calls = self.agent.server.calls();
                        let said = |bytes: &[u8]| String::from_utf8_lossy(bytes).contains(part);
                        calls
                            .iter()
                            .any(|call| call.target().contains(part) || said(&call.body))
                    };
                    while !is_told() {
                        sleep(Duration::from_millis(20)).await;
                    }
                }
            }
        };
        timeout(PATIENCE, told)
            .await
            .context("the agent's run is never cancelled")
    }

    /// Sends a message in a chat. Returns the reply's id.
    async fn say(&self, bridge: &TestBridge, chat: &str, text: &str) -> anyhow::Result<String> {
        Ok(bridge.console.say(&self.id, chat, text, &uuid()).await?.1)
    }

    /// Sends a text and returns every state of its answer.
    async fn ask(&self, bridge: &TestBridge, chat: &str, text: &str) -> anyhow::Result<Vec<Value>> {
        let reply = self.say(bridge, chat, text).await?;
        read(&bridge.console, &reply).await
    }
}

/// Limit until an answer is complete, also of an agent that is slow in every retry.
const WHOLE_WITHIN: Duration = Duration::from_mins(5);

/// Reads an answer to its end. Returns every state that it showed.
pub(crate) async fn read(console: &Console, reply: &str) -> anyhow::Result<Vec<Value>> {
    let (began, mut states, mut version) = (Instant::now(), Vec::new(), 0);
    loop {
        let state = console
            .get(&format!("/api/web/replies/{reply}?after={version}"))
            .await?;
        version = state["version"].as_u64().context("no version")?;
        let is_done = state["done"] == true;
        states.push(state);
        if is_done {
            return Ok(states);
        }
        ensure!(
            began.elapsed() < limit(),
            "the answer is not complete: {:?}",
            states.last()
        );
    }
}

fn limit() -> Duration {
    match std::env::var_os("TIELINE_LONG_RUN") {
        Some(_) => WHOLE_WITHIN * 6,
        None => WHOLE_WITHIN,
    }
}

fn last(states: &[Value]) -> &str {
    states
        .last()
        .and_then(|state| state["text"].as_str())
        .unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn text_is_streamed_and_the_conversation_survives_a_restart() {
    let mut test = Scenario::start().await;
    test.play(async |bridge, bot| {
        let states = bot.ask(bridge, "chat", "hello").await?;
        ensure!(
            last(&states) == "turn 1: hello.",
            "expected `turn 1: hello.` at the end of {states:?}"
        );
        let texts: Vec<&str> = states.iter().filter_map(|state| state["text"].as_str()).collect();
        ensure!(
            texts.is_sorted_by(|a, b| b.starts_with(a)),
            "the text shrinks: {texts:?}"
        );
        let n_grown = texts.iter().filter(|text| text.starts_with("turn")).count();
        ensure!(n_grown >= 2, "the text does not grow: {texts:?}");
        Ok(())
    })
    .await;
    test.bridge.process.kill();
    test.bridge.process.restart().unwrap();
    test.bridge = test.bridge.afresh();
    test.play(async |bridge, bot| {
        let states = bot.ask(bridge, "chat", "again").await?;
        ensure!(
            last(&states) == "turn 2: again.",
            "expected `turn 2: again.` at the end of {states:?}"
        );
        let states = bot.ask(bridge, "another chat", "hello").await?;
        ensure!(
            last(&states) == "turn 1: hello.",
            "expected `turn 1: hello.` at the end of {states:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn answer_that_takes_too_long_is_cancelled_at_the_agent() {
    let test = Scenario::start_with(&json!({ "maxRunSeconds": 2 })).await;
    test.play(async |bridge, bot| {
        let states = bot.ask(bridge, "chat", "hold").await?;
        ensure!(
            last(&states).contains(sentence(Notice::Incomplete)),
            "expected the notice Incomplete at the end of {states:?}"
        );
        bot.run_is_cancelled().await
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn stopped_answer_is_cancelled_at_the_agent_within_two_seconds() {
    let test = Scenario::start().await;
    test.play(async |bridge, bot| {
        let reply = bot.say(bridge, "chat", "hold").await?;
        let path = format!("/api/web/replies/{reply}?after=0");
        let began = Instant::now();
        while bridge.console.get(&path).await?["text"] != "The beginning" {
            ensure!(began.elapsed() < PATIENCE, "the beginning of the answer is not shown");
            sleep(Duration::from_millis(20)).await;
        }
        let stopped = Instant::now();
        bot.say(bridge, "chat", "/stop").await?;
        bot.run_is_cancelled().await?;
        ensure!(
            stopped.elapsed() < CANCEL_WITHIN,
            "cancelled after {:?}, limit {CANCEL_WITHIN:?}",
            stopped.elapsed()
        );
        let states = read(&bridge.console, &reply).await?;
        ensure!(
            last(&states).contains(sentence(Notice::Stopped)),
            "expected the notice Stopped at the end of {states:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tool_is_shown_before_the_text_and_is_no_part_of_it() {
    let test = Scenario::start().await;
    test.play(async |bridge, bot| {
        let states = bot.ask(bridge, "chat", "tool").await?;
        let is_shown = |state: &Value| state["reasoning"].as_str().is_some_and(|it| !it.is_empty());
        let shown: Vec<&Value> = states.iter().filter(|state| is_shown(state)).collect();
        ensure!(
            shown.is_empty() != bot.agent.row.tools,
            "tools should be shown only if the protocol names them: {states:?}"
        );
        // Not every protocol sends the tool's name.
        let is_named = |state: &&Value| state["reasoning"].to_string().contains(TOOL);
        ensure!(shown.iter().all(is_named), "expected the tool's name in {states:?}");
        ensure!(
            last(&states) == "Found it.",
            "expected `Found it.` at the end of {states:?}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn file_of_the_agent_is_a_link_below_its_text() {
    let test = Scenario::start().await;
    test.play(async |bridge, bot| {
        let states = bot.ask(bridge, "chat", "file").await?;
        let text = last(&states);
        ensure!(
            text.starts_with("Here it is."),
            "expected a text that begins with `Here it is.`, found {states:?}"
        );
        ensure!(
            text.contains("](http") == bot.agent.row.files,
            "files should be links only if the protocol sends them: {text}"
        );
        Ok(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn agents_question_is_answered_by_the_next_message() {
    let test = Scenario::start().await;
    test.play(async |bridge, bot| {
        if bot.agent.row.asks == Asks::InWords {
            return Ok(());
        }
        let states = bot.ask(bridge, "chat", "ask").await?;
        ensure!(
            last(&states).contains(QUESTION),
            "expected the agent's question at the end of {states:?}"
        );
        let states = bot.ask(bridge, "chat", "yes").await?;
        let expected = match bot.agent.row.asks {
            Asks::QuestionAndAnswer => "you chose yes",
            _ => "turn 2: yes.",
        };
        ensure!(
            last(&states) == expected,
            "expected `{expected}` at the end of {states:?}"
        );
        Ok(())
    })
    .await;
}

/// Whether an answer shows that it failed or is incomplete.
fn says_failed(text: &str) -> bool {
    [Notice::AgentFailed, Notice::AgentTimedOut, Notice::Incomplete]
        .iter()
        .any(|notice| text.contains(sentence(*notice)))
}

async fn fails_and_recovers(fault: Fault) {
    let test = Scenario::start().await;
    test.play(async |bridge, bot| {
        bot.agent.set_fault(Some(fault));
        let states = bot.ask(bridge, "chat", "hello").await?;
        ensure!(
            says_failed(last(&states)),
            "expected a failure notice at the end of {states:?}"
        );
        bot.agent.set_fault(None);
        let states = bot.ask(bridge, "chat", "are you well?").await?;
        ensure!(
            last(&states).contains("are you well?."),
            "expected a normal answer after the fault, found {states:?}"
        );
        Ok(())
    })
    .await;
}

/// Generates a test for each fault.
macro_rules! faults {
    ($($name:ident: $fault:expr),+ $(,)?) => {
        $(#[tokio::test(flavor = "multi_thread")]
        async fn $name() {
            fails_and_recovers($fault).await;
        })+

        #[test]
        fn every_fault_has_a_test() {
            assert_eq!([$($fault),+], *faults::ALL);
        }
    };
}

faults! {
    refused_key_is_told: Fault::Status(401),
    unknown_address_is_told: Fault::Status(404),
    rate_limit_is_told: Fault::Status(429),
    error_of_the_agent_is_told: Fault::Status(500),
    cut_stream_is_told: Fault::Cut,
    silent_agent_is_told: Fault::Hang,
    garbage_is_told: Fault::Garbage,
    hundred_mebibytes_are_cut_off_and_told: Fault::Flood,
}

/// Every protocol has a row, which agrees with its adapter on whether runs can be resumed.
#[test]
fn every_protocol_has_a_row() {
    use tieline_agents::protocol::Protocol;
    for protocol in Protocol::ALL.iter().filter(|protocol| **protocol != Protocol::Echo) {
        let manifest = protocol.manifest();
        let rows: Vec<_> = ROWS.iter().filter(|row| row.protocol == manifest.word).collect();
        assert!(!rows.is_empty(), "{} has no row", manifest.word);
        // An agent that calls back continues by itself: nothing is resumed.
        let resumed = |row: &&&crate::servers::Row| row.variant != "callbacks";
        let goes_on = rows.iter().filter(resumed).any(|row| row.resume == Resume::GoesOn);
        assert_eq!(goes_on, manifest.can_resume, "{}", manifest.word);
    }
}
