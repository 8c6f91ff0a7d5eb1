//! What can't be taken in comes again soon, with all that waits behind it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use tieline_bridge::clock::Clock;
use tieline_bridge::intake::{self, Item};
use tieline_bridge::world::{Settings, World};
use tieline_connectors::registry;
use tieline_core::conversation::Owner;
use tieline_core::envelope::Envelope;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::receive::{MAX_BATCH, MAX_WAIT, Received, receive};
use tieline_queue::{Queues, definitions};
use tieline_store::{Keyring, Store, Tables};

async fn world(engine: &Embedded) -> (World, aws_sdk_sqs::Client) {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test");
    let sqs = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(credentials.clone())
        .http_client(engine.http_client());
    let dynamo = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(aws_sdk_dynamodb::config::Region::new(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(credentials)
        .http_client(engine.http_client());
    let sqs = aws_sdk_sqs::Client::from_conf(sqs.build());
    let urls = definitions::create_missing(&sqs, "test-", 1).await.unwrap();
    let dynamo = aws_sdk_dynamodb::Client::from_conf(dynamo.build());
    let owner = Owner {
        node: "node".to_owned(),
        life: "life".to_owned(),
    };
    let world = World::new(
        Store::new(dynamo, Tables::with_prefix("test-"), Keyring::new([7; 32])),
        Queues::new(sqs.clone(), urls),
        registry::ALL,
        Clock::system(),
        Settings::new("https://bridge.example".to_owned(), owner),
    );
    (world, sqs)
}

/// All that is to be seen, waiting for the first.
async fn seen(world: &World, n: usize) -> Vec<Received<Envelope>> {
    let mut all = Vec::new();
    while all.len() < n {
        let url = &world.queues.urls().inbound;
        let received = receive(&world.queues, url, MAX_BATCH, MAX_WAIT).await.unwrap();
        assert!(
            !received.is_empty(),
            "{} of {n} have come within {MAX_WAIT:?}",
            all.len()
        );
        all.extend(received);
    }
    all
}

fn bodies(received: &[Received<Envelope>], group: &str) -> Vec<String> {
    let of_group = received.iter().filter(|it| it.group == group);
    of_group.map(|it| it.unreadable.clone().unwrap()).collect()
}

#[tokio::test]
async fn an_unreadable_event_and_those_behind_it_come_again_soon_and_in_order() {
    let engine = Embedded::in_memory(Options::default()).unwrap();
    let (world, sqs) = world(&engine).await;
    for (group, body) in [("a", "first"), ("a", "second"), ("b", "other")] {
        let message = sqs.send_message().queue_url(&world.queues.urls().inbound);
        let message = message.message_group_id(group).message_deduplication_id(body);
        message.message_body(body).send().await.unwrap();
    }

    let received = seen(&world, 3).await;
    let ids: Vec<String> = received.iter().map(|it| it.id.clone()).collect();
    let items = received.into_iter().map(|it| Item {
        id: it.id,
        receipt: it.receipt,
        group: it.group,
        attempt: it.attempt,
        envelope: it.message,
    });
    let failed = intake::take_in(&world, items.collect()).await;
    assert_eq!(failed.len(), 3);
    assert!(ids.iter().all(|id| failed.contains(id)), "none of them is done");

    let begun = Instant::now();
    let again = seen(&world, 3).await;
    assert!(
        begun.elapsed() < Duration::from_secs(30),
        "not after the queue's time-out"
    );
    assert_eq!(bodies(&again, "a"), ["first", "second"]);
    assert_eq!(bodies(&again, "b"), ["other"]);
    assert!(again.iter().all(|it| it.attempt == 2));
}
