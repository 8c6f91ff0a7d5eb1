//! Failed messages that an operator retries.

use std::sync::atomic::Ordering;
use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use serde_json::json;
use tieline_bridge::redrive::{AskAgent, RedriveError, redrive};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::conversation::{Conversation, RunState};
use tieline_core::ids::{OrganizationId, RunId};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::reply::Stage;
use tieline_core::trigger::Trigger;
use tieline_store::Keyring;
use tieline_store::config::agent;
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::{self, Rival};
use tieline_store::conversation;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::picture;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::test_bot::{Bot, Over, set_up};

/// A bridge whose agent is unreachable until `restore_agent` is called.
struct RedriveScenario {
    process: ProcessRun,
    agent: FakeAgent,
    bot: Bot,
    _dir: tempfile::TempDir,
}

impl RedriveScenario {
    async fn begin(window: Duration) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
        let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
        let unreachable =
            json!({ "protocol": "openai_chat", "config": { "baseUrl": "http://127.0.0.1:1", "model": "m" } });
        let bot = set_up(&process.world, Over::Web, &unreachable, &chat, window).await;
        Self {
            process,
            agent,
            bot,
            _dir: dir,
        }
    }

    async fn receive(&mut self, text: &str) {
        assert!(self.bot.receive(&self.process.world, text, text).await);
        self.process.dispatch().await;
    }

    /// From now on the agent is reachable.
    async fn restore_agent(&self) {
        let (store, organization) = (&self.process.world.store, OrganizationId::new(DEFAULT));
        let found = agent::list(store, &organization, None, 10).await;
        let before = found.unwrap().items.pop().unwrap();
        let settings = self.agent.as_chat("Counting");
        let after = Agent {
            config: AgentConfig::new(settings["config"].as_object().unwrap().clone()),
            ..before.agent.clone()
        };
        let now = self.process.world.clock.now();
        agent::update(store, &before, after, now).await.unwrap();
    }

    async fn dead_letter(&self) -> DeadLetter {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let found = deadletter::list(store, &OrganizationId::new(DEFAULT), None, 10, now).await;
        found.unwrap().items.pop().unwrap()
    }

    async fn conversation(&self) -> Conversation {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let id = self.dead_letter().await.conversation.unwrap();
        conversation::load(store, &id, now).await.unwrap().unwrap()
    }

    /// Messages and their replies, in the order of their texts.
    async fn ledger(&self) -> Vec<(MessageRecord, ReplyRecord)> {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
        let mut messages = found.unwrap().items;
        messages.sort_by(|a, b| a.platform_message.as_str().cmp(b.platform_message.as_str()));
        let mut ledger = Vec::new();
        for message in messages {
            let reply = reply::get(store, &message.reply, now).await.unwrap().unwrap();
            ledger.push((message, reply));
        }
        ledger
    }
}

/// The dispatcher would find the message in the conversation already, and the ending run would remove it.
#[tokio::test(flavor = "multi_thread")]
async fn redrive_is_refused_while_the_failed_run_is_unsettled() {
    let mut scenario = RedriveScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    scenario.restore_agent().await;
    let dead_letter = scenario.dead_letter().await;
    // The state a moment earlier: the message has failed, and its run is still in the conversation.
    let left = scenario.conversation().await;
    let mut before = left.clone();
    let messages = vec![dead_letter.message.clone()];
    let agent = left.session.clone().unwrap().agent;
    before.run = Some(RunState::new(
        RunId::new("run_1"),
        messages,
        1,
        agent,
        dead_letter.failed_at,
    ));
    let store = &scenario.process.world.store;
    conversation::save(store, &left, &mut before).await.unwrap();
    let refused = redrive(&scenario.process.world, &dead_letter, AskAgent::IfNeeded).await;
    assert!(
        matches!(refused, Err(RedriveError::InHand)),
        "expected a refusal because the run is unsettled, found {refused:?}"
    );
    assert_eq!(
        scenario.dead_letter().await,
        dead_letter,
        "the dead dead_letter must be kept for a later redrive"
    );
    let mut after = Conversation {
        run: None,
        ..before.clone()
    };
    conversation::save(store, &before, &mut after).await.unwrap();
    redrive(&scenario.process.world, &dead_letter, AskAgent::IfNeeded)
        .await
        .unwrap();
    scenario.process.work().await;
    assert_eq!(scenario.ledger().await[0].0.state, MessageState::Answered);
}

/// Its reply exists since the first try and must show the refusal: a reader of the chat page waits for it.
#[tokio::test(flavor = "multi_thread")]
async fn redriven_message_that_is_refused_gets_a_notice() {
    let mut scenario = RedriveScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    let store = &scenario.process.world.store;
    let before = trigger::naming(store, &OrganizationId::new(DEFAULT), |_| true).await;
    let before = before.unwrap().remove(0);
    let after = Trigger {
        enabled: false,
        ..before.trigger.clone()
    };
    trigger::update(
        store,
        &before,
        after,
        Rival::Respect,
        scenario.process.world.clock.now(),
    )
    .await
    .unwrap();
    redrive(
        &scenario.process.world,
        &scenario.dead_letter().await,
        AskAgent::IfNeeded,
    )
    .await
    .unwrap();
    scenario.process.work().await;
    let (message, reply) = scenario.ledger().await.remove(0);
    assert_eq!(message.state, MessageState::Refused);
    assert_eq!((reply.stage, reply.notice), (Stage::Final, Some(Notice::Disabled)));
    assert_eq!(reply.outcome, Some(Outcome::Refused));
}

/// A second redrive a moment later must not erase what the run of the first one shows by then.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_is_restarted_once_for_each_redrive() {
    let mut scenario = RedriveScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    let (world, dead_letter) = (scenario.process.world.clone(), scenario.dead_letter().await);
    redrive(&world, &dead_letter, AskAgent::IfNeeded).await.unwrap();
    let (_, before) = scenario.ledger().await.remove(0);
    assert_eq!((before.stage, before.redrive), (Stage::Thinking, 1));
    let mut shown = ReplyRecord {
        stage: Stage::Growing,
        text: "the ans".to_owned(),
        fence: 5,
        ..before.clone()
    };
    reply::save(&world.store, Some(&before), &mut shown, world.clock.now())
        .await
        .unwrap();
    redrive(&world, &dead_letter, AskAgent::IfNeeded).await.unwrap();
    assert_eq!(scenario.ledger().await[0].1, shown);
}

#[tokio::test(flavor = "multi_thread")]
async fn concurrent_redrives_ask_the_agent_once() {
    let mut scenario = RedriveScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    scenario.restore_agent().await;
    let (world, dead_letter) = (scenario.process.world.clone(), scenario.dead_letter().await);
    let redrives = (0..8).map(|_| redrive(&world, &dead_letter, AskAgent::IfNeeded));
    let came_of = futures_util::future::join_all(redrives).await;
    assert!(
        came_of.iter().any(Result::is_ok),
        "expected a successful redrive in {came_of:?}"
    );
    scenario.process.work().await;
    let late = redrive(&world, &dead_letter, AskAgent::IfNeeded).await;
    assert!(
        matches!(late, Err(RedriveError::NotFailed(MessageState::Answered))),
        "{late:?}"
    );
    scenario.process.work().await;
    let (message, reply) = scenario.ledger().await.remove(0);
    assert_eq!((message.state, message.redrives), (MessageState::Answered, 1));
    assert_eq!((reply.stage, &*reply.text), (Stage::Final, "echo: one"));
    assert_eq!(scenario.agent.asked(), ["one"]);
}

/// The agent may have done something that must not be done twice.
#[tokio::test(flavor = "multi_thread")]
async fn a_recorded_answer_is_delivered_again_and_the_agent_asked_only_on_request() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let bot = set_up(
        &process.world,
        Over::DingTalk,
        &agent.as_chat("Counting"),
        &chat,
        Duration::ZERO,
    )
    .await;
    let (store, organization) = (process.world.store.clone(), OrganizationId::new(DEFAULT));
    for (text, ask, n_asked) in [("one", AskAgent::IfNeeded, 1), ("two", AskAgent::Always, 2)] {
        chat.refuses.store(true, Ordering::SeqCst);
        assert!(bot.receive(&process.world, text, text).await);
        process.work().await;
        let now = process.world.clock.now();
        let letter = deadletter::list(&store, &organization, None, 10, now).await;
        let letter = letter.unwrap().items.pop().unwrap();
        chat.refuses.store(false, Ordering::SeqCst);

        // Two operators at the same time.
        redrive(&process.world, &letter, ask).await.unwrap();
        redrive(&process.world, &letter, ask).await.unwrap();
        process.pass(Duration::from_secs(5));
        process.work().await;
        let now = process.world.clock.now();
        let record = message::get(&store, &letter.message, now).await.unwrap().unwrap();
        assert_eq!((record.state, record.redrives), (MessageState::Answered, 1));
        let n_said = chat
            .said()
            .iter()
            .filter(|it| it.contains(&format!("echo: {text}")))
            .count();
        assert_eq!(n_said, 1, "{:?}", chat.said());
        assert_eq!(agent.asked().iter().filter(|it| *it == text).count(), n_asked);
        let letters = deadletter::list(&store, &organization, None, 10, now).await.unwrap();
        assert!(letters.items.is_empty());
    }
}

/// The watchdog of the first redrive comes when the answer that the second one has asked for is in the chat, and the ledger alone says so.
#[tokio::test(flavor = "multi_thread")]
async fn watchdog_of_an_earlier_redrive_sends_no_new_answer_again() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::DingTalk, &settings, &chat, Duration::ZERO).await;
    let (store, organization) = (process.world.store.clone(), OrganizationId::new(DEFAULT));
    chat.refuses.store(true, Ordering::SeqCst);
    // The event of a message with a file is kept, so that its reply could be sent again.
    picture::send(&process, &bot, "one").await;
    process.work().await;
    for ask in [AskAgent::IfNeeded, AskAgent::Always] {
        let now = process.world.clock.now();
        let letters = deadletter::list(&store, &organization, None, 10, now).await;
        let letter = letters.unwrap().items.pop().unwrap();
        chat.refuses.store(ask == AskAgent::IfNeeded, Ordering::SeqCst);
        redrive(&process.world, &letter, ask).await.unwrap();
        process.pass(Duration::from_secs(5));
        process.work().await;
    }
    assert_eq!((chat.said().len(), agent.asked().len()), (1, 2));
    process.pass(Duration::from_secs(120));
    process.work().await;
    assert_eq!(chat.said().len(), 1, "{:?}", chat.said());
}

/// No process could ever end it.
#[tokio::test(flavor = "multi_thread")]
async fn redrive_of_an_unreadable_message_is_refused() {
    let mut scenario = RedriveScenario::begin(Duration::ZERO).await;
    scenario.receive("one").await;
    scenario.process.work().await;
    let dead_letter = scenario.dead_letter().await;
    let text = |value: String| AttributeValue::S(value);
    let other = Keyring::new([9; 32]).seal(b"{}", dead_letter.message.as_str());
    let change = scenario.process.tables().update_item().table_name("tieline-state");
    let change = change.key("pk", text(format!("MSG#{}", dead_letter.message)));
    let change = change.key("sk", text("MSG".to_owned()));
    let change = change.update_expression("SET ev = :ev");
    let change = change.expression_attribute_values(":ev", text(other));
    change.send().await.unwrap();
    let before = scenario.ledger().await;
    let refused = redrive(&scenario.process.world, &dead_letter, AskAgent::IfNeeded).await;
    assert!(
        matches!(refused, Err(RedriveError::Gone)),
        "expected a refusal because the message is unreadable, found {refused:?}"
    );
    assert_eq!(scenario.ledger().await, before);
    assert_eq!(before[0].0.state, MessageState::Failed);
    assert_eq!(scenario.dead_letter().await, dead_letter);
}

/// The reader of the failed message polls that message's own reply.
#[tokio::test(flavor = "multi_thread")]
async fn redriven_message_that_is_merged_shows_the_answer_too() {
    let window = Duration::from_secs(5);
    let mut scenario = RedriveScenario::begin(window).await;
    scenario.receive("one").await;
    scenario.process.pass(window * 2);
    scenario.process.work().await;
    scenario.restore_agent().await;
    redrive(
        &scenario.process.world,
        &scenario.dead_letter().await,
        AskAgent::IfNeeded,
    )
    .await
    .unwrap();
    scenario.process.dispatch().await;
    scenario.receive("two").await;
    scenario.process.pass(window * 2);
    scenario.process.work().await;
    let ledger = scenario.ledger().await;
    assert_eq!(scenario.agent.asked(), ["one\ntwo"]);
    assert!(
        ledger
            .iter()
            .all(|(message, _)| message.state == MessageState::Answered)
    );
    assert_eq!(ledger[0].1.same_as.as_ref(), Some(&ledger[1].1.id));
}
