//! Timing tests. They run one after the other, since concurrent work would be measured too.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod fairness;
mod first_answer;

use tokio::sync::{Mutex, MutexGuard};

/// Held by the test that measures.
async fn alone() -> MutexGuard<'static, ()> {
    static TURN: Mutex<()> = Mutex::const_new(());
    TURN.lock().await
}
