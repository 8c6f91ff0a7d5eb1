//! When this process last wrote uses of tokens, so that a busy token doesn't cost a write per request.

use std::sync::{Mutex, PoisonError};

use quick_cache::unsync::Cache;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::token::USE_INTERVAL;

/// Most tokens that are remembered.
const MAX_TOKENS: usize = 10_000;

/// Last writes by token. Cache; bounded.
#[derive(Debug)]
pub struct TokenUses {
    written: Mutex<Cache<String, Timestamp>>,
}

impl Default for TokenUses {
    fn default() -> Self {
        Self {
            written: Mutex::new(Cache::new(MAX_TOKENS)),
        }
    }
}

impl TokenUses {
    /// Whether the use of this token is to be written now. If so, it isn't due again for a while.
    pub(crate) fn is_due(&self, token: &str, now: Timestamp) -> bool {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let recent = |at: &Timestamp| *at <= now && now.since(*at) < USE_INTERVAL;
        if written.get(token).is_some_and(recent) {
            return false;
        }
        written.insert(token.to_owned(), now);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_use_is_written_once_in_a_while() {
        let uses = TokenUses::default();
        assert!(uses.is_due("tok_1", Timestamp::from_secs(0)));
        assert!(!uses.is_due("tok_1", Timestamp::from_secs(599)));
        assert!(uses.is_due("tok_2", Timestamp::from_secs(599)));
        assert!(uses.is_due("tok_1", Timestamp::from_secs(600)));
    }
}
