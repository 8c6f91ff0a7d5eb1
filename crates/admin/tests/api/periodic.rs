//! The periodic pass.

use std::fmt::Debug;
use std::sync::{Arc, Mutex};

use aws_sdk_dynamodb::operation::batch_get_item::{BatchGetItemInput, BatchGetItemOutput};
use aws_sdk_dynamodb::operation::get_item::{GetItemInput, GetItemOutput};
use aws_sdk_dynamodb::operation::put_item::{PutItemInput, PutItemOutput};
use aws_sdk_dynamodb::operation::query::{QueryInput, QueryOutput};
use aws_sdk_dynamodb::operation::update_item::{UpdateItemInput, UpdateItemOutput};
use futures_util::FutureExt as _;
use tieline_admin::periodic;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_embedded::Embedded;
use tieline_queue::{Queues, Urls};
use tieline_store::{DirectCall, DirectTables, Keyring, Store, TableClient, Tables};

use crate::test_api;

/// What each part of a pass reads first: scheduled messages, organizations with notifications, due registrations, and the lists of desired connections.
const FIRST_READS: [&str; 4] = ["\"DUE\"", "\"NOTIFY\"", "\"REGISTRATION\"", "\"LIVE\""];

/// Empty tables that never answer one part of the pass.
#[derive(Debug, Clone)]
struct StuckTables {
    stuck: &'static str,
    asked: Arc<Mutex<Vec<&'static str>>>,
}

impl StuckTables {
    fn call<A: Send + 'static>(&self, asked: &impl Debug, empty: A) -> DirectCall<'_, A> {
        let asked = format!("{asked:?}");
        let part = FIRST_READS.into_iter().find(|key| asked.contains(key));
        self.asked.lock().unwrap().extend(part);
        match part == Some(self.stuck) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(async { Ok(empty) }),
        }
    }
}

impl DirectTables for StuckTables {
    fn get_item(&self, asked: GetItemInput) -> DirectCall<'_, GetItemOutput> {
        self.call(&asked, GetItemOutput::builder().build())
    }
    fn put_item(&self, asked: PutItemInput) -> DirectCall<'_, PutItemOutput> {
        self.call(&asked, PutItemOutput::builder().build())
    }
    fn update_item(&self, asked: UpdateItemInput) -> DirectCall<'_, UpdateItemOutput> {
        self.call(&asked, UpdateItemOutput::builder().build())
    }
    fn query(&self, asked: QueryInput) -> DirectCall<'_, QueryOutput> {
        self.call(&asked, QueryOutput::builder().build())
    }
    fn batch_get_item(&self, asked: BatchGetItemInput) -> DirectCall<'_, BatchGetItemOutput> {
        self.call(&asked, BatchGetItemOutput::builder().build())
    }
}

fn world_over(engine: &Embedded, tables: &StuckTables) -> World {
    let sdk = test_api::sdk(engine);
    let client = TableClient::from(aws_sdk_dynamodb::Client::new(&sdk)).directly(Arc::new(tables.clone()));
    let owner = Owner {
        node: "test".to_owned(),
        life: "1".to_owned(),
    };
    World::new(
        Store::new(client, Tables::with_prefix("test-"), Keyring::new([7; 32])),
        Queues::new(aws_sdk_sqs::Client::new(&sdk), Urls::default()),
        registry::ALL,
        Clock::system(),
        Settings::new("https://bridge.example".to_owned(), owner),
    )
}

#[tokio::test]
async fn slow_part_of_a_pass_leaves_the_others_their_turn() {
    let engine = Embedded::in_memory(tieline_embedded::Options::default()).unwrap();
    for stuck in FIRST_READS {
        let tables = StuckTables {
            stuck,
            asked: Arc::default(),
        };
        let world = world_over(&engine, &tables);
        // One poll: these tables answer at once or never.
        let ended = periodic::look(&world).now_or_never();
        assert_eq!(ended, None, "{stuck} has not ended");
        let asked = tables.asked.lock().unwrap().clone();
        for part in FIRST_READS {
            assert!(
                asked.contains(&part),
                "{part} has no turn while {stuck} is stuck: {asked:?}"
            );
        }
    }
}
