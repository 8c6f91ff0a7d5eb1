//! Event source mappings: a queue's messages become invocations, and handled messages are deleted.
//!
//! See [Lambda Docs/Using Lambda with Amazon SQS](https://docs.aws.amazon.com/lambda/latest/dg/with-sqs.html).

mod event;
mod groups;
mod verdict;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use aws_sdk_sqs::types::{DeleteMessageBatchRequestEntry, Message, MessageSystemAttributeName, QueueAttributeName};
use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{Instant, sleep, timeout};

use super::config::MappingConfig;
use super::function::Function;
use super::outcome::Outcome;
use super::tasks::Tasks;
use event::QueueInfo;
use groups::Groups;
use verdict::Verdict;

const LONGEST_WAIT: Duration = Duration::from_secs(20);
/// Pause after a failed receive call, so that a missing queue doesn't use up a core.
const POLL_AGAIN: Duration = Duration::from_millis(100);
/// Minimum and maximum pause before a throttled batch is retried.
const THROTTLE_PAUSE: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(1));
const DELETE_ATTEMPTS: usize = 3;

/// A running mapping.
#[derive(Debug)]
pub(super) struct Mapping {
    config: MappingConfig,
    function: Arc<Function>,
    queue: QueueInfo,
    visibility_timeout: Duration,
    slots: Arc<Semaphore>,
    n_slots: usize,
    groups: Groups,
    tasks: Tasks,
}

impl Mapping {
    /// Checks what AWS checks when a mapping is created.
    pub(super) async fn new(config: MappingConfig, function: Arc<Function>, tasks: Tasks) -> Result<Arc<Self>> {
        ensure!(
            (1..=10).contains(&config.batch_size),
            "batch size {} is not between 1 and 10",
            config.batch_size
        );
        ensure!(
            config.wait <= LONGEST_WAIT,
            "a receive call waits at most {LONGEST_WAIT:?}, not {:?}",
            config.wait
        );
        let maximum = config.maximum_concurrency;
        ensure!(
            maximum.is_none_or(|maximum| (2..=1000).contains(&maximum)),
            "maximum concurrency {maximum:?} is not between 2 and 1000"
        );
        let attributes = attributes(&config)
            .await
            .with_context(|| format!("queue {}", config.queue_url))?;
        let attribute = |name| {
            attributes
                .get(&name)
                .with_context(|| format!("queue has no attribute {name:?}"))
        };
        let visibility_timeout = Duration::from_secs(attribute(QueueAttributeName::VisibilityTimeout)?.parse()?);
        ensure!(
            visibility_timeout >= function.timeout(),
            "Queue visibility timeout: {visibility_timeout:?} is less than Function timeout: {:?}",
            function.timeout()
        );
        let n_slots = maximum.unwrap_or(usize::MAX).min(function.concurrency());
        Ok(Arc::new(Self {
            queue: QueueInfo::new(attribute(QueueAttributeName::QueueArn)?.clone()),
            config,
            function,
            visibility_timeout,
            slots: Arc::new(Semaphore::new(n_slots)),
            n_slots,
            groups: Groups::default(),
            tasks,
        }))
    }

    /// Polls until `stop` becomes true.
    pub(super) async fn poll(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        loop {
            let turn = async {
                // The slot first: a received message's visibility timeout is running, so it should not wait for a slot.
                let slot = Arc::clone(&self.slots).acquire_owned().await;
                (slot, self.receive().await)
            };
            let (slot, received) = tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                turn = turn => turn,
            };
            let Ok(slot) = slot else { return };
            match received {
                Ok(messages) if messages.is_empty() => {}
                Ok(messages) => self.tasks.spawn(Arc::clone(&self).handle(messages, slot)),
                Err(error) => {
                    self.function.count(|stats| stats.poll_errors += 1);
                    self.function
                        .log(format!("can't poll {}: {error:#}", self.config.queue_url));
                    sleep(POLL_AGAIN).await;
                }
            }
        }
    }

    /// Waits until no batch is being processed, at most for `grace`. Polling must have been stopped.
    pub(super) async fn drain(&self, grace: Duration) {
        let all = u32::try_from(self.n_slots).unwrap_or(u32::MAX);
        drop(timeout(grace, self.slots.acquire_many(all)).await);
    }

    async fn receive(&self) -> Result<Vec<Message>> {
        let request = self.config.client.receive_message().queue_url(&self.config.queue_url);
        let request = request
            .max_number_of_messages(self.config.batch_size)
            .wait_time_seconds(i32::try_from(self.config.wait.as_secs())?)
            .message_system_attribute_names(MessageSystemAttributeName::All)
            .message_attribute_names("All");
        Ok(request.send().await?.messages.unwrap_or_default())
    }

    async fn handle(self: Arc<Self>, messages: Vec<Message>, slot: OwnedSemaphorePermit) {
        let give_up = Instant::now() + self.visibility_timeout;
        // Held until the handled messages are deleted: only then may the group's next message be processed.
        let _groups = self.groups.lock(messages.iter().filter_map(event::group)).await;
        for batch in event::split(&self.queue, messages) {
            let succeeded = self.invoke(&batch, give_up).await;
            // A later part of the same batch would overtake what failed.
            if !succeeded && self.queue.is_fifo() {
                break;
            }
        }
        drop(slot);
    }

    /// Invokes the function with one batch and deletes what it handled. Returns whether that was all.
    async fn invoke(&self, batch: &[Message], give_up: Instant) -> bool {
        let payload = Bytes::from(event::event(&self.queue, batch).to_string());
        self.function.count(|stats| {
            stats.batches += 1;
            stats.messages += batch.len() as u64;
        });
        let verdict = match self.outcome(payload, give_up).await {
            Outcome::Answered(answer) if self.config.report_batch_item_failures => verdict::read(&answer, batch),
            Outcome::Answered(_) => Verdict::Handled,
            failure => Verdict::Failed(format!("{failure:?}")),
        };
        match verdict {
            Verdict::Handled => {
                self.delete(batch.iter()).await;
                true
            }
            Verdict::Partly(failed) => {
                self.function.count(|stats| stats.item_failures += failed.len() as u64);
                self.delete(batch.iter().filter(|message| !failed.contains(event::id(message))))
                    .await;
                false
            }
            Verdict::Failed(why) => {
                self.function.count(|stats| stats.failed_batches += 1);
                self.function.log(format!(
                    "batch of {} from {} failed: {why}",
                    batch.len(),
                    self.config.queue_url
                ));
                false
            }
        }
    }

    /// The outcome of an invocation that is retried while the function is throttled and the messages are invisible.
    async fn outcome(&self, payload: Bytes, give_up: Instant) -> Outcome {
        let (mut pause, longest) = THROTTLE_PAUSE;
        loop {
            let outcome = self.function.invoke_bytes(payload.clone()).await;
            if outcome != Outcome::Throttled || Instant::now() + pause >= give_up {
                return outcome;
            }
            sleep(pause).await;
            pause = (pause * 2).min(longest);
        }
    }

    /// Deletes handled messages. A message that can't be deleted is received again, and is counted.
    async fn delete<'a>(&self, messages: impl Iterator<Item = &'a Message>) {
        let mut open: HashMap<String, String> = messages
            .filter_map(|message| Some((event::id(message).to_owned(), message.receipt_handle.clone()?)))
            .collect();
        let n_handled = open.len();
        let mut refused = 0;
        for _ in 0..DELETE_ATTEMPTS {
            if open.is_empty() {
                break;
            }
            match self.delete_batch(&open).await {
                Ok(failed) => {
                    open.retain(|id, _| failed.contains_key(id));
                    for (id, failure) in failed {
                        self.function.log(format!("can't delete message {id}: {}", failure.why));
                        if failure.is_final {
                            open.remove(&id);
                            refused += 1;
                        }
                    }
                }
                Err(error) => self
                    .function
                    .log(format!("can't delete from {}: {error:#}", self.config.queue_url)),
            }
        }
        let undeleted = open.len() + refused;
        self.function.count(|stats| {
            stats.deleted += (n_handled - undeleted) as u64;
            stats.delete_failures += undeleted as u64;
        });
    }

    async fn delete_batch(&self, receipts: &HashMap<String, String>) -> Result<HashMap<String, DeleteFailure>> {
        let entries = receipts
            .iter()
            .map(|(id, receipt)| {
                DeleteMessageBatchRequestEntry::builder()
                    .id(id)
                    .receipt_handle(receipt)
                    .build()
            })
            .collect::<Result<Vec<_>, _>>()?;
        let request = self
            .config
            .client
            .delete_message_batch()
            .queue_url(&self.config.queue_url);
        let answer = request.set_entries(Some(entries)).send().await?;
        let failed = answer.failed.into_iter().map(|failed| {
            let why = format!("{} {}", failed.code, failed.message.unwrap_or_default());
            (
                failed.id,
                DeleteFailure {
                    why,
                    is_final: failed.sender_fault,
                },
            )
        });
        Ok(failed.collect())
    }
}

struct DeleteFailure {
    why: String,
    /// A retry would fail again, as with an expired receipt.
    is_final: bool,
}

async fn attributes(config: &MappingConfig) -> Result<HashMap<QueueAttributeName, String>> {
    let request = config.client.get_queue_attributes().queue_url(&config.queue_url);
    let answer = request.attribute_names(QueueAttributeName::All).send().await?;
    Ok(answer.attributes.unwrap_or_default())
}
