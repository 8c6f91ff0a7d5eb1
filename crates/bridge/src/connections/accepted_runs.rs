//! Runs started by wake-ups from the queues of this process's shards. They outlive the shards: a run belongs to the holder of its lease.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::envelope::WakeUpV1;
use tokio::sync::Semaphore;
use tracing::warn;

use crate::run::batch;
use crate::world::World;

/// How long a wake-up is postponed for which this process has no memory.
const WHEN_CROWDED: Duration = Duration::from_secs(5);

/// The runs in flight, each with a permit.
pub(super) struct AcceptedRuns {
    permits: Arc<Semaphore>,
    n_permits: u32,
}

impl AcceptedRuns {
    /// Has permits for as many runs as there can be slots in use and waited for.
    pub(super) fn new(world: &World) -> Self {
        let n_permits = u32::try_from(world.settings.slots.in_flight()).unwrap_or(u32::MAX >> 4);
        Self {
            permits: Arc::new(Semaphore::new(n_permits as usize)),
            n_permits,
        }
    }

    /// Starts a task that processes a wake-up.
    pub(super) fn follow(&self, world: &World, wake: WakeUpV1) {
        // The conversation has changed: its run checks at once whether it was asked to stop.
        world.local_stops.nudge(&wake.conversation);
        let (world, permit) = (world.clone(), Arc::clone(&self.permits).try_acquire_owned());
        tokio::spawn(async move {
            match permit {
                Ok(_permit) => batch::run_accepted(&world, wake).await,
                Err(_) => {
                    warn!(conversation = %wake.conversation, "too many wake-ups are in flight");
                    batch::leave(&world, wake, WHEN_CROWDED).await;
                }
            }
        });
    }

    /// Waits until none is in flight.
    pub(super) async fn finished(&self) {
        // The semaphore is never closed.
        let _ = self.permits.acquire_many(self.n_permits).await;
    }
}
