//! Limits of organizations on questions, as they were a moment ago.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::ids::OrganizationId;
use tokio::time::Instant;

/// Most organizations that are remembered.
const MAX_REMEMBERED: usize = 10_000;
/// How long a limit is cached. Nearly no organization has one, and every question asks.
const LIFE: Duration = Duration::from_secs(30);

/// Questions a minute that organizations may ask, and when that was read. Cache; bounded.
#[derive(Debug, Default)]
pub struct MessageLimits(Mutex<HashMap<OrganizationId, (Instant, Option<u32>)>>);

impl MessageLimits {
    /// The limit, if it was read lately.
    pub(crate) fn get(&self, organization: &OrganizationId, now: Instant) -> Option<Option<u32>> {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fresh = known
            .get(organization)
            .filter(|(since, _)| now.duration_since(*since) < LIFE);
        fresh.map(|(_, limit)| *limit)
    }

    /// Keeps a limit that was read at that time.
    pub(crate) fn keep(&self, organization: OrganizationId, limit: Option<u32>, read_at: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(organization, (read_at, limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_are_read_again_soon() {
        let (limits, now) = (MessageLimits::default(), Instant::now());
        let organization = OrganizationId::new("acme");
        assert_eq!(limits.get(&organization, now), None);
        limits.keep(organization.clone(), Some(3), now);
        assert_eq!(limits.get(&organization, now + LIFE / 2), Some(Some(3)));
        assert_eq!(limits.get(&organization, now + LIFE), None);
    }
}
