//! Work on long texts outside the async runtime, whose threads serve every tenant: with bounded concurrency, on threads for blocking work.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tieline_core::ids::OrganizationId;
use tieline_core::redaction::Detector;
use tokio::sync::Semaphore;

/// Longest text that is worked on in a thread of the runtime, in bytes.
pub(crate) const MAX_ON_RUNTIME: usize = 16 * 1024;
/// Most long texts that the process works on concurrently; others wait.
const MAX_AT_A_TIME: usize = 4;

static SLOTS: Semaphore = Semaphore::const_new(MAX_AT_A_TIME);
/// One long text of an organization is matched with its patterns at a time: else it would take all slots.
static MATCHING: Mutex<Option<HashMap<OrganizationId, Weak<Semaphore>>>> = Mutex::new(None);

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

/// Like [`beside_runtime`], for the patterns of an organization, which may be slow.
pub(crate) async fn matching<T: Send + 'static>(
    organization: &OrganizationId,
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    let turn = turn_of(organization);
    let _turn = turn.acquire().await.expect("the semaphore is never closed");
    beside_runtime(work).await
}

/// Whether a long text of the organization is being matched: another one would wait.
pub(crate) fn is_matching(organization: &OrganizationId) -> bool {
    turn_of(organization).available_permits() == 0
}

fn turn_of(organization: &OrganizationId) -> Arc<Semaphore> {
    let mut all = MATCHING.lock().unwrap_or_else(PoisonError::into_inner);
    let all = all.get_or_insert_default();
    if let Some(turn) = all.get(organization).and_then(Weak::upgrade) {
        return turn;
    }
    all.retain(|_, turn| turn.strong_count() > 0);
    let turn = Arc::new(Semaphore::new(1));
    all.insert(organization.clone(), Arc::downgrade(&turn));
    turn
}

/// [`Detector::mask`] for a text of any length.
pub(crate) async fn mask(organization: &OrganizationId, detector: &Detector, text: &str) -> Option<String> {
    if text.len() <= MAX_ON_RUNTIME {
        return detector.mask(text);
    }
    let (detector, text) = (detector.clone(), text.to_owned());
    matching(organization, move || detector.mask(&text)).await
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    /// Many long texts of one organization take one slot, so those of another are worked on beside them.
    #[tokio::test]
    async fn an_organization_takes_one_slot() {
        let (slow, quick) = (OrganizationId::new("slow"), OrganizationId::new("quick"));
        let (open, gate) = mpsc::channel::<()>();
        let blocked = tokio::spawn(async move {
            let organization = OrganizationId::new("slow");
            matching(&organization, move || gate.recv().is_ok()).await
        });
        while !is_matching(&slow) {
            tokio::task::yield_now().await;
        }
        for _ in 0..2 * MAX_AT_A_TIME {
            tokio::spawn(async { matching(&OrganizationId::new("slow"), || ()).await });
        }
        assert_eq!(matching(&quick, || 7).await, 7);
        assert!(!is_matching(&quick));
        open.send(()).unwrap();
        assert!(blocked.await.unwrap());
    }
}
