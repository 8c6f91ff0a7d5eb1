//! Sends a runner's call to the process that holds the bot's socket: directly if it is this one, else over the shard's queue.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::envelope::{RelayCall, RelayCallV1, StoredCall};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::ids::{ReplyId, digest};
use tieline_core::timestamp::Timestamp;
use tieline_core::virtual_shard::shard_of;
use tieline_queue::{QueueError, relay};
use tieline_store::relay_answers;
use tieline_store::reply::Tried;
use tokio::sync::oneshot;
use tokio::time::{sleep, timeout};
use tracing::{debug, warn};

use super::socket_registry::{BotCommand, ReplyTo};
use crate::accounts::Bot;
use crate::world::{World, chance};

/// How long a call may wait for its socket before it expires unsent.
const SENT_WITHIN: Duration = Duration::from_secs(8);
/// Timeout for its answer after that. Longer than any platform's acknowledgement.
const ANSWERED_WITHIN: Duration = Duration::from_secs(7);
/// Most attempts of a frame that must be delivered, within the time for which answers are kept.
const MOST_TRIES: u32 = 64;
/// Between two reads of the answer.
const LOOK: Backoff = Backoff {
    base: Duration::from_millis(40),
    cap: Duration::from_millis(400),
};

/// How often one frame was sent, by this process and by earlier ones whose answers were recorded. Each repetition is a call with an id of its
/// own.
#[derive(Debug, Default)]
pub struct FrameAttempts {
    frame: String,
    n: u32,
    /// Whether an earlier process may have sent the reply's next frame without counting it.
    is_continued: bool,
}

impl FrameAttempts {
    /// Continues after an earlier process, which has counted these attempts. It may have made another one: its answer is looked up before a
    /// frame is sent.
    #[must_use]
    pub fn after(tried: Option<&Tried>) -> Self {
        let (frame, n) = tried.map_or_else(Default::default, |tried| (tried.frame.clone(), tried.n));
        Self {
            frame,
            n,
            is_continued: true,
        }
    }

    /// The attempts made so far.
    #[must_use]
    pub fn so_far(&self) -> Tried {
        Tried {
            frame: self.frame.clone(),
            n: self.n,
        }
    }

    /// The number of the next attempt to send `frame`.
    fn count(&mut self, frame: &str) -> u32 {
        if self.frame != frame {
            frame.clone_into(&mut self.frame);
            self.n = 0;
        }
        self.skip()
    }

    /// The number of the next attempt to send the same frame.
    const fn skip(&mut self) -> u32 {
        self.n += 1;
        self.n - 1
    }
}

/// Sends a frame over the bot's socket, whichever process holds it, and returns the outcome within 15 seconds.
///
/// [`ApiAnswer::NotSent`] is certain; [`ApiAnswer::Unknown`] isn't.
///
/// # Panics
/// Never: calls serialize.
pub async fn send(
    world: &World,
    bot: &Bot,
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
    // The earlier process may have sent it to this one, which answered over the table. Where no process was before, this read is saved.
    let call_id = match tries.is_continued {
        true => match untried(world, &frame, call_id, &call, tries).await {
            Ok(call_id) => call_id,
            Err(answer) => return answer,
        },
        false => call_id,
    };
    let call = match here(world, bot, &call_id, call).await {
        Ok(answer) => return answer,
        Err(call) => call,
    };
    // Read only once.
    let call_id = match tries.is_continued {
        true => Ok(call_id),
        false => untried(world, &frame, call_id, &call, tries).await,
    };
    match call_id {
        Ok(call_id) => elsewhere(world, bot, reply, call_id, &call).await,
        Err(answer) => answer,
    }
}

/// Directly to the bot, if it is connected in this process. Returns the call if it isn't.
async fn here(world: &World, bot: &Bot, call_id: &str, call: SocketCall) -> Result<ApiAnswer, SocketCall> {
    let (answered, answer) = oneshot::channel();
    let bound = call.expires_at.since(world.clock.now()) + ANSWERED_WITHIN;
    let order = BotCommand::Call {
        call_id: call_id.to_owned(),
        account: bot.account_mark.clone(),
        call,
        to: ReplyTo::Here(answered),
    };
    match world
        .sockets
        .order(&bot.account.integration, Box::new(order))
        .map_err(|order| *order)
    {
        // No outcome in time, or the bot ended without one: the call may have been sent.
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

/// The id of the first attempt that has no recorded outcome, of `tries` or of an earlier process. A frame that must be delivered is retried
/// until it is answered; if it was sent before its runner died, the recorded answer is returned as the error.
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

/// Over the queue of the bot's shard.
async fn elsewhere(world: &World, bot: &Bot, reply: &ReplyId, call_id: String, call: &SocketCall) -> ApiAnswer {
    let integration = &bot.account.integration;
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
        account: bot.account_mark.clone(),
        reply: reply.clone(),
        call: world.store.keyring().seal(&plain, &call_id),
        call_id: call_id.clone(),
    });
    match relay::send(&world.queues, &sealed, &call.lane).await {
        Ok(()) => {}
        Err(QueueError::TooLarge { .. } | QueueError::Missing(_)) => return ApiAnswer::NotSent,
        // The queue may have accepted it all the same.
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
    fn repetitions_are_new_calls_and_another_frame_starts_from_zero() {
        let mut tries = FrameAttempts::default();
        let counts = ["a", "a", "b", "b", "a"].map(|frame| tries.count(frame));
        assert_eq!(counts, [0, 1, 0, 1, 0]);
        assert_eq!((tries.skip(), tries.count("a")), (1, 2));
        let mut tries = FrameAttempts::after(Some(&tries.so_far()));
        assert_eq!((tries.count("a"), tries.count("b")), (3, 0));
    }
}
