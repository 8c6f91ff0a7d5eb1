//! One DynamoDB operation, from JSON to JSON.

use dynoxide::{Database, DynoxideError};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::errors;

/// Runs `operation` with the request `body`.
pub(super) fn run(db: &Database, operation: &str, body: &[u8]) -> Result<Vec<u8>, DynoxideError> {
    match operation {
        "BatchGetItem" => call(body, |request| db.batch_get_item(request)),
        "BatchWriteItem" => call(body, |request| db.batch_write_item(request)),
        "CreateTable" => call(body, |request| db.create_table(request)),
        "DeleteItem" => call(body, |request| db.delete_item(request)),
        "DeleteTable" => call(body, |request| db.delete_table(request)),
        "DescribeStream" => call(body, |request| db.describe_stream(request)),
        "DescribeTable" => call(body, |request| db.describe_table(request)),
        "DescribeTimeToLive" => call(body, |request| db.describe_time_to_live(request)),
        "GetItem" => call(body, |request| db.get_item(request)),
        "GetRecords" => call(body, |request| db.get_records(request)),
        "GetShardIterator" => call(body, |request| db.get_shard_iterator(request)),
        "ListStreams" => call(body, |request| db.list_streams(request)),
        "ListTables" => call(body, |request| db.list_tables(request)),
        "ListTagsOfResource" => call(body, |request| db.list_tags_of_resource(request)),
        "PutItem" => call(body, |request| db.put_item(request)),
        "Query" => call(body, |request| db.query(request)),
        "Scan" => call(body, |request| db.scan(request)),
        "TagResource" => call(body, |request| db.tag_resource(request)),
        "TransactGetItems" => call(body, |request| db.transact_get_items(request)),
        "TransactWriteItems" => call(body, |request| db.transact_write_items(request)),
        "UntagResource" => call(body, |request| db.untag_resource(request)),
        "UpdateItem" => call(body, |request| db.update_item(request)),
        "UpdateTable" => call(body, |request| db.update_table(request)),
        "UpdateTimeToLive" => call(body, |request| db.update_time_to_live(request)),
        _ => Err(DynoxideError::ValidationException(format!(
            "operation {operation} is not supported by the embedded engine"
        ))),
    }
}

fn call<Q, A>(body: &[u8], run: impl FnOnce(Q) -> Result<A, DynoxideError>) -> Result<Vec<u8>, DynoxideError>
where
    Q: DeserializeOwned,
    A: Serialize,
{
    let request = serde_json::from_slice(body).map_err(|error| errors::of_reading(&error))?;
    let answer = run(request)?;
    serde_json::to_vec(&answer).map_err(|error| DynoxideError::InternalServerError(error.to_string()))
}
