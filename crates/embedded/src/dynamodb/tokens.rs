//! Idempotency tokens of recent transactions, so that a transaction sent twice is executed once. In memory.
//!
//! The engine has such a cache too, but scans all of it for each transaction, and the SDK sends a token with every transaction.
//! Like the engine's, this one is lost with the process.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// See [DynamoDB API/TransactWriteItems](https://docs.aws.amazon.com/amazondynamodb/latest/APIReference/API_TransactWriteItems.html), `ClientRequestToken`.
const WINDOW: Duration = Duration::from_secs(600);
/// Longest allowed token; a longer one is left for the engine to refuse.
pub(super) const MAX_TOKEN_CHARS: usize = 36;

type Hash = [u8; 16];

/// A token, and what it was used for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Use {
    token: Hash,
    writes: Hash,
}

impl Use {
    /// `writes` is the JSON of the transaction's items.
    pub(super) fn new(token: &str, writes: &Value) -> Self {
        let mut sha = Sha256::new();
        digest(&mut sha, writes);
        Self {
            token: short(Sha256::new().chain_update(token)),
            writes: short(sha),
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    Never,
    SameWrites,
    OtherWrites,
}

#[derive(Debug, Default)]
pub(super) struct Tokens {
    used: HashMap<Hash, Hash>,
    /// Oldest first.
    log: VecDeque<(Instant, Hash)>,
}

impl Tokens {
    pub(super) fn look_up(&mut self, asked: Use, now: Instant) -> Seen {
        while let Some((at, token)) = self.log.front()
            && now.duration_since(*at) >= WINDOW
        {
            self.used.remove(token);
            self.log.pop_front();
        }
        match self.used.get(&asked.token) {
            None => Seen::Never,
            Some(writes) if *writes == asked.writes => Seen::SameWrites,
            Some(_) => Seen::OtherWrites,
        }
    }

    pub(super) fn remember(&mut self, used: Use, now: Instant) {
        self.used.insert(used.token, used.writes);
        self.log.push_back((now, used.token));
    }
}

/// Adds `value` to the hash in a form that doesn't depend on the order of an object's fields.
fn digest(sha: &mut Sha256, value: &Value) {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_unstable_by_key(|(name, _)| *name);
            sha.update(format!("{{{}", fields.len()));
            for (name, value) in fields {
                sha.update(format!("{}:{name}", name.len()));
                digest(sha, value);
            }
        }
        Value::Array(values) => {
            sha.update(format!("[{}", values.len()));
            for value in values {
                digest(sha, value);
            }
        }
        Value::String(text) => sha.update(format!("\"{}:{text}", text.len())),
        scalar => sha.update(format!(" {scalar}")),
    }
}

fn short(sha: Sha256) -> Hash {
    let mut hash = Hash::default();
    hash.copy_from_slice(&sha.finalize()[..16]);
    hash
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_deduplicates_its_writes_for_ten_minutes() {
        let (mut tokens, start) = (Tokens::default(), Instant::now());
        let first = Use::new("t", &json!([{"a": 1, "b": ["x"]}]));
        assert_eq!(tokens.look_up(first, start), Seen::Never);
        tokens.remember(first, start);
        let same = Use::new("t", &json!([{"b": ["x"], "a": 1}]));
        assert_eq!(tokens.look_up(same, start), Seen::SameWrites);
        let other = Use::new("t", &json!([{"a": 1, "b": ["y"]}]));
        assert_eq!(tokens.look_up(other, start), Seen::OtherWrites);
        assert_eq!(tokens.look_up(same, start + WINDOW), Seen::Never);
        assert!(tokens.used.is_empty() && tokens.log.is_empty());
    }

    #[test]
    fn equal_spellings_of_different_types_hash_differently() {
        let hash = |value| Use::new("t", &value).writes;
        assert_ne!(hash(json!("1")), hash(json!(1)));
        assert_ne!(hash(json!(["a", "b"])), hash(json!(["ab"])));
        assert_ne!(hash(json!({"a": "b"})), hash(json!(["a", "b"])));
    }
}
