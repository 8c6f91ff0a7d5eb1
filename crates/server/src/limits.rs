//! The limits of a server.

use std::time::Duration;

use crate::client_address::TrustedProxies;
use crate::descriptors;

/// What clients may occupy, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most connections at a time.
    pub max_connections: usize,
    /// Most connections of one peer address at a time. Loopback and trusted proxies, which stand for many clients, are exempt.
    pub max_connections_per_peer: usize,
    /// Time for a request's head, from its first byte, and for the first byte of a fresh connection.
    pub head_timeout: Duration,
    /// Time that a connection may be kept open between two requests. Longer than usual proxies keep theirs.
    pub idle_timeout: Duration,
    /// Time between two pieces of a request's body.
    pub body_idle_timeout: Duration,
    /// Time for a request's whole body.
    pub body_timeout: Duration,
    /// Time that a client may leave an answer unread.
    pub write_timeout: Duration,
    /// Longest body that is read. Of a longer one the router sees an unreadable body.
    pub max_body_bytes: usize,
    /// Memory budget of all small bodies: callbacks of platforms, nearly always. Large ones can't use it up.
    pub max_small_bodies_bytes: usize,
    /// Memory budget of all other bodies.
    pub max_large_bodies_bytes: usize,
    /// Time that a body waits for its share of the memory budget, before it is refused with 503 and `Retry-After`.
    pub body_patience: Duration,
    /// Proxies whose `X-Forwarded-For` is believed.
    pub trusted_proxies: TrustedProxies,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_connections: 4096,
            max_connections_per_peer: 256,
            head_timeout: Duration::from_secs(10),
            idle_timeout: Duration::from_secs(75),
            body_idle_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(60),
            write_timeout: Duration::from_secs(30),
            max_body_bytes: 1024 * 1024,
            max_small_bodies_bytes: 16 * 1024 * 1024,
            max_large_bodies_bytes: 48 * 1024 * 1024,
            body_patience: Duration::from_secs(2),
            trusted_proxies: TrustedProxies::default(),
        }
    }
}

impl Limits {
    /// The same with half of the process's file descriptors kept back for outgoing calls and files.
    #[must_use]
    pub fn within_descriptors(self) -> Self {
        let share = descriptors::limit().map_or(usize::MAX, |limit| limit / 2);
        Self {
            max_connections: self.max_connections.min(share).max(1),
            ..self
        }
    }
}
