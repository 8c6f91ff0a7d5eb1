//! HTTP/1.1 server for untrusted clients: connections, time and unauthenticated bytes are limited, so that no client can starve the others.
//!
//! A connection that waits for its client may be evicted (oldest first) when a new one needs its slot, which keeps `/healthz` and
//! authenticated callers served while thousands of connections are held open. Request bodies are read whole, within a memory budget,
//! before the router sees the request.

mod body;
mod client_address;
mod connection;
mod descriptors;
mod limits;
mod registry;
mod serve;

pub use client_address::{InvalidNetwork, Network, TrustedProxies};
pub use descriptors::raise_limit;
pub use limits::Limits;
pub use serve::serve;
