//! A queue for one test.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{QueueAttributeName, SendMessageBatchRequestEntry};
use serde_json::Value;
use tieline_embedded::{ACCESS_KEY_ID, Clock, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_tests::lambda::{Function, MappingConfig};

use super::until;

const VISIBILITY: Duration = Duration::from_secs(60);

/// A queue on a server of its own, whose clock only moves when the test moves it.
pub(crate) struct Queue {
    pub(crate) client: Client,
    pub(crate) url: String,
    server: Embedded,
    now_ms: Arc<AtomicI64>,
}

impl Queue {
    pub(crate) async fn new(name: &str) -> Self {
        let now_ms = Arc::new(AtomicI64::new(1_700_000_000_000));
        let clock = Clock::new({
            let now_ms = Arc::clone(&now_ms);
            move || now_ms.load(Ordering::SeqCst)
        });
        let server = Embedded::in_memory(Options {
            clock,
            ..Options::default()
        })
        .unwrap();
        let client = client(&server);
        let create = client.create_queue().queue_name(name);
        let create = create.attributes(QueueAttributeName::VisibilityTimeout, VISIBILITY.as_secs().to_string());
        let create = match name.ends_with(".fifo") {
            true => create.attributes(QueueAttributeName::FifoQueue, "true"),
            false => create,
        };
        let url = create.send().await.unwrap().queue_url.unwrap();
        Self {
            client,
            url,
            server,
            now_ms,
        }
    }

    /// Expires the visibility timeout of all messages in flight.
    pub(crate) fn expire(&self) {
        let visibility_ms = i64::try_from(VISIBILITY.as_millis()).unwrap();
        self.now_ms.fetch_add(visibility_ms + 1, Ordering::SeqCst);
        self.server.wake();
    }

    /// Sends orders, ten a call; those of a FIFO queue in groups by their field `g`.
    pub(crate) async fn send(&self, orders: &[Value]) {
        for (at, chunk) in orders.chunks(10).enumerate() {
            let entries = chunk.iter().enumerate().map(|(n, order)| {
                let id = format!("{at}-{n}-{}", order["n"]);
                let entry = SendMessageBatchRequestEntry::builder()
                    .id(&id)
                    .message_body(order.to_string());
                let entry = match order["g"].as_str() {
                    Some(group) => entry.message_group_id(group).message_deduplication_id(id),
                    None => entry,
                };
                entry.build().unwrap()
            });
            let sent = self
                .client
                .send_message_batch()
                .queue_url(&self.url)
                .set_entries(Some(entries.collect()));
            assert_eq!(sent.send().await.unwrap().failed, []);
        }
    }

    /// Number of messages in the queue, visible or in flight.
    pub(crate) async fn n_messages(&self) -> u64 {
        let names = [
            QueueAttributeName::ApproximateNumberOfMessages,
            QueueAttributeName::ApproximateNumberOfMessagesNotVisible,
        ];
        let request = self.client.get_queue_attributes().queue_url(&self.url);
        let answer = request.set_attribute_names(Some(names.to_vec())).send().await.unwrap();
        let attributes = answer.attributes.unwrap();
        names.iter().map(|name| attributes[name].parse::<u64>().unwrap()).sum()
    }

    pub(crate) async fn until_empty(&self, function: &Function) {
        until(function, || async { (self.n_messages().await == 0).then_some(()) }).await;
    }

    pub(crate) fn mapping(&self) -> MappingConfig {
        MappingConfig::new(self.client.clone(), &self.url, "probe")
    }
}

fn client(server: &Embedded) -> Client {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .http_client(server.http_client())
        .endpoint_url(ENDPOINT_URL)
        .region(Region::new(REGION))
        .credentials_provider(credentials)
        .build();
    Client::from_conf(config)
}
