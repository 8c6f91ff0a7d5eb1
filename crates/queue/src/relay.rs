//! `relay-N.fifo`: calls and wake-ups for the process that holds a bot's socket.

use std::collections::BTreeMap;

use tieline_core::envelope::{RelayCall, RelayCallV1, WakeUp};
use tieline_core::ids::{IntegrationId, digest};
use tieline_core::virtual_shard::shard_of;

use crate::batch::{self, Outgoing};
use crate::{QueueError, Queues};

/// Puts a call on the queue of its bot's shard. `lane` keeps the order; the call's id makes a repetition a no-op.
///
/// # Errors
/// [`QueueError`] if there is no such shard or the queue may not have it.
///
/// # Panics
/// Never: calls serialize.
pub async fn send(queues: &Queues, call: &RelayCall, lane: &str) -> Result<(), QueueError> {
    let RelayCall::V1(RelayCallV1 {
        integration, call_id, ..
    }) = call;
    let url = url_of_shard(queues, integration)?;
    let body = serde_json::to_string(call).expect("calls serialize as JSON");
    batch::check_size(&body)?;
    queues
        .sqs
        .send_message()
        .queue_url(url)
        .message_group_id(digest(&[integration.as_str(), lane]))
        .message_deduplication_id(digest(&[call_id]))
        .message_body(body)
        .send()
        .await
        .map_err(QueueError::of("send"))?;
    Ok(())
}

/// Puts wake-ups on the queues of the shards of the bots that they name; those that name no bot are left out. `nonce`: a new one for
/// each set of wake-ups; a repetition with the same one is a no-op.
///
/// Each conversation is a message group of its own, so that none waits for another one.
///
/// # Errors
/// [`QueueError`] if there is no such shard or the queues may not have all of them.
///
/// # Panics
/// Never: wake-ups serialize.
pub async fn wake(queues: &Queues, wakes: &[WakeUp], nonce: &str) -> Result<(), QueueError> {
    let mut shards: BTreeMap<&str, Vec<Outgoing>> = BTreeMap::new();
    for (at, wake) in wakes.iter().enumerate() {
        let WakeUp::V1(inner) = wake;
        let Some(bot) = &inner.relay else { continue };
        let messages = shards.entry(url_of_shard(queues, bot)?).or_default();
        messages.push(Outgoing {
            body: serde_json::to_string(wake).expect("wake-ups serialize as JSON"),
            group: digest(&[inner.conversation.as_str()]),
            dedup: Some(digest(&[nonce, &at.to_string()])),
            delay_s: None,
        });
    }
    for (url, messages) in shards {
        batch::send(queues, url, messages).await?;
    }
    Ok(())
}

fn url_of_shard<'a>(queues: &'a Queues, integration: &IntegrationId) -> Result<&'a str, QueueError> {
    let shards = &queues.urls.relay;
    let shard = shard_of(integration, shards.len());
    let url = shards.get(shard).map(String::as_str);
    url.ok_or_else(|| QueueError::Missing(format!("relay-{shard}.fifo")))
}
