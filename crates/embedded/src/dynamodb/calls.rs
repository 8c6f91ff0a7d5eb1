//! One DynamoDB operation, from JSON to JSON.
//!
//! Only the operation itself runs on the thread of the tables; JSON is read and written on the caller's task.

use std::sync::mpsc::Sender;
use std::time::Instant;

use dynoxide::DynoxideError;
use dynoxide::actions::transact_write_items::{TransactWriteItemsRequest, TransactWriteItemsResponse};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::oneshot;

use super::errors;
use super::tokens::{MAX_TOKEN_CHARS, Seen, Use};
use super::worker::{Job, Worker};

type Result<T> = std::result::Result<T, DynoxideError>;

/// Runs `operation` with the request `body`.
pub(super) async fn run(jobs: &Sender<Job>, operation: &str, body: &[u8]) -> Result<Vec<u8>> {
    match operation {
        "BatchGetItem" => call(jobs, body, |desk, request| desk.db.batch_get_item(request)).await,
        "BatchWriteItem" => call(jobs, body, |desk, request| desk.db.batch_write_item(request)).await,
        "CreateTable" => call(jobs, body, |desk, request| desk.db.create_table(request)).await,
        "DeleteItem" => call(jobs, body, |desk, request| desk.db.delete_item(request)).await,
        "DeleteTable" => call(jobs, body, |desk, request| desk.db.delete_table(request)).await,
        "DescribeStream" => call(jobs, body, |desk, request| desk.db.describe_stream(request)).await,
        "DescribeTable" => call(jobs, body, |desk, request| desk.db.describe_table(request)).await,
        "DescribeTimeToLive" => call(jobs, body, |desk, request| desk.db.describe_time_to_live(request)).await,
        "GetItem" => call(jobs, body, |desk, request| desk.db.get_item(request)).await,
        "GetRecords" => call(jobs, body, |desk, request| desk.db.get_records(request)).await,
        "GetShardIterator" => call(jobs, body, |desk, request| desk.db.get_shard_iterator(request)).await,
        "ListStreams" => call(jobs, body, |desk, request| desk.db.list_streams(request)).await,
        "ListTables" => call(jobs, body, |desk, request| desk.db.list_tables(request)).await,
        "ListTagsOfResource" => call(jobs, body, |desk, request| desk.db.list_tags_of_resource(request)).await,
        "PutItem" => call(jobs, body, |desk, request| desk.db.put_item(request)).await,
        "Query" => call(jobs, body, |desk, request| desk.db.query(request)).await,
        "Scan" => call(jobs, body, |desk, request| desk.db.scan(request)).await,
        "TagResource" => call(jobs, body, |desk, request| desk.db.tag_resource(request)).await,
        "TransactGetItems" => call(jobs, body, |desk, request| desk.db.transact_get_items(request)).await,
        "TransactWriteItems" => transact(jobs, body).await,
        "UntagResource" => call(jobs, body, |desk, request| desk.db.untag_resource(request)).await,
        "UpdateItem" => call(jobs, body, |desk, request| desk.db.update_item(request)).await,
        "UpdateTable" => call(jobs, body, |desk, request| desk.db.update_table(request)).await,
        "UpdateTimeToLive" => call(jobs, body, |desk, request| desk.db.update_time_to_live(request)).await,
        _ => Err(DynoxideError::ValidationException(format!(
            "operation {operation} is not supported by the embedded engine"
        ))),
    }
}

async fn call<Q, A>(jobs: &Sender<Job>, body: &[u8], run: fn(&Worker, Q) -> Result<A>) -> Result<Vec<u8>>
where
    Q: DeserializeOwned + Send + 'static,
    A: Serialize + Send + 'static,
{
    let request = read(body)?;
    let answer = on_thread(jobs, move |desk| run(desk, request)).await?;
    write(&answer)
}

async fn transact(jobs: &Sender<Job>, body: &[u8]) -> Result<Vec<u8>> {
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
    let answer = on_thread(jobs, move |desk| transact_once(desk, request, used)).await?;
    write(&answer)
}

fn transact_once(
    desk: &mut Worker,
    request: TransactWriteItemsRequest,
    used: Option<Use>,
) -> Result<TransactWriteItemsResponse> {
    let now = Instant::now();
    match used.map(|used| desk.tokens.look_up(used, now)) {
        None | Some(Seen::Never) => {}
        Some(Seen::SameWrites) => return Ok(TransactWriteItemsResponse::default()),
        Some(Seen::OtherWrites) => {
            let message = "the token was used for another transaction".to_owned();
            return Err(DynoxideError::IdempotentParameterMismatchException(message));
        }
    }
    let answer = desk.db.transact_write_items(request)?;
    if let Some(used) = used {
        desk.tokens.remember(used, now);
    }
    Ok(answer)
}

async fn on_thread<A: Send + 'static>(
    jobs: &Sender<Job>,
    run: impl FnOnce(&mut Worker) -> Result<A> + Send + 'static,
) -> Result<A> {
    let closed = || DynoxideError::InternalServerError("table storage is closed".into());
    let (answerer, answer) = oneshot::channel();
    // A caller that went away doesn't want the answer; what it asked for is done all the same.
    let job = Job::Do(Box::new(move |desk| drop(answerer.send(run(desk)))));
    jobs.send(job).map_err(|_| closed())?;
    answer.await.map_err(|_| closed())?
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
