//! A place among a tenant's runs, for tenants that have a limit. Kept alive for as long as the run is in our hands.

use tieline_core::ids::OrganizationId;
use tieline_store::config::organization;
use tieline_store::{StoreError, run_slots};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::RunError;
use crate::tenant_slots::{self, SlotKind};
use crate::world::{World, chance};

/// A place in this process, and one among all processes for those who need it. The latter, if it is dropped, is free again when its
/// time runs out.
pub(super) struct RunSlot {
    here: tenant_slots::Slot,
    everywhere: Option<Kept>,
    since: Instant,
}

struct Kept {
    slot: run_slots::RunSlot,
    keeping: JoinHandle<()>,
}

impl Drop for Kept {
    fn drop(&mut self) {
        self.keeping.abort();
    }
}

impl RunSlot {
    /// Takes a place. `None`: the tenant has as many runs as it may. Only what asks an agent counts among all processes.
    pub(super) async fn take(
        world: &World,
        organization: &OrganizationId,
        purpose: SlotKind,
    ) -> Result<Option<Self>, RunError> {
        let Some(here) = world.tenant_slots.enter(organization, purpose) else {
            return Ok(None);
        };
        let since = Instant::now();
        if purpose == SlotKind::Telling {
            return Ok(Some(Self {
                here,
                everywhere: None,
                since,
            }));
        }
        let now = world.clock.now();
        let limits = organization::look_up_limits(&world.store, organization, now).await?;
        let Some(limit) = limits.max_concurrent_runs else {
            return Ok(Some(Self {
                here,
                everywhere: None,
                since,
            }));
        };
        let until = now.after(world.settings.lease);
        let taken = run_slots::take(&world.store, organization, limit, chance(), now, until).await?;
        Ok(taken.map(|slot| {
            let keeping = tokio::spawn(keep(world.clone(), slot.clone()));
            Self {
                here,
                everywhere: Some(Kept { slot, keeping }),
                since,
            }
        }))
    }

    /// Whether it is good for that too.
    pub(super) fn is_for(&self, purpose: SlotKind) -> bool {
        purpose == SlotKind::Telling || self.here.purpose() == purpose
    }

    /// Whether other runs of the tenant may be waiting for it and it was held for long enough.
    pub(super) fn is_due_to_others(&self, world: &World) -> bool {
        self.everywhere.is_some() && self.since.elapsed() > world.settings.turn
    }

    /// Releases the slot to the next one that waits.
    pub(super) async fn leave(self, world: &World) {
        let Some(kept) = &self.everywhere else { return };
        kept.keeping.abort();
        if let Err(error) = run_slots::give_back(&world.store, &kept.slot).await {
            warn!(error = %error, "a tenant's place is free only when its time runs out");
        }
    }
}

async fn keep(world: World, slot: run_slots::RunSlot) {
    loop {
        sleep(world.settings.heartbeat).await;
        let until = world.clock.now().after(world.settings.lease);
        match run_slots::prolong(&world.store, &slot, until).await {
            Ok(()) => {}
            // This process was suspended and another one has the slot. What runs here goes on; the next run finds the tenant full.
            Err(StoreError::Conflict) => return,
            Err(error) => warn!(error = %error, "a tenant's place can't be prolonged"),
        }
    }
}
