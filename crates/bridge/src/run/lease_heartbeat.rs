//! Heartbeat of a conversation's lease while a run is executed; also detects `/stop`, and messages that wait behind the run.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::ids::{ConversationId, MessageId, RunId};
use tieline_store::StoreError;
use tieline_store::conversation::{self, Watch};
use tokio::sync::{Notify, watch};
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tracing::warn;

use super::LeasedConversation;
use crate::lease_watch::{LeaseKeeper, LeaseSignal, LeaseState, LeaseWatch};
use crate::local_stops::{self, ListenGuard};
use crate::world::World;

/// Longest time between two checks of the clock, and between two attempts to renew the lease after one failed.
const TICK: Duration = Duration::from_secs(2);

/// The task that renews a lease for one run. Ends when dropped.
pub(super) struct LeaseHeartbeat {
    hold: LeaseWatch,
    waiting: watch::Receiver<Vec<MessageId>>,
    task: JoinHandle<()>,
    _listening: ListenGuard,
}

impl Drop for LeaseHeartbeat {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl LeaseHeartbeat {
    /// Starts to renew the lease.
    pub(super) fn start(world: &World, held: &LeasedConversation) -> Self {
        let expires_at = held.conversation.lease.as_ref().map(|lease| lease.expires_at);
        // The run may have been stopped before this process acquired it.
        let signal = held.run().stop.map_or(LeaseSignal::Nothing, LeaseSignal::Stop);
        let (keeper, hold) = LeaseWatch::new(world.clock, expires_at.unwrap_or_default(), signal);
        let (say_waiting, waiting) = watch::channel(Vec::new());
        let LeaseKeeper { state: say, renew } = keeper;
        let look = Arc::new(Notify::new());
        let listening = world.local_stops.listen(held.id(), held.run().id.clone(), &say, &look);
        let keeping = Keeping {
            world: world.clone(),
            id: held.id(),
            run: held.run().id.clone(),
            fence: held.fence,
            say,
            say_waiting,
            renew,
            look,
        };
        Self {
            hold,
            waiting,
            task: tokio::spawn(keeping.keep()),
            _listening: listening,
        }
    }

    /// Watch for the loss of the lease.
    pub(super) const fn hold(&self) -> &LeaseWatch {
        &self.hold
    }

    /// The messages that wait behind the run, as last seen.
    pub(super) fn waiting(&self) -> watch::Receiver<Vec<MessageId>> {
        self.waiting.clone()
    }
}

struct Keeping {
    world: World,
    id: ConversationId,
    run: RunId,
    fence: u64,
    say: Arc<watch::Sender<LeaseState>>,
    say_waiting: watch::Sender<Vec<MessageId>>,
    renew: Arc<Notify>,
    look: Arc<Notify>,
}

impl Keeping {
    async fn keep(self) {
        let settings = &self.world.settings;
        let clock = &self.world.clock;
        let mut beat_at = clock.now().after(settings.heartbeat);
        let looks = settings.stop_poll < settings.heartbeat;
        while !self.say.is_closed() {
            let (mut is_needed, mut is_nudged) = (false, false);
            tokio::select! {
                biased;
                () = self.renew.notified() => is_needed = true,
                () = self.look.notified() => is_nudged = true,
                () = sleep(settings.stop_poll.min(TICK)) => {}
            }
            // A suspended machine has not counted the time, but for other processes it has passed, and by this clock too.
            let now = clock.now();
            if now >= self.say.borrow().good_until {
                self.lose();
            } else if now >= beat_at || is_needed {
                if self.beat().await {
                    self.say
                        .send_modify(|known| known.good_until = now.after(settings.lease));
                    beat_at = now.after(settings.heartbeat);
                }
            } else if looks || is_nudged {
                self.look().await;
            }
            if self.say.borrow().signal == LeaseSignal::Lost {
                return;
            }
        }
    }

    /// Renews the lease. `false` if the table didn't respond: there is still time to retry.
    async fn beat(&self) -> bool {
        let expires_at = self.world.clock.now().after(self.world.settings.lease);
        let owner = &self.world.settings.owner;
        match conversation::heartbeat(&self.world.store, &self.id, owner, self.fence, expires_at).await {
            Ok(seen) => {
                self.see(seen);
                true
            }
            Err(StoreError::Conflict) => {
                self.lose();
                false
            }
            Err(error) => {
                warn!(conversation = %self.id, error = %error, "lease can't be renewed");
                false
            }
        }
    }

    async fn look(&self) {
        // If it fails for long, the heartbeat reports it.
        if let Ok(Some(seen)) = conversation::watch(&self.world.store, &self.id).await {
            self.see(seen);
        }
    }

    /// The read is eventually consistent, so it may show the previous run.
    fn see(&self, seen: Watch) {
        if seen.fence > self.fence {
            return self.lose();
        }
        if seen.run.is_none_or(|run| run != self.run) {
            return;
        }
        self.say_waiting.send_if_modified(|known| {
            let is_news = *known != seen.waiting;
            *known = seen.waiting;
            is_news
        });
        if let Some(cause) = seen.stop {
            local_stops::tell(&self.say, cause);
        }
    }

    fn lose(&self) {
        self.say.send_modify(|known| known.signal = LeaseSignal::Lost);
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::conversation::Owner;

    use super::*;
    use crate::world::Settings;

    /// A dispatcher assumes that the holder of a lease with less than half of its time left may be dead.
    #[test]
    fn lease_renewed_in_time_counts_as_held() {
        let owner = Owner {
            node: "one".to_owned(),
            life: "1".to_owned(),
        };
        let settings = Settings::new(String::new(), owner);
        assert!(settings.heartbeat + TICK < settings.lease / 2);
    }
}
