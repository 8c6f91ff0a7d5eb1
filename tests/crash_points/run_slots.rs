//! The limit of an organization's concurrent runs, across all processes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_store::config::organization::{self, DEFAULT, Limits};
use tieline_store::run_slots;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::picture;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::Scenario;
use crate::test_bot::{Over, set_up};

/// More tries than a wake-up would survive if each failed try for a slot counted as a failure.
const N_LOOKS: usize = 220;

#[tokio::test(flavor = "multi_thread")]
async fn messages_of_an_organization_at_its_run_limit_wait_and_are_answered() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::Web, &settings, &chat, Duration::ZERO).await;
    limit_to_one(&process).await;
    // A run in another process holds the only slot for long.
    let (organization, now) = (OrganizationId::new(DEFAULT), process.world.clock.now());
    let until = now.after(Duration::from_hours(24));
    let slot = run_slots::take(&process.world.store, &organization, 1, 7, now, until).await;
    let slot = slot.unwrap().unwrap();

    assert!(bot.receive(&process.world, "m1", "one").await);
    process.work().await;
    for _ in 0..N_LOOKS {
        process.pass(Duration::from_secs(15));
        process.run().await;
    }
    assert_eq!(
        agent.asked().len(),
        0,
        "the agent was asked though the organization has no free slot"
    );
    run_slots::give_back(&process.world.store, &slot).await.unwrap();
    process.pass(Duration::from_secs(15));
    process.work().await;
    assert_eq!(agent.asked(), ["one"]);
    let again = run_slots::take(
        &process.world.store,
        &organization,
        1,
        8,
        process.world.clock.now(),
        until,
    )
    .await;
    assert!(again.unwrap().is_some(), "the slot was not given back");
}

/// Slots may be held by slow agents; deliveries that need no agent don't wait for one.
#[tokio::test(flavor = "multi_thread")]
async fn deliveries_without_an_agent_need_no_run_slot() {
    let mut scenario = full().await;
    scenario.receive("one").await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["one"]);
    // While the answer waits for the platform, another process takes the only slot.
    let slot = scenario.take_only_slot().await.unwrap();
    *scenario.chat.busy_s.lock().unwrap() = None;
    scenario.process.pass(Duration::from_secs(61));
    scenario.process.work().await;
    assert_eq!(
        scenario.chat.said().len(),
        1,
        "a recorded answer must be delivered without a slot"
    );
    scenario.receive("/help").await;
    scenario.process.work().await;
    assert_eq!(
        scenario.chat.said().len(),
        2,
        "a command must be answered without a slot"
    );
    run_slots::give_back(&scenario.process.world.store, &slot)
        .await
        .unwrap();
}

/// The platform keeps the picture only for minutes, and the organization may be at its limit for longer.
#[tokio::test(flavor = "multi_thread")]
async fn picture_is_prefetched_while_the_organization_is_at_its_run_limit() {
    let mut scenario = full().await;
    let slot = scenario.take_only_slot().await.unwrap();
    picture::send(&scenario.process, &scenario.bot, "picture").await;
    for _ in 0..3 {
        scenario.process.work().await;
        scenario.process.pass(Duration::from_secs(15));
    }
    assert_eq!(scenario.chat.n_fetched.load(Ordering::SeqCst), 1);
    assert_eq!(
        scenario.agent.asked().len(),
        0,
        "the agent was asked though the organization has no free slot"
    );
    run_slots::give_back(&scenario.process.world.store, &slot)
        .await
        .unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn picture_is_prefetched_behind_an_answer_that_waits_for_its_platform() {
    let scenario = full().await;
    scenario.receive("one").await;
    *scenario.chat.busy_s.lock().unwrap() = Some(60);
    scenario.process.work().await;
    picture::send(&scenario.process, &scenario.bot, "picture").await;
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["one"]);
    assert_eq!(scenario.chat.n_fetched.load(Ordering::SeqCst), 1);
}

/// Both conversations need the only slot, and one of them always has a message waiting.
#[tokio::test(flavor = "multi_thread")]
async fn busy_conversation_gives_the_run_slot_to_a_waiting_one() {
    let mut scenario = full().await;
    let mut settings = (*scenario.process.world.settings).clone();
    settings.turn = Duration::ZERO;
    scenario.process.world.settings = Arc::new(settings);
    for text in ["a1", "a2"] {
        scenario.receive(text).await;
    }
    let mut other = scenario.bot.clone();
    "2".clone_into(&mut other.chat);
    assert!(other.receive(&scenario.process.world, "b1", "b1").await);
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["a1", "b1"]);
    // A message that arrives meanwhile doesn't get the slot either.
    scenario.receive("a3").await;
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked(), ["a1", "b1"]);
    for n_asked in 3..=4 {
        scenario.process.pass(Duration::from_secs(12));
        scenario.process.work().await;
        assert_eq!(scenario.agent.asked().len(), n_asked);
    }
}

/// A bridge whose organization may have one run at a time.
async fn full() -> Scenario {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("Counting");
    let scenario = Scenario::begin(Over::DingTalk, agent, &settings).await;
    limit_to_one(&scenario.process).await;
    scenario
}

impl Scenario {
    /// Takes the only slot for a day.
    async fn take_only_slot(&self) -> Option<run_slots::RunSlot> {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let until = now.after(Duration::from_hours(24));
        let organization = OrganizationId::new(DEFAULT);
        run_slots::take(store, &organization, 1, 7, now, until).await.unwrap()
    }
}

async fn limit_to_one(process: &ProcessRun) {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let limits = Limits {
        max_concurrent_runs: Some(1),
        ..Limits::default()
    };
    let before = organization::get(store, &OrganizationId::new(DEFAULT), now).await;
    let before = before.unwrap().unwrap();
    organization::update(store, &before, "Default", limits).await.unwrap();
}
