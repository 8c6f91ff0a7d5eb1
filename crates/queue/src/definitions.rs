//! Definitions of the queues. A test compares the template on AWS with them.

use std::collections::HashMap;

use aws_sdk_sqs::Client;
use aws_sdk_sqs::types::QueueAttributeName;

use crate::urls::url_of;
use crate::{QueueError, Urls};

/// A queue.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueDefinition {
    /// Its name after the deployment's prefix.
    pub name: &'static str,
    /// FIFO, in high-throughput mode, deduplicated within a message group.
    pub fifo: bool,
    /// Visibility timeout, in seconds.
    pub visibility_s: u32,
    /// How long a message is kept, in seconds.
    pub retention_s: u32,
    /// The dead-letter queue, and after how many deliveries a message is moved there.
    pub dead_letters: Option<(&'static str, u32)>,
}

const DAYS: u32 = 24 * 3600;

/// After how many deliveries a queue moves a message to its dead letters: the most that the service allows. The programs give up
/// poison messages sooner; the queue only those that they never got to.
///
/// See [Amazon SQS API Reference/SetQueueAttributes](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SetQueueAttributes.html).
pub const MAX_RECEIVES: u32 = 1000;

/// Events for the dispatcher.
pub const INBOUND: &str = "inbound.fifo";
/// Wake-ups for the runner.
pub const WORK: &str = "work";
/// Events that could not be dispatched.
pub const INBOUND_DEAD: &str = "inbound-dead.fifo";
/// Wake-ups that could not be processed.
pub const WORK_DEAD: &str = "work-dead";

/// Every queue but the relay's, dead-letter queues first.
pub const DEFINITIONS: &[QueueDefinition] = &[
    QueueDefinition {
        name: INBOUND_DEAD,
        fifo: true,
        visibility_s: 30,
        retention_s: 14 * DAYS,
        dead_letters: None,
    },
    QueueDefinition {
        name: WORK_DEAD,
        fifo: false,
        visibility_s: 30,
        retention_s: 14 * DAYS,
        dead_letters: None,
    },
    // The dispatcher needs milliseconds; its function is cut off after 25 s, and the events of one that died are redelivered soon after.
    // While tables are unavailable the backoff of an event grows, so that all its deliveries take days.
    QueueDefinition {
        name: INBOUND,
        fifo: true,
        visibility_s: 30,
        retention_s: 14 * DAYS,
        dead_letters: Some((INBOUND_DEAD, MAX_RECEIVES)),
    },
    // As long as a runner's function lives. A wake-up that is redelivered while its run continues finds the lease held and ends.
    QueueDefinition {
        name: WORK,
        fifo: false,
        visibility_s: 900,
        retention_s: 14 * DAYS,
        dead_letters: Some((WORK_DEAD, MAX_RECEIVES)),
    },
];

/// The queue of a relay shard. Calls are worthless after some minutes, so there are no dead letters.
pub const RELAY: QueueDefinition = QueueDefinition {
    name: "relay",
    fifo: true,
    visibility_s: 30,
    retention_s: 600,
    dead_letters: None,
};

/// The name of a relay shard's queue after the deployment's prefix.
#[must_use]
pub fn relay_name(shard: usize) -> String {
    format!("{}-{shard}.fifo", RELAY.name)
}

impl Urls {
    /// Looks up the addresses of the queues whose names start with `prefix`.
    ///
    /// # Errors
    /// [`QueueError::Missing`] if one of them doesn't exist, or [`QueueError::Unavailable`].
    pub async fn resolve(client: &Client, prefix: &str, n_shards: usize) -> Result<Self, QueueError> {
        let mut relay = Vec::with_capacity(n_shards);
        for shard in 0..n_shards {
            relay.push(url_of(client, &format!("{prefix}{}", relay_name(shard))).await?);
        }
        Ok(Self {
            inbound: url_of(client, &format!("{prefix}{INBOUND}")).await?,
            work: url_of(client, &format!("{prefix}{WORK}")).await?,
            relay,
        })
    }

    /// The address of `inbound-dead.fifo`, with the prefix of `inbound.fifo`.
    ///
    /// # Errors
    /// [`QueueError::Missing`] if `inbound.fifo` has another name.
    pub(crate) fn inbound_dead(&self) -> Result<String, QueueError> {
        let prefix = self.inbound.strip_suffix(INBOUND);
        let prefix = prefix.ok_or_else(|| QueueError::Missing(INBOUND_DEAD.to_owned()))?;
        Ok(format!("{prefix}{INBOUND_DEAD}"))
    }
}

/// Creates missing queues, updates the attributes of existing ones, and returns the addresses. For the standalone program and for tests: on AWS the
/// template does it.
///
/// # Errors
/// [`QueueError`].
pub async fn create_missing(client: &Client, prefix: &str, n_shards: usize) -> Result<Urls, QueueError> {
    let mut urls = HashMap::new();
    let mut arns = HashMap::new();
    for definition in DEFINITIONS {
        let url = create(client, &format!("{prefix}{}", definition.name), definition, &arns).await?;
        arns.insert(definition.name, arn(client, &url).await?);
        urls.insert(definition.name, url);
    }
    let mut relay = Vec::with_capacity(n_shards);
    for shard in 0..n_shards {
        relay.push(create(client, &format!("{prefix}{}", relay_name(shard)), &RELAY, &arns).await?);
    }
    let mut take = |name: &str| urls.remove(name).ok_or_else(|| QueueError::Missing(name.to_owned()));
    Ok(Urls {
        inbound: take(INBOUND)?,
        work: take(WORK)?,
        relay,
    })
}

/// Moves dead letters back to their queues, and returns their number. For the standalone program, where a start
/// may bring a version that can read them: on AWS there are alarms, and an operator does it.
///
/// # Errors
/// [`QueueError`].
pub async fn put_back_dead(client: &Client, prefix: &str) -> Result<usize, QueueError> {
    let mut n = 0;
    for definition in DEFINITIONS {
        let Some((dead, _)) = definition.dead_letters else {
            continue;
        };
        let url = url_of(client, &format!("{prefix}{dead}")).await?;
        let here = count(client, &url).await?;
        if here > 0 {
            let call = client.start_message_move_task().source_arn(arn(client, &url).await?);
            call.send().await.map_err(QueueError::of("move"))?;
        }
        n += here;
    }
    Ok(n)
}

async fn count(client: &Client, url: &str) -> Result<usize, QueueError> {
    let wanted = QueueAttributeName::ApproximateNumberOfMessages;
    let call = client.get_queue_attributes().queue_url(url);
    let answer = call.attribute_names(wanted.clone()).send().await;
    let answer = answer.map_err(QueueError::of("describe"))?;
    let found = answer.attributes.and_then(|mut attributes| attributes.remove(&wanted));
    Ok(found.and_then(|n| n.parse().ok()).unwrap_or(0))
}

async fn create(
    client: &Client,
    name: &str,
    definition: &QueueDefinition,
    arns: &HashMap<&str, String>,
) -> Result<String, QueueError> {
    let wanted = attributes(definition, arns);
    let call = client.create_queue().queue_name(name);
    let created = call.set_attributes(Some(wanted.clone())).send().await;
    match created {
        Ok(created) => created.queue_url.ok_or_else(|| QueueError::Missing(name.to_owned())),
        // An earlier version created it with other attributes.
        Err(error)
            if error
                .as_service_error()
                .is_some_and(|error| error.is_queue_name_exists()) =>
        {
            update(client, name, wanted).await
        }
        Err(error) => Err(QueueError::of("create")(error)),
    }
}

async fn update(
    client: &Client,
    name: &str,
    mut wanted: HashMap<QueueAttributeName, String>,
) -> Result<String, QueueError> {
    // It can't be changed, and is implied by the name.
    wanted.remove(&QueueAttributeName::FifoQueue);
    let url = url_of(client, name).await?;
    let call = client.set_queue_attributes().queue_url(&url);
    call.set_attributes(Some(wanted))
        .send()
        .await
        .map_err(QueueError::of("change"))?;
    Ok(url)
}

fn attributes(definition: &QueueDefinition, arns: &HashMap<&str, String>) -> HashMap<QueueAttributeName, String> {
    let mut attributes = HashMap::from([
        (
            QueueAttributeName::VisibilityTimeout,
            definition.visibility_s.to_string(),
        ),
        (
            QueueAttributeName::MessageRetentionPeriod,
            definition.retention_s.to_string(),
        ),
    ]);
    if definition.fifo {
        attributes.insert(QueueAttributeName::FifoQueue, "true".to_owned());
        attributes.insert(QueueAttributeName::DeduplicationScope, "messageGroup".to_owned());
        attributes.insert(QueueAttributeName::FifoThroughputLimit, "perMessageGroupId".to_owned());
    }
    if let Some((target, max)) = definition.dead_letters
        && let Some(arn) = arns.get(target)
    {
        let policy = serde_json::json!({ "deadLetterTargetArn": arn, "maxReceiveCount": max });
        attributes.insert(QueueAttributeName::RedrivePolicy, policy.to_string());
    }
    attributes
}

async fn arn(client: &Client, url: &str) -> Result<String, QueueError> {
    let answer = client
        .get_queue_attributes()
        .queue_url(url)
        .attribute_names(QueueAttributeName::QueueArn)
        .send()
        .await
        .map_err(QueueError::of("describe"))?;
    let found = answer
        .attributes
        .and_then(|mut attributes| attributes.remove(&QueueAttributeName::QueueArn));
    found.ok_or_else(|| QueueError::Missing(url.to_owned()))
}
