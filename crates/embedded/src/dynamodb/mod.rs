//! DynamoDB by the engine of the crate `dynoxide-rs`.

mod calls;
mod errors;

use std::path::Path;
use std::sync::RwLock;

use dynoxide::Database;

use crate::{Answer, Durability, OpenError};

/// The operation that an `x-amz-target` header names, if it is one of DynamoDB's.
pub(crate) fn operation(target: &str) -> Option<&str> {
    let tables = target.strip_prefix("DynamoDB_20120810.");
    tables.or_else(|| target.strip_prefix("DynamoDBStreams_20120810."))
}

/// The operations that change nothing.
const READS: [&str; 12] = [
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
];

pub(crate) struct Tables {
    db: RwLock<Option<Database>>,
}

impl std::fmt::Debug for Tables {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tables(..)")
    }
}

impl Tables {
    pub(crate) fn open(path: Option<&Path>, durability: Durability) -> Result<Self, OpenError> {
        let db = match path {
            Some(path) => Database::new(&path.to_string_lossy()),
            None => Database::memory(),
        }
        .map_err(OpenError::Tables)?;
        if durability == Durability::ProcessCrash {
            db.disable_bulk_loading().map_err(OpenError::Tables)?;
        }
        Ok(Self {
            db: RwLock::new(Some(db)),
        })
    }

    pub(crate) fn changes_something(operation: &str) -> bool {
        operation != "TransactGetItems" && !READS.contains(&operation)
    }

    pub(crate) async fn call(&self, operation: &str, body: &[u8]) -> Answer {
        let db = self.db.read().ok().and_then(|db| db.clone());
        let Some(db) = db else { return Answer::internal_error() };
        match std::env::var("MODE").as_deref() {
            Ok("blocking") => {
                let (operation, body) = (operation.to_owned(), body.to_vec());
                tokio::task::spawn_blocking(move || finish(&operation, calls::run(&db, &operation, &body)))
                    .await
                    .unwrap_or_else(|_| Answer::internal_error())
            }
            _ => finish(operation, calls::run(&db, operation, body)),
        }
    }

    pub(crate) fn close(&self) {
        if let Ok(mut db) = self.db.write() {
            *db = None;
        }
    }
}

fn finish(operation: &str, result: Result<Vec<u8>, dynoxide::DynoxideError>) -> Answer {
    match result {
        Ok(json) => Answer::of(200, json),
        Err(error) => errors::answer(operation, error),
    }
}
