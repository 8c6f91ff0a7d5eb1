//! Options for opening an engine, and why opening may fail.

use std::io;

use rusqlite::ErrorCode;

use crate::{Clock, Observer};

/// What a write survives once it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process: SQLite has passed the write to the operating system.
    #[default]
    ProcessCrash,
    /// A power cut: the write is on disk. Costs a sync for each commit, several times slower. Applies to queues and tables.
    PowerLoss,
}

/// What happens to messages that were received before the engine was opened, and not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InHand {
    /// They stay hidden until their visibility timeout, as on SQS: their receivers may still run in other programs.
    #[default]
    Kept,
    /// They are visible at once: their receivers belonged to earlier runs of this process, which are dead.
    Returned,
}

/// Which threads the storage works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorageThread {
    /// On threads of its own, so that storage never blocks a caller's thread.
    #[default]
    Own,
    /// On the caller's thread, so that a call is answered when it is first polled: for tests that simulate time. A waiting receive is
    /// served by the next call, and expired items are never deleted.
    Callers,
}

/// Options for opening an engine. The defaults suit programs; tests change clock and observer.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// See [`Durability`].
    pub durability: Durability,
    /// The queues' clock.
    pub clock: Clock,
    /// See [`InHand`].
    pub in_hand: InHand,
    /// See [`StorageThread`].
    pub thread: StorageThread,
    /// Sees every changing call before and after it takes effect, and may make it fail.
    pub observer: Option<Observer>,
}

/// Why an engine could not be opened.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// The directory could not be created.
    #[error("data directory is not usable")]
    Directory(#[source] io::Error),
    /// Another process, or another engine of this process, uses the same directory.
    #[error("data directory is in use by another process")]
    InUse,
    /// The queues were written by another version of this program.
    #[error("queue storage has version {found}, expected {expected}")]
    Version {
        /// The version in the file.
        found: i64,
        /// The version that this program reads and writes.
        expected: i64,
    },
    /// The file of the queues is damaged or unreadable.
    #[error("queue storage could not be opened")]
    Queues(#[source] rusqlite::Error),
    /// The file of the tables is damaged or unreadable.
    #[error("table storage could not be opened")]
    Tables(#[source] dynoxide::DynoxideError),
    /// The operating system could not start a thread.
    #[error("storage thread could not be started")]
    Thread(#[source] io::Error),
}

impl OpenError {
    pub(crate) fn of_queues(error: rusqlite::Error) -> Self {
        match error.sqlite_error_code() {
            Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Self::InUse,
            _ => Self::Queues(error),
        }
    }
}
