//! How an engine is opened, and why that may fail.

use std::io;

use rusqlite::ErrorCode;

use crate::{Clock, Observer};

/// What an acknowledged write has survived before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Durability {
    /// The death of the process: SQLite has handed it to the operating system.
    #[default]
    ProcessCrash,
    /// A power cut: it is on the disk. A sync for each commit, several times slower. Holds for queues and tables.
    PowerLoss,
}

/// What becomes of messages that were received before the engine was opened, and not deleted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum InHand {
    /// They stay hidden until their time is up, as on SQS: their receivers may live on in programs of their own.
    #[default]
    Kept,
    /// They are visible at once: their receivers were earlier lives of this process, which are dead.
    Returned,
}

/// Which threads the storage works on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum StorageThread {
    /// On threads of its own, so that it never blocks a caller's.
    #[default]
    Own,
    /// On the caller's, so that a call is answered when it is polled first: for tests that simulate time. Waiting receives are served by
    /// whichever call comes next, and expired items are never swept out.
    Callers,
}

/// How to open an engine. The default is what a program wants; tests change clock and observer.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// See [`Durability`].
    pub durability: Durability,
    /// The queues' time.
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
    /// The directory could not be made.
    #[error("data directory is not usable")]
    Directory(#[source] io::Error),
    /// Another process, or another engine of this one, works on the same directory.
    #[error("data directory is in use by another process")]
    InUse,
    /// The queues were written by another version of this program.
    #[error("queue storage has version {found}, expected {expected}")]
    Version {
        /// The version in the file.
        found: i64,
        /// The version this program reads and writes.
        expected: i64,
    },
    /// The file of the queues is damaged or unreadable.
    #[error("queue storage could not be opened")]
    Queues(#[source] rusqlite::Error),
    /// The file of the tables is damaged or unreadable.
    #[error("table storage could not be opened")]
    Tables(#[source] dynoxide::DynoxideError),
    /// The operating system gave no thread.
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
