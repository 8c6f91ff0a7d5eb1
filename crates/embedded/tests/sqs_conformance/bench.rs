//! Test fixture of a case: a queue of its own and helpers for it.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::Client;
use aws_sdk_sqs::config::retry::RetryConfig;
use aws_sdk_sqs::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_sqs::operation::send_message::SendMessageOutput;
use aws_sdk_sqs::types::{Message, MessageSystemAttributeName, QueueAttributeName};

use tieline_embedded::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};

/// How long a case waits for something that must happen.
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn client(url: &str, http_client: Option<SharedHttpClient>) -> Client {
    let mut config = aws_sdk_sqs::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            None,
            None,
            "embedded",
        ))
        // Errors must reach the test without retries.
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url);
    config.set_http_client(http_client);
    Client::from_conf(config.build())
}

/// One queue.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) url: String,
}

/// A name that no other case and no earlier run uses.
pub(crate) fn fresh_name(stem: &str) -> String {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    format!("{stem}-{}", since.as_nanos())
}

impl Bench {
    pub(crate) async fn standard(client: &Client, attributes: &[(QueueAttributeName, &str)]) -> Result<Self> {
        Self::create(client, fresh_name("standard"), attributes).await
    }

    pub(crate) async fn fifo(client: &Client, attributes: &[(QueueAttributeName, &str)]) -> Result<Self> {
        let fifo = (QueueAttributeName::FifoQueue, "true");
        let attributes: Vec<_> = attributes.iter().cloned().chain([fifo]).collect();
        Self::create(client, fresh_name("fifo") + ".fifo", &attributes).await
    }

    pub(crate) async fn create(
        client: &Client,
        name: String,
        attributes: &[(QueueAttributeName, &str)],
    ) -> Result<Self> {
        let mut create = client.create_queue().queue_name(name);
        for (name, value) in attributes {
            create = create.attributes(name.clone(), *value);
        }
        let url = create.send().await?.queue_url.context("a created queue has a URL")?;
        Ok(Self {
            client: client.clone(),
            url,
        })
    }

    pub(crate) async fn attribute(&self, name: QueueAttributeName) -> Result<String> {
        let get = self.client.get_queue_attributes().queue_url(&self.url);
        let got = get.attribute_names(name.clone()).send().await?;
        let value = got.attributes().and_then(|all| all.get(&name));
        value.cloned().with_context(|| format!("{name} is missing"))
    }

    pub(crate) async fn send(&self, body: &str) -> Result<SendMessageOutput> {
        Ok(self
            .client
            .send_message()
            .queue_url(&self.url)
            .message_body(body)
            .send()
            .await?)
    }

    pub(crate) async fn send_fifo(&self, group: &str, id: &str, body: &str) -> Result<SendMessageOutput> {
        let send = self.client.send_message().queue_url(&self.url).message_body(body);
        Ok(send.message_group_id(group).message_deduplication_id(id).send().await?)
    }

    /// Sends `bodies` to one group, each with its body as deduplication id.
    pub(crate) async fn send_all(&self, group: &str, bodies: &[&str]) -> Result<()> {
        for body in bodies {
            self.send_fifo(group, body, body).await?;
        }
        Ok(())
    }

    /// Receives the messages that are available now, without waiting, with the visibility timeout `visibility_s`.
    pub(crate) async fn receive_for(&self, most: i32, visibility_s: i32) -> Result<Vec<Message>> {
        let receive = self
            .client
            .receive_message()
            .queue_url(&self.url)
            .max_number_of_messages(most)
            .visibility_timeout(visibility_s)
            .message_attribute_names("All")
            .message_system_attribute_names(MessageSystemAttributeName::All);
        Ok(receive.send().await?.messages.unwrap_or_default())
    }

    pub(crate) async fn receive(&self, most: i32) -> Result<Vec<Message>> {
        self.receive_for(most, 30).await
    }

    /// Receives until it has `most` messages or `PATIENCE` is over.
    pub(crate) async fn receive_until(&self, most: usize) -> Result<Vec<Message>> {
        let (mut all, started) = (Vec::new(), Instant::now());
        while all.len() < most {
            ensure!(
                started.elapsed() < PATIENCE,
                "only {} of {most} messages came",
                all.len()
            );
            let receive = self
                .client
                .receive_message()
                .queue_url(&self.url)
                .max_number_of_messages((most - all.len()).min(10) as i32)
                .wait_time_seconds(1)
                .message_system_attribute_names(MessageSystemAttributeName::All);
            all.extend(receive.send().await?.messages.unwrap_or_default());
        }
        Ok(all)
    }

    pub(crate) async fn one(&self) -> Result<Message> {
        let mut messages = self.receive(1).await?;
        messages.pop().context("a message is expected")
    }

    pub(crate) async fn delete(&self, message: &Message) -> Result<()> {
        let delete = self.client.delete_message().queue_url(&self.url);
        delete.set_receipt_handle(message.receipt_handle.clone()).send().await?;
        Ok(())
    }

    pub(crate) async fn set_visibility(&self, message: &Message, visibility_s: i32) -> Result<()> {
        let change = self.client.change_message_visibility().queue_url(&self.url);
        let change = change.set_receipt_handle(message.receipt_handle.clone());
        change.visibility_timeout(visibility_s).send().await?;
        Ok(())
    }

    pub(crate) async fn expect_empty(&self) -> Result<()> {
        let got = bodies(&self.receive(10).await?);
        ensure!(got.is_empty(), "nothing is expected, got {got:?}");
        Ok(())
    }
}

pub(crate) fn bodies(messages: &[Message]) -> Vec<String> {
    messages.iter().map(|m| m.body.clone().unwrap_or_default()).collect()
}

pub(crate) fn system(message: &Message, name: MessageSystemAttributeName) -> Result<String> {
    let value = message.attributes().and_then(|all| all.get(&name));
    value.cloned().with_context(|| format!("{name} is missing"))
}

/// Checks that `outcome` is an error with the code `expected`, in its legacy or current spelling.
pub(crate) fn expect_refusal<T, E, R>(outcome: Result<T, SdkError<E, R>>, expected: &[&str]) -> Result<()>
where
    E: ProvideErrorMetadata,
{
    match outcome {
        Ok(_) => anyhow::bail!("accepted, {expected:?} is expected"),
        Err(SdkError::ServiceError(error)) => {
            let code = error.err().code().unwrap_or_default().to_owned();
            ensure!(
                expected.contains(&code.as_str()),
                "refused with {code}, {expected:?} is expected"
            );
            Ok(())
        }
        Err(_) => anyhow::bail!("no answer, {expected:?} is expected"),
    }
}

pub(crate) fn expect_bodies(messages: &[Message], expected: &[&str]) -> Result<()> {
    let got = bodies(messages);
    ensure!(got == expected, "got {got:?}, expected {expected:?}");
    Ok(())
}
