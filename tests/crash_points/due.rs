//! Gathered messages whose trigger settings change meanwhile.

use std::time::Duration;

use tieline_core::ids::{MessageId, OrganizationId};
use tieline_core::mailbox::{MAX_PENDING, Pending};
use tieline_store::config::organization::DEFAULT;
use tieline_store::conversation;
use tieline_store::message::{self, Filter};
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::scenario::change_trigger;
use crate::test_bot::{Over, set_up};

/// The wake-up for the old due time is queued, and none was sent for the new one.
#[tokio::test(flavor = "multi_thread")]
async fn a_window_that_grows_loses_no_message() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::Web, &settings, &chat, Duration::from_secs(5)).await;
    assert!(bot.receive(&process.world, "m1", "one").await);
    process.work().await;
    change_trigger(&process, |trigger| trigger.settings.summary_window_seconds = 600).await;
    for _ in 0..10 {
        process.pass(Duration::from_secs(58));
        process.work().await;
        assert_eq!(
            agent.asked().len(),
            0,
            "the agent was asked before the longer window was over"
        );
    }
    process.pass(Duration::from_secs(58));
    process.work().await;
    assert_eq!(agent.asked(), ["one"]);
}

/// `/new` is how people get out of a full mailbox.
#[tokio::test(flavor = "multi_thread")]
async fn a_new_session_begins_though_the_mailbox_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let agent = FakeAgent::start(Manner::default()).await;
    let chat = ChatServer::start().await;
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let settings = agent.as_chat("Counting");
    let window = Duration::from_secs(5);
    let bot = set_up(&process.world, Over::Web, &settings, &chat, window).await;
    assert!(bot.receive(&process.world, "m1", "one").await);
    process.dispatch().await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    let found = message::list(store, &OrganizationId::new(DEFAULT), &Filter::default(), None, 1, now).await;
    let id = found.unwrap().items.pop().unwrap().conversation.unwrap();
    let before = conversation::load(store, &id, now).await.unwrap().unwrap();
    let mut after = before.clone();
    for at in 1..MAX_PENDING {
        let message = MessageId::new(format!("msg_{at}"));
        after.pending.push(Pending {
            message,
            ..before.pending[0].clone()
        });
    }
    conversation::save(store, &before, &mut after).await.unwrap();
    assert!(bot.receive(&process.world, "m2", "/new hello").await);
    process.dispatch().await;
    process.pass(window);
    process.work().await;
    assert_eq!(agent.asked(), ["hello"]);
}
