//! Environment of an adapter: HTTP client, clock, randomness, the process's credentials.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use aws_credential_types::provider::SharedCredentialsProvider;
use tieline_core::backoff::Backoff;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::timestamp::Timestamp;

use crate::answer_memory::AnswerMemory;

/// Backoff between attempts, unless the agent sends `Retry-After`.
pub const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(500),
    cap: Duration::from_secs(10),
};

/// Everything an adapter uses besides its settings: HTTP client, clock, randomness, the process's credentials.
#[derive(Clone)]
pub struct Env {
    /// Has the SSRF guard against private addresses; follows no redirects, keeps no cookies, has no total timeout (answers take long).
    pub http: reqwest::Client,
    /// The current time, for signatures and `Retry-After` dates.
    pub now: Arc<dyn Fn() -> Timestamp + Send + Sync>,
    /// A random number, for jitter.
    pub random: Arc<dyn Fn() -> u64 + Send + Sync>,
    /// Which private addresses may be called. The client's own guard works on resolved names, so it never sees a literal address.
    pub allow_private: PrivateEndpoints,
    /// Finds this process's own credentials at AWS, for agents that are called with its role. `None`: it has none.
    pub aws_credentials: Option<SharedCredentialsProvider>,
    /// Memory of the answer that is read with this environment.
    pub memory: AnswerMemory,
    /// Backoff between attempts: [`BACKOFF`], except in tests.
    pub backoff: Backoff,
}

impl fmt::Debug for Env {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Env(..)")
    }
}
