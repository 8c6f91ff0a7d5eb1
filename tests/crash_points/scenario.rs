//! One bot, its agent and a bridge process: the setup of most tests.

use std::time::Duration;

use serde_json::Value;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::trigger::Trigger;
use tieline_store::config::organization::DEFAULT;
use tieline_store::config::trigger::{self, Rival};
use tieline_store::message::{self, Filter};
use tieline_tests::agents::FakeAgent;

use crate::MOST_POINTS;
use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::test_bot::{Bot, Over, set_up};

/// A bot with its agent, in a process of its own.
pub(crate) struct Scenario {
    pub(crate) process: ProcessRun,
    pub(crate) agent: FakeAgent,
    pub(crate) chat: ChatServer,
    pub(crate) bot: Bot,
    _dir: tempfile::TempDir,
}

impl Scenario {
    /// `settings` are the agent's settings in the bridge's configuration.
    pub(crate) async fn begin(over: Over, agent: FakeAgent, settings: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chat = ChatServer::start().await;
        let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
        let bot = set_up(&process.world, over, settings, &chat, Duration::ZERO).await;
        Self {
            process,
            agent,
            chat,
            bot,
            _dir: dir,
        }
    }

    /// Delivers a message and dispatches it to its conversation.
    pub(crate) async fn receive(&self, text: &str) {
        assert!(self.bot.receive(&self.process.world, text, text).await);
        self.process.dispatch().await;
    }

    /// Number of messages in this state.
    pub(crate) async fn n_ended(&self, state: MessageState) -> usize {
        n_ended(&self.process, state).await
    }
}

/// Dies at each crash point in turn, until `die_at` returns that the process didn't reach it.
///
/// # Panics
/// If there are fewer than `at_least`, or no end of them.
pub(crate) async fn at_every_crash_point(at_least: u64, die_at: impl AsyncFn(u64) -> bool) -> u64 {
    let mut n_points = 0;
    while die_at(n_points).await {
        n_points += 1;
        assert!(
            n_points < MOST_POINTS,
            "the scenario has not ended after {MOST_POINTS} crash points"
        );
    }
    assert!(
        n_points >= at_least,
        "only {n_points} crash points: expected at least {at_least}"
    );
    n_points
}

/// Changes the process's only trigger.
pub(crate) async fn change_trigger(process: &ProcessRun, change: impl FnOnce(&mut Trigger)) {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let found = trigger::naming(store, &OrganizationId::new(DEFAULT), |_| true).await;
    let before = found.unwrap().remove(0);
    let mut after = before.trigger.clone();
    change(&mut after);
    trigger::update(store, &before, after, Rival::Respect, now)
        .await
        .unwrap();
}

/// Number of messages in this state.
pub(crate) async fn n_ended(process: &ProcessRun, state: MessageState) -> usize {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    found.unwrap().items.iter().filter(|it| it.state == state).count()
}
