//! Deduplication of messages sent within the last five minutes. Pure: in memory, no IO, time is an argument.

use std::collections::{HashMap, VecDeque};

use sha2::{Digest as _, Sha256};

/// See [SQS Developer Guide/Exactly-once processing](https://docs.aws.amazon.com/AWSSimpleQueueService/latest/SQSDeveloperGuide/FIFO-queues-exactly-once-processing.html).
pub(super) const WINDOW_MS: i64 = 300_000;

/// A deduplication id within its scope, shortened to a collision-resistant hash.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Key(pub(super) [u8; 16]);

impl Key {
    /// `group` is given where the scope is the message group rather than the queue.
    pub(super) fn new(queue: i64, group: Option<&str>, id: &str) -> Self {
        let mut sha = Sha256::new();
        sha.update(queue.to_be_bytes());
        sha.update(group.map_or(u64::MAX, |g| g.len() as u64).to_be_bytes());
        sha.update(group.unwrap_or_default());
        sha.update(id);
        let mut key = [0; 16];
        key.copy_from_slice(&sha.finalize()[..16]);
        Self(key)
    }
}

/// The earlier message whose result is returned for a repeated send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Original {
    pub(super) message: [u8; 16],
    pub(super) seq: i64,
    pub(super) expires_ms: i64,
}

#[derive(Debug, Default)]
pub(super) struct Memory {
    originals: HashMap<Key, Original>,
    /// Oldest first, each with its message's sequence number, which is also the message's row on disk.
    log: VecDeque<(i64, Key)>,
}

impl Memory {
    pub(super) fn find(&self, key: Key, now_ms: i64) -> Option<Original> {
        let original = self.originals.get(&key)?;
        (original.expires_ms > now_ms).then_some(*original)
    }

    /// Records a sent message. Sequence numbers must rise from call to call.
    pub(super) fn remember(&mut self, key: Key, original: Original) {
        self.originals.insert(key, original);
        self.log.push_back((original.seq, key));
    }

    /// Drops expired ids. Returns the last sequence number that is no longer needed.
    pub(super) fn forget(&mut self, now_ms: i64) -> Option<i64> {
        let mut last = None;
        while let Some((seq, key)) = self.log.front() {
            match self.originals.get(key) {
                Some(original) if original.seq != *seq => {} // The id was reused after its window.
                Some(original) if original.expires_ms > now_ms => break,
                _ => {
                    self.originals.remove(key);
                }
            }
            last = Some(*seq);
            self.log.pop_front();
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::{Key, Memory, Original, WINDOW_MS};

    fn original(seq: i64, sent_ms: i64) -> Original {
        Original {
            message: [0; 16],
            seq,
            expires_ms: sent_ms + WINDOW_MS,
        }
    }

    #[test]
    fn an_id_is_remembered_for_exactly_the_window() {
        let (mut memory, key) = (Memory::default(), Key::new(1, None, "id"));
        memory.remember(key, original(7, 0));
        assert_eq!(memory.find(key, WINDOW_MS - 1), Some(original(7, 0)));
        assert_eq!(memory.find(key, WINDOW_MS), None);
    }

    #[test]
    fn deduplication_scopes_are_separate() {
        let keys = [
            Key::new(1, None, "ab"),
            Key::new(2, None, "ab"),
            Key::new(1, Some(""), "ab"),
            Key::new(1, Some("a"), "b"),
            Key::new(1, Some("ab"), ""),
        ];
        for (at, key) in keys.iter().enumerate() {
            assert!(!keys[at + 1..].contains(key), "{at} meets another");
        }
    }

    #[test]
    fn forgetting_keeps_an_id_that_was_used_again() {
        let (mut memory, key) = (Memory::default(), Key::new(1, None, "id"));
        memory.remember(key, original(1, 0));
        memory.remember(key, original(2, WINDOW_MS));
        assert_eq!(memory.forget(WINDOW_MS), Some(1));
        assert_eq!(memory.find(key, WINDOW_MS), Some(original(2, WINDOW_MS)));
        assert_eq!(memory.forget(2 * WINDOW_MS), Some(2));
        assert_eq!(memory.find(key, 0), None);
    }
}
