//! The slot of a run: one of this process and, for an organization with a limit, one of the organization's slots among all processes. Held for as long
//! as this process works on the run.

use tieline_core::conversation::{RunPhase, RunState};
use tieline_core::ids::OrganizationId;
use tieline_store::config::organization;
use tieline_store::{StoreError, run_slots};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep};
use tracing::warn;

use super::RunError;
use crate::tenant_slots::{self, Missing, SlotKind};
use crate::world::{World, chance};

/// The slot for work at the tables, released while an agent or a platform is waited for. Organizations share these slots.
pub(super) struct Working {
    organization: OrganizationId,
    slot: Option<tenant_slots::Slot>,
}

impl Working {
    async fn begin(world: &World, organization: &OrganizationId) -> Self {
        Self {
            organization: organization.clone(),
            slot: world.tenant_slots.wait_to_work(organization).await,
        }
    }

    /// Releases the slot while an agent or a platform is waited for.
    pub(super) fn pause(&mut self) {
        self.slot = None;
    }

    /// Waits for a slot again. If too many wait, it continues without one.
    pub(super) async fn resume(&mut self, world: &World) {
        if self.slot.is_none() {
            self.slot = world.tenant_slots.wait_to_work(&self.organization).await;
        }
    }
}

/// The slots of one wake-up.
pub(super) struct Slots {
    /// The slot for work at the tables, until the conversation has it.
    working: Option<Working>,
    /// The slot that the wake-up has waited for, until it is used.
    granted: Option<tenant_slots::Slot>,
    /// The slot of the run.
    held: Option<RunSlot>,
}

/// A slot in this process, and one among all processes for organizations with a limit. If dropped, the latter is free again when it
/// expires.
struct RunSlot {
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

impl Slots {
    /// No slot yet, except one that the wake-up has waited for.
    pub(super) async fn begin(
        world: &World,
        organization: &OrganizationId,
        granted: Option<tenant_slots::Slot>,
    ) -> Self {
        Self {
            working: Some(Working::begin(world, organization).await),
            granted,
            held: None,
        }
    }

    /// Hands the slot for work at the tables to the conversation that is worked on from now on.
    pub(super) fn hand_over_work(&mut self, organization: &OrganizationId) -> Working {
        self.working.take().unwrap_or_else(|| Working {
            organization: organization.clone(),
            slot: None,
        })
    }

    /// Takes that slot back from a conversation that another process acquired first.
    pub(super) fn take_back_work(&mut self, working: Working) {
        self.working = Some(working);
    }

    /// Releases the slot for work at the tables while a platform is waited for.
    pub(super) fn pause_work(&mut self) {
        self.working = None;
    }

    /// Takes a slot of this process.
    pub(super) fn enter(
        &mut self,
        world: &World,
        organization: &OrganizationId,
        kind: SlotKind,
    ) -> Option<tenant_slots::Slot> {
        let granted = self.granted.take_if(|slot| slot.kind() == kind);
        granted.or_else(|| world.tenant_slots.enter(organization, kind))
    }

    /// Ensures that the run has the slot that it needs. Returns the missing one, if it is not available now.
    pub(super) async fn ensure(
        &mut self,
        world: &World,
        organization: &OrganizationId,
        run: Option<&RunState>,
    ) -> Result<Option<Missing>, RunError> {
        let Some(kind) = run.and_then(kind_of) else {
            return Ok(None);
        };
        if self.held.as_ref().is_some_and(|held| held.is_for(kind)) {
            return Ok(None);
        }
        let Some(here) = self.enter(world, organization, kind) else {
            return Ok(Some(Missing::Here(kind)));
        };
        let everywhere = match kind {
            SlotKind::Asking => take_everywhere(world, organization).await?,
            SlotKind::Telling | SlotKind::Confirming | SlotKind::Working => Everywhere::NotNeeded,
        };
        let everywhere = match everywhere {
            Everywhere::NotNeeded => None,
            Everywhere::Taken(kept) => Some(kept),
            Everywhere::Full => return Ok(Some(Missing::Everywhere)),
        };
        let since = Instant::now();
        self.held = Some(RunSlot {
            here,
            everywhere,
            since,
        });
        Ok(None)
    }

    /// Releases the slot if other runs wait for it and it was held for long enough. `true` if so.
    pub(super) async fn yield_to_others(&mut self, world: &World) -> bool {
        match self.held.take_if(|slot| slot.is_due_to_others(world)) {
            Some(slot) => {
                slot.leave(world).await;
                true
            }
            None => false,
        }
    }

    /// Releases the slot to the next run that waits.
    pub(super) async fn leave(self, world: &World) {
        if let Some(slot) = self.held {
            slot.leave(world).await;
        }
    }
}

/// The kind of slot that the run needs. `None` if its agent calls back.
fn kind_of(run: &RunState) -> Option<SlotKind> {
    match run.phase {
        RunPhase::Deferred => None,
        RunPhase::Calling if run.stop.is_none() => Some(SlotKind::Asking),
        // The agent is not called any more: a known result must not wait behind other runs.
        RunPhase::Calling | RunPhase::Delivering => Some(SlotKind::Telling),
    }
}

enum Everywhere {
    NotNeeded,
    Taken(Kept),
    Full,
}

async fn take_everywhere(world: &World, organization: &OrganizationId) -> Result<Everywhere, RunError> {
    let now = world.clock.now();
    let facts = organization::look_up(&world.store, organization, now).await?;
    let Some(limit) = facts.limits.max_concurrent_runs else {
        return Ok(Everywhere::NotNeeded);
    };
    let until = now.after(world.settings.lease);
    let taken = run_slots::take(&world.store, organization, limit, chance(), now, until).await?;
    Ok(taken.map_or(Everywhere::Full, |slot| {
        let keeping = tokio::spawn(keep(world.clone(), slot.clone()));
        Everywhere::Taken(Kept { slot, keeping })
    }))
}

impl RunSlot {
    /// Whether a run that needs a slot of this kind may use this one.
    fn is_for(&self, kind: SlotKind) -> bool {
        kind == SlotKind::Telling || self.here.kind() == kind
    }

    /// Whether other runs wait for it, as far as known, and it was held for long enough.
    fn is_due_to_others(&self, world: &World) -> bool {
        let are_others = self.everywhere.is_some() || world.tenant_slots.others_wait(self.here.kind());
        are_others && self.since.elapsed() > world.settings.turn
    }

    async fn leave(self, world: &World) {
        let Some(kept) = &self.everywhere else { return };
        kept.keeping.abort();
        match run_slots::give_back(&world.store, &kept.slot).await {
            Ok(()) => world.tenant_slots.freed_everywhere(kept.slot.organization()),
            Err(error) => {
                warn!(error = %error, "a tenant's run slot could not be released; it is free when it expires")
            }
        }
    }
}

async fn keep(world: World, slot: run_slots::RunSlot) {
    loop {
        sleep(world.settings.heartbeat).await;
        let until = world.clock.now().after(world.settings.lease);
        match run_slots::prolong(&world.store, &slot, until).await {
            Ok(()) => {}
            // This process was suspended and another one has the slot. The run here continues; the next run finds the tenant full.
            Err(StoreError::Conflict) => return,
            Err(error) => warn!(error = %error, "a tenant's run slot can't be renewed"),
        }
    }
}
