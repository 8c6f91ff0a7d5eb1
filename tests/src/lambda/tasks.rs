//! The background tasks of one emulator, which end with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// A set of tasks that end together.
#[derive(Clone, Debug)]
pub(super) struct Tasks(Arc<Mutex<Option<JoinSet<()>>>>);

impl Tasks {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(JoinSet::new()))))
    }

    /// Runs `task` until it ends or the set is aborted. After that, no task is started.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = set.as_mut() {
            // Ended tasks stay in the set until they are removed.
            while set.try_join_next().is_some() {}
            set.spawn(task);
        }
    }

    /// Aborts all tasks. Instances owned by them die with them.
    pub(super) fn abort(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
