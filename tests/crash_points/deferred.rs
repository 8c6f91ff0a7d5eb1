//! Agents that take a question and call back.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_bridge::callbacks;
use tieline_core::fate::MessageState;
use tieline_core::ids::{OrganizationId, RunId};
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::stand::until;

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::scene::{Bot, Over, set_up};

struct Scene {
    life: Life,
    agent: FakeAgent,
    chat: ChatServer,
    bot: Bot,
    _dir: tempfile::TempDir,
}

impl Scene {
    async fn begin(over: Over) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let agent = FakeAgent::start(Manner {
            defers: |text| !text.starts_with("at once"),
            ..Manner::default()
        })
        .await;
        let chat = ChatServer::start().await;
        let life = Life::begin(dir.path(), Fate::new(None), Duration::ZERO).await;
        let settings = agent.as_webhook("Later");
        let bot = set_up(&life.world, over, &settings, &chat, Duration::ZERO).await;
        Self {
            life,
            agent,
            chat,
            bot,
            _dir: dir,
        }
    }

    async fn hear(&self, text: &str) {
        assert!(self.bot.hear(&self.life.world, text, text).await);
        self.life.work().await;
    }

    /// What the agent calls back about its newest question.
    async fn call_back(&self, seq: u64, event: Value) {
        let body = self.agent.seen().pop().unwrap().body;
        let events_url = body["reply"]["eventsUrl"].as_str().unwrap().to_owned();
        let run = RunId::new(events_url.rsplit('/').nth(1).unwrap());
        let token = body["reply"]["token"].as_str().unwrap();
        let body = json!({ "seq": seq, "event": event }).to_string();
        callbacks::take_in(&self.life.world, &run, token, body.as_bytes())
            .await
            .unwrap();
    }

    async fn messages(&self) -> Vec<MessageRecord> {
        let (store, now) = (&self.life.world.store, self.life.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
        found.unwrap().items
    }

    /// How many messages came to this end.
    async fn n_ended(&self, state: MessageState) -> usize {
        self.messages().await.iter().filter(|it| it.state == state).count()
    }
}

/// Every watchdog that comes by finds an answer to deliver. One of them does.
#[tokio::test(flavor = "multi_thread")]
async fn a_busy_platform_hears_the_answer_once() {
    let mut scene = Scene::begin(Over::DingTalk).await;
    scene.hear("one").await;
    *scene.chat.busy_s.lock().unwrap() = Some(60);
    scene
        .call_back(1, json!({ "type": "completed", "text": "the answer" }))
        .await;
    scene.life.work().await;
    for _ in 0..3 {
        scene.life.pass(Duration::from_secs(45));
        tokio::join!(scene.life.run(), scene.life.run(), scene.life.run());
    }
    assert_eq!(scene.chat.said(), Vec::<String>::new());
    *scene.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scene.life.pass(Duration::from_secs(61));
        tokio::join!(scene.life.run(), scene.life.run(), scene.life.run());
    }
    assert_eq!(scene.chat.said().len(), 1, "{:?}", scene.chat.said());
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}

/// Whoever brings the next event while the one before is being shown finds the lease held, and leaves.
#[tokio::test(flavor = "multi_thread")]
async fn an_event_that_comes_while_another_is_shown_is_seen_at_once() {
    let mut scene = Scene::begin(Over::DingTalkCards).await;
    scene.hear("one").await;
    let delta = |text: &str| json!({ "type": "text.delta", "text": text });
    scene.call_back(1, delta("the ")).await;
    scene.life.work().await;
    // Until the card may change again.
    scene.life.pass(Duration::from_secs(5));
    scene.life.work().await;
    scene.life.pass(Duration::from_secs(5));
    scene.chat.holds_cards.send_replace(true);
    scene.call_back(2, delta("answer")).await;
    let showing = scene.life.run();
    let coming = async {
        until("a card", || scene.chat.holds_cards.receiver_count() > 0).await;
        scene.call_back(3, json!({ "type": "completed" })).await;
        scene.life.run().await;
        scene.chat.holds_cards.send_replace(false);
    };
    tokio::join!(showing, coming);
    scene.life.work().await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}

/// What waits behind a run that calls back, and wants to interrupt it, wakes somebody itself.
#[tokio::test(flavor = "multi_thread")]
async fn stopping_a_run_that_calls_back_needs_no_watchdog() {
    let scene = Scene::begin(Over::DingTalk).await;
    scene.hear("one").await;
    scene.hear("/stop").await;
    scene.life.work().await;
    assert_eq!(scene.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scene.n_ended(MessageState::Commanded).await, 1);
    scene.hear("at once").await;
    assert_eq!(scene.n_ended(MessageState::Answered).await, 1);
}
