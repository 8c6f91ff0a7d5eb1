//! A tenant that may have so many runs at a time, in whatever processes they are.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_store::config::organization::{self, DEFAULT, Limits};
use tieline_store::run_slots;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::picture;
use crate::scene::{Over, set_up};
use crate::stage::Scene;

/// Longer than a wake-up would live if each look for a place counted as a failure.
const N_LOOKS: usize = 220;

#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_waits_and_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let mut life = Life::begin(dir.path(), Fate::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&life.world, Over::Web, &settings, &chat, Duration::ZERO).await;
    limit_to_one(&life).await;
    // A run in another process has the only place, for long.
    let (organization, now) = (OrganizationId::new(DEFAULT), life.world.clock.now());
    let until = now.after(Duration::from_hours(24));
    let place = run_slots::take(&life.world.store, &organization, 1, 7, now, until).await;
    let place = place.unwrap().unwrap();

    assert!(bot.hear(&life.world, "m1", "one").await);
    life.work().await;
    for _ in 0..N_LOOKS {
        life.pass(Duration::from_secs(15));
        life.run().await;
    }
    assert_eq!(agent.asked().len(), 0, "the tenant is full");
    run_slots::give_back(&life.world.store, &place).await.unwrap();
    life.pass(Duration::from_secs(15));
    life.work().await;
    assert_eq!(agent.asked(), ["one"]);
    let again = run_slots::take(&life.world.store, &organization, 1, 8, life.world.clock.now(), until).await;
    assert!(again.unwrap().is_some(), "the place was given back");
}

/// The agents of others may take long; what needs none is told at once.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_is_told_what_needs_no_agent() {
    let mut scene = full().await;
    scene.hear("one").await;
    *scene.chat.busy_s.lock().unwrap() = Some(60);
    scene.life.work().await;
    assert_eq!(scene.agent.asked(), ["one"]);
    // While the answer waits for the platform, another process takes the only place.
    let place = scene.take_place().await.unwrap();
    *scene.chat.busy_s.lock().unwrap() = None;
    scene.life.pass(Duration::from_secs(61));
    scene.life.work().await;
    assert_eq!(scene.chat.said().len(), 1, "an answer that is there");
    scene.hear("/help").await;
    scene.life.work().await;
    assert_eq!(scene.chat.said().len(), 2, "a reply to a command");
    run_slots::give_back(&scene.life.world.store, &place).await.unwrap();
}

/// The platform gives it only for minutes, and the tenant may be at its limit for longer.
#[tokio::test(flavor = "multi_thread")]
async fn a_tenant_at_its_limit_keeps_what_is_soon_gone() {
    let mut scene = full().await;
    let place = scene.take_place().await.unwrap();
    picture::send(&scene.life, &scene.bot, "picture").await;
    for _ in 0..3 {
        scene.life.work().await;
        scene.life.pass(Duration::from_secs(15));
    }
    assert_eq!(scene.chat.n_fetched.load(Ordering::SeqCst), 1);
    assert_eq!(scene.agent.asked().len(), 0, "the tenant is full");
    run_slots::give_back(&scene.life.world.store, &place).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_that_waits_for_its_platform_keeps_what_is_soon_gone() {
    let scene = full().await;
    scene.hear("one").await;
    *scene.chat.busy_s.lock().unwrap() = Some(60);
    scene.life.work().await;
    picture::send(&scene.life, &scene.bot, "picture").await;
    scene.life.work().await;
    assert_eq!(scene.agent.asked(), ["one"]);
    assert_eq!(scene.chat.n_fetched.load(Ordering::SeqCst), 1);
}

/// Both want the only place, and one always has something waiting.
#[tokio::test(flavor = "multi_thread")]
async fn a_conversation_that_never_ends_lets_another_have_its_turn() {
    let mut scene = full().await;
    let mut settings = (*scene.life.world.settings).clone();
    settings.turn = Duration::ZERO;
    scene.life.world.settings = Arc::new(settings);
    for text in ["a1", "a2"] {
        scene.hear(text).await;
    }
    let mut other = scene.bot.clone();
    "2".clone_into(&mut other.chat);
    assert!(other.hear(&scene.life.world, "b1", "b1").await);
    scene.life.work().await;
    assert_eq!(scene.agent.asked(), ["a1", "b1"]);
    // Nor does it come in between with what it gets meanwhile.
    scene.hear("a3").await;
    scene.life.work().await;
    assert_eq!(scene.agent.asked(), ["a1", "b1"]);
    for n_asked in 3..=4 {
        scene.life.pass(Duration::from_secs(12));
        scene.life.work().await;
        assert_eq!(scene.agent.asked().len(), n_asked);
    }
}

/// A bridge whose tenant may have one run at a time.
async fn full() -> Scene {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("Counting");
    let scene = Scene::begin(Over::DingTalk, agent, &settings).await;
    limit_to_one(&scene.life).await;
    scene
}

impl Scene {
    /// Takes the only place for long.
    async fn take_place(&self) -> Option<run_slots::RunSlot> {
        let (store, now) = (&self.life.world.store, self.life.world.clock.now());
        let until = now.after(Duration::from_hours(24));
        let organization = OrganizationId::new(DEFAULT);
        run_slots::take(store, &organization, 1, 7, now, until).await.unwrap()
    }
}

async fn limit_to_one(life: &Life) {
    let (store, now) = (&life.world.store, life.world.clock.now());
    let limits = Limits {
        max_concurrent_runs: Some(1),
        ..Limits::default()
    };
    let before = organization::get(store, &OrganizationId::new(DEFAULT), now).await;
    let before = before.unwrap().unwrap();
    organization::update(store, &before, "Default", limits).await.unwrap();
}
