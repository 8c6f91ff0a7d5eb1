//! What adapters need of the world around them.

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

/// The client, time and chance.
#[derive(Clone)]
pub struct World {
    /// Guarded against private addresses; follows no redirects, keeps no cookies, has no total timeout (answers take long).
    pub http: reqwest::Client,
    /// Tells the time, for signatures and `Retry-After` dates.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// Gives a random number, for jitter.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Whether private addresses may be called. A literal one never reaches the client's own guard.
    pub allow_private: bool,
    /// How long to wait between tries: [`BACKOFF`], but in tests.
    pub backoff: Backoff,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("World(..)")
    }
}
