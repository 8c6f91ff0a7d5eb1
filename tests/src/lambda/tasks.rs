//! The background work of one emulator, ended with it.

use std::future::Future;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::task::JoinSet;

/// A set of tasks that ends as one.
#[derive(Clone, Debug)]
pub(super) struct Tasks(Arc<Mutex<Option<JoinSet<()>>>>);

impl Tasks {
    pub(super) fn new() -> Self {
        Self(Arc::new(Mutex::new(Some(JoinSet::new()))))
    }

    /// Runs `task` until it ends or the set is aborted. After that, nothing starts any more.
    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        let mut set = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(set) = set.as_mut() {
            // Ended tasks stay in the set until they are taken out.
            while set.try_join_next().is_some() {}
            set.spawn(task);
        }
    }

    /// Ends all tasks where they stand. Instances owned by them die with them.
    pub(super) fn abort(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
    }
}
