//! Cache of users that are recorded.

use std::time::Duration;

use quick_cache::sync::Cache;
use tieline_core::ids::UserId;
use tokio::time::Instant;

/// Most users that are cached.
const MAX_REMEMBERED: usize = 100_000;
/// How long a recorded user is cached. Another process may have deleted the record meanwhile: then it is created again by the first
/// message after this. A person who talks all the time costs one small read per period.
const LIFE: Duration = Duration::from_secs(5 * 60);

/// Users already recorded, so that a message from one writes nothing, and since when. Cache; bounded.
#[derive(Debug)]
pub struct KnownUsers(Cache<UserId, Instant>);

impl Default for KnownUsers {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl KnownUsers {
    pub(crate) fn holds(&self, id: &UserId, now: Instant) -> bool {
        let since = self.0.get(id);
        since.is_some_and(|since| now.duration_since(since) < LIFE)
    }

    pub(crate) fn add(&self, id: UserId, now: Instant) {
        self.0.insert(id, now);
    }

    pub(crate) fn forget(&self, id: &UserId) {
        self.0.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn people_are_known_for_a_while_and_not_when_forgotten() {
        let (known, now) = (KnownUsers::default(), Instant::now());
        let id = UserId::new("usr_1");
        assert!(!known.holds(&id, now));
        known.add(id.clone(), now);
        assert!(known.holds(&id, now + LIFE / 2));
        assert!(!known.holds(&id, now + LIFE));
        known.forget(&id);
        assert!(!known.holds(&id, now));
    }

    #[test]
    fn a_full_cache_forgets_some_and_not_all() {
        let (known, now) = (KnownUsers::default(), Instant::now());
        let id = |n: usize| UserId::new(format!("usr_{n}"));
        let n_added = MAX_REMEMBERED + 1000;
        for n in 0..n_added {
            known.add(id(n), now);
        }
        let n_held = (0..n_added).filter(|n| known.holds(&id(*n), now)).count();
        assert!((MAX_REMEMBERED / 2..=MAX_REMEMBERED).contains(&n_held), "{n_held}");
    }
}
