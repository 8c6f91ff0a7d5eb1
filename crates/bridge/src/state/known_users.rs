//! Cache of recorded users.

use std::time::Duration;

use quick_cache::sync::Cache;
use tieline_core::agent::KnownPerson;
use tieline_core::ids::UserId;
use tieline_core::mapper::Mapping;
use tieline_store::config::user::Unanswered;
use tokio::time::Instant;

/// Most users that are cached.
const MAX_REMEMBERED: usize = 100_000;
/// How long a recorded user is cached. Another process may have deleted the record meanwhile: then the first message after this creates
/// it again. A person who writes all the time costs one small read per period.
const LIFE: Duration = Duration::from_secs(5 * 60);

/// How long facts of a person are cached: an operator's change of a link reaches the agents after this.
const FACTS_LIFE: Duration = Duration::from_secs(30);

/// Facts of a user, as sent to agents.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct UserFacts {
    /// The name, if it differs from the platform's own id.
    pub(crate) name: Option<String>,
    /// The known person, if the account is linked to one.
    pub(crate) person: Option<KnownPerson>,
    /// Whether an operator, or an operator's code, has linked it.
    pub(crate) is_linked: bool,
    /// What the organization's mapper says of the account.
    pub(crate) mapping: Option<Mapping>,
    /// The newest proactive message to the person, until it is answered.
    pub(crate) unanswered: Option<Unanswered>,
}

/// Users already recorded and since when, so that a message from one writes nothing; and facts of them. Cache; bounded.
#[derive(Debug)]
pub struct KnownUsers {
    recorded: Cache<UserId, Instant>,
    facts: Cache<UserId, (Instant, UserFacts)>,
}

impl Default for KnownUsers {
    fn default() -> Self {
        Self {
            recorded: Cache::new(MAX_REMEMBERED),
            facts: Cache::new(MAX_REMEMBERED),
        }
    }
}

impl KnownUsers {
    pub(crate) fn holds(&self, id: &UserId, now: Instant) -> bool {
        let since = self.recorded.get(id);
        since.is_some_and(|since| now.duration_since(since) < LIFE)
    }

    pub(crate) fn add(&self, id: UserId, now: Instant) {
        self.recorded.insert(id, now);
    }

    /// The cached facts of the user, unless they have expired.
    pub(crate) fn facts(&self, id: &UserId, now: Instant) -> Option<UserFacts> {
        let fresh = self
            .facts
            .get(id)
            .filter(|(since, _)| now.duration_since(*since) < FACTS_LIFE);
        fresh.map(|(_, facts)| facts)
    }

    /// Caches facts of the user that were read at that time.
    pub(crate) fn keep(&self, id: UserId, facts: UserFacts, read_at: Instant) {
        self.facts.insert(id, (read_at, facts));
    }

    /// Evicts the facts of the user: for a process that changes them.
    pub fn evict_facts(&self, id: &UserId) {
        self.facts.remove(id);
    }

    pub(crate) fn forget(&self, id: &UserId) {
        self.recorded.remove(id);
        self.facts.remove(id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_cached_for_a_while_and_not_when_erased() {
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
    fn a_full_cache_evicts_some_and_not_all() {
        let (known, now) = (KnownUsers::default(), Instant::now());
        let id = |n: usize| UserId::new(format!("usr_{n}"));
        let n_added = MAX_REMEMBERED + 1000;
        for n in 0..n_added {
            known.add(id(n), now);
        }
        let n_held = (0..n_added).filter(|n| known.holds(&id(*n), now)).count();
        assert!((MAX_REMEMBERED / 2..=MAX_REMEMBERED).contains(&n_held), "{n_held}");
    }

    #[test]
    fn facts_expire_soon() {
        let (known, now) = (KnownUsers::default(), Instant::now());
        let id = UserId::new("usr_1");
        let facts = UserFacts {
            name: Some("Li Si".into()),
            ..UserFacts::default()
        };
        known.keep(id.clone(), facts.clone(), now);
        assert_eq!(known.facts(&id, now + FACTS_LIFE / 2), Some(facts.clone()));
        assert_eq!(known.facts(&id, now + FACTS_LIFE), None);
        known.keep(id.clone(), facts, now);
        known.forget(&id);
        assert_eq!(known.facts(&id, now), None);
    }
}
