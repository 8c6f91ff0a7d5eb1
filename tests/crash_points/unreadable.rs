//! Items in the tables that can't be read.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_tests::agents::{FakeAgent, Manner};
use tokio::time::timeout;

use crate::chat::ChatServer;
use crate::process_run::{CrashPlan, ProcessRun};
use crate::test_bot::{Over, set_up};

const TABLE: &str = "tieline-state";

/// The run fails and is retried, as when a table is unavailable: the conversation doesn't stall for ever.
#[tokio::test(flavor = "multi_thread")]
async fn unreadable_turn_fails_the_run_until_the_next_wake_up() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut process = ProcessRun::begin(dir.path(), CrashPlan::new(None), Duration::ZERO).await;
    let bot = set_up(
        &process.world,
        Over::Web,
        &agent.as_chat("Counting"),
        &chat,
        Duration::ZERO,
    )
    .await;
    assert!(bot.receive(&process.world, "m1", "one").await);
    process.work().await;

    let (session, _) = messages(&process).await[0].session.clone().unwrap();
    let key = [("pk", format!("SES#{session}")), ("sk", "TURN#0#run_1".to_owned())];
    let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    let put = process.tables().put_item().table_name(TABLE);
    put.set_item(Some(key.clone().into())).send().await.unwrap();
    assert!(bot.receive(&process.world, "m2", "two").await);
    process.dispatch().await;
    timeout(Duration::from_secs(20), process.run())
        .await
        .expect("the wake-up must end");
    assert_eq!(agent.asked(), ["one"]);

    let delete = process.tables().delete_item().table_name(TABLE);
    delete.set_key(Some(key.into())).send().await.unwrap();
    process.pass(Duration::from_secs(60));
    process.work().await;
    assert_eq!(agent.asked(), ["one", "two"]);
    let states: Vec<MessageState> = messages(&process).await.iter().map(|it| it.state).collect();
    assert_eq!(states, [MessageState::Answered; 2]);
}

async fn messages(process: &ProcessRun) -> Vec<MessageRecord> {
    let (store, now) = (&process.world.store, process.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    found.unwrap().items
}
