//! Cache of configuration, so that a busy bot's messages don't each read it again.
//!
//! A change through the same [`crate::Store`] evicts everything at once; a change by another process is seen
//! after [`LIFE`].

use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use quick_cache::unsync::Cache;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_core::timestamp::Timestamp;

use super::agent::AgentRecord;
use super::integration::Bound;
use super::organization::OrganizationFacts;

/// How long a cached value is fresh.
const LIFE: Duration = Duration::from_secs(1);
/// How long a cached value may be used while the table can't be read (stale on error).
const STAND_IN_LIFE: Duration = Duration::from_hours(24);
/// Most cached values per kind.
const MAX_KEPT: usize = 4096;

/// The caches by kind.
#[derive(Debug, Default)]
pub(crate) struct Recent {
    /// Integrations with their triggers.
    pub(super) bound: Readings<IntegrationId, Bound>,
    /// Agents.
    pub(super) agents: Readings<(OrganizationId, AgentId), AgentRecord>,
    /// Limits and mappers of organizations.
    pub(super) organizations: Readings<OrganizationId, OrganizationFacts>,
}

impl Recent {
    /// Evicts everything, including reads in progress.
    pub(super) fn forget(&self) {
        self.bound.forget();
        self.agents.forget();
        self.organizations.forget();
    }
}

/// The cache of one kind.
#[derive(Debug)]
pub(super) struct Readings<K, V>(Mutex<Kept<K, V>>);

#[derive(Debug)]
struct Kept<K, V> {
    /// Incremented with every eviction of everything: reads started before are not cached.
    era: u64,
    values: Cache<K, (Timestamp, V)>,
}

/// The start of a read.
#[derive(Debug, Clone, Copy)]
pub(super) struct Begun {
    era: u64,
    at: Timestamp,
}

impl<K: Eq + Hash, V> Default for Readings<K, V> {
    fn default() -> Self {
        Self(Mutex::new(Kept {
            era: 0,
            values: Cache::new(MAX_KEPT),
        }))
    }
}

impl<K: Eq + Hash, V: Clone> Readings<K, V> {
    /// The cached value of `key`, if it is fresh. Else the token for [`Self::keep`].
    pub(super) fn get(&self, key: &K, now: Timestamp) -> Result<V, Begun> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match kept.values.get(key) {
            // After the clock was set back, no value stays fresh for longer.
            Some((at, value)) if *at <= now && now.since(*at) < LIFE => Ok(value.clone()),
            _ => Err(Begun { era: kept.era, at: now }),
        }
    }

    /// The latest value of `key`, up to a day old: for when no newer one can be read.
    pub(super) fn stand_in(&self, key: &K, now: Timestamp) -> Option<V> {
        let kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, value) = kept.values.get(key)?;
        (now.since(*at) < STAND_IN_LIFE).then(|| value.clone())
    }

    /// Caches a value whose read started at `begun`, unless everything was evicted meanwhile.
    pub(super) fn keep(&self, key: K, value: V, begun: Begun) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.era != begun.era {
            return;
        }
        kept.values.insert(key, (begun.at, value));
    }

    /// Evicts a value whose item is deleted.
    pub(super) fn remove(&self, key: &K) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.values.remove(key);
    }

    fn forget(&self) {
        let mut kept = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        kept.era += 1;
        kept.values.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: i64) -> Timestamp {
        Timestamp::from_millis(millis)
    }

    #[test]
    fn a_cached_value_is_fresh_for_a_second() {
        let readings = Readings::default();
        let begun = readings.get(&1, at(5_000)).unwrap_err();
        readings.keep(1, "one", begun);
        assert_eq!(readings.get(&1, at(5_999)).unwrap(), "one");
        assert!(readings.get(&1, at(6_000)).is_err());
        assert!(readings.get(&1, at(4_999)).is_err(), "the clock was set back");
        assert!(readings.get(&2, at(5_000)).is_err());
    }

    #[test]
    fn a_stale_value_is_usable_for_a_day_unless_evicted_by_a_change() {
        let readings = Readings::default();
        let begun = readings.get(&1, at(0)).unwrap_err();
        readings.keep(1, "one", begun);
        let day = Timestamp::from_secs(24 * 3600);
        assert_eq!(readings.stand_in(&1, at(3_600_000)), Some("one"));
        assert_eq!(readings.stand_in(&1, day), None);
        readings.forget();
        assert_eq!(readings.stand_in(&1, at(1)), None);
    }

    #[test]
    fn a_read_started_before_a_change_is_not_cached() {
        let readings = Readings::default();
        let begun = readings.get(&1, at(0)).unwrap_err();
        readings.forget();
        readings.keep(1, "old", begun);
        assert!(readings.get(&1, at(0)).is_err());
    }

    #[test]
    fn the_cache_is_bounded() {
        let readings = Readings::default();
        for key in 0..MAX_KEPT + 10 {
            let begun = readings.get(&key, at(0)).unwrap_err();
            readings.keep(key, (), begun);
        }
        let n_kept = (0..MAX_KEPT + 10)
            .filter(|key| readings.get(key, at(0)).is_ok())
            .count();
        assert_eq!(n_kept, MAX_KEPT);
        assert!(readings.get(&(MAX_KEPT + 9), at(0)).is_ok(), "others make room");
    }
}
