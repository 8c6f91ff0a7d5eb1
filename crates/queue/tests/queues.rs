//! The queues: run against the embedded engine, or against the server that `TIELINE_TEST_SQS_ENDPOINT` names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, HashSet};
use std::time::{Duration, Instant};

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::QueueAttributeName;
use serde::de::DeserializeOwned;
use tieline_core::envelope::{Envelope, EnvelopeV1, RelayCall, RelayCallV1, WakeUp, WakeUpV1};
use tieline_core::ids::{ConversationId, IntegrationId, MessageId, OrganizationId, ReplyId};
use tieline_core::timestamp::Timestamp;
use tieline_core::virtual_shard::shard_of;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::definitions::{self, INBOUND_DEAD};
use tieline_queue::inbound::{self, Inbound};
use tieline_queue::receive::{self, Received};
use tieline_queue::{QueueError, Queues, Urls, relay, work};

/// Queues of one test. The engine lives as long as this.
struct Fresh {
    queues: Queues,
    sqs: Client,
    prefix: String,
    _engine: Option<Embedded>,
}

async fn fresh() -> Fresh {
    fresh_at(std::env::var("TIELINE_TEST_SQS_ENDPOINT").ok()).await
}

async fn fresh_at(endpoint: Option<String>) -> Fresh {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test"));
    let (config, engine) = match endpoint {
        Some(endpoint) => (config.endpoint_url(endpoint), None),
        None => {
            let engine = Embedded::in_memory(Options::default()).unwrap();
            let config = config.endpoint_url(ENDPOINT_URL).http_client(engine.http_client());
            (config, Some(engine))
        }
    };
    let sqs = Client::from_conf(config.build());
    let mut random = [0; 8];
    getrandom::fill(&mut random).unwrap();
    let prefix = format!("test-{:x}-", u64::from_ne_bytes(random));
    let urls = definitions::create_missing(&sqs, &prefix, 2).await.unwrap();
    Fresh {
        queues: Queues::new(sqs.clone(), urls),
        sqs,
        prefix,
        _engine: engine,
    }
}

fn envelope(name: &str) -> Envelope {
    Envelope::V1(EnvelopeV1 {
        event_file: None,
        organization: OrganizationId::new("default"),
        integration: IntegrationId::new("int_1"),
        account: None,
        message: MessageId::new(name),
        reply: ReplyId::new("tl-1"),
        received_at: Timestamp::from_millis(1_760_000_000_001),
        event: "c2VhbGVk".to_owned(),
    })
}

fn event(group: &str, name: &str) -> Inbound {
    Inbound {
        envelope: envelope(name),
        group: group.to_owned(),
        dedup: name.to_owned(),
    }
}

fn name_of(envelope: &Envelope) -> &str {
    let Envelope::V1(inner) = envelope;
    inner.message.as_str()
}

fn wake(organization: &str, conversation: &str) -> WakeUp {
    WakeUp::V1(WakeUpV1::new(
        OrganizationId::new(organization),
        ConversationId::new(conversation),
    ))
}

/// Receives what is on the queue now.
async fn look<T: DeserializeOwned>(it: &Fresh, url: &str) -> Vec<Received<T>> {
    receive::receive(&it.queues, url, 10, Duration::ZERO).await.unwrap()
}

/// Receives the first messages, within ten seconds.
async fn wait_for<T: DeserializeOwned>(it: &Fresh, url: &str) -> Vec<Received<T>> {
    let found = receive::receive(&it.queues, url, 10, Duration::from_secs(10))
        .await
        .unwrap();
    assert!(!found.is_empty(), "nothing came");
    found
}

async fn delete<T>(it: &Fresh, url: &str, received: &[Received<T>]) {
    let receipts: Vec<_> = received.iter().map(|it| it.receipt.clone()).collect();
    receive::delete(&it.queues, url, &receipts).await.unwrap();
}

#[tokio::test]
async fn event_round_trips_and_is_gone_when_deleted() {
    let it = fresh().await;
    let url = &it.queues.urls().inbound;
    inbound::send(&it.queues, &envelope("a"), "room", "a").await.unwrap();
    let received = wait_for::<Envelope>(&it, url).await;
    assert_eq!(received.len(), 1);
    assert_eq!(received[0].message, Some(envelope("a")));
    assert_eq!((received[0].group.as_str(), received[0].attempt), ("room", 1));
    assert!(received[0].sent_at.is_some() && received[0].unreadable.is_none());
    delete(&it, url, &received).await;
    inbound::send(&it.queues, &envelope("b"), "room", "b").await.unwrap();
    let next = wait_for::<Envelope>(&it, url).await;
    assert_eq!(next[0].message, Some(envelope("b")));
}

#[tokio::test]
async fn repeated_event_is_accepted_once() {
    let it = fresh().await;
    let url = &it.queues.urls().inbound;
    for _ in 0..3 {
        inbound::send(&it.queues, &envelope("a"), "room", "a").await.unwrap();
    }
    let received = wait_for::<Envelope>(&it, url).await;
    assert_eq!(received.len(), 1);
    delete(&it, url, &received).await;
    inbound::send(&it.queues, &envelope("a"), "room", "a").await.unwrap();
    assert_eq!(look::<Envelope>(&it, url).await.len(), 0);
}

#[tokio::test]
async fn events_stay_in_order_within_their_group() {
    let it = fresh().await;
    let url = &it.queues.urls().inbound;
    let groups = ["a", "b", "c", "d"];
    let events: Vec<_> = (0..40).map(|n| event(groups[n % 4], &format!("{n:02}"))).collect();
    inbound::send_all(&it.queues, events).await.unwrap();
    let mut seen: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let mut n_seen = 0;
    while n_seen < 40 {
        let received = wait_for::<Envelope>(&it, url).await;
        for it in &received {
            let name = name_of(it.message.as_ref().unwrap()).to_owned();
            seen.entry(it.group.clone()).or_default().push(name);
        }
        n_seen += received.len();
        delete(&it, url, &received).await;
    }
    for (at, group) in groups.iter().enumerate() {
        let expected: Vec<_> = (at..40).step_by(4).map(|n| format!("{n:02}")).collect();
        assert_eq!(seen[*group], expected);
    }
}

#[tokio::test]
async fn a_group_waits_for_its_received_message() {
    let it = fresh().await;
    let url = &it.queues.urls().inbound;
    inbound::send(&it.queues, &envelope("a"), "room", "a").await.unwrap();
    let first = wait_for::<Envelope>(&it, url).await;
    inbound::send(&it.queues, &envelope("b"), "room", "b").await.unwrap();
    assert_eq!(look::<Envelope>(&it, url).await.len(), 0);
    delete(&it, url, &first).await;
    let next = wait_for::<Envelope>(&it, url).await;
    assert_eq!(next[0].message, Some(envelope("b")));
}

#[tokio::test]
async fn refused_entry_of_a_batch_is_an_error() {
    // The external server accepts ids that SQS refuses; the embedded one refuses them as SQS does.
    let it = fresh_at(None).await;
    let mut events = vec![event("a", "1"), event("b", "2")];
    events[1].dedup = "not allowed: blanks".to_owned();
    let sent = inbound::send_all(&it.queues, events).await;
    assert!(
        matches!(
            sent,
            Err(QueueError::Partial { n_failed: 1, .. } | QueueError::Unavailable { .. })
        ),
        "{sent:?}"
    );
}

#[tokio::test]
async fn message_that_is_too_large_is_not_sent() {
    let it = fresh().await;
    let Envelope::V1(inner) = envelope("a");
    let large = Envelope::V1(EnvelopeV1 {
        event_file: None,
        event: "x".repeat(1024 * 1024),
        ..inner
    });
    let one = inbound::send(&it.queues, &large, "room", "a").await;
    assert!(matches!(one, Err(QueueError::TooLarge { .. })));
    let large = Inbound {
        envelope: large,
        ..event("room", "a")
    };
    let all = inbound::send_all(&it.queues, vec![event("room", "b"), large]).await;
    assert!(matches!(all, Err(QueueError::TooLarge { .. })));
}

#[tokio::test]
async fn wake_ups_are_delivered_after_their_delay() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    let sent_at = Instant::now();
    let now = (wake("acme", "now"), Duration::ZERO);
    let soon = (wake("acme", "soon"), Duration::from_millis(1100));
    let late = (wake("acme", "late"), Duration::from_secs(100_000));
    work::send(&it.queues, &[late, soon.clone(), now.clone()])
        .await
        .unwrap();
    let first = wait_for::<WakeUp>(&it, url).await;
    assert_eq!(first.len(), 1);
    assert_eq!(first[0].message.as_ref(), Some(&now.0));
    assert_eq!(first[0].group, "acme");
    let second = wait_for::<WakeUp>(&it, url).await;
    assert_eq!(second[0].message.as_ref(), Some(&soon.0));
    // A server may count in whole seconds.
    assert!(sent_at.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn more_than_ten_wake_ups_are_all_sent() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    let wakes: Vec<_> = (0..23)
        .map(|n| (wake("acme", &n.to_string()), Duration::ZERO))
        .collect();
    work::send(&it.queues, &wakes).await.unwrap();
    work::send(&it.queues, &[]).await.unwrap();
    let mut seen = HashSet::new();
    while seen.len() < 23 {
        let received = wait_for::<WakeUp>(&it, url).await;
        delete(&it, url, &received).await;
        for received in received {
            let WakeUp::V1(inner) = received.message.unwrap();
            assert!(seen.insert(inner.conversation.to_string()));
        }
    }
}

#[tokio::test]
async fn message_is_redelivered_after_the_requested_delay() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    work::send(&it.queues, &[(wake("acme", "a"), Duration::ZERO)])
        .await
        .unwrap();
    for attempt in 1..=3 {
        let received = wait_for::<WakeUp>(&it, url).await;
        assert_eq!(received[0].attempt, attempt);
        work::retry_in(&it.queues, &received[0].receipt, Duration::ZERO)
            .await
            .unwrap();
    }
    let received = wait_for::<WakeUp>(&it, url).await;
    let asked_at = Instant::now();
    work::retry_in(&it.queues, &received[0].receipt, Duration::from_millis(1001))
        .await
        .unwrap();
    assert_eq!(look::<WakeUp>(&it, url).await.len(), 0);
    wait_for::<WakeUp>(&it, url).await;
    assert!(asked_at.elapsed() >= Duration::from_secs(1));
}

#[tokio::test]
async fn message_is_hidden_for_the_requested_time() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    work::send(&it.queues, &[(wake("acme", "a"), Duration::ZERO)])
        .await
        .unwrap();
    let hidden = Some(Duration::from_secs(1));
    let first = receive::receive_for::<WakeUp>(&it.queues, url, 10, Duration::from_secs(10), hidden)
        .await
        .unwrap();
    assert_eq!(first.len(), 1);
    assert_eq!(look::<WakeUp>(&it, url).await.len(), 0);
    let again = wait_for::<WakeUp>(&it, url).await;
    assert_eq!((again[0].attempt, &again[0].id), (2, &first[0].id));
}

#[tokio::test]
async fn unreadable_message_is_returned_raw() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    let texts = ["{not json", r#"{"v":"99"}"#, "\"\"", r#"{"v":"1"}"#];
    for text in texts {
        it.sqs
            .send_message()
            .queue_url(url)
            .message_body(text)
            .send()
            .await
            .unwrap();
    }
    work::send(&it.queues, &[(wake("acme", "a"), Duration::ZERO)])
        .await
        .unwrap();
    let (mut unreadable, mut n_readable) = (HashSet::new(), 0);
    while unreadable.len() + n_readable < 5 {
        for received in wait_for::<WakeUp>(&it, url).await {
            assert_eq!(received.message.is_none(), received.unreadable.is_some());
            match received.unreadable {
                Some(text) => assert!(unreadable.insert(text)),
                None => n_readable += 1,
            }
        }
    }
    assert_eq!(unreadable, texts.map(str::to_owned).into());
}

#[tokio::test]
async fn refused_deletion_is_reported_and_the_others_are_done() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    work::send(&it.queues, &[(wake("acme", "a"), Duration::ZERO)])
        .await
        .unwrap();
    let received = wait_for::<WakeUp>(&it, url).await;
    let receipts = ["no receipt".to_owned(), received[0].receipt.clone()];
    let deleted = receive::delete(&it.queues, url, &receipts).await;
    assert!(
        matches!(deleted, Err(QueueError::Partial { n_failed: 1, .. })),
        "{deleted:?}"
    );
    let attributes = it.sqs.get_queue_attributes().queue_url(url);
    let attributes = attributes.attribute_names(QueueAttributeName::ApproximateNumberOfMessagesNotVisible);
    let found = attributes.send().await.unwrap();
    let left = &found.attributes.unwrap()[&QueueAttributeName::ApproximateNumberOfMessagesNotVisible];
    assert_eq!(left, "0");
    receive::delete(&it.queues, url, &[]).await.unwrap();
}

/// Receives an event until its deliveries are used up. Returns the dead-letter queue.
async fn fail_always(it: &Fresh) -> String {
    let url = &it.queues.urls().inbound;
    inbound::send(&it.queues, &envelope("a"), "room", "a").await.unwrap();
    inbound::send(&it.queues, &envelope("b"), "room", "b").await.unwrap();
    let limit = definitions::DEFINITIONS
        .iter()
        .find_map(|queue| queue.dead_letters.filter(|(to, _)| *to == INBOUND_DEAD));
    let (_, max) = limit.unwrap();
    for attempt in 1..=max {
        let received = receive::receive::<Envelope>(&it.queues, url, 1, Duration::from_secs(10))
            .await
            .unwrap();
        assert_eq!(received[0].attempt, attempt);
        assert_eq!(received[0].message, Some(envelope("a")));
        receive::retry_in(&it.queues, url, &received[0].receipt, Duration::ZERO)
            .await
            .unwrap();
    }
    // The next in its group is no longer blocked.
    let next = wait_for::<Envelope>(it, url).await;
    assert_eq!(next[0].message, Some(envelope("b")));
    receive::delete(&it.queues, url, &[next[0].receipt.clone()])
        .await
        .unwrap();
    let dead = it
        .sqs
        .get_queue_url()
        .queue_name(format!("{}{INBOUND_DEAD}", it.prefix))
        .send()
        .await
        .unwrap();
    dead.queue_url.unwrap()
}

#[tokio::test]
async fn message_that_always_fails_goes_to_the_dead_letters() {
    let it = fresh().await;
    let dead = fail_always(&it).await;
    let buried = wait_for::<Envelope>(&it, &dead).await;
    assert_eq!(buried[0].message, Some(envelope("a")));
}

/// Of the embedded engine only: SQS doesn't do it by itself, and not every server can.
#[tokio::test]
async fn dead_letters_are_moved_back_to_their_queue() {
    let it = fresh_at(None).await;
    fail_always(&it).await;
    let put_back = async || definitions::put_back_dead(&it.sqs, &it.prefix).await.unwrap();
    assert_eq!(put_back().await, 1);
    let again = wait_for::<Envelope>(&it, &it.queues.urls().inbound).await;
    assert_eq!((&again[0].message, again[0].attempt), (&Some(envelope("a")), 1));
    assert_eq!(put_back().await, 0);
}

fn call(integration: &str, id: &str) -> RelayCall {
    RelayCall::V1(RelayCallV1 {
        integration: IntegrationId::new(integration),
        account: None,
        reply: ReplyId::new("tl-1"),
        call_id: id.to_owned(),
        call: "c2VhbGVk".to_owned(),
    })
}

#[tokio::test]
async fn call_goes_to_the_shard_of_its_bot_in_order_of_its_lane() {
    let it = fresh().await;
    let shards = &it.queues.urls().relay;
    let bot = |shard| {
        let names = (0..100).map(|n| IntegrationId::new(format!("int_{n}")));
        names.into_iter().find(|id| shard_of(id, 2) == shard).unwrap()
    };
    for (shard, url) in shards.iter().enumerate() {
        let bot = bot(shard);
        for n in [1, 2, 2, 3] {
            relay::send(&it.queues, &call(bot.as_str(), &n.to_string()), "lane")
                .await
                .unwrap();
        }
        let received = wait_for::<RelayCall>(&it, url).await;
        let calls: Vec<_> = received.into_iter().filter_map(|it| it.message).collect();
        assert_eq!(calls, ["1", "2", "3"].map(|n| call(bot.as_str(), n)));
    }
}

#[tokio::test]
async fn without_a_relay_a_call_is_an_error() {
    let it = fresh().await;
    let urls = Urls {
        relay: Vec::new(),
        ..it.queues.urls().clone()
    };
    let queues = Queues::new(it.sqs.clone(), urls);
    let sent = relay::send(&queues, &call("int_1", "1"), "lane").await;
    assert!(matches!(sent, Err(QueueError::Missing(_))));
}

#[tokio::test]
async fn queues_are_found_and_created_once() {
    let it = fresh().await;
    work::send(&it.queues, &[(wake("acme", "a"), Duration::ZERO)])
        .await
        .unwrap();
    let again = definitions::create_missing(&it.sqs, &it.prefix, 2).await.unwrap();
    assert_eq!(&again, it.queues.urls());
    assert_eq!(Urls::resolve(&it.sqs, &it.prefix, 2).await.unwrap(), again);
    let missing = Urls::resolve(&it.sqs, &it.prefix, 3).await;
    assert!(matches!(missing, Err(QueueError::Missing(name)) if name.ends_with("relay-2.fifo")));
    wait_for::<WakeUp>(&it, &again.work).await;
}

#[tokio::test]
async fn queue_of_an_earlier_version_is_updated() {
    let it = fresh().await;
    let url = &it.queues.urls().work;
    let other = it.sqs.set_queue_attributes().queue_url(url);
    other
        .attributes(QueueAttributeName::VisibilityTimeout, "7")
        .send()
        .await
        .unwrap();
    definitions::create_missing(&it.sqs, &it.prefix, 2).await.unwrap();
    let attributes = it.sqs.get_queue_attributes().queue_url(url);
    let found = attributes
        .attribute_names(QueueAttributeName::VisibilityTimeout)
        .send()
        .await
        .unwrap();
    let wanted = definitions::DEFINITIONS
        .iter()
        .find(|queue| queue.name == definitions::WORK)
        .unwrap();
    let now = &found.attributes.unwrap()[&QueueAttributeName::VisibilityTimeout];
    assert_eq!(*now, wanted.visibility_s.to_string());
}

#[tokio::test]
async fn missing_queue_is_an_error() {
    let it = fresh().await;
    let nowhere = format!("{}x", it.queues.urls().work);
    let received = receive::receive::<WakeUp>(&it.queues, &nowhere, 1, Duration::ZERO).await;
    assert!(matches!(
        received,
        Err(QueueError::Unavailable {
            operation: "receive",
            ..
        })
    ));
}
