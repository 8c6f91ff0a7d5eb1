//! Cache of access tokens.

use std::convert::Infallible;
use std::sync::Arc;

use quick_cache::sync::Cache;
use tieline_core::http_types::AccessToken;
use tieline_core::ids::IntegrationId;
use tokio::sync::Mutex;

/// Most integrations whose tokens are cached.
const MAX_KEPT: usize = 20_000;

/// Access tokens of platforms, cached until shortly before they expire. One lock per integration, so that a token is fetched once.
/// Bounded: an evicted token is fetched again.
#[derive(Debug)]
pub struct Tokens {
    slots: Cache<IntegrationId, Slot>,
}

/// A token, and a digest of the credentials it was obtained with.
pub(crate) type Slot = Arc<Mutex<Option<(String, AccessToken)>>>;

impl Default for Tokens {
    fn default() -> Self {
        Self {
            slots: Cache::new(MAX_KEPT),
        }
    }
}

impl Tokens {
    pub(crate) fn slot(&self, integration: &IntegrationId) -> Slot {
        let empty = || Ok::<_, Infallible>(Slot::default());
        let Ok(slot) = self.slots.get_or_insert_with(integration, empty);
        slot
    }
}
