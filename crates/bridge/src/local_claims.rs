//! Claims of leases by tasks of this process. In the tables all its tasks have the same owner: from there a task can't tell whether a write
//! was its own or that of another task.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::ids::IntegrationId;

/// Conversations and replies with the fencing tokens under which tasks of this process have claimed them, and the integration of each.
#[derive(Debug, Default)]
pub struct LocalClaims(Mutex<HashMap<(String, u64), IntegrationId>>);

impl LocalClaims {
    /// Claims `id` under this fencing token, before the task writes that it acquires it. `None` if another task has done so.
    #[must_use]
    pub fn enter(self: &Arc<Self>, id: &str, fence: u64, integration: &IntegrationId) -> Option<ClaimGuard> {
        let key = (id.to_owned(), fence);
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.contains_key(&key) {
            return None;
        }
        all.insert(key.clone(), integration.clone());
        Some(ClaimGuard {
            all: Arc::clone(self),
            key,
        })
    }

    /// Whether this process works on any conversation or reply of the integration. Linear in the number of claims.
    #[must_use]
    pub fn has_any_of(&self, integration: &IntegrationId) -> bool {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.values().any(|claimed| claimed == integration)
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
        let claims = Arc::new(LocalClaims::default());
        let [one, other] = ["int_1", "int_2"].map(IntegrationId::new);
        let claim = claims.enter("cnv_1", 2, &one);
        assert!(claim.is_some());
        assert!(claims.enter("cnv_1", 2, &one).is_none());
        assert!(claims.enter("cnv_1", 3, &one).is_some());
        assert_eq!([claims.has_any_of(&one), claims.has_any_of(&other)], [true, false]);
        drop(claim);
        assert!(!claims.has_any_of(&one));
        assert!(claims.enter("cnv_1", 2, &one).is_some());
    }
}
