//! Concurrency limits of each tenant in this process: runs that call an agent, and deliveries of what is already known.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::ids::OrganizationId;

/// Most that a tenant may have told at the same time, besides its runs that ask.
pub const MAX_TELLING: usize = 64;

/// What a place is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A run that asks an agent, for as long as that takes.
    Asking,
    /// What is known and has only to be shown. It has places of its own, so that it never waits for agents.
    Telling,
}

/// Slots that each tenant occupies in this process.
#[derive(Debug)]
pub struct TenantSlots {
    max_runs: usize,
    taken: Mutex<HashMap<(OrganizationId, SlotKind), usize>>,
}

impl TenantSlots {
    /// At most `max_runs` runs a tenant that ask, and [`MAX_TELLING`] things that have only to be told.
    #[must_use]
    pub fn new(max_runs: usize) -> Self {
        Self {
            max_runs,
            taken: Mutex::default(),
        }
    }

    /// One more place, given back when dropped. `None` if the tenant has as many as it may.
    #[must_use]
    pub fn enter(self: &Arc<Self>, organization: &OrganizationId, purpose: SlotKind) -> Option<Slot> {
        let max = match purpose {
            SlotKind::Asking => self.max_runs,
            SlotKind::Telling => MAX_TELLING,
        };
        let key = (organization.clone(), purpose);
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let count = taken.entry(key.clone()).or_default();
        if *count >= max {
            return None;
        }
        *count += 1;
        Some(Slot {
            tenants: Arc::clone(self),
            key,
        })
    }
}

/// A tenant's place. Dropping it gives the place back.
#[derive(Debug)]
pub struct Slot {
    tenants: Arc<TenantSlots>,
    key: (OrganizationId, SlotKind),
}

impl Slot {
    /// What it is for.
    #[must_use]
    pub const fn purpose(&self) -> SlotKind {
        self.key.1
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let mut taken = self.tenants.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = taken.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                taken.remove(&self.key);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_at_its_cap_does_not_stop_another() {
        let tenants = Arc::new(TenantSlots::new(1));
        let (loud, quiet) = (OrganizationId::new("loud"), OrganizationId::new("quiet"));
        let place = tenants.enter(&loud, SlotKind::Asking);
        assert!(place.is_some());
        assert!(tenants.enter(&loud, SlotKind::Asking).is_none());
        assert!(tenants.enter(&quiet, SlotKind::Asking).is_some());
        drop(place);
        assert!(tenants.enter(&loud, SlotKind::Asking).is_some());
    }

    #[test]
    fn what_is_only_told_waits_for_no_agent_and_leaves_places_to_others() {
        let tenants = Arc::new(TenantSlots::new(3));
        let tenant = OrganizationId::new("loud");
        let take_all = |purpose| std::iter::from_fn(|| tenants.enter(&tenant, purpose)).collect::<Vec<_>>();
        let asking = take_all(SlotKind::Asking);
        let telling = take_all(SlotKind::Telling);
        assert_eq!((asking.len(), telling.len()), (3, MAX_TELLING));
    }
}
