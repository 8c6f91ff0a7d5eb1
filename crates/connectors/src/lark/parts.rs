//! Reassembles messages that the platform sends in several frames. Bounded in number, bytes and time.

use std::collections::BTreeMap;
use std::time::Duration;

use tieline_core::timestamp::Timestamp;

/// Largest number of parts of one message.
const MAX_PARTS: usize = 1024;
/// Largest size of one message, and of all incomplete messages together.
const MAX_BYTES: usize = 16 * 1024 * 1024;
/// Largest number of incomplete messages.
const MAX_SETS: usize = 64;
/// How long the official clients wait for the missing parts.
const PATIENCE: Duration = Duration::from_secs(5);

/// Identifies a part's message: its transport id and its trace.
type Key = (String, String);

/// Incomplete messages.
#[derive(Debug, Default)]
pub(super) struct Parts {
    sets: BTreeMap<Key, Set>,
}

#[derive(Debug)]
struct Set {
    slots: Vec<Option<Vec<u8>>>,
    since: Timestamp,
}

impl Set {
    fn size(&self) -> usize {
        self.slots.iter().flatten().map(Vec::len).sum()
    }
}

impl Parts {
    /// Adds part `seq` of `sum`. Returns the message once it is complete. A repeated part replaces the earlier one.
    pub(super) fn add(&mut self, key: Key, seq: usize, sum: usize, bytes: Vec<u8>, now: Timestamp) -> Option<Vec<u8>> {
        self.expire(now);
        if seq >= sum || sum > MAX_PARTS {
            return None;
        }
        if sum == 1 {
            return Some(bytes);
        }
        // A different number of parts means another message with the same id.
        if self.sets.get(&key).is_some_and(|set| set.slots.len() != sum) {
            self.sets.remove(&key);
        }
        if !self.sets.contains_key(&key) {
            self.make_room();
            let slots = vec![None; sum];
            self.sets.insert(key.clone(), Set { slots, since: now });
        }
        let set = self.sets.get_mut(&key)?;
        set.slots[seq] = Some(bytes);
        if set.slots.iter().all(Option::is_some) {
            let set = self.sets.remove(&key)?;
            return Some(set.slots.into_iter().flatten().collect::<Vec<_>>().concat());
        }
        while self.size() > MAX_BYTES {
            self.drop_oldest();
        }
        None
    }

    /// Drops messages that have waited too long.
    pub(super) fn expire(&mut self, now: Timestamp) {
        self.sets.retain(|_, set| now < set.since.after(PATIENCE));
    }

    /// When the oldest incomplete message expires.
    pub(super) fn expires_at(&self) -> Option<Timestamp> {
        self.sets.values().map(|set| set.since.after(PATIENCE)).min()
    }

    fn size(&self) -> usize {
        self.sets.values().map(Set::size).sum()
    }

    fn make_room(&mut self) {
        while self.sets.len() >= MAX_SETS {
            self.drop_oldest();
        }
    }

    fn drop_oldest(&mut self) {
        let oldest = self.sets.iter().min_by_key(|(_, set)| set.since);
        if let Some(key) = oldest.map(|(key, _)| key.clone()) {
            self.sets.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::from_millis(1_760_000_000_000);

    fn key(id: &str) -> Key {
        (id.to_owned(), "trace".to_owned())
    }

    #[test]
    fn expired_incomplete_messages_are_dropped() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(key("m"), 0, 2, vec![1], NOW), None);
        assert_eq!(parts.expires_at(), Some(NOW.after(PATIENCE)));
        assert_eq!(parts.add(key("m"), 1, 2, vec![2], NOW.after(PATIENCE)), None);
        assert_eq!(
            parts.add(key("m"), 0, 2, vec![1], NOW.after(PATIENCE)),
            Some(vec![1, 2])
        );
        assert_eq!(parts.expires_at(), None);
    }

    #[test]
    fn impossible_parts_are_dropped() {
        let mut parts = Parts::default();
        assert_eq!(parts.add(key("m"), 2, 2, vec![1], NOW), None);
        assert_eq!(parts.add(key("m"), 0, 0, vec![1], NOW), None);
        assert_eq!(parts.add(key("m"), 0, usize::MAX, vec![1], NOW), None);
        assert!(parts.sets.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut parts = Parts::default();
        for n in 0..1000 {
            assert_eq!(parts.add(key(&n.to_string()), 0, 2, vec![0; 1024 * 1024], NOW), None);
        }
        assert!(parts.size() <= MAX_BYTES && parts.sets.len() <= MAX_SETS);
        let mut parts = Parts::default();
        for n in 0..1000 {
            assert_eq!(parts.add(key(&n.to_string()), 0, 2, vec![0], NOW), None);
        }
        assert!(parts.sets.len() <= MAX_SETS);
    }

    proptest! {
        #[test]
        fn any_order_with_repeats_gives_the_whole_message(
            (whole, order) in (1usize..9).prop_flat_map(|n| (
                prop::collection::vec(prop::collection::vec(any::<u8>(), 0..5), n),
                prop::collection::vec(0..n, 0..20),
                Just((0..n).collect::<Vec<_>>()).prop_shuffle(),
            )).prop_map(|(whole, repeats, rest)| (whole, [repeats, rest].concat()))
        ) {
            let mut parts = Parts::default();
            let given: Vec<_> = order
                .iter()
                .filter_map(|seq| parts.add(key("m"), *seq, whole.len(), whole[*seq].clone(), NOW))
                .collect();
            prop_assert!(!given.is_empty());
            prop_assert!(given.iter().all(|joined| *joined == whole.concat()));
        }
    }
}
