//! Writes that succeed but whose responses are lost: the SDK retries, and the retry fails the condition because of the first write.

use std::sync::atomic::{AtomicBool, Ordering};

use futures_util::future::join_all;
use tieline_bridge::run;
use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::ids::OrganizationId;
use tieline_embedded::Moment;
use tieline_queue::receive::Received;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::scenario::Scenario;
use crate::test_bot::Over;

async fn scenario() -> Scenario {
    let agent = FakeAgent::start(Manner::default()).await;
    let settings = agent.as_chat("Counting");
    Scenario::begin(Over::DingTalk, agent, &settings).await
}

impl Scenario {
    /// Loses the response of the next update of an item whose key contains `item`.
    fn lose_answer(&self, item: &'static str) {
        let is_lost = AtomicBool::new(false);
        self.process.plan.fail(move |point| {
            let is_it = point.operation == "UpdateItem" && str::from_utf8(point.request).unwrap().contains(item);
            is_it && point.moment == Moment::After && !is_lost.swap(true, Ordering::SeqCst)
        });
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_response_of_a_lease_write_does_not_stop_the_run() {
    let scenario = scenario().await;
    scenario.receive("one").await;
    scenario.lose_answer("CNV#");
    scenario.process.work().await;
    assert_eq!((scenario.agent.asked().len(), scenario.chat.said().len()), (1, 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn lost_response_of_a_reply_write_does_not_stop_its_delivery() {
    let scenario = scenario().await;
    scenario.receive("/help").await;
    scenario.lose_answer("RPL#");
    scenario.process.work().await;
    assert_eq!(scenario.chat.said().len(), 1);
}

/// All runners have the same owner name, so the write of one looks to every other like its own.
#[tokio::test(flavor = "multi_thread")]
async fn concurrent_wake_ups_are_worked_by_one_runner() {
    for _ in 0..5 {
        let scenario = scenario().await;
        scenario.receive("one").await;
        scenario.lose_answer("CNV#");
        let wake = scenario.wake(false).await;
        scenario.run_many(&wake).await;
        assert_eq!((scenario.agent.asked().len(), scenario.chat.said().len()), (1, 1));

        scenario.receive("/help").await;
        scenario.lose_answer("RPL#");
        let wake = scenario.wake(true).await;
        scenario.run_many(&wake).await;
        assert_eq!(scenario.chat.said().len(), 2);
    }
}

impl Scenario {
    /// A wake-up for the newest message, or for its reply.
    async fn wake(&self, is_for_reply: bool) -> WakeUpV1 {
        let (store, now) = (&self.process.world.store, self.process.world.clock.now());
        let organization = OrganizationId::new(DEFAULT);
        let found = message::list(store, &organization, &Filter::default(), None, 10, now).await;
        let newest = found.unwrap().items.swap_remove(0);
        let conversation = newest.conversation.unwrap();
        match is_for_reply {
            true => WakeUpV1::of_reply(organization, conversation, newest.reply),
            false => WakeUpV1::new(organization, conversation),
        }
    }

    async fn run_many(&self, wake: &WakeUpV1) {
        let runs = (0..8).map(|at: u32| {
            let item = Received {
                id: at.to_string(),
                receipt: String::new(),
                attempt: 1,
                group: String::new(),
                sent_at: None,
                unreadable: None,
                message: Some(WakeUp::V1(wake.clone())),
            };
            let world = self.process.world.clone();
            tokio::spawn(async move { run::batch::run(&world, vec![item], None).await })
        });
        join_all(runs).await;
    }
}
