//! Cache of names that platforms return on request.

use std::time::Duration;

use quick_cache::sync::Cache;
use tieline_core::ids::IntegrationId;
use tokio::time::Instant;

/// Most names that are cached.
const MAX_REMEMBERED: usize = 100_000;
/// How long a name is cached: people and groups are renamed now and then.
const LIFE: Duration = Duration::from_hours(1);
/// How long it is cached that there is no name: an operator may grant the permission at any time.
const LIFE_OF_NONE: Duration = Duration::from_mins(5);

/// What the name is of.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Named {
    /// A person, by the platform's own id.
    Person(IntegrationId, String),
    /// A group, by the platform's own id.
    Group(IntegrationId, String),
    /// Any person or group of this bot's platform, which didn't answer in time.
    Anybody(IntegrationId),
}

/// Names, and when each was requested. Cache; bounded.
#[derive(Debug)]
pub struct KnownNames(Cache<Named, (Instant, Option<String>)>);

impl Default for KnownNames {
    fn default() -> Self {
        Self(Cache::new(MAX_REMEMBERED))
    }
}

impl KnownNames {
    /// The cached answer, unless it has expired.
    pub(crate) fn get(&self, whose: &Named, now: Instant) -> Option<Option<String>> {
        let (since, name) = self.0.get(whose)?;
        let life = if name.is_some() { LIFE } else { LIFE_OF_NONE };
        (now.duration_since(since) < life).then_some(name)
    }

    /// Caches an answer.
    pub(crate) fn keep(&self, whose: Named, name: Option<String>, asked_at: Instant) {
        self.0.insert(whose, (asked_at, name));
    }

    pub(crate) fn forget(&self, whose: &Named) {
        self.0.remove(whose);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cached_names_expire_and_missing_names_expire_sooner() {
        let (names, now) = (KnownNames::default(), Instant::now());
        let person = |id: &str| Named::Person(IntegrationId::new("int_1"), id.to_owned());
        names.keep(person("a"), Some("Li Si".to_owned()), now);
        names.keep(person("b"), None, now);
        assert_eq!(
            names.get(&person("a"), now + LIFE_OF_NONE),
            Some(Some("Li Si".to_owned()))
        );
        assert_eq!(names.get(&person("a"), now + LIFE), None);
        assert_eq!(names.get(&person("b"), now), Some(None));
        assert_eq!(names.get(&person("b"), now + LIFE_OF_NONE), None);
        names.forget(&person("a"));
        assert_eq!(names.get(&person("a"), now), None);
        let group = Named::Group(IntegrationId::new("int_1"), "b".to_owned());
        assert_eq!(names.get(&group, now), None, "a group isn't a person");
    }
}
