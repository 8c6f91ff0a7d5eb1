//! Memory budget for foreign bytes: concurrent transfers can't exhaust the process's memory, and no tenant uses up the budget.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use tieline_core::ids::OrganizationId;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// Unit in which the budget is counted, since a semaphore counts no further than 32 bits.
const UNIT_BYTES: usize = 4 * 1024;
/// Organizations remembered before those without permits are evicted.
const MAX_REMEMBERED: usize = 1024;

/// Limits how many bytes are held at a time, half of them by one organization. Counted are the bytes themselves, not the copies made for
/// sending them.
#[derive(Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    shares: Mutex<HashMap<OrganizationId, Arc<Semaphore>>>,
    max_units: u32,
}

impl MemoryBudget {
    /// A budget of `max_bytes`.
    #[must_use]
    pub fn of(max_bytes: usize) -> Self {
        let max_units = units(max_bytes);
        Self {
            free: Arc::new(Semaphore::new(max_units as usize)),
            shares: Mutex::default(),
            max_units,
        }
    }

    /// Takes a permit for `n_bytes`, at most the whole budget. `None` if none is available within `patience`.
    ///
    /// Permits are granted in order of arrival, but requests of an organization that has used up its share let others pass. A request larger
    /// than the share occupies the whole share.
    pub async fn take(
        &self,
        organization: &OrganizationId,
        n_bytes: usize,
        patience: Duration,
    ) -> Option<MemoryPermit> {
        let n_units = units(n_bytes);
        if n_units > self.max_units {
            return None;
        }
        let share = self.share(organization);
        let waiting = async {
            // The share first: a request that waits for its organization's share must not block other organizations.
            let share = share.acquire_many_owned(n_units.min(self.share_units())).await.ok()?;
            let permit = Arc::clone(&self.free).acquire_many_owned(n_units).await.ok()?;
            Some(MemoryPermit { permit, share })
        };
        timeout(patience, waiting).await.ok()?
    }

    /// A permit for `n_bytes`, if one is available now.
    pub fn try_take(&self, organization: &OrganizationId, n_bytes: usize) -> Option<MemoryPermit> {
        let n_units = units(n_bytes);
        let share = self.share(organization);
        let share = share.try_acquire_many_owned(n_units.min(self.share_units())).ok()?;
        let permit = Arc::clone(&self.free).try_acquire_many_owned(n_units).ok()?;
        Some(MemoryPermit { permit, share })
    }

    const fn share_units(&self) -> u32 {
        self.max_units.div_ceil(2)
    }

    fn share(&self, organization: &OrganizationId) -> Arc<Semaphore> {
        let mut shares = self.shares.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = shares.get(organization) {
            return Arc::clone(share);
        }
        if shares.len() >= MAX_REMEMBERED {
            // Permits and waiting requests each hold a reference.
            shares.retain(|_, share| Arc::strong_count(share) > 1);
        }
        let share = Arc::new(Semaphore::new(self.share_units() as usize));
        shares.insert(organization.clone(), Arc::clone(&share));
        share
    }
}

/// A permit for bytes of a budget. They are free again when this, or the bytes that it was filled with, are dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    permit: OwnedSemaphorePermit,
    share: OwnedSemaphorePermit,
}

impl MemoryPermit {
    /// Attaches the permit to `bytes`. What they don't need is freed at once.
    #[must_use]
    pub fn fill(mut self, bytes: Vec<u8>) -> Bytes {
        let needed = units(bytes.len()) as usize;
        for permit in [&mut self.permit, &mut self.share] {
            let unused = permit.num_permits().saturating_sub(needed);
            drop(permit.split(unused));
        }
        Bytes::from_owner(Filled { bytes, _room: self })
    }
}

struct Filled {
    bytes: Vec<u8>,
    _room: MemoryPermit,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(n_bytes: usize) -> u32 {
    u32::try_from(n_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const MIB: usize = 1024 * 1024;

    fn org(id: &str) -> OrganizationId {
        OrganizationId::new(id)
    }

    #[tokio::test]
    async fn bytes_hold_their_permit_until_the_last_slice_is_dropped() {
        let (budget, org) = (MemoryBudget::of(3 * MIB), org("acme"));
        let room = async |n_mib| budget.take(&org, n_mib * MIB, SOON).await;
        let filled = room(3).await.unwrap().fill(vec![1; MIB]);
        assert!(room(3).await.is_none());
        let rest = budget.take(&OrganizationId::new("other"), 2 * MIB, SOON).await.unwrap();
        let copy = filled.clone();
        drop((filled, rest));
        assert!(room(3).await.is_none());
        drop(copy);
        assert!(room(3).await.is_some());
    }

    #[tokio::test]
    async fn a_request_larger_than_the_budget_is_refused_at_once() {
        let budget = MemoryBudget::of(MIB);
        assert!(budget.take(&org("acme"), MIB + 1, Duration::MAX).await.is_none());
    }

    #[tokio::test]
    async fn one_organization_uses_at_most_half_of_the_budget() {
        let budget = MemoryBudget::of(8 * MIB);
        let take = async |id: &str, n_mib: usize| budget.take(&org(id), n_mib * MIB, SOON).await;
        let held = (take("greedy", 3).await.unwrap(), take("greedy", 1).await.unwrap());
        assert!(take("greedy", 1).await.is_none());
        // Requests that wait for their share block no others.
        let greedy = org("greedy");
        let mut waiting = std::pin::pin!(budget.take(&greedy, 4 * MIB, Duration::from_secs(60)));
        assert!(futures_util::FutureExt::now_or_never(waiting.as_mut()).is_none());
        assert!(take("modest", 4).await.is_some());
        drop(held);
        drop(waiting.await.unwrap());
        // A file larger than the share is allowed, and uses up all of it.
        let large = take("greedy", 6).await.unwrap();
        assert!(take("greedy", 1).await.is_none());
        assert!(take("modest", 2).await.is_some());
        drop(large);
        assert!(take("greedy", 1).await.is_some());
    }

    #[tokio::test]
    async fn organizations_without_permits_are_forgotten() {
        let budget = MemoryBudget::of(MIB);
        let held = budget.take(&org("holder"), 1, SOON).await.unwrap();
        for n in 0..3 * MAX_REMEMBERED {
            drop(budget.take(&org(&n.to_string()), 1, SOON).await.unwrap());
        }
        let shares = budget.shares.lock().unwrap();
        assert!(shares.len() <= MAX_REMEMBERED + 1);
        assert!(shares.contains_key(&org("holder")));
        drop((shares, held));
    }
}
