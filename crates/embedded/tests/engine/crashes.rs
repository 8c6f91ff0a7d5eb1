//! The observer: sees every change, and simulates a crash where the test wants one.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, KeySchemaElement, KeyType, ScalarAttributeType,
};

use tieline_embedded::{Embedded, Moment, Observer, Options, Service, Verdict};
use tokio::time::timeout;

use crate::clients::{Queue, dynamodb};

fn watched(decide: impl Fn(&str, Moment) -> Verdict + Send + Sync + 'static) -> Options {
    Options {
        observer: Some(Observer::new(move |point| decide(point.operation, point.moment))),
        ..Options::default()
    }
}

fn at(operation: &'static str, moment: Moment, verdict: Verdict) -> Options {
    watched(move |o, m| {
        if (o, m) == (operation, moment) {
            verdict
        } else {
            Verdict::Proceed
        }
    })
}

#[tokio::test]
async fn death_before_a_send_loses_it_death_after_keeps_it() {
    for (moment, expected) in [(Moment::Before, 1), (Moment::After, 2)] {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
        let queue = Queue::create(&embedded, "q", &[]).await;
        queue.send("earlier").await;
        embedded.close().await;

        let embedded = Embedded::open(dir.path(), at("SendMessage", moment, Verdict::Die)).unwrap();
        let dying = queue.reopened(&embedded);
        let send = dying.client.send_message().queue_url(&queue.url).message_body("x");
        assert!(send.clone().send().await.is_err());
        // A dead engine refuses reads too.
        assert!(send.send().await.is_err());
        assert!(dying.client.list_queues().send().await.is_err());
        assert!(dynamodb(&embedded).list_tables().send().await.is_err());
        drop(embedded);

        let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
        assert_eq!(queue.reopened(&embedded).bodies(10).await.len(), expected, "{moment:?}");
    }
}

#[tokio::test]
async fn the_end_of_storage_is_reported() {
    let embedded = Embedded::in_memory(at("SendMessage", Moment::Before, Verdict::Die)).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    let soon = Duration::from_millis(50);
    assert!(timeout(soon, embedded.ended()).await.is_err(), "it is alive");
    let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
    assert!(send.send().await.is_err());
    embedded.ended().await;
}

#[tokio::test]
async fn a_receive_before_death_stays_in_flight() {
    let dir = tempfile::tempdir().unwrap();
    let embedded = Embedded::open(dir.path(), at("ReceiveMessage", Moment::After, Verdict::Die)).unwrap();
    let queue = Queue::create(&embedded, "q.fifo", &[]).await;
    queue.send_to("g", "x").await;
    assert!(
        queue
            .client
            .receive_message()
            .queue_url(&queue.url)
            .send()
            .await
            .is_err()
    );
    drop(embedded);
    let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
    assert_eq!(queue.reopened(&embedded).bodies(1).await, [""; 0]);
}

#[tokio::test]
async fn a_failure_is_an_internal_error_and_the_engine_goes_on() {
    for (moment, expected) in [(Moment::Before, 1), (Moment::After, 2)] {
        let n_sends = Mutex::new(0);
        let options = watched(move |operation, m| {
            let mut n_sends = n_sends.lock().unwrap();
            *n_sends += u32::from(operation == "SendMessage" && m == moment);
            match *n_sends {
                1 if operation == "SendMessage" && m == moment => Verdict::Fail,
                _ => Verdict::Proceed,
            }
        });
        let embedded = Embedded::in_memory(options).unwrap();
        let queue = Queue::create(&embedded, "q", &[]).await;
        let send = queue.client.send_message().queue_url(&queue.url).message_body("x");
        let failed = send.clone().send().await.unwrap_err();
        assert_eq!(failed.raw_response().map(|r| r.status().as_u16()), Some(500));
        send.send().await.unwrap();
        assert_eq!(queue.bodies(10).await.len(), expected, "{moment:?}");
    }
}

#[tokio::test]
async fn the_observer_sees_changes_before_and_after_but_no_reads() {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let log = Arc::clone(&seen);
    let observer = Observer::new(move |point| {
        let entry = (point.service, point.operation.to_owned(), point.number, point.moment);
        assert!(point.request.starts_with(b"{"));
        log.lock().unwrap().push(entry);
        Verdict::Proceed
    });
    let options = Options {
        observer: Some(observer),
        ..Options::default()
    };
    let embedded = Embedded::in_memory(options).unwrap();
    let queue = Queue::create(&embedded, "q", &[]).await;
    queue.client.list_queues().send().await.unwrap();
    make_table(&embedded).await;
    let tables = dynamodb(&embedded);
    tables
        .get_item()
        .table_name("table")
        .key("pk", AttributeValue::S("a".into()))
        .send()
        .await
        .ok();
    tables
        .put_item()
        .table_name("table")
        .item("pk", AttributeValue::S("a".into()))
        .send()
        .await
        .unwrap();
    queue.send("x").await;
    let expected = [
        (Service::Sqs, "CreateQueue", 0),
        (Service::DynamoDb, "CreateTable", 1),
        (Service::DynamoDb, "PutItem", 2),
        (Service::Sqs, "SendMessage", 3),
    ];
    let both_sides = |(service, operation, number): (_, &str, _)| {
        [Moment::Before, Moment::After].map(|moment| (service, operation.to_owned(), number, moment))
    };
    let expected: Vec<_> = expected.into_iter().flat_map(both_sides).collect();
    assert_eq!(*seen.lock().unwrap(), expected);
}

#[tokio::test]
async fn death_before_a_put_loses_it_death_after_keeps_it() {
    for (moment, expected) in [(Moment::Before, false), (Moment::After, true)] {
        let dir = tempfile::tempdir().unwrap();
        let embedded = Embedded::open(dir.path(), at("PutItem", moment, Verdict::Die)).unwrap();
        make_table(&embedded).await;
        let put = dynamodb(&embedded)
            .put_item()
            .table_name("table")
            .item("pk", AttributeValue::S("a".into()));
        assert!(put.send().await.is_err());
        drop(embedded);
        let embedded = Embedded::open(dir.path(), Options::default()).unwrap();
        let get = dynamodb(&embedded)
            .get_item()
            .table_name("table")
            .key("pk", AttributeValue::S("a".into()));
        assert_eq!(get.send().await.unwrap().item.is_some(), expected, "{moment:?}");
    }
}

async fn make_table(embedded: &Embedded) {
    let attribute = AttributeDefinition::builder()
        .attribute_name("pk")
        .attribute_type(ScalarAttributeType::S);
    let key = KeySchemaElement::builder().attribute_name("pk").key_type(KeyType::Hash);
    let create = dynamodb(embedded)
        .create_table()
        .table_name("table")
        .billing_mode(BillingMode::PayPerRequest);
    let create = create
        .attribute_definitions(attribute.build().unwrap())
        .key_schema(key.build().unwrap());
    create.send().await.unwrap();
}
