//! What lies in the tables and can't be read.

use std::time::Duration;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::ids::OrganizationId;
use tieline_core::message_state::MessageState;
use tieline_store::config::organization::DEFAULT;
use tieline_store::message::{self, Filter, MessageRecord};
use tieline_tests::agents::{FakeAgent, Manner};
use tokio::time::timeout;

use crate::chat::ChatServer;
use crate::life::{Fate, Life};
use crate::scene::{Over, set_up};

const TABLE: &str = "tieline-state";

/// The run fails and is tried again, as with a table that doesn't answer: it doesn't stand still for ever.
#[tokio::test(flavor = "multi_thread")]
async fn a_turn_that_can_not_be_read_leaves_the_run_to_the_next_wake_up() {
    let dir = tempfile::tempdir().unwrap();
    let (agent, chat) = (FakeAgent::start(Manner::default()).await, ChatServer::start().await);
    let mut life = Life::begin(dir.path(), Fate::new(None), Duration::ZERO).await;
    let bot = set_up(
        &life.world,
        Over::Web,
        &agent.as_chat("Counting"),
        &chat,
        Duration::ZERO,
    )
    .await;
    assert!(bot.hear(&life.world, "m1", "one").await);
    life.work().await;

    let (session, _) = messages(&life).await[0].session.clone().unwrap();
    let key = [("pk", format!("SES#{session}")), ("sk", "TURN#0#run_1".to_owned())];
    let key = key.map(|(name, value)| (name.to_owned(), AttributeValue::S(value)));
    let put = life.tables().put_item().table_name(TABLE);
    put.set_item(Some(key.clone().into())).send().await.unwrap();
    assert!(bot.hear(&life.world, "m2", "two").await);
    life.dispatch().await;
    timeout(Duration::from_secs(20), life.run())
        .await
        .expect("the wake-up ends");
    assert_eq!(agent.asked(), ["one"]);

    let delete = life.tables().delete_item().table_name(TABLE);
    delete.set_key(Some(key.into())).send().await.unwrap();
    life.pass(Duration::from_secs(60));
    life.work().await;
    assert_eq!(agent.asked(), ["one", "two"]);
    let states: Vec<MessageState> = messages(&life).await.iter().map(|it| it.state).collect();
    assert_eq!(states, [MessageState::Answered; 2]);
}

async fn messages(life: &Life) -> Vec<MessageRecord> {
    let (store, now) = (&life.world.store, life.world.clock.now());
    let organization = OrganizationId::new(DEFAULT);
    let found = message::list(store, &organization, &Filter::default(), None, 100, now).await;
    found.unwrap().items
}
