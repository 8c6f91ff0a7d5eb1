//! Keeps a lease alive while an agent writes, and hears when somebody wants it to stop.

use tieline_core::conversation::StopCause;
use tieline_core::ids::ConversationId;
use tieline_store::{StoreError, conversation};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::Held;
use crate::world::World;

/// What the holder of a lease hears.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Heard {
    /// Nothing.
    #[default]
    Nothing,
    /// Somebody wants the run to end.
    Stop(StopCause),
    /// The lease is another's, or could not be renewed in time: nothing may be sent any more.
    Lost,
}

/// The task that keeps a lease. Ends when dropped.
pub(super) struct Keeper {
    heard: watch::Receiver<Heard>,
    task: JoinHandle<()>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Keeper {
    /// Begins to keep the lease.
    pub(super) fn start(world: &World, held: &Held) -> Self {
        let (say, heard) = watch::channel(Heard::Nothing);
        let keeping = Keeping {
            world: world.clone(),
            id: held.id(),
            fence: held.fence,
            say,
        };
        Self {
            heard,
            task: tokio::spawn(keeping.keep()),
        }
    }

    /// What was heard last.
    pub(super) fn heard(&self) -> Heard {
        *self.heard.borrow()
    }

    /// Waits until something is heard.
    pub(super) async fn hear(&self) -> Heard {
        let mut heard = self.heard.clone();
        match heard.wait_for(|heard| *heard != Heard::Nothing).await {
            Ok(heard) => *heard,
            Err(_) => Heard::Lost,
        }
    }
}

struct Keeping {
    world: World,
    id: ConversationId,
    fence: u64,
    say: watch::Sender<Heard>,
}

impl Keeping {
    async fn keep(self) {
        let settings = &self.world.settings;
        let mut expires = Instant::now() + settings.lease;
        let mut beat_at = Instant::now() + settings.heartbeat;
        while !self.say.is_closed() {
            sleep(settings.stop_poll).await;
            let now = Instant::now();
            if now >= expires {
                self.say.send_replace(Heard::Lost);
                return;
            }
            if now >= beat_at {
                if self.beat().await {
                    expires = now + settings.lease;
                }
                beat_at = now + settings.heartbeat;
            } else {
                self.look().await;
            }
            if *self.say.borrow() == Heard::Lost {
                return;
            }
        }
    }

    /// Renews the lease. `false` if the table didn't answer: there is still time to try again.
    async fn beat(&self) -> bool {
        let expires_at = self.world.clock.now().after(self.world.settings.lease);
        let owner = &self.world.settings.owner;
        match conversation::heartbeat(&self.world.store, &self.id, owner, self.fence, expires_at).await {
            Ok(stop) => {
                self.heard_stop(stop);
                true
            }
            Err(StoreError::Conflict) => {
                self.say.send_replace(Heard::Lost);
                false
            }
            Err(error) => {
                warn!(conversation = %self.id, error = %error, "lease can't be renewed");
                false
            }
        }
    }

    async fn look(&self) {
        match conversation::stop_cause(&self.world.store, &self.id).await {
            Ok(Some(seen)) if seen.fence > self.fence => {
                self.say.send_replace(Heard::Lost);
            }
            Ok(seen) => self.heard_stop(seen.and_then(|seen| seen.stop)),
            // The heartbeat says if it lasts.
            Err(_) => {}
        }
    }

    fn heard_stop(&self, stop: Option<StopCause>) {
        if let Some(cause) = stop {
            self.say.send_if_modified(|heard| match heard {
                Heard::Nothing => {
                    *heard = Heard::Stop(cause);
                    true
                }
                Heard::Stop(_) | Heard::Lost => false,
            });
        }
    }
}
