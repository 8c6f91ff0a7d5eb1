//! Consumes the queue of a shard: wake-ups, and calls of runners in other processes, for bots that are connected here.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::envelope::{RelayCall, RelayCallV1, RelayMessage, StoredCall, WakeUp};
use tieline_core::http_types::ApiAnswer;
use tieline_queue::receive::{self, MAX_BATCH, MAX_WAIT, Received};
use tokio::sync::watch;
use tokio::time::sleep;
use tracing::{debug, warn};

use super::shared::RelayShared;
use super::socket_registry::{BotCommand, ReplyTo};
use crate::world::{World, chance};

/// Visibility timeout. If this process dies with a message, the next holder receives it soon enough for it to be of use.
const HIDDEN: Duration = Duration::from_secs(5);
/// Between attempts after the queue failed.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(200),
    cap: Duration::from_secs(5),
};
/// How many call ids are remembered, so that a redelivered call isn't sent twice.
const MOST_REMEMBERED: usize = 1000;

/// Consumes a shard's queue until `stop` says so.
pub(super) async fn consume(shared: Arc<RelayShared>, shard: usize, mut stop: watch::Receiver<bool>) {
    let Some(url) = shared.world.queues.urls().relay.get(shard).cloned() else {
        return;
    };
    let mut known = SeenCalls::default();
    let mut failures = 0;
    loop {
        let receiving = async {
            shared.lease.valid().await;
            receive::receive_for::<RelayMessage>(&shared.world.queues, &url, MAX_BATCH, MAX_WAIT, Some(HIDDEN)).await
        };
        let received = tokio::select! {
            biased;
            _ = stop.wait_for(|stop| *stop) => return,
            received = receiving => received,
        };
        match received {
            Ok(calls) => {
                failures = 0;
                if !calls.is_empty() {
                    pass_on(&shared, &url, calls, &mut known).await;
                }
            }
            Err(error) => {
                failures += 1;
                warn!(shard, error = %error, queue.attempt = failures, "mailbox can't be read");
                sleep(BACKOFF.wait(failures, chance())).await;
            }
        }
    }
}

async fn pass_on(shared: &RelayShared, url: &str, calls: Vec<Received<RelayMessage>>, known: &mut SeenCalls) {
    let world = &shared.world;
    let receipts: Vec<_> = calls.iter().map(|call| call.receipt.clone()).collect();
    // Deleted first: a call that is sent and redelivered may be shown twice; one that is lost is requested again by its runner. Wake-ups carry no
    // truth: if the process dies with one, the watchdog on `work` replaces it. So none blocks the queue for as long as its run takes.
    if let Err(error) = receive::delete(&world.queues, url, &receipts).await {
        warn!(error = %error, "calls may be delivered again");
    }
    for call in calls {
        match call.message {
            Some(RelayMessage::WakeUp(WakeUp::V1(wake))) => shared.runs.follow(world, wake),
            Some(RelayMessage::Call(RelayCall::V1(call))) if known.is_new(&call.call_id) => order(world, call),
            Some(RelayMessage::Call(_)) => debug!("call was delivered again"),
            None => warn!("call in the mailbox can't be read"),
        }
    }
}

fn order(world: &World, call: RelayCallV1) {
    let opened = world.store.keyring().open(&call.call, &call.call_id);
    let stored = opened.ok().and_then(|plain| serde_json::from_slice(&plain).ok());
    let Some(StoredCall::V1(inner)) = stored else {
        warn!(account.id = %call.integration, "call in the mailbox can't be unsealed");
        return;
    };
    let order = BotCommand::Call {
        call_id: call.call_id,
        account: call.account,
        call: inner,
        to: ReplyTo::Elsewhere,
    };
    if let Err(refused) = world.sockets.order(&call.integration, Box::new(order))
        && let BotCommand::Call { call_id, to, .. } = *refused
    {
        // Stopped, or not started yet: the runner retries.
        to.tell(&world.store, &world.clock, &call_id, ApiAnswer::NotSent);
    }
}

/// Ids of recent calls.
#[derive(Default)]
struct SeenCalls {
    ids: HashSet<String>,
    order: VecDeque<String>,
}

impl SeenCalls {
    fn is_new(&mut self, call_id: &str) -> bool {
        if !self.ids.insert(call_id.to_owned()) {
            return false;
        }
        self.order.push_back(call_id.to_owned());
        if self.order.len() > MOST_REMEMBERED
            && let Some(oldest) = self.order.pop_front()
        {
            self.ids.remove(&oldest);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_call_is_new_once() {
        let mut known = SeenCalls::default();
        assert!(known.is_new("a"));
        assert!(!known.is_new("a"));
        for n in 0..MOST_REMEMBERED {
            assert!(known.is_new(&n.to_string()));
        }
        assert_eq!(known.ids.len(), MOST_REMEMBERED);
        assert!(known.is_new("a"));
    }
}
