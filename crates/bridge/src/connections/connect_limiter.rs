//! Limits how many connections are opened concurrently.

use std::convert::Infallible;
use std::sync::Arc;

use quick_cache::sync::Cache;
use tieline_core::account::Account;
use tieline_core::ids::OrganizationId;
use tokio::sync::Semaphore;

/// Most connections opened concurrently through one limiter: bounds a reconnect storm.
const OPENING: usize = 128;
/// Most limiters that are cached. If one is evicted while connections are being opened, its successor lets that many more through.
const MAX_KEPT: usize = 10_000;

/// The connect limiters of a process: one for each platform, and one for each tenant that configures addresses of its own.
///
/// A dead platform delays no other; addresses that never answer delay only the tenant that configured them.
pub(super) struct ConnectLimiters(Cache<Key, Arc<Semaphore>>);

type Key = (&'static str, Option<OrganizationId>);

impl Default for ConnectLimiters {
    fn default() -> Self {
        Self(Cache::new(MAX_KEPT))
    }
}

impl ConnectLimiters {
    /// The limiter for the connections of an account.
    pub(super) fn of(&self, platform: &'static str, account: &Account) -> Arc<Semaphore> {
        let named = !account.endpoints.is_empty();
        self.get(&(platform, named.then(|| account.organization.clone())))
    }

    fn get(&self, key: &Key) -> Arc<Semaphore> {
        let gate = || Ok::<_, Infallible>(Arc::new(Semaphore::new(OPENING)));
        let Ok(gate) = self.0.get_or_insert_with(key, gate);
        gate
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_never_answer_delay_only_their_tenant() {
        let gates = ConnectLimiters::default();
        let own = |name: &str| gates.get(&("wecom", Some(OrganizationId::new(name))));
        let _held = own("silent").try_acquire_many_owned(128).unwrap();
        assert!(own("silent").try_acquire_owned().is_err());
        assert!(own("other").try_acquire_owned().is_ok());
        assert!(gates.get(&("wecom", None)).try_acquire_owned().is_ok());
    }

    #[test]
    fn a_dead_platform_delays_no_other() {
        let gates = ConnectLimiters::default();
        let _held = gates.get(&("wecom", None)).try_acquire_many_owned(128).unwrap();
        assert!(gates.get(&("wecom", None)).try_acquire_owned().is_err());
        assert!(gates.get(&("lark", None)).try_acquire_owned().is_ok());
    }
}
