//! Registry of the bots that are connected in this process, and a cache of which process holds the others.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use tieline_core::conversation::Owner;
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::ids::IntegrationId;
use tieline_store::leases::{self, ShardMap};
use tieline_store::relay_answers;
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::{Mutex, oneshot};
use tokio::time::{Instant, sleep, timeout};
use tracing::warn;

use tieline_core::timestamp::Timestamp;
use tieline_store::Store;

use super::trigger_wants::TriggerWants;
use crate::clock::Clock;

/// How old the cached shard map may be.
const FRESH: Duration = Duration::from_secs(2);
/// Timeout for reading it from the table.
const LOOK_WITHIN: Duration = Duration::from_secs(2);
/// How long an answer is kept for the runner that waits for it.
const KEPT: Duration = Duration::from_secs(600);
/// Most attempts to write an answer.
const RECORD_TRIES: u32 = 5;

/// A command for a bot's task.
#[derive(Debug)]
pub(super) enum BotCommand {
    /// Send a frame.
    Call {
        /// The id under which its outcome is reported.
        call_id: String,
        /// Mark of the bot account that the frame was written for, if known.
        account: Option<String>,
        /// The frame.
        call: SocketCall,
        /// Who waits for the outcome.
        to: ReplyTo,
    },
    /// The trigger has changed.
    Trigger(TriggerWants),
    /// Close the connection.
    End(End),
}

/// Why a bot ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    /// Another process holds it now, or is about to.
    HandedOver,
    /// It is no longer wanted, or is to be restarted.
    Dropped,
}

/// Who waits for the outcome of a call.
#[derive(Debug)]
pub(super) enum ReplyTo {
    /// A runner in this process.
    Here(oneshot::Sender<ApiAnswer>),
    /// A runner in another process, which reads the table.
    Elsewhere,
}

impl ReplyTo {
    /// Reports the outcome, without waiting.
    pub(super) fn tell(self, store: &Store, clock: &Clock, call_id: &str, answer: ApiAnswer) {
        match self {
            // The caller may have given up.
            Self::Here(waiting) => drop(waiting.send(answer)),
            Self::Elsewhere => {
                let recording = record(store.clone(), *clock, call_id.to_owned(), answer);
                drop(tokio::spawn(recording));
            }
        }
    }
}

async fn record(store: Store, clock: Clock, call_id: String, answer: ApiAnswer) {
    for attempt in 1..=RECORD_TRIES {
        let now = clock.now();
        match relay_answers::record(&store, &call_id, &answer, now.after(KEPT), now).await {
            Ok(()) => return,
            Err(error) => warn!(error = %error, attempt, "answer of a relayed call can't be recorded"),
        }
        sleep(Duration::from_millis(200) * attempt).await;
    }
}

/// Which bots are connected here, and which process holds the other shards.
#[derive(Debug, Default)]
pub struct SocketRegistry {
    bots: RwLock<HashMap<IntegrationId, UnboundedSender<Box<BotCommand>>>>,
    seen: Mutex<Option<(Instant, Arc<ShardMap>)>>,
}

impl SocketRegistry {
    pub(super) fn connect(&self, integration: &IntegrationId, orders: UnboundedSender<Box<BotCommand>>) {
        let mut bots = self.bots.write().unwrap_or_else(PoisonError::into_inner);
        bots.insert(integration.clone(), orders);
    }

    /// Removes a bot, unless it has reconnected meanwhile.
    pub(super) fn disconnect(&self, integration: &IntegrationId, orders: &UnboundedSender<Box<BotCommand>>) {
        let mut bots = self.bots.write().unwrap_or_else(PoisonError::into_inner);
        if bots.get(integration).is_some_and(|known| known.same_channel(orders)) {
            bots.remove(integration);
        }
    }

    /// Sends a command to a bot. Returns it if the bot isn't connected here.
    pub(super) fn order(&self, integration: &IntegrationId, order: Box<BotCommand>) -> Result<(), Box<BotCommand>> {
        let bots = self.bots.read().unwrap_or_else(PoisonError::into_inner);
        match bots.get(integration) {
            Some(bot) => bot.send(order).map_err(|refused| refused.0),
            None => Err(order),
        }
    }

    /// Whether the bot is connected in this process.
    pub(crate) fn is_here(&self, integration: &IntegrationId) -> bool {
        let bots = self.bots.read().unwrap_or_else(PoisonError::into_inner);
        bots.contains_key(integration)
    }

    /// Whether a living process holds a shard. `None`: the table can't be read.
    pub(super) async fn is_held(&self, store: &Store, now: Timestamp, shard: usize) -> Option<bool> {
        Some(self.shard_map(store).await?.holder(shard, now).is_some())
    }

    /// Whether a shard is known to be held by another process than `me` that is alive.
    pub(crate) async fn is_held_by_another(&self, store: &Store, now: Timestamp, shard: usize, me: &Owner) -> bool {
        let shard_map = self.shard_map(store).await;
        shard_map.is_some_and(|it| it.holder(shard, now).is_some_and(|holder| holder != me))
    }

    /// The shard map, as of a moment ago.
    async fn shard_map(&self, store: &Store) -> Option<Arc<ShardMap>> {
        let mut seen = self.seen.lock().await;
        if let Some((_, shard_map)) = seen.as_ref().filter(|(at, _)| at.elapsed() < FRESH) {
            return Some(Arc::clone(shard_map));
        }
        let looked = timeout(LOOK_WITHIN, leases::shard_map(store)).await;
        let shard_map = Arc::new(looked.ok()?.ok()?);
        *seen = Some((Instant::now(), Arc::clone(&shard_map)));
        Some(shard_map)
    }
}
