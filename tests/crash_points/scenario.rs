//! One bot, its agent and a bridge process: the setup of most tests.

use std::time::Duration;

use serde_json::Value;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::FakeAgent;

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

/// Number of messages in this state.
pub(crate) async fn n_ended(process: &ProcessRun, state: MessageState) -> usize {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    found.unwrap().items.iter().filter(|it| it.state == state).count()
}
