//! DynamoDB, by the engine of the crate `dynoxide-rs`.
//!
//! The engine has request and response types of its own, which are converted from and to the protocol's JSON. What it leaves to its own
//! HTTP server is done here: operation names (`calls`), error formats (`errors`), idempotency tokens (`tokens`).

mod calls;
mod direct;
mod errors;
mod tokens;
mod worker;

use std::path::Path;
use std::sync::{Mutex, PoisonError};
use std::thread::JoinHandle;

use dynoxide::Database;

pub use self::direct::DirectTables;
use self::worker::{Desk, Worker};
use crate::alive::Alive;
use crate::{Answer, Durability, OpenError, StorageThread};

/// The operation that an `x-amz-target` header names, if it is one of DynamoDB's.
pub(crate) fn operation(target: &str) -> Option<&str> {
    let tables = target.strip_prefix("DynamoDB_20120810.");
    tables.or_else(|| target.strip_prefix("DynamoDBStreams_20120810."))
}

/// Operations that change nothing.
const READS: [&str; 13] = [
    "BatchGetItem",
    "DescribeStream",
    "DescribeTable",
    "DescribeTimeToLive",
    "GetItem",
    "GetRecords",
    "GetShardIterator",
    "ListStreams",
    "ListTables",
    "ListTagsOfResource",
    "Query",
    "Scan",
    "TransactGetItems",
];

/// A running engine.
#[derive(Debug)]
pub(crate) struct Tables {
    desk: Desk,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl Tables {
    /// Opens the tables in the file `path`, or new ones in memory.
    pub(crate) fn open(
        path: Option<&Path>,
        durability: Durability,
        (thread, alive): (StorageThread, Alive),
    ) -> Result<Self, OpenError> {
        let db = match path {
            Some(path) => Database::new(&path.to_string_lossy()),
            None => Database::memory(),
        };
        let db = db.map_err(OpenError::Tables)?;
        match durability {
            // The engine's only way to set `PRAGMA synchronous = NORMAL`; everything else that this call sets is SQLite's default.
            Durability::ProcessCrash => db.disable_bulk_loading().map_err(OpenError::Tables)?,
            // The engine opens the file with `FULL`.
            Durability::PowerLoss => {}
        }
        let (desk, thread) = match thread {
            StorageThread::Own => {
                let (jobs, thread) = worker::start(db, alive).map_err(OpenError::Thread)?;
                (Desk::Thread(jobs), Some(thread))
            }
            StorageThread::Callers => (Desk::of_callers(db), None),
        };
        Ok(Self {
            desk,
            thread: Mutex::new(thread),
        })
    }

    pub(crate) fn changes_something(operation: &str) -> bool {
        !READS.contains(&operation)
    }

    pub(crate) async fn call(&self, operation: &str, body: &[u8]) -> Answer {
        match calls::run(&self.desk, operation, body).await {
            Ok(json) => Answer::of(200, json),
            Err(error) => errors::answer(operation, error),
        }
    }

    /// Runs `run` on the engine.
    async fn run<A: Send + 'static>(
        &self,
        run: impl FnOnce(&mut Worker) -> worker::Result<A> + Send + 'static,
    ) -> worker::Result<A> {
        self.desk.run(run).await
    }

    /// Makes the engine stop after the calls queued so far, without waiting for it.
    pub(crate) fn stop(&self) {
        self.desk.close();
    }

    /// Finishes the calls queued so far, then closes the file. Blocks until that is done.
    pub(crate) fn close(&self) {
        self.stop();
        let thread = self.thread.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(thread) = thread
            && thread.join().is_err()
        {
            tracing::error!("table storage thread panicked");
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::watch;

    use super::*;

    #[tokio::test]
    async fn a_panic_of_the_tables_is_reported() {
        let ended = watch::Sender::new(false);
        let own = (StorageThread::Own, Alive::new(ended.clone()));
        let tables = Tables::open(None, Durability::ProcessCrash, own).unwrap();
        assert!(!*ended.borrow());
        let done = tables.desk.run(|_| -> worker::Result<()> { panic!("this is wanted") });
        done.await.unwrap_err();
        ended.subscribe().wait_for(|ended| *ended).await.unwrap();
    }

    #[test]
    fn targets_of_tables_and_streams_are_recognized() {
        assert_eq!(operation("DynamoDB_20120810.PutItem"), Some("PutItem"));
        assert_eq!(operation("DynamoDBStreams_20120810.GetRecords"), Some("GetRecords"));
        assert_eq!(operation("AmazonSQS.SendMessage"), None);
    }
}
