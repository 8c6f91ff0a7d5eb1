//! Machines whose clocks differ.

use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tieline_core::timestamp::CLOCKS_DIFFER;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter};
use tieline_store::transcript;
use tieline_tests::agents::{FakeAgent, Manner};

use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::test_bot::{Over, set_up};

#[tokio::test(flavor = "multi_thread")]
async fn turns_keep_their_order_when_clocks_differ() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), CLOCKS_DIFFER).await;
    let settings = agent.as_chat("Counting");
    let bot = set_up(&process.world, Over::Web, &settings, &chat, Duration::ZERO).await;
    assert!(bot.receive(&process.world, "m1", "one").await);
    process.work().await;
    process.end().await;

    let process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    assert!(bot.receive(&process.world, "m2", "two").await);
    process.work().await;
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    let (session, _) = found.unwrap().items[0].session.clone().unwrap();
    let turns = transcript::latest(store, &session, 100, usize::MAX, now).await.unwrap();
    let said: Vec<_> = turns.into_iter().map(|turn| turn.user).collect();
    assert_eq!(said, ["one", "two"]);
}
