//! Concurrency limits of this process, shared fairly between organizations: runs that call an agent, deliveries, confirmations.
//!
//! Sharing is work-conserving: an organization may use every slot that no other organization needs, except a reserve of an eighth,
//! which is open only to organizations that hold less than that. A freed slot goes at once to the waiting organization that holds the
//! fewest, and within it to the wake-up that has waited longest.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tieline_core::ids::OrganizationId;
use tokio::sync::oneshot;

/// The reserve for organizations that hold few slots: one slot in so many.
const RESERVE: usize = 8;

/// Most wake-ups that wait for a slot of one kind: each costs memory only.
const MAX_WAITING: usize = 8192;

/// What a slot is for. Each kind has slots of its own, so that none waits for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SlotKind {
    /// A run that calls an agent, for the whole call.
    Asking,
    /// Delivery of a known answer.
    Telling,
    /// Delivery of a notice, such as the confirmation of a command.
    Confirming,
    /// Work at the tables, for milliseconds: a run that waits for an agent or a platform holds none.
    Working,
}

/// Concurrency limits of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SlotLimits {
    /// Most runs that call an agent.
    pub runs: usize,
    /// Most deliveries of known answers, and most confirmations.
    pub deliveries: usize,
    /// Most runs and deliveries that work at the tables. More would only slow down each of them, also those of a quiet organization.
    pub working: usize,
}

impl SlotLimits {
    const fn of(self, kind: SlotKind) -> usize {
        match kind {
            SlotKind::Asking => self.runs,
            SlotKind::Telling | SlotKind::Confirming => self.deliveries,
            SlotKind::Working => self.working,
        }
    }

    /// Most wake-ups in flight: those that hold a slot, those that wait for one, and some that need none.
    #[must_use]
    pub const fn in_flight(self) -> usize {
        const NEED_NONE: usize = 512;
        self.runs + 2 * self.deliveries + 3 * MAX_WAITING + NEED_NONE
    }
}

/// A slot that a wake-up doesn't get now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Missing {
    /// One of this process.
    Here(SlotKind),
    /// One of the organization's slots among all processes.
    Everywhere,
}

/// The slots of this process, and the wake-ups that wait for one.
#[derive(Debug)]
pub struct TenantSlots {
    limits: SlotLimits,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    pools: HashMap<SlotKind, Pool>,
    /// Conversations and replies that wait, so that each waits only once.
    waiting: HashSet<String>,
    /// Wake-ups whose organization has used up its slots among all processes.
    everywhere: HashMap<OrganizationId, VecDeque<oneshot::Sender<()>>>,
}

#[derive(Debug, Default)]
struct Pool {
    n_taken: usize,
    taken: HashMap<OrganizationId, usize>,
    waiting: HashMap<OrganizationId, VecDeque<oneshot::Sender<Slot>>>,
    n_waiting: usize,
}

impl Pool {
    fn held_by(&self, organization: &OrganizationId) -> usize {
        self.taken.get(organization).copied().unwrap_or_default()
    }

    fn is_open_to(&self, organization: &OrganizationId, limit: usize) -> bool {
        let (free, reserve) = (limit.saturating_sub(self.n_taken), limit / RESERVE);
        free > reserve || (free > 0 && self.held_by(organization) < reserve)
    }

    fn take(&mut self, organization: &OrganizationId) {
        self.n_taken += 1;
        *self.taken.entry(organization.clone()).or_default() += 1;
    }

    fn give_back(&mut self, organization: &OrganizationId) {
        self.n_taken -= 1;
        if let Some(count) = self.taken.get_mut(organization) {
            *count -= 1;
            if *count == 0 {
                self.taken.remove(organization);
            }
        }
    }

    /// Removes waiters that have given up.
    fn forget_gone(&mut self, organization: &OrganizationId) {
        let Some(queue) = self.waiting.get_mut(organization) else {
            return;
        };
        let n_before = queue.len();
        queue.retain(|waiting| !waiting.is_closed());
        self.n_waiting -= n_before - queue.len();
        if queue.is_empty() {
            self.waiting.remove(organization);
        }
    }

    /// The next waiter that may have a slot.
    fn next(&mut self, limit: usize) -> Option<(OrganizationId, oneshot::Sender<Slot>)> {
        let open = self.waiting.keys().filter(|it| self.is_open_to(it, limit));
        let organization = open.min_by_key(|it| self.held_by(it))?.clone();
        let queue = self.waiting.get_mut(&organization)?;
        let next = queue.pop_front();
        if queue.is_empty() {
            self.waiting.remove(&organization);
        }
        self.n_waiting -= usize::from(next.is_some());
        Some((organization, next?))
    }
}

impl TenantSlots {
    /// Slots with these limits.
    #[must_use]
    pub fn new(limits: SlotLimits) -> Self {
        Self {
            limits,
            state: Mutex::default(),
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The concurrency limits of this process.
    #[must_use]
    pub const fn limits(&self) -> SlotLimits {
        self.limits
    }

    /// Number of runs and deliveries in flight.
    #[must_use]
    pub fn n_taken(&self) -> usize {
        let state = self.state();
        let pools = state.pools.iter().filter(|(kind, _)| **kind != SlotKind::Working);
        pools.map(|(_, pool)| pool.n_taken).sum()
    }

    /// Takes a slot, released when dropped. `None` if the organization may have none now.
    #[must_use]
    pub fn enter(self: &Arc<Self>, organization: &OrganizationId, kind: SlotKind) -> Option<Slot> {
        let mut state = self.state();
        let pool = state.pools.entry(kind).or_default();
        if !pool.is_open_to(organization, self.limits.of(kind)) {
            return None;
        }
        pool.take(organization);
        Some(self.slot(organization, kind))
    }

    /// Waits for a slot. `None`: too many wait already, or `id` waits already.
    pub async fn wait(self: &Arc<Self>, organization: &OrganizationId, kind: SlotKind, id: &str) -> Option<Slot> {
        let mut once = Once::begin(self, id, Some((kind, organization)))?;
        let slot = self.queue_for(organization, kind).await;
        once.left = None;
        slot
    }

    /// Waits for a slot for work at the tables. `None`: too many wait already.
    pub async fn wait_to_work(self: &Arc<Self>, organization: &OrganizationId) -> Option<Slot> {
        self.queue_for(organization, SlotKind::Working).await
    }

    async fn queue_for(self: &Arc<Self>, organization: &OrganizationId, kind: SlotKind) -> Option<Slot> {
        let granted = {
            let limit = self.limits.of(kind);
            let mut state = self.state();
            let pool = state.pools.entry(kind).or_default();
            if pool.n_waiting >= MAX_WAITING {
                return None;
            }
            // It may have become free meanwhile.
            if pool.is_open_to(organization, limit) {
                pool.take(organization);
                return Some(self.slot(organization, kind));
            }
            let (grant, granted) = oneshot::channel();
            pool.waiting.entry(organization.clone()).or_default().push_back(grant);
            pool.n_waiting += 1;
            granted
        };
        granted.await.ok()
    }

    /// Waits until this process releases one of the organization's slots among all processes. `None`: `id` waits already.
    pub async fn wait_everywhere(self: &Arc<Self>, organization: &OrganizationId, id: &str) -> Option<()> {
        let _once = Once::begin(self, id, None)?;
        let freed = {
            let (free, freed) = oneshot::channel();
            let mut state = self.state();
            let queue = state.everywhere.entry(organization.clone()).or_default();
            queue.retain(|waiting| !waiting.is_closed());
            queue.push_back(free);
            freed
        };
        freed.await.ok()
    }

    /// Wakes the wake-up that has waited longest for one of the organization's slots among all processes.
    pub fn freed_everywhere(&self, organization: &OrganizationId) {
        let mut state = self.state();
        let Some(queue) = state.everywhere.get_mut(organization) else {
            return;
        };
        while let Some(next) = queue.pop_front() {
            if next.send(()).is_ok() {
                break;
            }
        }
        if queue.is_empty() {
            state.everywhere.remove(organization);
        }
    }

    /// Whether others wait for a slot of this kind.
    #[must_use]
    pub fn others_wait(&self, kind: SlotKind) -> bool {
        self.state().pools.get(&kind).is_some_and(|pool| pool.n_waiting > 0)
    }

    fn slot(self: &Arc<Self>, organization: &OrganizationId, kind: SlotKind) -> Slot {
        Slot {
            tenants: Arc::clone(self),
            organization: organization.clone(),
            kind,
        }
    }

    /// Grants free slots to waiters.
    fn grant(self: &Arc<Self>, kind: SlotKind) {
        let limit = self.limits.of(kind);
        loop {
            let (organization, next) = {
                let mut state = self.state();
                let Some(pool) = state.pools.get_mut(&kind) else { return };
                let Some((organization, next)) = pool.next(limit) else {
                    return;
                };
                if next.is_closed() {
                    continue;
                }
                pool.take(&organization);
                (organization, next)
            };
            // If the waiter has given up, dropping the slot grants it to the next.
            drop(next.send(self.slot(&organization, kind)));
        }
    }
}

/// Registers that `id` waits. Dropping it removes the registration, and its position in the queue if it gave up.
struct Once<'a> {
    slots: &'a TenantSlots,
    id: String,
    left: Option<(SlotKind, &'a OrganizationId)>,
}

impl<'a> Once<'a> {
    fn begin(slots: &'a TenantSlots, id: &str, left: Option<(SlotKind, &'a OrganizationId)>) -> Option<Self> {
        let is_new = slots.state().waiting.insert(id.to_owned());
        is_new.then(|| Self {
            slots,
            id: id.to_owned(),
            left,
        })
    }
}

impl Drop for Once<'_> {
    fn drop(&mut self) {
        let mut state = self.slots.state();
        state.waiting.remove(&self.id);
        if let Some((kind, organization)) = self.left
            && let Some(pool) = state.pools.get_mut(&kind)
        {
            pool.forget_gone(organization);
        }
    }
}

/// An organization's slot. Dropping it grants it to the next waiter.
#[derive(Debug)]
pub struct Slot {
    tenants: Arc<TenantSlots>,
    organization: OrganizationId,
    kind: SlotKind,
}

impl Slot {
    /// What it is for.
    #[must_use]
    pub const fn kind(&self) -> SlotKind {
        self.kind
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(pool) = self.tenants.state().pools.get_mut(&self.kind) {
            pool.give_back(&self.organization);
        }
        self.tenants.grant(self.kind);
    }
}

#[cfg(test)]
mod tests;
