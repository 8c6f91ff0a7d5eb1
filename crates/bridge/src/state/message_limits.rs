//! Cache of organizations' rate limits on questions.

use std::time::Duration;

use quick_cache::sync::Cache;
use tieline_core::ids::OrganizationId;
use tokio::time::Instant;

/// Most organizations that are cached.
const MAX_REMEMBERED: usize = 10_000;
/// How long a limit is cached. Almost no organization has one, and every question reads it.
const LIFE: Duration = Duration::from_secs(30);

/// Questions a minute that organizations may ask, and when each limit was read. Cache; bounded.
#[derive(Debug)]
pub struct MessageLimits(Cache<OrganizationId, (Instant, Option<u32>)>);

impl Default for MessageLimits {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl MessageLimits {
    /// The limit, if it was read within [`LIFE`].
    pub(crate) fn get(&self, organization: &OrganizationId, now: Instant) -> Option<Option<u32>> {
        let fresh = self.0.get(organization);
        let fresh = fresh.filter(|(since, _)| now.duration_since(*since) < LIFE);
        fresh.map(|(_, limit)| limit)
    }

    /// Caches a limit that was read at that time.
    pub(crate) fn keep(&self, organization: OrganizationId, limit: Option<u32>, read_at: Instant) {
        self.0.insert(organization, (read_at, limit));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_limits_expire_soon() {
        let (limits, now) = (MessageLimits::default(), Instant::now());
        let organization = OrganizationId::new("acme");
        assert_eq!(limits.get(&organization, now), None);
        limits.keep(organization.clone(), Some(3), now);
        assert_eq!(limits.get(&organization, now + LIFE / 2), Some(Some(3)));
        assert_eq!(limits.get(&organization, now + LIFE), None);
    }
}
