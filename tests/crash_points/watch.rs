//! Watchdogs: recovery of a conversation whose process died without releasing it.

use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tieline_bridge::notices::{self, NoticeReply};
use tieline_bridge::tenant_slots::SlotKind;
use tieline_core::conversation::{Conversation, Lease, Owner};
use tieline_core::envelope::WakeUp;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::timestamp::Timestamp;
use tieline_queue::receive::{MAX_BATCH, Received, receive};
use tieline_store::config::organization::DEFAULT;
use tieline_store::conversation;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};
use tieline_tests::test_bridge::until;
use tokio::sync::watch;
use tokio::time::sleep;

use crate::picture;
use crate::scenario::Scenario;
use crate::test_bot::Over;

/// A scenario with an agent that holds its answers back until the gate is opened.
async fn scenario(over: Over) -> Scenario {
    let agent = FakeAgent::start(Manner {
        holds: |_| true,
        ..Manner::default()
    })
    .await;
    let settings = agent.as_chat("Counting");
    Scenario::begin(over, agent, &settings).await
}

impl Scenario {
    /// Works until the agent was asked.
    async fn asked_meanwhile(&self, working: Pin<&mut impl Future<Output = bool>>) {
        let asked = until("the question", || self.agent.asked().len() == 1);
        tokio::select! {
            _ = working => panic!("the agent answered"),
            () = asked => {}
        }
    }

    /// Works until the agent was asked. Then a picture is received.
    async fn picture_meanwhile(&self, working: Pin<&mut impl Future<Output = bool>>) {
        self.asked_meanwhile(working).await;
        picture::send(&self.process, &self.bot, "picture").await;
        self.process.dispatch().await;
    }

    /// Works until the agent was asked, and stops at that moment like a killed process.
    async fn die_at_work(&self) {
        let n_asked = self.agent.asked().len();
        let asked = until("the question", || self.agent.asked().len() > n_asked);
        tokio::select! {
            _ = self.process.run() => panic!("the agent answered"),
            () = asked => {}
        }
    }

    /// The conversation's stored state.
    async fn conversation(&self) -> Conversation {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 1, now).await;
        let id = found.unwrap().items.pop().unwrap().conversation.unwrap();
        conversation::load(store, &id, now).await.unwrap().unwrap()
    }

    /// Extends the lease once more, as its heartbeat would.
    async fn renew(&self, expires_at: Timestamp) {
        let held = self.conversation().await;
        let lease = held.lease.unwrap();
        let store = &self.process.world.store;
        conversation::heartbeat(store, &held.key.id(), &lease.owner, lease.fence, expires_at)
            .await
            .unwrap();
    }

    /// Number of watchdogs that are visible in the queue now.
    async fn n_watchdogs(&self) -> usize {
        let (queues, url) = (&self.process.world.queues, &self.process.world.queues.urls().work);
        let received = receive::<WakeUp>(queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
        let is_watchdog = |it: &&Received<WakeUp>| matches!(&it.message, Some(WakeUp::V1(wake)) if wake.watch);
        received.iter().filter(is_watchdog).count()
    }

    async fn n_answered(&self) -> usize {
        self.n_ended(MessageState::Answered).await
    }
}

/// Its wake-up stays hidden for as long as a function may run, and its lease is valid for longer than until the first watchdog.
#[tokio::test(flavor = "multi_thread")]
async fn dead_runner_is_replaced_within_a_minute() {
    let mut scenario = scenario(Over::Web).await;
    let began = scenario.process.world.clock.now();
    scenario.receive("one").await;
    scenario.die_at_work().await;
    // As if the process had died 25 s later.
    scenario.renew(began.after(Duration::from_secs(25 + 30))).await;
    scenario.agent.open_gate();
    scenario.process.pass(Duration::from_secs(42));
    scenario.process.work().await;
    assert_eq!(
        scenario.agent.asked().len(),
        1,
        "the run was taken over though its lease is still valid"
    );
    scenario.process.pass(Duration::from_secs(25 + 60 - 42));
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.n_answered().await), (2, 1));
}

/// Only the watchdog wakes the next runner, so it must have sent the next watchdog before it took over.
#[tokio::test(flavor = "multi_thread")]
async fn dead_replacement_runner_is_replaced_too() {
    let mut scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    for _ in 0..3 {
        scenario.die_at_work().await;
        scenario.process.pass(Duration::from_secs(60));
    }
    scenario.agent.open_gate();
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.n_answered().await), (4, 1));
    // The watchdogs end with the run.
    for _ in 0..2 {
        scenario.process.pass(Duration::from_secs(60));
        scenario.process.work().await;
    }
    scenario.process.pass(Duration::from_secs(60));
    assert!(!scenario.process.run().await, "a watchdog is still in the queue");
}

/// The runner that takes over sends the next watchdog; a second one would stay for as long as the run.
#[tokio::test(flavor = "multi_thread")]
async fn watchdog_that_loses_the_take_over_is_sent_on_once() {
    let mut scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    scenario.die_at_work().await;
    scenario.process.pass(Duration::from_secs(60));
    let (store, now) = (scenario.process.elsewhere(), scenario.process.world.clock.now());
    let (before, me) = (
        scenario.conversation().await,
        scenario.process.world.settings.owner.clone(),
    );
    let (wants, wanted) = watch::channel(false);
    let (takes, taken) = watch::channel(false);
    // The SDK retries until another process holds the lease.
    scenario.process.plan.fail(move |point| {
        let is_taking = point.operation == "UpdateItem" && str::from_utf8(point.request).unwrap().contains(&me.node);
        if is_taking {
            wants.send_replace(true);
        }
        is_taking && !*taken.borrow()
    });
    let rival = async move {
        wanted.clone().wait_for(|wanted| *wanted).await.unwrap();
        let lease = Lease {
            owner: Owner {
                node: "rival".to_owned(),
                life: "1".to_owned(),
            },
            fence: before.version + 1,
            expires_at: now.after(Duration::from_secs(30)),
        };
        let mut after = Conversation {
            lease: Some(lease),
            ..before.clone()
        };
        conversation::save(&store, &before, &mut after).await.unwrap();
        takes.send_replace(true);
    };
    tokio::join!(scenario.process.run(), rival);
    scenario.process.pass(Duration::from_secs(60));
    assert_eq!(scenario.n_watchdogs().await, 1);
}

/// The person was told that the run is stopped: no answer may follow, however fast the agent is.
#[tokio::test(flavor = "multi_thread")]
async fn replacement_runner_asks_no_agent_if_the_run_is_stopped() {
    let mut scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    scenario.die_at_work().await;
    scenario.receive("/stop").await;
    scenario.agent.open_gate();
    scenario.process.pass(Duration::from_secs(60));
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked().len(), 1);
    assert_eq!(scenario.n_ended(MessageState::Stopped).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn message_behind_a_run_needs_no_wake_up() {
    let scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    {
        let working = scenario.process.run();
        tokio::pin!(working);
        scenario.asked_meanwhile(working.as_mut()).await;
        for id in ["two", "three"] {
            scenario.receive(id).await;
        }
        assert!(!scenario.process.run().await, "a wake-up was in the queue");
        scenario.agent.open_gate();
        working.await;
    }
    assert_eq!(scenario.n_answered().await, 3);
}

/// Otherwise the conversation would stall, with its lease held, until the lease expires.
#[tokio::test(flavor = "multi_thread")]
async fn reply_ended_by_another_process_does_not_block_the_conversation() {
    let scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    let working = scenario.process.run();
    tokio::pin!(working);
    scenario.asked_meanwhile(working.as_mut()).await;
    let (world, now) = (&scenario.process.world, scenario.process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(&world.store, &organization, &Filter::default(), None, 1, now).await;
    let id = found.unwrap().items.pop().unwrap().id;
    let record = message::get(&world.store, &id, now).await.unwrap().unwrap();
    let conversation = record.conversation.clone().unwrap();
    let stopped = NoticeReply::stopped(Notice::Stopped);
    notices::record_for(world, &record, &conversation, stopped)
        .await
        .unwrap();
    scenario.agent.open_gate();
    working.await;
    scenario.process.work().await;
    assert_eq!(scenario.n_ended(MessageState::Stopped).await, 1);
    let left = scenario.conversation().await;
    assert!(left.run.is_none() && left.lease.is_none_or(|lease| lease.expires_at <= now));
}

/// The platform keeps the picture only for minutes, and the run may take longer.
#[tokio::test(flavor = "multi_thread")]
async fn picture_behind_a_run_is_prefetched() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.receive("one").await;
    {
        let working = scenario.process.run();
        tokio::pin!(working);
        scenario.picture_meanwhile(working.as_mut()).await;
        assert!(scenario.process.run().await, "no wake-up was in the queue");
        assert_eq!(scenario.chat.n_fetched.load(Ordering::SeqCst), 1);
        scenario.agent.open_gate();
        working.await;
    }
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.n_answered().await), (2, 2));
}

/// Each download may take as long as a run: the pictures of one organization must leave slots to others.
#[tokio::test(flavor = "multi_thread")]
async fn prefetching_needs_a_slot_of_its_organization() {
    let scenario = scenario(Over::DingTalk).await;
    scenario.receive("one").await;
    let working = scenario.process.run();
    tokio::pin!(working);
    scenario.picture_meanwhile(working.as_mut()).await;
    let organization = OrganizationId::new(DEFAULT);
    let enter = || {
        scenario
            .process
            .world
            .tenant_slots
            .enter(&organization, SlotKind::Telling)
    };
    let places: Vec<_> = std::iter::from_fn(enter).collect();
    assert!(scenario.process.run().await, "no wake-up was in the queue");
    assert_eq!(scenario.chat.n_fetched.load(Ordering::SeqCst), 0);
    drop(places);
    let looking = async {
        loop {
            scenario.process.run().await;
            sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::select! {
        () = until("the picture", || scenario.chat.n_fetched.load(Ordering::SeqCst) == 1) => {}
        () = looking => {}
    }
    scenario.agent.open_gate();
    working.await;
}
