//! Cache of users that are recorded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tieline_core::ids::UserId;
use tokio::time::Instant;

/// Most people that are remembered as known.
const MAX_REMEMBERED: usize = 100_000;
/// How long a recorded user is cached. Another process may have deleted the record meanwhile: then it is created again by the first
/// message after this. A person who talks all the time costs one small read per period.
const LIFE: Duration = Duration::from_secs(5 * 60);

/// Users already recorded, so that a message from one writes nothing, and since when. Cache; bounded.
#[derive(Debug, Default)]
pub struct KnownUsers(Mutex<HashMap<UserId, Instant>>);

impl KnownUsers {
    pub(crate) fn holds(&self, id: &UserId, now: Instant) -> bool {
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(id).is_some_and(|since| now.duration_since(*since) < LIFE)
    }

    pub(crate) fn add(&self, id: UserId, now: Instant) {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_REMEMBERED {
            known.clear();
        }
        known.insert(id, now);
    }

    pub(crate) fn forget(&self, id: &UserId) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
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
}
