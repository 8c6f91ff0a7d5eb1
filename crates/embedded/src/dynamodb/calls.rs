//! One DynamoDB operation, from JSON to JSON.
//!
//! Only the operation itself runs on the thread of the tables; JSON is read and written on the caller's task.

use std::time::Instant;

use dynoxide::DynoxideError;
use dynoxide::actions::transact_write_items::{TransactWriteItemsRequest, TransactWriteItemsResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::errors;
use super::tokens::{MAX_TOKEN_CHARS, Seen, Use};
use super::worker::{Desk, Result, Worker};

/// Runs `operation` with the request `body`.
pub(super) async fn run(desk: &Desk, operation: &str, body: &[u8]) -> Result<Vec<u8>> {
    match operation {
        "BatchGetItem" => call(desk, body, |worker, request| worker.db.batch_get_item(request)).await,
        "BatchWriteItem" => call(desk, body, |worker, request| worker.db.batch_write_item(request)).await,
        "CreateTable" => call(desk, body, |worker, request| worker.db.create_table(request)).await,
        "DeleteItem" => call(desk, body, |worker, request| worker.db.delete_item(request)).await,
        "DeleteTable" => call(desk, body, |worker, request| worker.db.delete_table(request)).await,
        "DescribeStream" => call(desk, body, |worker, request| worker.db.describe_stream(request)).await,
        "DescribeTable" => call(desk, body, |worker, request| worker.db.describe_table(request)).await,
        "DescribeTimeToLive" => call(desk, body, |worker, request| worker.db.describe_time_to_live(request)).await,
        "GetItem" => call(desk, body, |worker, request| worker.db.get_item(request)).await,
        "GetRecords" => call(desk, body, |worker, request| worker.db.get_records(request)).await,
        "GetShardIterator" => call(desk, body, |worker, request| worker.db.get_shard_iterator(request)).await,
        "ListStreams" => call(desk, body, |worker, request| worker.db.list_streams(request)).await,
        "ListTables" => call(desk, body, |worker, request| worker.db.list_tables(request)).await,
        "ListTagsOfResource" => call(desk, body, |worker, request| worker.db.list_tags_of_resource(request)).await,
        "PutItem" => call(desk, body, |worker, request| worker.db.put_item(request)).await,
        "Query" => call(desk, body, |worker, request| worker.db.query(request)).await,
        "Scan" => call(desk, body, |worker, request| worker.db.scan(request)).await,
        "TagResource" => call(desk, body, |worker, request| worker.db.tag_resource(request)).await,
        "TransactGetItems" => call(desk, body, |worker, request| worker.db.transact_get_items(request)).await,
        "TransactWriteItems" => transact(desk, body).await,
        "UntagResource" => call(desk, body, |worker, request| worker.db.untag_resource(request)).await,
        "UpdateItem" => call(desk, body, |worker, request| worker.db.update_item(request)).await,
        "UpdateTable" => call(desk, body, |worker, request| worker.db.update_table(request)).await,
        "UpdateTimeToLive" => call(desk, body, |worker, request| worker.db.update_time_to_live(request)).await,
        _ => Err(DynoxideError::ValidationException(format!(
            "operation {operation} is not supported by the embedded engine"
        ))),
    }
}

async fn call<Q, A>(desk: &Desk, body: &[u8], run: fn(&Worker, Q) -> Result<A>) -> Result<Vec<u8>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    let request = read(body)?;
    let answer = desk.run(move |worker| run(worker, request)).await?;
    write(&answer)
}

async fn transact(desk: &Desk, body: &[u8]) -> Result<Vec<u8>> {
    let mut request: TransactWriteItemsRequest = read(body)?;
    let token = request
        .client_request_token
        .take_if(|token| token.len() <= MAX_TOKEN_CHARS);
    let used = match token {
        Some(token) => {
            let writes = serde_json::to_value(&request.transact_items).map_err(|error| unwritable(&error))?;
            Some(Use::new(&token, &writes))
        }
        None => None,
    };
    let answer = desk.run(move |worker| transact_once(worker, request, used)).await?;
    write(&answer)
}

fn transact_once(
    worker: &mut Worker,
    request: TransactWriteItemsRequest,
    used: Option<Use>,
) -> Result<TransactWriteItemsResponse> {
    let now = Instant::now();
    match used.map(|used| worker.tokens.look_up(used, now)) {
        None | Some(Seen::Never) => {}
        Some(Seen::SameWrites) => return Ok(TransactWriteItemsResponse::default()),
        Some(Seen::OtherWrites) => {
            let message = "the token was used for another transaction".to_owned();
            return Err(DynoxideError::IdempotentParameterMismatchException(message));
        }
    }
    let answer = worker.db.transact_write_items(request)?;
    if let Some(used) = used {
        worker.tokens.remember(used, now);
    }
    Ok(answer)
}

fn read<Q: DeserializeOwned>(body: &[u8]) -> Result<Q> {
    serde_json::from_slice(body).map_err(|error| errors::of_reading(&error))
}

fn write(answer: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(answer).map_err(|error| unwritable(&error))
}

fn unwritable(error: &serde_json::Error) -> DynoxideError {
    DynoxideError::InternalServerError(error.to_string())
}
