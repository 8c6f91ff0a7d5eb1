//! `work`: wake-ups for the runner.

use std::time::Duration;

use aws_sdk_sqs::types::SendMessageBatchRequestEntry;
use tieline_core::envelope::WakeUp;

use crate::{QueueError, Queues};

/// Longest delay of a message.
pub const MAX_DELAY: Duration = Duration::from_secs(900);
/// Longest time that a received message may be hidden: 12 hours.
const MAX_HIDDEN_S: u64 = 43_200;

/// Puts wake-ups on the queue, each to be seen after its delay, in one call. At most ten.
///
/// Delays are rounded up to seconds. The tenant is the message group, so that the queue is fair between tenants.
///
/// # Errors
/// [`QueueError`] if the queue may not have all of them.
///
/// # Panics
/// Never: wake-ups serialize.
pub async fn send(queues: &Queues, wakes: &[(WakeUp, Duration)]) -> Result<(), QueueError> {
    let entries = wakes
        .iter()
        .enumerate()
        .map(|(at, (wake, delay))| entry(at, wake, *delay))
        .collect();
    let answer = queues
        .sqs
        .send_message_batch()
        .queue_url(&queues.urls.work)
        .set_entries(Some(entries))
        .send()
        .await
        .map_err(QueueError::of("send"))?;
    // A batch that succeeds may still have refused entries.
    match answer.failed() {
        [] => Ok(()),
        failed => Err(QueueError::Partial {
            operation: "send",
            n_failed: failed.len(),
            code: failed[0].code().to_owned(),
        }),
    }
}

fn entry(at: usize, wake: &WakeUp, delay: Duration) -> SendMessageBatchRequestEntry {
    let WakeUp::V1(inner) = wake;
    let body = serde_json::to_string(wake).expect("wake-ups serialize as JSON");
    SendMessageBatchRequestEntry::builder()
        .id(at.to_string())
        .message_body(body)
        .message_group_id(inner.organization.as_str())
        .delay_seconds(whole_seconds(delay.min(MAX_DELAY)))
        .build()
        .expect("id and body are set")
}

fn whole_seconds(delay: Duration) -> i32 {
    let rounded_up = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
    i32::try_from(rounded_up).unwrap_or(i32::MAX)
}

/// Shows a received wake-up again after `delay`.
///
/// # Errors
/// [`QueueError`]; it then comes again after the queue's own time-out.
pub async fn retry_in(queues: &Queues, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    hide(queues, &queues.urls.work, receipt, delay).await
}

pub(crate) async fn hide(queues: &Queues, url: &str, receipt: &str, delay: Duration) -> Result<(), QueueError> {
    let hidden = whole_seconds(delay.min(Duration::from_secs(MAX_HIDDEN_S)));
    queues
        .sqs
        .change_message_visibility()
        .queue_url(url)
        .receipt_handle(receipt)
        .visibility_timeout(hidden)
        .send()
        .await
        .map_err(QueueError::of("hide"))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn delays_are_rounded_up() {
        assert_eq!(whole_seconds(Duration::ZERO), 0);
        assert_eq!(whole_seconds(Duration::from_millis(1)), 1);
        assert_eq!(whole_seconds(Duration::from_secs(900)), 900);
    }
}
