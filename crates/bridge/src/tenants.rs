//! The cap on a tenant's concurrent runs.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::ids::OrganizationId;

/// Counts the runs of each tenant in this process.
#[derive(Debug)]
pub struct Tenants {
    max: usize,
    running: Mutex<HashMap<OrganizationId, usize>>,
}

impl Tenants {
    /// At most `max` runs a tenant.
    #[must_use]
    pub fn new(max: usize) -> Self {
        Self {
            max,
            running: Mutex::default(),
        }
    }

    /// A place for one more run, given back when dropped. `None` if the tenant has as many as it may.
    #[must_use]
    pub fn enter(self: &Arc<Self>, organization: &OrganizationId) -> Option<Place> {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        let count = running.entry(organization.clone()).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Place {
            tenants: Arc::clone(self),
            organization: organization.clone(),
        })
    }
}

/// A tenant's place. Dropping it gives the place back.
#[derive(Debug)]
pub struct Place {
    tenants: Arc<Tenants>,
    organization: OrganizationId,
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut running = self.tenants.running.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = running.get_mut(&self.organization) {
            *count -= 1;
            if *count == 0 {
                running.remove(&self.organization);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tenant_at_its_cap_does_not_stop_another() {
        let tenants = Arc::new(Tenants::new(1));
        let (loud, quiet) = (OrganizationId::new("loud"), OrganizationId::new("quiet"));
        let place = tenants.enter(&loud);
        assert!(place.is_some());
        assert!(tenants.enter(&loud).is_none());
        assert!(tenants.enter(&quiet).is_some());
        drop(place);
        assert!(tenants.enter(&loud).is_some());
    }
}
