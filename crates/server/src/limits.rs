//! The limits of a server.

use std::time::Duration;

use crate::client_address::TrustedProxies;
use crate::descriptors;

/// What clients may use, and for how long.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Largest number of open connections.
    pub max_connections: usize,
    /// Largest number of open connections of one peer address. Loopback and trusted proxies, which forward for many clients, are exempt.
    pub max_connections_per_peer: usize,
    /// Timeout for a request's head, from its first byte, and for the first byte of a new connection.
    pub head_timeout: Duration,
    /// Keep-alive timeout between two requests. Longer than the one that proxies usually have.
    pub idle_timeout: Duration,
    /// Timeout between two pieces of a request's body.
    pub body_idle_timeout: Duration,
    /// Timeout for a request's whole body.
    pub body_timeout: Duration,
    /// Time that a client may leave a response unread.
    pub write_timeout: Duration,
    /// Longest body that is read. For a longer one the router gets a body that fails when it is read.
    pub max_body_bytes: usize,
    /// Memory budget of all small bodies: nearly always callbacks of platforms. Large bodies can't use it up.
    pub max_small_bodies_bytes: usize,
    /// Memory budget of all other bodies.
    pub max_large_bodies_bytes: usize,
    /// Time that a body waits for its permit of the memory budget before the server refuses it with 503 and `Retry-After`.
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
    /// Caps the connections at half of the process's file descriptors; the other half is for outgoing calls and files.
    #[must_use]
    pub fn within_descriptors(self) -> Self {
        let share = descriptors::limit().map_or(usize::MAX, |limit| limit / 2);
        Self {
            max_connections: self.max_connections.min(share).max(1),
            ..self
        }
    }
}
