//! Reports that a storage thread has ended.

use tokio::sync::watch;

/// Held by a storage thread and dropped with it, also by a panic: reports that the thread has ended.
pub(crate) struct Alive(watch::Sender<bool>);

impl Alive {
    /// Creates a guard that sets `ended` when it is dropped.
    pub(crate) const fn new(ended: watch::Sender<bool>) -> Self {
        Self(ended)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
