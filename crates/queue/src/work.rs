//! `work`: wake-ups for the runner.

use std::time::Duration;

use tieline_core::envelope::WakeUp;
use tieline_core::ids::{OrganizationId, digest};

use crate::batch::{self, Outgoing};
use crate::receive::{self, whole_seconds};
use crate::{QueueError, Queues};

/// Longest delay of a message.
pub const MAX_DELAY: Duration = Duration::from_secs(900);
/// Longest message group id, in bytes.
const MAX_GROUP_BYTES: usize = 128;

/// Puts wake-ups on the queue, each with its delay, at most [`MAX_DELAY`]. Up to ten are one call.
///
/// Delays are rounded up to seconds. The tenant is the message group, so that the queue is fair between tenants.
///
/// # Errors
/// [`QueueError`] if the queue may not have all of them.
///
/// # Panics
/// Never: wake-ups serialize.
pub async fn send(queues: &Queues, wakes: &[(WakeUp, Duration)]) -> Result<(), QueueError> {
    let messages = wakes.iter().map(|(wake, delay)| message(wake, *delay)).collect();
    batch::send(queues, &queues.urls.work, messages).await
}

fn message(wake: &WakeUp, delay: Duration) -> Outgoing {
    let WakeUp::V1(inner) = wake;
    Outgoing {
        body: serde_json::to_string(wake).expect("wake-ups serialize as JSON"),
        group: group_of(&inner.organization),
        dedup: None,
        delay_s: Some(whole_seconds(delay.min(MAX_DELAY))),
    }
}

/// The message group of a tenant: its id, or a digest of one that the service would refuse.
///
/// See [Amazon SQS API Reference/SendMessage](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/APIReference/API_SendMessage.html).
fn group_of(organization: &OrganizationId) -> String {
    let id = organization.as_str();
    if (1..=MAX_GROUP_BYTES).contains(&id.len()) && id.bytes().all(|byte| byte.is_ascii_graphic()) {
        id.to_owned()
    } else {
        digest(&[id])
    }
}

/// Makes a received wake-up visible again after `delay`.
///
/// # Errors
/// [`QueueError`]; then it is redelivered after the queue's own visibility timeout.
pub async fn retry_in(queues: &Queues, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    receive::retry_in(queues, &queues.urls.work, receipt, delay).await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn group_id_is_valid_for_the_service() {
        let group = |id: &str| group_of(&OrganizationId::new(id));
        assert_eq!(group("acme-1"), "acme-1");
        for odd in ["", "two words", "组织", &"x".repeat(129)] {
            assert_eq!(group(odd), digest(&[odd]));
        }
    }
}
