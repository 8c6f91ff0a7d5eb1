//! Publishes writes of a reply to the tasks of this process that wait for it. Writes of other processes must be polled.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tieline_core::ids::ReplyId;
use tieline_store::reply::ReplyRecord;
use tokio::sync::watch;

/// The latest write. `None`: read the table.
type Newest = Option<Arc<ReplyRecord>>;
type Watched = HashMap<ReplyId, watch::Sender<Newest>>;

/// The replies that tasks of this process wait for or write.
#[derive(Debug, Default)]
pub struct LocalReplies(Mutex<Watched>);

impl LocalReplies {
    /// Watches a reply, for as long as the guard lives.
    #[must_use]
    pub fn watch(self: &Arc<Self>, id: &ReplyId) -> ReplyWatch {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let changes = all.entry(id.clone()).or_insert_with(|| watch::Sender::new(None));
        ReplyWatch {
            changes: changes.subscribe(),
            all: Arc::clone(self),
            id: id.clone(),
        }
    }

    /// Publishes what this process has written of the reply. `record` is called only if a task waits for it.
    pub fn written(&self, id: &ReplyId, record: impl FnOnce() -> Arc<ReplyRecord>) {
        self.tell(id, || Some(record()));
    }

    /// This process may have written the reply: watchers must read the table.
    pub fn changed(&self, id: &ReplyId) {
        self.tell(id, || None);
    }

    fn tell(&self, id: &ReplyId, newest: impl FnOnce() -> Newest) {
        let watched = self.0.lock().unwrap_or_else(PoisonError::into_inner).get(id).cloned();
        // Outside the lock: copying a long reply must not block the others.
        if let Some(changes) = watched {
            changes.send_replace(newest());
        }
    }
}

/// A subscription to changes of a reply, ended when dropped.
#[derive(Debug)]
pub struct ReplyWatch {
    changes: watch::Receiver<Newest>,
    all: Arc<LocalReplies>,
    id: ReplyId,
}

impl ReplyWatch {
    /// The latest version of the reply that this process has written since the watch began. Marks it as seen. `None`: read the table.
    pub fn newest(&mut self) -> Newest {
        self.changes.borrow_and_update().clone()
    }

    /// Waits for a change after the last one seen.
    pub async fn changed(&mut self) {
        // The sender lives as long as this watch.
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
    use tieline_core::timestamp::Timestamp;

    use super::*;
    use crate::test_support;

    #[test]
    fn last_write_is_known_only_while_watched_and_certain() {
        let replies = Arc::new(LocalReplies::default());
        let record = Arc::new(ReplyRecord {
            text: "so far".to_owned(),
            version: 3,
            ..test_support::blank_reply(Timestamp::from_secs(1000))
        });
        replies.written(&record.id, || Arc::clone(&record));
        let mut watch = replies.watch(&record.id);
        assert!(watch.newest().is_none(), "it was not watched");
        replies.written(&record.id, || Arc::clone(&record));
        assert_eq!(watch.newest().as_ref(), Some(&record));
        replies.changed(&record.id);
        assert!(watch.newest().is_none(), "a write may have been done");
    }

    #[tokio::test]
    async fn changes_reach_all_watchers_even_between_two_waits() {
        let replies = Arc::new(LocalReplies::default());
        let (id, other) = (ReplyId::new("tl-1"), ReplyId::new("tl-2"));
        let (mut one, mut two) = (replies.watch(&id), replies.watch(&id));
        replies.changed(&other);
        assert!(one.changed().now_or_never().is_none());
        replies.changed(&id);
        one.changed().await;
        assert!(one.changed().now_or_never().is_none(), "it was heard");
        assert!(two.newest().is_none(), "only the table knows what was written");
        assert!(two.changed().now_or_never().is_none(), "it was read");
        drop(one);
        replies.changed(&id);
        two.changed().await;
        drop(two);
        assert!(replies.0.lock().unwrap().is_empty());
    }
}
