//! Cache of access tokens.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tieline_core::http_types::AccessToken;
use tieline_core::ids::IntegrationId;
use tokio::sync::Mutex;

/// Access tokens of platforms, cached until shortly before they expire. One lock per integration, so that a token is asked for once.
#[derive(Debug, Default)]
pub struct Tokens {
    slots: RwLock<HashMap<IntegrationId, Slot>>,
}

/// A token, and a digest of the credentials it was obtained with.
pub(crate) type Slot = Arc<Mutex<Option<(String, AccessToken)>>>;

impl Tokens {
    pub(crate) fn slot(&self, integration: &IntegrationId) -> Slot {
        if let Some(slot) = self
            .slots
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .get(integration)
        {
            return Arc::clone(slot);
        }
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(slots.entry(integration.clone()).or_default())
    }
}
