//! Messages that are stopped while they wait, by a process that dies at it.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::reply::Stage;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_store::reply;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::scene::{Over, set_up};
use crate::stage::Scene;
use crate::{LATER, MOST_POINTS};

/// How long messages are gathered.
const WINDOW: Duration = Duration::from_secs(5);

/// Whom the second life hears first.
#[derive(Debug, Clone, Copy)]
enum First {
    Dispatcher,
    Runner,
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bubble_stays_open_when_the_dispatcher_comes_first() {
    die_everywhere(First::Dispatcher).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_bubble_stays_open_when_the_runner_comes_first() {
    die_everywhere(First::Runner).await;
}

async fn die_everywhere(first: First) {
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut n_points = 0;
    while die_at(n_points, first, &agent, &chat).await {
        n_points += 1;
        assert!(n_points < MOST_POINTS, "the road doesn't end");
    }
    assert!(n_points >= 20, "only {n_points} crash points: something isn't watched");
}

/// Whether it came to that point.
async fn die_at(point: u64, first: First, agent: &FakeAgent, chat: &ChatServer) -> bool {
    let dir = tempfile::tempdir().unwrap();
    let fate = Fate::new(Some(point));
    let life = Life::begin(dir.path(), fate.clone(), Duration::ZERO).await;
    let bot = set_up(&life.world, Over::Web, &agent.as_chat("Counting"), chat, WINDOW).await;
    assert!(bot.hear(&life.world, "m0", "one").await);
    life.dispatch().await;
    life.watch();
    let heard = fate.unless_dead(bot.hear(&life.world, "m1", "/stop")).await;
    if heard.is_some() {
        fate.unless_dead(life.dispatch()).await;
    }
    life.end().await;

    let life = Life::begin(dir.path(), Fate::new(None), LATER).await;
    if heard.is_none() {
        assert!(bot.hear(&life.world, "m1", "/stop").await);
    }
    match first {
        First::Dispatcher => life.dispatch().await,
        First::Runner => life.run().await,
    };
    life.work().await;
    let (store, now) = (&life.world.store, life.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let found = found.unwrap().items;
    assert_eq!(found.len(), 2);
    for message in found {
        let place = fate.place();
        assert!(message.state.is_terminal(), "died {place}: {:?}", message.steps);
        let reply = reply::get(store, &message.reply, now).await.unwrap();
        let stage = reply.map(|reply| reply.stage);
        assert_eq!(stage, Some(Stage::Final), "died {place}: {:?}", message.steps);
        let is_stopped = message.state == MessageState::Stopped;
        assert!(!is_stopped || message.platform_message.as_str() == "m0", "died {place}");
    }
    life.end().await;
    fate.has_died()
}

/// The platform wants to be left alone for so long that a person has time to think better of it.
#[tokio::test(flavor = "multi_thread")]
async fn stop_counts_until_the_answer_is_delivered() {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("Counting");
    let mut scene = Scene::begin(Over::DingTalk, agent, &settings).await;
    scene.hear("one").await;
    *scene.chat.busy_s.lock().unwrap() = Some(60);
    scene.life.work().await;
    assert_eq!(scene.agent.asked(), ["one"]);
    scene.hear("/stop").await;
    scene.life.work().await;
    *scene.chat.busy_s.lock().unwrap() = None;
    for _ in 0..3 {
        scene.life.pass(Duration::from_secs(61));
        scene.life.work().await;
    }
    assert_eq!(
        scene.chat.said().len(),
        1,
        "only the confirmation: {:?}",
        scene.chat.said()
    );
    assert_eq!(scene.n_ended(MessageState::Stopped).await, 1);
    assert_eq!(scene.agent.asked(), ["one"]);
}
