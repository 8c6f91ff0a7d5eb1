//! Cache of prepared bot accounts.

use std::collections::HashMap;
use std::sync::{Arc, PoisonError, RwLock};

use tieline_core::account::Account;
use tieline_core::ids::IntegrationId;

/// Most accounts that are kept ready.
const MAX_KEPT: usize = 20_000;

/// Accounts that were built already, by integration and version.
#[derive(Debug, Default)]
pub struct Accounts {
    kept: RwLock<HashMap<IntegrationId, (u64, Arc<Account>)>>,
}

impl Accounts {
    pub(crate) fn get(&self, id: &IntegrationId, version: u64) -> Option<Arc<Account>> {
        let kept = self.kept.read().unwrap_or_else(PoisonError::into_inner);
        kept.get(id)
            .filter(|(of, _)| *of == version)
            .map(|(_, account)| Arc::clone(account))
    }

    pub(crate) fn keep(&self, version: u64, account: Arc<Account>) {
        let mut kept = self.kept.write().unwrap_or_else(PoisonError::into_inner);
        // Rare and cheap to rebuild, so no order of age is kept.
        if kept.len() >= MAX_KEPT {
            kept.clear();
        }
        kept.insert(account.integration.clone(), (version, account));
    }
}
