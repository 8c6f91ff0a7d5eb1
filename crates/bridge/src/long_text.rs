//! Work on long texts outside the async runtime, whose threads serve every tenant: with bounded concurrency, on threads for blocking work.

use tieline_core::redaction::Detector;
use tokio::sync::Semaphore;

/// Longest text that is worked on in a thread of the runtime, in bytes.
pub(crate) const MAX_ON_RUNTIME: usize = 16 * 1024;
/// Most long texts that the process works on concurrently; others wait.
const MAX_AT_A_TIME: usize = 4;

static SLOTS: Semaphore = Semaphore::const_new(MAX_AT_A_TIME);

/// Runs `work` on a thread for blocking work. A panic is propagated to the caller.
pub(crate) async fn beside_runtime<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let _slot = SLOTS.acquire().await.expect("the semaphore is never closed");
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => done,
        Err(failure) => match failure.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // The runtime shuts down, and this task with it.
            Err(_cancelled) => std::future::pending().await,
        },
    }
}

/// [`Detector::mask`] for a text of any length.
pub(crate) async fn mask(detector: &Detector, text: &str) -> Option<String> {
    if text.len() <= MAX_ON_RUNTIME {
        return detector.mask(text);
    }
    let (detector, text) = (detector.clone(), text.to_owned());
    beside_runtime(move || detector.mask(&text)).await
}
