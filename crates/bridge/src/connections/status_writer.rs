//! Writes the connection status that operators read, in the background: a slow or unavailable table delays no connection, and when it is
//! available again only the latest status is written.

use std::collections::{HashMap, HashSet};
use std::mem::discriminant;
use std::time::Duration;

use tieline_core::ids::IntegrationId;
use tieline_store::log::{self, LogEntry};
use tieline_store::status::{self, StatusChange};
use tieline_store::{Store, StoreError};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, warn};

use crate::world::random;

/// Most concurrent writes.
const CONCURRENCY: usize = 16;
/// Most log entries of one bot that wait for the table.
const MOST_ENTRIES: usize = 20;
/// Pause after the table failed.
const PAUSE: Duration = Duration::from_secs(1);

/// What is to be written for one bot.
#[derive(Debug)]
pub(super) struct StatusUpdate {
    /// The bot.
    pub(super) integration: IntegrationId,
    /// The fencing token of the holder that reports it.
    pub(super) fence: u64,
    /// Changes of its status.
    pub(super) changes: Vec<StatusChange>,
    /// An entry for its log.
    pub(super) entry: Option<LogEntry>,
}

/// Accepts updates, and never waits.
#[derive(Debug, Clone)]
pub(super) struct StatusWriter(UnboundedSender<Option<StatusUpdate>>);

impl StatusWriter {
    /// Starts the writer. Its task ends when it was told to and everything is written.
    pub(super) fn new(store: Store) -> (Self, tokio::task::JoinHandle<()>) {
        let (sender, receiver) = unbounded_channel();
        (Self(sender), tokio::spawn(write_all(store, receiver)))
    }

    /// Accepts an update.
    pub(super) fn note(&self, note: StatusUpdate) {
        // Fails only while the process ends.
        let _ = self.0.send(Some(note));
    }

    /// Writes the updates accepted so far, and accepts no more.
    pub(super) fn end(&self) {
        let _ = self.0.send(None);
    }
}

/// All updates that wait for one bot.
#[derive(Debug, Default)]
struct PendingUpdates {
    fence: u64,
    changes: Vec<StatusChange>,
    entries: Vec<LogEntry>,
}

impl PendingUpdates {
    fn add(&mut self, note: StatusUpdate) {
        if note.fence < self.fence {
            return;
        }
        self.fence = note.fence;
        for change in note.changes {
            self.changes.retain(|old| discriminant(old) != discriminant(&change));
            self.changes.push(change);
        }
        if self.entries.len() < MOST_ENTRIES {
            self.entries.extend(note.entry);
        }
    }

    /// Puts back what could not be written, behind what was reported since.
    fn put_back(&mut self, old: Self) {
        if old.fence < self.fence {
            return;
        }
        self.fence = old.fence;
        let newer = std::mem::replace(&mut self.changes, old.changes);
        for change in newer {
            self.changes.retain(|old| discriminant(old) != discriminant(&change));
            self.changes.push(change);
        }
        let newer = std::mem::replace(&mut self.entries, old.entries);
        self.entries.extend(newer);
        self.entries.truncate(MOST_ENTRIES);
    }
}

async fn write_all(store: Store, mut notes: UnboundedReceiver<Option<StatusUpdate>>) {
    let mut pages: HashMap<IntegrationId, PendingUpdates> = HashMap::new();
    let mut writing: JoinSet<(IntegrationId, Option<PendingUpdates>)> = JoinSet::new();
    let mut busy: HashSet<IntegrationId> = HashSet::new();
    let mut open = true;
    while open || !pages.is_empty() || !writing.is_empty() {
        while writing.len() < CONCURRENCY {
            // One write at a time per bot, or an older status could overwrite a newer one.
            let Some(id) = pages.keys().find(|id| !busy.contains(*id)).cloned() else {
                break;
            };
            let Some(page) = pages.remove(&id) else { break };
            busy.insert(id.clone());
            writing.spawn(write(store.clone(), id, page));
        }
        tokio::select! {
            note = notes.recv(), if open => match note {
                Some(Some(note)) => pages.entry(note.integration.clone()).or_default().add(note),
                Some(None) | None => open = false,
            },
            Some(done) = writing.join_next(), if !writing.is_empty() => {
                // A panic in there was logged; that bot's updates are lost with it.
                let Ok((id, left)) = done else { continue };
                busy.remove(&id);
                if let Some(left) = left {
                    pages.entry(id).or_default().put_back(left);
                }
            }
        }
    }
}

/// Writes the updates of a bot. Returns what is left of them.
async fn write(store: Store, id: IntegrationId, mut page: PendingUpdates) -> (IntegrationId, Option<PendingUpdates>) {
    if !page.changes.is_empty() {
        match status::merge_as_holder(&store, &id, page.fence, &page.changes).await {
            Ok(()) => {}
            Err(StoreError::Conflict) => {
                debug!(account.id = %id, "a newer holder writes the status");
                // Events of a connection that should no longer exist are not written.
                return (id, None);
            }
            Err(error) => {
                warn!(account.id = %id, error = %error, "status can't be written");
                sleep(PAUSE).await;
                return (id, Some(page));
            }
        }
        page.changes.clear();
    }
    while let Some(entry) = page.entries.first() {
        if let Err(error) = log::append(&store, &id, entry, random()).await {
            warn!(account.id = %id, error = %error, "log can't be written");
            sleep(PAUSE).await;
            return (id, Some(page));
        }
        page.entries.remove(0);
    }
    (id, None)
}

#[cfg(test)]
mod tests {
    use super::*;
    use tieline_store::status::ConnectionState;

    fn note(fence: u64, changes: Vec<StatusChange>) -> StatusUpdate {
        StatusUpdate {
            integration: IntegrationId::new("int_1"),
            fence,
            changes,
            entry: None,
        }
    }

    fn state(state: ConnectionState) -> StatusChange {
        StatusChange::State(state, None)
    }

    #[test]
    fn the_newest_change_of_a_kind_stays() {
        let mut page = PendingUpdates::default();
        page.add(note(
            1,
            vec![state(ConnectionState::Connecting), StatusChange::ReconnectAttempts(1)],
        ));
        page.add(note(1, vec![state(ConnectionState::Connected)]));
        let kept = vec![StatusChange::ReconnectAttempts(1), state(ConnectionState::Connected)];
        assert_eq!(page.changes, kept);
        page.add(note(0, vec![state(ConnectionState::Retrying)]));
        assert_eq!(page.changes, kept);
    }

    #[test]
    fn failed_updates_do_not_overwrite_newer_ones() {
        let mut newer = PendingUpdates::default();
        newer.add(note(1, vec![state(ConnectionState::Connected)]));
        let mut failed = PendingUpdates::default();
        failed.add(note(
            1,
            vec![state(ConnectionState::Connecting), StatusChange::ReconnectAttempts(2)],
        ));
        newer.put_back(failed);
        let kept = vec![StatusChange::ReconnectAttempts(2), state(ConnectionState::Connected)];
        assert_eq!(newer.changes, kept);
    }
}
