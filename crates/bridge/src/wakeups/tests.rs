//! Wake-ups over a queue that accepts only a part of what it is sent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_smithy_runtime_api::client::http::{
    HttpClient, HttpConnector, HttpConnectorFuture, HttpConnectorSettings, SharedHttpClient, SharedHttpConnector,
};
use aws_smithy_runtime_api::client::orchestrator::HttpRequest;
use aws_smithy_runtime_api::client::runtime_components::RuntimeComponents;
use aws_smithy_types::body::SdkBody;
use serde_json::{Value, json};
use tieline_core::envelope::{RelayMessage, WakeUp, WakeUpV1};
use tieline_core::ids::{ConversationId, IntegrationId, OrganizationId};
use tieline_embedded::Embedded;
use tieline_queue::receive::{MAX_BATCH, Received, receive};
use tieline_queue::{QueueError, Queues, Urls};

use super::{MAX_SENDS, send_watched, send_watched_to_relays};
use crate::test_support;
use crate::world::World;

/// A client on which the last message of a batch gets lost, and is reported as failed.
#[derive(Debug, Clone)]
struct Lossy {
    inner: SharedHttpClient,
    /// How many more batches this happens to.
    n_left: Arc<AtomicU32>,
}

impl HttpClient for Lossy {
    fn http_connector(&self, settings: &HttpConnectorSettings, parts: &RuntimeComponents) -> SharedHttpConnector {
        SharedHttpConnector::new(Way {
            inner: self.inner.http_connector(settings, parts),
            n_left: Arc::clone(&self.n_left),
        })
    }
}

#[derive(Debug)]
struct Way {
    inner: SharedHttpConnector,
    n_left: Arc<AtomicU32>,
}

impl HttpConnector for Way {
    fn call(&self, mut request: HttpRequest) -> HttpConnectorFuture {
        let is_batch = request.headers().get("x-amz-target") == Some("AmazonSQS.SendMessageBatch");
        let take_one = |left: u32| left.checked_sub(1);
        if !is_batch
            || self
                .n_left
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take_one)
                .is_err()
        {
            return self.inner.call(request);
        }
        let mut asked: Value = serde_json::from_slice(request.body().bytes().unwrap()).unwrap();
        let lost = asked["Entries"].as_array_mut().unwrap().pop().unwrap();
        *request.body_mut() = SdkBody::from(asked.to_string());
        let answer = self.inner.call(request);
        HttpConnectorFuture::new(async move {
            let mut answer = answer.await?;
            let mut told: Value = serde_json::from_slice(answer.body().bytes().unwrap()).unwrap();
            told["Failed"] = json!([{ "Id": lost["Id"], "Code": "InternalError", "SenderFault": false }]);
            *answer.body_mut() = SdkBody::from(told.to_string());
            Ok(answer)
        })
    }
}

/// A process whose watchdogs have no delay, over a queue that fails so many batches.
async fn scene(n_lost: u32) -> (Embedded, World) {
    let engine = Embedded::in_memory(tieline_embedded::Options::default()).unwrap();
    let lossy = Lossy {
        inner: engine.http_client(),
        n_left: Arc::new(AtomicU32::new(n_lost)),
    };
    let mut world = test_support::world_over(SharedHttpClient::new(lossy), &[]).await;
    Arc::make_mut(&mut world.settings).watchdog = Duration::ZERO;
    (engine, world)
}

fn wake() -> [(WakeUpV1, Duration); 1] {
    let wake = WakeUpV1::new(OrganizationId::new("default"), ConversationId::new("cnv_1"));
    [(wake, Duration::ZERO)]
}

/// The number of wake-ups and of watchdogs on the queue.
async fn lying(world: &World) -> (usize, usize) {
    let url = &world.queues.urls().work;
    let found: Vec<Received<WakeUp>> = receive(&world.queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
    let is_watchdog = |it: &&Received<WakeUp>| matches!(&it.message, Some(WakeUp::V1(wake)) if wake.watch);
    let n_watchdogs = found.iter().filter(is_watchdog).count();
    (found.len() - n_watchdogs, n_watchdogs)
}

#[tokio::test]
async fn a_watchdog_that_the_queue_refused_is_sent_again() {
    let (_engine, world) = scene(MAX_SENDS - 1).await;
    send_watched(&world, wake()).await.unwrap();
    assert_eq!(lying(&world).await, (MAX_SENDS as usize, 1));
}

#[tokio::test]
async fn a_queue_that_keeps_refusing_is_reported_to_the_sender() {
    let (_engine, world) = scene(MAX_SENDS).await;
    let sent = send_watched(&world, wake()).await;
    assert!(matches!(sent, Err(QueueError::Partial { n_failed: 1, .. })), "{sent:?}");
    assert_eq!(lying(&world).await.1, 0);
}

#[tokio::test]
async fn a_wake_up_for_a_relay_goes_to_its_shard_and_its_watchdog_to_work() {
    let (_engine, mut world) = test_support::world(&[]).await;
    Arc::make_mut(&mut world.settings).watchdog = Duration::ZERO;
    let wake = WakeUpV1 {
        relay: Some(IntegrationId::new("int_1")),
        ..WakeUpV1::new(OrganizationId::new("default"), ConversationId::new("cnv_1"))
    };
    let shard = world.queues.urls().relay[0].clone();
    let at_shard = async || {
        receive::<RelayMessage>(&world.queues, &shard, MAX_BATCH, Duration::ZERO)
            .await
            .unwrap()
    };
    send_watched_to_relays(&world, [(wake.clone(), Duration::ZERO)])
        .await
        .unwrap();
    let [only] = at_shard().await.try_into().unwrap();
    let Some(RelayMessage::WakeUp(WakeUp::V1(found))) = only.message else {
        panic!("no wake-up: {only:?}");
    };
    assert_eq!((found.relay, found.watch), (wake.relay.clone(), false));
    assert!(found.watch_at.is_some());
    assert_eq!(lying(&world).await, (0, 1));
    // A queue that keeps the order delays no single message.
    let conversation = ConversationId::new("cnv_2");
    let later = WakeUpV1 { conversation, ..wake };
    send_watched_to_relays(&world, [(later, Duration::from_secs(1))])
        .await
        .unwrap();
    assert_eq!(at_shard().await.len(), 0);
    assert_eq!(lying(&world).await, (0, 0), "both come a second later");
}

/// Its sender must not wait for that queue: the chat would be silent for as long.
#[tokio::test]
async fn a_wake_up_whose_relay_has_no_queue_goes_to_any_runner() {
    let (engine, mut world) = test_support::world(&[]).await;
    Arc::make_mut(&mut world.settings).watchdog = Duration::ZERO;
    let urls = Urls {
        relay: Vec::new(),
        ..world.queues.urls().clone()
    };
    world.queues = Queues::new(test_support::clients(engine.http_client()).1, urls);
    let [(wake, delay)] = wake();
    let wake = WakeUpV1 {
        relay: Some(IntegrationId::new("int_1")),
        ..wake
    };
    send_watched_to_relays(&world, [(wake, delay)]).await.unwrap();
    let url = &world.queues.urls().work;
    let found: Vec<Received<WakeUp>> = receive(&world.queues, url, MAX_BATCH, Duration::ZERO).await.unwrap();
    let names_relay = |it: &Received<WakeUp>| matches!(&it.message, Some(WakeUp::V1(wake)) if wake.relay.is_some());
    assert!(!found.iter().any(names_relay), "{found:?}");
    let is_watchdog = |it: &&Received<WakeUp>| matches!(&it.message, Some(WakeUp::V1(wake)) if wake.watch);
    let n_watchdogs = found.iter().filter(is_watchdog).count();
    assert_eq!((found.len() - n_watchdogs, n_watchdogs), (1, 1), "it has a watchdog");
}
