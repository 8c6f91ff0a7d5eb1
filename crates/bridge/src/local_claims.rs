//! What tasks of this process have taken, or are about to take. To the tables they all have one name: whose write it was that a task
//! finds done can't be told from there.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Conversations and replies with the fences that tasks of this process have them under.
#[derive(Debug, Default)]
pub struct LocalClaims(Mutex<HashSet<(String, u64)>>);

impl LocalClaims {
    /// Before a task writes that it takes something under this fence. `None` if another one has done so.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: &str, fence: u64) -> Option<ClaimGuard> {
        let key = (id.to_owned(), fence);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(key.clone()).then(|| ClaimGuard {
            all: Arc::clone(self),
            key,
        })
    }
}

/// What one task has. Dropping it lets go.
#[derive(Debug)]
pub struct ClaimGuard {
    all: Arc<LocalClaims>,
    key: (String, u64),
}

impl Drop for ClaimGuard {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_task_at_a_time_has_a_thing_under_a_fence() {
        let takings = Arc::new(LocalClaims::default());
        let taking = takings.enter("cnv_1", 2);
        assert!(taking.is_some());
        assert!(takings.enter("cnv_1", 2).is_none());
        assert!(takings.enter("cnv_1", 3).is_some());
        drop(taking);
        assert!(takings.enter("cnv_1", 2).is_some());
    }
}
