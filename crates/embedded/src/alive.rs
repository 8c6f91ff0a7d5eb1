//! A storage thread's sign of life.

use tokio::sync::watch;

/// Held by a storage thread. Dropped with it, be it by a panic, it tells that the thread has ended.
pub(crate) struct Alive(watch::Sender<bool>);

impl Alive {
    /// A sign whose end is told to `ended`.
    pub(crate) const fn new(ended: watch::Sender<bool>) -> Self {
        Self(ended)
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        self.0.send_replace(true);
    }
}
