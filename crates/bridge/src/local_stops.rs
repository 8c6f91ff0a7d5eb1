//! Notifies runs of this process at once that they are to end. Runs of other processes read it from their conversation's item.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};

use tieline_core::conversation::{Conversation, StopCause};
use tieline_core::ids::{ConversationId, RunId};
use tokio::sync::{Notify, watch};

use crate::lease_watch::{LeaseSignal, LeaseState};

/// Weak: a lease whose heartbeat has ended is lost.
type Listener = (RunId, Weak<watch::Sender<LeaseState>>, Arc<Notify>);

/// The runs of this process, by conversation.
#[derive(Debug, Default)]
pub struct LocalStops(Mutex<HashMap<ConversationId, Listener>>);

impl LocalStops {
    /// Registers a run, to be notified for as long as the guard lives.
    #[must_use]
    pub fn listen(
        self: &Arc<Self>,
        conversation: ConversationId,
        run: RunId,
        listener: &Arc<watch::Sender<LeaseState>>,
        look: &Arc<Notify>,
    ) -> ListenGuard {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(
            conversation.clone(),
            (run.clone(), Arc::downgrade(listener), Arc::clone(look)),
        );
        ListenGuard {
            all: Arc::clone(self),
            conversation,
            run,
        }
    }

    /// Notifies the run of a conversation, if this process works on it, of what the conversation says now: that the run is to end, or that
    /// messages wait behind it.
    pub fn notify(&self, conversation: &Conversation) {
        let id = conversation.key.id();
        if let Some(run) = &conversation.run
            && let Some(cause) = run.stop
        {
            self.stop(&id, &run.id, cause);
        }
        self.nudge(&id);
    }

    /// Makes the run of a conversation, if this process works on it, read the conversation at once.
    pub(crate) fn nudge(&self, conversation: &ConversationId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, _, look)) = all.get(conversation) {
            look.notify_one();
        }
    }

    /// Notifies the run of a conversation, if this process works on it, that it is to end.
    fn stop(&self, conversation: &ConversationId, run: &RunId, cause: StopCause) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let listener = all.get(conversation).filter(|(working, ..)| working == run);
        if let Some(listener) = listener.and_then(|(_, listener, _)| listener.upgrade()) {
            tell(&listener, cause);
        }
    }
}

/// Signals the holder of a lease that its run is to end, unless it knows already or has lost the lease.
pub fn tell(listener: &watch::Sender<LeaseState>, cause: StopCause) {
    listener.send_if_modified(|known| {
        let is_news = match known.signal {
            LeaseSignal::Nothing => true,
            LeaseSignal::Stop(before) => before != cause && cause == StopCause::Stopped,
            LeaseSignal::Lost => false,
        };
        if is_news {
            known.signal = LeaseSignal::Stop(cause);
        }
        is_news
    });
}

/// A registration, ended when dropped.
#[derive(Debug)]
pub struct ListenGuard {
    all: Arc<LocalStops>,
    conversation: ConversationId,
    run: RunId,
}

impl Drop for ListenGuard {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        // A later run may be registered in its place already.
        if all.get(&self.conversation).is_some_and(|(run, ..)| *run == self.run) {
            all.remove(&self.conversation);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::Clock;
    use crate::lease_watch::LeaseWatch;

    #[tokio::test]
    async fn only_the_named_run_is_notified_of_its_stop() {
        let stops = Arc::new(LocalStops::default());
        let clock = Clock::system();
        let until = clock.now().after(Duration::from_secs(30));
        let (keeper, hold) = LeaseWatch::new(clock, until, LeaseSignal::Nothing);
        let say = keeper.state;
        let (conversation, run) = (ConversationId::new("cnv_1"), RunId::new("run_1"));
        let listening = stops.listen(conversation.clone(), run.clone(), &say, &Arc::default());
        stops.stop(&conversation, &RunId::new("run_0"), StopCause::Stopped);
        stops.stop(&ConversationId::new("cnv_2"), &run, StopCause::Stopped);
        assert_eq!(hold.signal(), LeaseSignal::Nothing);
        stops.stop(&conversation, &run, StopCause::Interrupted);
        assert_eq!(hold.next_signal().await, LeaseSignal::Stop(StopCause::Interrupted));
        stops.stop(&conversation, &run, StopCause::Stopped);
        stops.stop(&conversation, &run, StopCause::Interrupted);
        assert!(hold.is_stopped(), "a person's word counts for more than a new message");
        drop(listening);
        assert!(stops.0.lock().unwrap().is_empty());
    }
}
