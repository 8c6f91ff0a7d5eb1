//! Tells tasks of this process at once that a reply which they wait for has changed. What other processes write must be looked for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::ids::ReplyId;
use tokio::sync::watch;

type Watched = HashMap<ReplyId, watch::Sender<()>>;

/// The replies that tasks of this process wait for.
#[derive(Debug, Default)]
pub struct LocalReplies(Mutex<Watched>);

impl LocalReplies {
    /// Watches a reply, for as long as the guard lives.
    #[must_use]
    pub fn watch(self: &Arc<Self>, id: &ReplyId) -> ReplyWatch {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = all.entry(id.clone()).or_insert_with(|| watch::Sender::new(()));
        ReplyWatch {
            changes: changes.subscribe(),
            all: Arc::clone(self),
            id: id.clone(),
        }
    }

    /// This process has written the reply.
    pub fn changed(&self, id: &ReplyId) {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(changes) = all.get(id) {
            changes.send_replace(());
        }
    }
}

/// Hears of the changes of a reply. Dropping it ends that.
#[derive(Debug)]
pub struct ReplyWatch {
    changes: watch::Receiver<()>,
    all: Arc<LocalReplies>,
    id: ReplyId,
}

impl ReplyWatch {
    /// The reply is about to be read: what was written before is no news.
    pub fn forget(&mut self) {
        self.changes.mark_unchanged();
    }

    /// Waits for a change since then.
    pub async fn changed(&mut self) {
        // Its sender lives as long as it does.
        let _ = self.changes.changed().await;
    }
}

impl Drop for ReplyWatch {
    fn drop(&mut self) {
        let mut all = self.all.0.lock().unwrap_or_else(PoisonError::into_inner);
        if all.get(&self.id).is_some_and(|changes| changes.receiver_count() <= 1) {
            all.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn change_is_heard_by_all_who_wait_and_between_two_waits() {
        let replies = Arc::new(LocalReplies::default());
        let (id, other) = (ReplyId::new("tl-1"), ReplyId::new("tl-2"));
        let (mut one, mut two) = (replies.watch(&id), replies.watch(&id));
        replies.changed(&other);
        assert!(one.changed().now_or_never().is_none());
        replies.changed(&id);
        one.changed().await;
        assert!(one.changed().now_or_never().is_none(), "it was heard");
        two.forget();
        assert!(two.changed().now_or_never().is_none(), "it was read");
        drop(one);
        replies.changed(&id);
        two.changed().await;
        drop(two);
        assert!(replies.0.lock().unwrap().is_empty());
    }
}
