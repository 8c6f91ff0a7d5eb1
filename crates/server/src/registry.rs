//! Registry of open connections: admission within the limits, and eviction of connections that only wait.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use crate::client_address::of_one_client;
use crate::limits::Limits;

/// Time that a client has for a body before its connection may be evicted.
const BODY_GRACE: Duration = Duration::from_secs(1);
/// Time that a response may stay unread before its connection may be evicted.
const WRITE_GRACE: Duration = Duration::from_secs(5);
/// Time within which an evicted connection's task ends.
const EVICTION_PATIENCE: Duration = Duration::from_secs(1);

/// Phase of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Open, no byte received yet.
    Fresh,
    /// Between two requests.
    Idle,
    /// The client is sending a request's head.
    Head,
    /// The client is sending a request's body.
    Body,
    /// The request's body waits for the memory budget.
    BodyWaits,
    /// The request is being processed.
    Working,
}

/// State of one connection, shared by its socket, its service and the registry.
#[derive(Debug)]
pub(crate) struct Connection {
    progress: Mutex<Progress>,
    evicted: Notify,
}

/// A connection's phase, and since when it is in it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) phase: Phase,
    pub(crate) since: Instant,
    /// Since when the client hasn't read any of the response.
    pub(crate) unread_since: Option<Instant>,
}

impl Connection {
    fn new() -> Self {
        let progress = Progress {
            phase: Phase::Fresh,
            since: Instant::now(),
            unread_since: None,
        };
        Self {
            progress: Mutex::new(progress),
            evicted: Notify::new(),
        }
    }

    pub(crate) fn progress(&self) -> Progress {
        *self.lock()
    }

    pub(crate) fn enter(&self, phase: Phase) {
        let mut progress = self.lock();
        progress.phase = phase;
        progress.since = Instant::now();
    }

    /// Changes the phase but keeps its start time: a body's timeout goes on while it waits for memory.
    pub(crate) fn rename(&self, phase: Phase) {
        self.lock().phase = phase;
    }

    /// Records that bytes came from the client.
    pub(crate) fn read(&self) {
        let mut progress = self.lock();
        if matches!(progress.phase, Phase::Fresh | Phase::Idle) {
            progress.phase = Phase::Head;
            progress.since = Instant::now();
        }
    }

    /// Records whether the client reads the response.
    pub(crate) fn wrote(&self, is_blocked: bool) {
        let mut progress = self.lock();
        progress.unread_since = is_blocked.then(|| progress.unread_since.unwrap_or_else(Instant::now));
    }

    /// Waits until the connection is evicted.
    pub(crate) async fn evicted(&self) {
        self.evicted.notified().await;
    }

    fn lock(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All open connections.
#[derive(Debug)]
pub(crate) struct Registry {
    open: Mutex<Open>,
    closed: Notify,
    max: usize,
    max_per_peer: usize,
}

#[derive(Debug, Default)]
struct Open {
    next: u64,
    connections: HashMap<u64, Entry>,
    per_peer: HashMap<IpAddr, usize>,
}

#[derive(Debug)]
struct Entry {
    /// `None` where the peer forwards for many clients.
    peer: Option<IpAddr>,
    connection: Arc<Connection>,
}

/// Slot of an open connection, released on drop.
pub(crate) struct Slot {
    registry: Arc<Registry>,
    id: u64,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for Slot {
    fn drop(&mut self) {
        self.registry.lock().remove(self.id);
        self.registry.closed.notify_waiters();
    }
}

impl Registry {
    pub(crate) fn new(limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            open: Mutex::default(),
            closed: Notify::new(),
            max: limits.max_connections,
            max_per_peer: limits.max_connections_per_peer,
        })
    }

    /// Admits a connection. If no slot is left, evicts the connection that has waited longest for its client. `None`: all are busy.
    pub(crate) async fn admit(self: &Arc<Self>, peer: IpAddr, is_shared: bool) -> Option<Slot> {
        let peer = (!is_shared).then(|| of_one_client(peer));
        loop {
            let mut closed = std::pin::pin!(self.closed.notified());
            // Registered before the check, so that no close is missed between the check and the wait.
            closed.as_mut().enable();
            match self.lock().try_admit(peer, self.max, self.max_per_peer) {
                Ok((id, connection)) => {
                    return Some(Slot {
                        registry: Arc::clone(self),
                        id,
                        connection,
                    });
                }
                Err(Some(victim)) => victim.evicted.notify_one(),
                Err(None) => return None,
            }
            timeout(EVICTION_PATIENCE, closed).await.ok()?;
        }
    }

    /// Evicts the connection whose body takes longest, if its grace period is over. For a body that waits for memory.
    pub(crate) fn evict_slowest_body(&self) {
        let now = Instant::now();
        let open = self.lock();
        let slow = open.connections.values().filter_map(|entry| {
            let progress = entry.connection.progress();
            let is_slow = progress.phase == Phase::Body && now.duration_since(progress.since) >= BODY_GRACE;
            is_slow.then_some((progress.since, &entry.connection))
        });
        if let Some((_, connection)) = slow.min_by_key(|(since, _)| *since) {
            connection.evicted.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, Open> {
        self.open.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Open {
    fn try_admit(
        &mut self,
        peer: Option<IpAddr>,
        max: usize,
        max_per_peer: usize,
    ) -> Result<(u64, Arc<Connection>), Option<Arc<Connection>>> {
        if let Some(peer) = peer
            && self.per_peer.get(&peer).is_some_and(|count| *count >= max_per_peer)
        {
            return Err(self.victim(|entry| entry.peer == Some(peer)));
        }
        if self.connections.len() >= max {
            return Err(self.victim(|_| true));
        }
        let id = self.next;
        self.next += 1;
        let connection = Arc::new(Connection::new());
        let entry = Entry {
            peer,
            connection: Arc::clone(&connection),
        };
        self.connections.insert(id, entry);
        if let Some(peer) = peer {
            *self.per_peer.entry(peer).or_default() += 1;
        }
        Ok((id, connection))
    }

    /// The connection to evict: the one that has waited longest for a head, else for a body, else for its client to read.
    fn victim(&self, among: impl Fn(&Entry) -> bool) -> Option<Arc<Connection>> {
        let now = Instant::now();
        let candidates = self.connections.values().filter(|entry| among(entry));
        let ranked = candidates.filter_map(|entry| Some((rank(entry.connection.progress(), now)?, entry)));
        let (_, first) = ranked.min_by_key(|(rank, _)| *rank)?;
        Some(Arc::clone(&first.connection))
    }

    fn remove(&mut self, id: u64) {
        let Some(Entry { peer: Some(peer), .. }) = self.connections.remove(&id) else {
            return;
        };
        if let Some(count) = self.per_peer.get_mut(&peer) {
            *count -= 1;
            if *count == 0 {
                self.per_peer.remove(&peer);
            }
        }
    }
}

/// Order of eviction; `None` for a connection that must not be evicted.
fn rank(progress: Progress, now: Instant) -> Option<(u8, Instant)> {
    let has_had = |since: Instant, grace: Duration| now.duration_since(since) >= grace;
    match progress.phase {
        Phase::Fresh | Phase::Idle | Phase::Head if progress.unread_since.is_none() => Some((0, progress.since)),
        Phase::Body if has_had(progress.since, BODY_GRACE) => Some((1, progress.since)),
        _ => progress
            .unread_since
            .filter(|since| has_had(*since, WRITE_GRACE))
            .map(|since| (2, since)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn registry(max_connections: usize, max_connections_per_peer: usize) -> Arc<Registry> {
        Registry::new(&Limits {
            max_connections,
            max_connections_per_peer,
            ..Limits::default()
        })
    }

    fn peer(n: u8) -> IpAddr {
        IpAddr::from([192, 0, 2, n])
    }

    /// Ends on eviction, as a connection's task does.
    fn ending(slot: Slot) -> tokio::task::JoinHandle<()> {
        tokio::spawn(async move { slot.connection.evicted().await })
    }

    #[tokio::test]
    async fn the_longest_waiting_connection_is_evicted() {
        let registry = registry(2, 2);
        let first = registry.admit(peer(1), false).await.expect("a slot");
        let second = registry.admit(peer(2), false).await.expect("a slot");
        first.connection.enter(Phase::Working);
        let second = ending(second);
        let third = registry.admit(peer(3), false).await.expect("the slot of the second");
        second.await.expect("it has ended");
        third.connection.enter(Phase::Working);
        assert!(registry.admit(peer(4), false).await.is_none(), "both are busy");
        drop(first);
        assert!(registry.admit(peer(4), false).await.is_some());
    }

    #[tokio::test]
    async fn a_peer_at_its_limit_evicts_only_its_own_connections() {
        let registry = registry(10, 2);
        let other = registry.admit(peer(9), false).await.expect("a slot");
        let busy = registry.admit(peer(1), false).await.expect("a slot");
        busy.connection.enter(Phase::Working);
        let waiting = ending(registry.admit(peer(1), false).await.expect("a slot"));
        let next = registry.admit(peer(1), false).await.expect("the slot of its own");
        waiting.await.expect("it has ended");
        next.connection.enter(Phase::Working);
        assert!(registry.admit(peer(1), false).await.is_none());
        assert!(registry.admit(peer(1), true).await.is_some(), "a proxy stands for many");
        assert_eq!(other.connection.progress().phase, Phase::Fresh);
        drop((busy, next));
        assert!(!registry.lock().per_peer.contains_key(&peer(1)));
    }

    #[test]
    fn bodies_and_unread_responses_are_evictable_after_their_grace() {
        let begun = Instant::now();
        let progress = |phase, unread_since| Progress {
            phase,
            since: begun,
            unread_since,
        };
        let (body, unread) = (
            progress(Phase::Body, None),
            progress(Phase::Working, Some(begun + BODY_GRACE)),
        );
        assert_eq!(rank(body, begun), None);
        assert_eq!(rank(body, begun + BODY_GRACE), Some((1, begun)));
        assert_eq!(rank(unread, begun + WRITE_GRACE), None);
        let late = begun + BODY_GRACE + WRITE_GRACE;
        assert_eq!(rank(unread, late), Some((2, begun + BODY_GRACE)));
        for busy in [Phase::Working, Phase::BodyWaits] {
            assert_eq!(rank(progress(busy, None), late), None, "{busy:?}");
        }
        for waiting in [Phase::Fresh, Phase::Idle, Phase::Head] {
            assert_eq!(rank(progress(waiting, None), begun), Some((0, begun)), "{waiting:?}");
        }
    }
}
