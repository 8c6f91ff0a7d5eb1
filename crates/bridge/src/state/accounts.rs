//! Cache of prepared bot accounts.

use std::sync::Arc;

use quick_cache::sync::Cache;
use tieline_core::account::Account;
use tieline_core::ids::IntegrationId;

/// Most accounts that are cached.
const MAX_KEPT: usize = 20_000;

/// Prepared accounts, by integration and version. Cache; bounded.
#[derive(Debug)]
pub struct Accounts {
    kept: Cache<IntegrationId, (u64, Arc<Account>)>,
}

impl Default for Accounts {
    fn default() -> Self {
        Self {
            kept: Cache::new(MAX_KEPT),
        }
    }
}

impl Accounts {
    pub(crate) fn get(&self, id: &IntegrationId, version: u64) -> Option<Arc<Account>> {
        let (of, account) = self.kept.get(id)?;
        (of == version).then_some(account)
    }

    pub(crate) fn keep(&self, version: u64, account: Arc<Account>) {
        self.kept.insert(account.integration.clone(), (version, account));
    }
}
