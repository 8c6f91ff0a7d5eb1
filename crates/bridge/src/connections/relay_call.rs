//! A runner's way to the process that holds a bot's socket: straight, if it is this one, else over the shard's mailbox.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::envelope::{RelayCall, RelayCallV1, StoredCall};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::ids::{IntegrationId, ReplyId, digest};
use tieline_core::timestamp::Timestamp;
use tieline_core::virtual_shard::shard_of;
use tieline_queue::{QueueError, relay};
use tieline_store::relay_answers;
use tieline_store::reply::Tried;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::socket_registry::{BotCommand, ReplyTo};
use crate::world::{World, chance};

/// How long a call may wait for its socket: then it isn't sent any more.
const SENT_WITHIN: Duration = Duration::from_secs(8);
/// How long its answer may take after that. Longer than any platform's acknowledgement.
const ANSWERED_WITHIN: Duration = Duration::from_secs(7);
/// How often a last word is tried within the time for which answers are remembered, at most.
const MOST_TRIES: u32 = 64;
/// Between two looks for the answer.
const LOOK: Backoff = Backoff {
    base: Duration::from_millis(40),
    cap: Duration::from_millis(400),
};

/// How often one and the same frame was sent, by this process or before it by those whose answers were judged: repetitions are calls of
/// their own.
#[derive(Debug, Default)]
pub struct FrameAttempts {
    frame: String,
    n: u32,
}

impl FrameAttempts {
    /// Those that were made before.
    #[must_use]
    pub fn after(tried: Option<&Tried>) -> Self {
        tried.map_or_else(Self::default, |tried| Self {
            frame: tried.frame.clone(),
            n: tried.n,
        })
    }

    /// All that were made.
    #[must_use]
    pub fn so_far(&self) -> Tried {
        Tried {
            frame: self.frame.clone(),
            n: self.n,
        }
    }

    /// The number of the next try of `frame`.
    fn count(&mut self, frame: &str) -> u32 {
        if self.frame != frame {
            frame.clone_into(&mut self.frame);
            self.n = 0;
        }
        self.skip()
    }

    /// The number of the next try of the same frame.
    const fn skip(&mut self) -> u32 {
        self.n += 1;
        self.n - 1
    }
}

/// Sends a frame over the bot's socket, wherever that is, and gives what came of it, within a quarter of a minute.
///
/// [`ApiAnswer::NotSent`] is certain; [`ApiAnswer::Unknown`] isn't.
///
/// # Panics
/// Never: calls serialize.
pub async fn send(
    world: &World,
    integration: &IntegrationId,
    reply: &ReplyId,
    call: &SocketCall,
    tries: &mut FrameAttempts,
) -> ApiAnswer {
    let now = world.clock.now();
    if call.expires_at <= now {
        return ApiAnswer::NotSent;
    }
    let frame = digest(&[reply.as_str(), &call.name, &call.lane, &call.frame.to_string()]);
    let attempt = tries.count(&frame);
    let call_id = digest(&[&frame, &attempt.to_string()]);
    let call = SocketCall {
        expires_at: call.expires_at.min(now.after(SENT_WITHIN)),
        ..call.clone()
    };
    match here(world, integration, &call_id, call).await {
        Ok(answer) => answer,
        Err(call) => match untried(world, &frame, call_id, &call, tries).await {
            Ok(call_id) => elsewhere(world, integration, reply, call_id, &call).await,
            Err(answer) => answer,
        },
    }
}

/// Straight to the bot, if it is connected in this process. Gives the call back if it isn't.
async fn here(
    world: &World,
    integration: &IntegrationId,
    call_id: &str,
    call: SocketCall,
) -> Result<ApiAnswer, SocketCall> {
    let (answered, answer) = oneshot::channel();
    let bound = call.expires_at.since(world.clock.now()) + ANSWERED_WITHIN;
    let order = BotCommand::Call {
        call_id: call_id.to_owned(),
        call,
        to: ReplyTo::Here(answered),
    };
    match world
        .sockets
        .order(integration, Box::new(order))
        .map_err(|order| *order)
    {
        // Neither in time, nor not at all: it may have been sent.
        Ok(()) => Ok(timeout(bound, answer)
            .await
            .ok()
            .and_then(Result::ok)
            .unwrap_or(ApiAnswer::Unknown)),
        Err(BotCommand::Call { call, .. }) => Err(call),
        Err(BotCommand::Trigger(_) | BotCommand::End(_)) => {
            unreachable!("the order that comes back is the one that was given")
        }
    }
}

/// The name of the first attempt that has not been made yet, by `tries` or by a process before: a last word is said until it is answered,
/// but one that was sent before its runner died has its answer already, which is given.
async fn untried(
    world: &World,
    frame: &str,
    mut call_id: String,
    call: &SocketCall,
    tries: &mut FrameAttempts,
) -> Result<String, ApiAnswer> {
    if call.replaceable {
        return Ok(call_id);
    }
    for _ in 0..MOST_TRIES {
        match relay_answers::answer(&world.store, &call_id, world.clock.now()).await {
            Ok(Some(answer @ ApiAnswer::Answered { .. })) => return Err(answer),
            Ok(Some(ApiAnswer::NotSent | ApiAnswer::Unknown)) => {
                call_id = digest(&[frame, &tries.skip().to_string()]);
            }
            Ok(None) | Err(_) => break,
        }
    }
    Ok(call_id)
}

/// Over the mailbox of the bot's shard.
async fn elsewhere(
    world: &World,
    integration: &IntegrationId,
    reply: &ReplyId,
    call_id: String,
    call: &SocketCall,
) -> ApiAnswer {
    let n_shards = world.queues.urls().relay.len();
    if n_shards == 0 {
        return ApiAnswer::NotSent;
    }
    let shard = shard_of(integration, n_shards);
    if world.sockets.is_held(&world.store, world.clock.now(), shard).await == Some(false) {
        debug!(account.id = %integration, "no relay holds the bot's socket");
        return ApiAnswer::NotSent;
    }
    let plain = serde_json::to_vec(&StoredCall::V1(call.clone())).expect("calls serialize as JSON");
    let sealed = RelayCall::V1(RelayCallV1 {
        integration: integration.clone(),
        reply: reply.clone(),
        call: world.store.keyring().seal(&plain, &call_id),
        call_id: call_id.clone(),
    });
    match relay::send(&world.queues, &sealed, &call.lane).await {
        Ok(()) => {}
        Err(QueueError::TooLarge { .. } | QueueError::Missing(_)) => return ApiAnswer::NotSent,
        // The queue may have it all the same.
        Err(error) => warn!(account.id = %integration, error = %error, "call may not be in the relay's mailbox"),
    }
    wait(world, &call_id, call.expires_at.after(ANSWERED_WITHIN)).await
}

async fn wait(world: &World, call_id: &str, until: Timestamp) -> ApiAnswer {
    let mut looks = 0;
    loop {
        looks += 1;
        sleep(LOOK.wait(looks, chance())).await;
        let now = world.clock.now();
        match relay_answers::answer(&world.store, call_id, now).await {
            Ok(Some(answer)) => return answer,
            Ok(None) => {}
            Err(error) => warn!(error = %error, "answer of a relayed call can't be read"),
        }
        if now >= until {
            return ApiAnswer::Unknown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_repetition_is_another_call_and_another_frame_begins_anew() {
        let mut tries = FrameAttempts::default();
        let counts = ["a", "a", "b", "b", "a"].map(|frame| tries.count(frame));
        assert_eq!(counts, [0, 1, 0, 1, 0]);
        assert_eq!((tries.skip(), tries.count("a")), (1, 2));
        let mut tries = FrameAttempts::after(Some(&tries.so_far()));
        assert_eq!((tries.count("a"), tries.count("b")), (3, 0));
    }
}
