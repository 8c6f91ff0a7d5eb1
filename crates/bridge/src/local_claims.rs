//! Claims of leases by tasks of this process. In the tables all its tasks have the same owner: from there a task can't tell whether a write
//! was its own or that of another task.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

/// Conversations and replies with the fencing tokens under which tasks of this process have claimed them.
#[derive(Debug, Default)]
pub struct LocalClaims(Mutex<HashSet<(String, u64)>>);

impl LocalClaims {
    /// Claims `id` under this fencing token, before the task writes that it acquires it. `None` if another task has done so.
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

/// The claim of one task, released when dropped.
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
    fn one_task_at_a_time_has_a_claim_under_a_fence() {
        let takings = Arc::new(LocalClaims::default());
        let taking = takings.enter("cnv_1", 2);
        assert!(taking.is_some());
        assert!(takings.enter("cnv_1", 2).is_none());
        assert!(takings.enter("cnv_1", 3).is_some());
        drop(taking);
        assert!(takings.enter("cnv_1", 2).is_some());
    }
}
