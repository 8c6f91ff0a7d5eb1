//! Who looks after a conversation whose process is gone without a word.

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

/// One with an agent that holds its answers back until it is told.
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

    /// Works until the agent was asked. Then a picture comes.
    async fn picture_meanwhile(&self, working: Pin<&mut impl Future<Output = bool>>) {
        self.asked_meanwhile(working).await;
        picture::send(&self.process, &self.bot, "picture").await;
        self.process.dispatch().await;
    }

    /// Works until the agent was asked, and then not a moment longer.
    async fn die_at_work(&self) {
        let n_asked = self.agent.asked().len();
        let asked = until("the question", || self.agent.asked().len() > n_asked);
        tokio::select! {
            _ = self.process.run() => panic!("the agent answered"),
            () = asked => {}
        }
    }

    /// The conversation, as it stands.
    async fn conversation(&self) -> Conversation {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 1, now).await;
        let id = found.unwrap().items.pop().unwrap().conversation.unwrap();
        conversation::load(store, &id, now).await.unwrap().unwrap()
    }

    /// Renews the lease for the last time.
    async fn renew(&self, expires_at: Timestamp) {
        let held = self.conversation().await;
        let lease = held.lease.unwrap();
        let store = &self.process.world.store;
        conversation::heartbeat(store, &held.key.id(), &lease.owner, lease.fence, expires_at)
            .await
            .unwrap();
    }

    /// How many watchdogs are to be heard now.
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

/// Its wake-up stays hidden for as long as a function may run, and its lease is good for longer than until the first watchdog.
#[tokio::test(flavor = "multi_thread")]
async fn a_process_that_is_gone_is_replaced_within_a_minute() {
    let mut scenario = scenario(Over::Web).await;
    let began = scenario.process.world.clock.now();
    scenario.receive("one").await;
    scenario.die_at_work().await;
    // As if it had lived for 25 s.
    scenario.renew(began.after(Duration::from_secs(25 + 30))).await;
    scenario.agent.open_gate();
    scenario.process.pass(Duration::from_secs(42));
    scenario.process.work().await;
    assert_eq!(scenario.agent.asked().len(), 1, "its lease is still good");
    scenario.process.pass(Duration::from_secs(25 + 60 - 42));
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.n_answered().await), (2, 1));
}

/// Only the watchdog wakes the next runner, so it must have sent itself on before it took over.
#[tokio::test(flavor = "multi_thread")]
async fn who_replaces_somebody_is_replaced_too() {
    let mut scenario = scenario(Over::Web).await;
    scenario.receive("one").await;
    for _ in 0..3 {
        scenario.die_at_work().await;
        scenario.process.pass(Duration::from_secs(60));
    }
    scenario.agent.open_gate();
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.n_answered().await), (4, 1));
    // And the watch ends with the run.
    for _ in 0..2 {
        scenario.process.pass(Duration::from_secs(60));
        scenario.process.work().await;
    }
    scenario.process.pass(Duration::from_secs(60));
    assert!(!scenario.process.run().await, "a watchdog is left");
}

/// The runner that takes over sends the next one, so one too many would stay for as long as the run.
#[tokio::test(flavor = "multi_thread")]
async fn a_watchdog_that_comes_second_is_sent_on_once() {
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
    // The SDK asks again and again until another process has it.
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

/// The person was told that it is stopped: no answer may follow, however fast the agent is.
#[tokio::test(flavor = "multi_thread")]
async fn who_replaces_somebody_asks_nobody_if_the_run_is_to_end() {
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

/// Else it would stand still, with its lease held, until that runs out.
#[tokio::test(flavor = "multi_thread")]
async fn a_reply_that_another_process_ended_holds_up_no_conversation() {
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

/// The platform gives it only for minutes, and the run may take longer.
#[tokio::test(flavor = "multi_thread")]
async fn picture_behind_a_run_is_kept_while_it_can_be_had() {
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

/// Each may take as long as a run: a tenant's many pictures leave room to others.
#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_pictures_counts_for_its_tenant() {
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
