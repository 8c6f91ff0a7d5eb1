//! Environment of an adapter: HTTP client, clock, randomness.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::timestamp::Timestamp;

/// How long to wait between tries, unless the agent says.
pub const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(10),
};

/// Everything an adapter uses besides its settings: HTTP client, clock, randomness.
#[derive(Clone)]
pub struct Env {
    /// Guarded against private addresses; follows no redirects, keeps no cookies, has no total timeout (answers take long).
    pub http: reqwest::Client,
    /// The current time, for signatures and `Retry-After` dates.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A random number, for jitter.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether private addresses may be called. A literal one never reaches the client's own guard.
    pub allow_private: bool,
    /// How long to wait between tries: [`BACKOFF`], but in tests.
    pub backoff: Backoff,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env(..)")
    }
}
