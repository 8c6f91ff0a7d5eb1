//! One invocation at a time per message group.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::OwnedMutexGuard;

/// The message groups of running invocations.
///
/// A FIFO queue hides a group while one of its messages is in flight, but only until the visibility timeout. If that
/// expires first, the group's next invocation has to wait here.
#[derive(Debug, Default)]
pub(super) struct Groups(Mutex<HashMap<String, Arc<tokio::sync::Mutex<()>>>>);

impl Groups {
    /// Waits for all of `names`, in the same order for every waiter, so that no two waiters wait for each other (deadlock).
    pub(super) async fn lock(&self, names: impl Iterator<Item = &str>) -> Vec<OwnedMutexGuard<()>> {
        let mut held = Vec::new();
        for name in names.collect::<BTreeSet<_>>() {
            let lock = self.of(name);
            held.push(lock.lock_owned().await);
        }
        held
    }

    fn of(&self, name: &str) -> Arc<tokio::sync::Mutex<()>> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // Each holder or waiter of a group has a reference of its own.
        groups.retain(|_, lock| Arc::strong_count(lock) > 1);
        Arc::clone(groups.entry(name.to_owned()).or_default())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_group_is_held_by_one_at_a_time() {
        let groups = Groups::default();
        let first = groups.lock(["a", "b", "a"].into_iter()).await;
        assert_eq!(first.len(), 2);
        let wait = Duration::from_millis(20);
        assert!(timeout(wait, groups.lock(["b"].into_iter())).await.is_err());
        assert!(timeout(wait, groups.lock(["c"].into_iter())).await.is_ok());
        drop(first);
        assert!(timeout(wait, groups.lock(["b", "a"].into_iter())).await.is_ok());
    }

    #[tokio::test]
    async fn unheld_groups_are_removed() {
        let groups = Groups::default();
        drop(groups.lock(["a"].into_iter()).await);
        let _held = groups.lock(["b"].into_iter()).await;
        assert_eq!(groups.0.lock().unwrap_or_else(PoisonError::into_inner).len(), 1);
    }
}
