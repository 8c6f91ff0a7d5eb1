//! Memory in which an agent's answer is collected: taken from what the process may hold of all answers before the bytes are read.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures_util::future::BoxFuture;
use tieline_core::agent::AgentFailure;

use crate::failure;

/// Bytes of each answer that are not counted. Most answers are shorter, and take nothing of the budget.
pub const UNCOUNTED_BYTES: usize = 64 * 1024;
/// Counted in steps, so that a growing text doesn't ask for each of its pieces.
const STEP_BYTES: usize = 256 * 1024;

/// Takes so many bytes more until the answer is dropped. `false` if none became free in time.
type Take = dyn Fn(usize) -> BoxFuture<'static, bool> + Send + Sync;

/// Memory of one answer. Clones share it.
#[derive(Clone)]
pub struct AnswerMemory {
    take: Arc<Take>,
    /// Bytes that the answer may have without taking more.
    n_bytes: Arc<AtomicUsize>,
}

impl AnswerMemory {
    /// Memory that grows by `take`, which holds what it took until it is dropped.
    pub fn new(take: impl Fn(usize) -> BoxFuture<'static, bool> + Send + Sync + 'static) -> Self {
        Self {
            take: Arc::new(take),
            n_bytes: Arc::new(AtomicUsize::new(UNCOUNTED_BYTES)),
        }
    }

    /// Memory without a limit of the process; that of one answer stays.
    #[must_use]
    pub fn unlimited() -> Self {
        Self::new(|_| Box::pin(std::future::ready(true)))
    }

    /// Waits until the answer may have `n_bytes` in all.
    ///
    /// # Errors
    /// [`AgentFailure`] with the code [`failure::NO_MEMORY`].
    pub async fn reserve(&self, n_bytes: usize) -> Result<(), AgentFailure> {
        let reserved = self.n_bytes.load(Ordering::Relaxed);
        if n_bytes <= reserved {
            return Ok(());
        }
        let more = (n_bytes - reserved).next_multiple_of(STEP_BYTES);
        if !(self.take)(more).await {
            return Err(failure::no_memory());
        }
        // The pieces of one answer are read one after the other.
        self.n_bytes.store(reserved + more, Ordering::Relaxed);
        Ok(())
    }
}

impl fmt::Debug for AnswerMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AnswerMemory(..)")
    }
}
