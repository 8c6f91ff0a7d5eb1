//! A scene with a life to it: most tests begin with one.

use std::time::Duration;

use serde_json::Value;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::FakeAgent;

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::scene::{Bot, Over, set_up};

/// A bot with its agent, in a life of its own.
pub(crate) struct Scene {
    pub(crate) life: Life,
    pub(crate) agent: FakeAgent,
    pub(crate) chat: ChatServer,
    pub(crate) bot: Bot,
    _dir: tempfile::TempDir,
}

impl Scene {
    /// `settings`: of the agent, as the bridge has them.
    pub(crate) async fn begin(over: Over, agent: FakeAgent, settings: &Value) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let chat = ChatServer::start().await;
        let life = Life::begin(dir.path(), Fate::new(None), Duration::ZERO).await;
        let bot = set_up(&life.world, over, settings, &chat, Duration::ZERO).await;
        Self {
            life,
            agent,
            chat,
            bot,
            _dir: dir,
        }
    }

    /// A person says that, and it reaches its conversation.
    pub(crate) async fn hear(&self, text: &str) {
        assert!(self.bot.hear(&self.life.world, text, text).await);
        self.life.dispatch().await;
    }

    /// How many messages came to this end.
    pub(crate) async fn n_ended(&self, state: MessageState) -> usize {
        n_ended(&self.life, state).await
    }
}

/// How many messages came to this end.
pub(crate) async fn n_ended(life: &Life, state: MessageState) -> usize {
    let (store, now) = (&life.world.store, life.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    found.unwrap().items.iter().filter(|it| it.state == state).count()
}
