//! SDK clients of an engine, and helpers for the tests.

use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region};
use aws_sdk_sqs::types::{Message, QueueAttributeName};

use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, REGION, SECRET_ACCESS_KEY};

pub(crate) fn sqs(embedded: &Embedded) -> aws_sdk_sqs::Client {
    let config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            None,
            None,
            "embedded",
        ))
        .retry_config(RetryConfig::disabled())
        .endpoint_url(ENDPOINT_URL)
        .http_client(embedded.http_client());
    aws_sdk_sqs::Client::from_conf(config.build())
}

pub(crate) fn dynamodb(embedded: &Embedded) -> aws_sdk_dynamodb::Client {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(aws_sdk_dynamodb::config::BehaviorVersion::latest())
        .region(aws_sdk_dynamodb::config::Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            None,
            None,
            "embedded",
        ))
        .retry_config(aws_sdk_dynamodb::config::retry::RetryConfig::disabled())
        .endpoint_url(ENDPOINT_URL)
        .http_client(embedded.http_client());
    aws_sdk_dynamodb::Client::from_conf(config.build())
}

/// One queue of one engine.
#[derive(Clone)]
pub(crate) struct Queue {
    pub(crate) client: aws_sdk_sqs::Client,
    pub(crate) url: String,
}

impl Queue {
    pub(crate) async fn create(embedded: &Embedded, name: &str, attributes: &[(QueueAttributeName, &str)]) -> Self {
        let client = sqs(embedded);
        let mut create = client.create_queue().queue_name(name);
        if name.ends_with(".fifo") {
            create = create.attributes(QueueAttributeName::FifoQueue, "true");
        }
        for (name, value) in attributes {
            create = create.attributes(name.clone(), *value);
        }
        let url = create.send().await.unwrap().queue_url.unwrap();
        Self { client, url }
    }

    /// The same queue in another engine, opened on the same directory.
    pub(crate) fn reopened(&self, embedded: &Embedded) -> Self {
        Self {
            client: sqs(embedded),
            url: self.url.clone(),
        }
    }

    pub(crate) async fn send(&self, body: &str) -> String {
        let sent = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await;
        sent.unwrap().message_id.unwrap()
    }

    /// Sends `body` with itself as deduplication id.
    pub(crate) async fn send_to(&self, group: &str, body: &str) -> String {
        let send = self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .message_group_id(group);
        let send = match self.url.ends_with(".fifo") {
            true => send.message_deduplication_id(body),
            false => send,
        };
        send.send().await.unwrap().message_id.unwrap()
    }

    pub(crate) async fn receive(&self, most: i32, visibility_s: i32) -> Vec<Message> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most);
        receive
            .visibility_timeout(visibility_s)
            .send()
            .await
            .unwrap()
            .messages
            .unwrap_or_default()
    }

    pub(crate) async fn bodies(&self, most: i32) -> Vec<String> {
        let messages = self.receive(most, 30).await;
        messages.into_iter().filter_map(|m| m.body).collect()
    }

    pub(crate) async fn delete(&self, message: &Message) {
        let delete = self.client.delete_message().queue_url(&self.url);
        delete
            .set_receipt_handle(message.receipt_handle.clone())
            .send()
            .await
            .unwrap();
    }

    pub(crate) async fn count(&self, what: QueueAttributeName) -> u64 {
        let get = self
            .client
            .get_queue_attributes()
            .queue_url(&self.url)
            .attribute_names(what.clone());
        get.send().await.unwrap().attributes.unwrap()[&what].parse().unwrap()
    }
}
