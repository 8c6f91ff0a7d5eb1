//! A process dies while a platform doesn't respond to a snapshot of the growing answer, and the agent has answered meanwhile.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_store::reply;
use tieline_tests::agents::{FakeAgent, Manner};
use tokio::time::{sleep, timeout};

use crate::LATER;
use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::n_ended;
use crate::test_bot::{Over, set_up};

/// Less than the platform's calls may take.
const LIMIT: Duration = Duration::from_secs(8);

#[tokio::test(flavor = "multi_thread")]
async fn an_answer_is_recorded_while_a_call_hangs() {
    let manner = Manner {
        holds: |_| true,
        ..Manner::default()
    };
    let (agent, chat) = (FakeAgent::start(manner).await, ChatServer::start().await);
    let dir = tempfile::tempdir().unwrap();
    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let ask = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::DingTalkCards, &ask, &chat, Duration::ZERO).await;
    chat.holds_cards.send_replace(true);
    assert!(bot.receive(&process.world, "m0", "one").await);
    process.dispatch().await;
    let answering = async {
        until(async || chat.holds_cards.receiver_count() > 0).await;
        agent.open_gate();
        until(async || has_outcome(&process).await).await;
    };
    tokio::select! {
        () = process.work() => panic!("the call has not hung"),
        recorded = timeout(LIMIT, answering) => recorded.expect("the answer is recorded in time"),
    }
    process.end().await;

    chat.holds_cards.send_replace(false);
    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), LATER).await;
    process.work().await;
    assert_eq!(n_ended(&process, MessageState::Answered).await, 1);
    assert_eq!(agent.asked().len(), 1, "the agent is asked again");
    let said = chat.said();
    assert!(said.len() == 1 && said[0].contains("echo: one"), "{said:?}");
}

async fn until(is_so: impl AsyncFn() -> bool) {
    while !is_so().await {
        sleep(Duration::from_millis(5)).await;
    }
}

/// Whether the only message's answer is recorded.
async fn has_outcome(process: &ProcessRun) -> bool {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 1, now).await;
    let asked = found.unwrap().items.swap_remove(0);
    let reply = reply::get(store, &asked.reply, now).await.unwrap();
    reply.is_some_and(|reply| reply.outcome.is_some())
}
