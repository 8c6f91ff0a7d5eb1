//! Tells runs of this process at once that they are to end; those of other processes find out by reading their conversation.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tieline_core::conversation::StopCause;
use tieline_core::ids::{ConversationId, RunId};
use tokio::sync::watch;

use crate::lease_watch::{LeaseSignal, LeaseState};

/// Weak: a lease without its heartbeat is lost.
type Listener = (RunId, Weak<watch::Sender<LeaseState>>);

/// The runs that this process works on, by conversation.
#[derive(Debug, Default)]
pub struct LocalStops(Mutex<HashMap<ConversationId, Listener>>);

impl LocalStops {
    /// Has a run hear of its end for as long as the guard lives.
    #[must_use]
    pub fn listen(
        self: &Arc<Self>,
        conversation: ConversationId,
        run: RunId,
        listener: &Arc<watch::Sender<LeaseState>>,
    ) -> ListenGuard {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(conversation.clone(), (run.clone(), Arc::downgrade(listener)));
        ListenGuard {
            all: Arc::clone(self),
            conversation,
            run,
        }
    }

    /// Tells the run of a conversation, if this process works on it, that it is to end.
    pub fn stop(&self, conversation: &ConversationId, run: &RunId, cause: StopCause) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = all.get(conversation).filter(|(working, _)| working == run);
        if let Some(listener) = listener.and_then(|(_, listener)| listener.upgrade()) {
            tell(&listener, cause);
        }
    }
}

/// Tells the holder of a lease that its run is to end, unless it knows already, or has lost the lease.
pub fn tell(listener: &watch::Sender<LeaseState>, cause: StopCause) {
    listener.send_if_modified(|known| {
        let is_news = known.heard == LeaseSignal::Nothing;
        if is_news {
            known.heard = LeaseSignal::Stop(cause);
        }
        is_news
    });
}

/// Dropping it ends the listening.
#[derive(Debug)]
pub struct ListenGuard {
    all: Arc<LocalStops>,
    conversation: ConversationId,
    run: RunId,
}

impl Drop for ListenGuard {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A run that follows may listen in its place already.
        if all.get(&self.conversation).is_some_and(|(run, _)| *run == self.run) {
            all.remove(&self.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::lease_watch::LeaseWatch;

    #[tokio::test]
    async fn only_the_run_that_is_meant_hears_of_its_end() {
        let stops = Arc::new(LocalStops::default());
        let (say, hold) = LeaseWatch::new(Instant::now() + Duration::from_secs(30), LeaseSignal::Nothing);
        let say = Arc::new(say);
        let (conversation, run) = (ConversationId::new("cnv_1"), RunId::new("run_1"));
        let listening = stops.listen(conversation.clone(), run.clone(), &say);
        stops.stop(&conversation, &RunId::new("run_0"), StopCause::Stopped);
        stops.stop(&ConversationId::new("cnv_2"), &run, StopCause::Stopped);
        assert_eq!(hold.heard(), LeaseSignal::Nothing);
        stops.stop(&conversation, &run, StopCause::Interrupted);
        assert_eq!(hold.hear().await, LeaseSignal::Stop(StopCause::Interrupted));
        drop(listening);
        assert!(stops.0.lock().unwrap().is_empty());
    }
}
