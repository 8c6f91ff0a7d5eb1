//! A request for the writer: parsed, and validated as far as possible without knowing the queue.

use std::collections::HashSet;

use serde::de::DeserializeOwned;

use super::acknowledge::{MAX_VISIBILITY_S, Settlement, Settlements};
use super::catalog::queue_name;
use super::error::{Code, Refusal};
use super::new_message::{self, Draft, MAX_MESSAGE_BYTES};
use super::sending::Drafts;
use super::wire;

const MAX_ENTRIES: usize = 10;
const MAX_WAIT_S: i64 = 20;

#[derive(Debug)]
pub(super) enum Request {
    /// May wait for a message.
    Receive(Receive),
    Now(Now),
}

/// A request that is answered at once.
#[derive(Debug)]
pub(super) enum Now {
    CreateQueue(wire::CreateQueue),
    QueueUrl {
        queue: String,
    },
    GetAttributes {
        queue: String,
        wanted: Vec<String>,
    },
    SetAttributes(wire::SetQueueAttributes),
    ListQueues(wire::ListQueues),
    SourceQueues {
        queue: String,
    },
    DeleteQueue {
        queue: String,
    },
    PurgeQueue {
        queue: String,
    },
    Send {
        queue: String,
        draft: Box<Draft>,
    },
    SendBatch {
        queue: String,
        drafts: Drafts,
    },
    Settle {
        queue: String,
        handle: String,
        what: Settlement,
    },
    SettleBatch {
        queue: String,
        settlements: Settlements,
    },
    StartMove(wire::StartMove),
    ListMoves(wire::ListMoves),
    CancelMove {
        handle: String,
    },
}

#[derive(Debug, Clone)]
pub(super) struct Receive {
    pub(super) queue: String,
    pub(super) most: usize,
    pub(super) visibility_s: Option<i64>,
    /// `None`: the queue's default.
    pub(super) wait_s: Option<i64>,
}

impl Request {
    /// Reads the JSON `body` of `operation`.
    pub(super) fn parse(operation: &str, body: &[u8]) -> Result<Self, Refusal> {
        match operation {
            "ReceiveMessage" => receive(&read(body)?).map(Self::Receive),
            _ => Now::parse(operation, body).map(Self::Now),
        }
    }
}

impl Now {
    fn parse(operation: &str, body: &[u8]) -> Result<Self, Refusal> {
        match operation {
            "CreateQueue" => read(body).map(Self::CreateQueue),
            "GetQueueUrl" => read(body).map(|r: wire::GetQueueUrl| Self::QueueUrl { queue: r.queue_name }),
            "GetQueueAttributes" => read(body).map(|r: wire::GetQueueAttributes| Self::GetAttributes {
                queue: name(&r.queue_url),
                wanted: r.attribute_names,
            }),
            "SetQueueAttributes" => read(body).map(Self::SetAttributes),
            "ListQueues" => read(body).map(Self::ListQueues),
            "ListDeadLetterSourceQueues" => named(body).map(|queue| Self::SourceQueues { queue }),
            "DeleteQueue" => named(body).map(|queue| Self::DeleteQueue { queue }),
            "PurgeQueue" => named(body).map(|queue| Self::PurgeQueue { queue }),
            "SendMessage" => send(read(body)?),
            "SendMessageBatch" => send_batch(read(body)?),
            "DeleteMessage" => delete(read(body)?),
            "DeleteMessageBatch" => delete_batch(read(body)?),
            "ChangeMessageVisibility" => extend(read(body)?),
            "ChangeMessageVisibilityBatch" => extend_batch(read(body)?),
            "StartMessageMoveTask" => read(body).map(Self::StartMove),
            "ListMessageMoveTasks" => read(body).map(Self::ListMoves),
            "CancelMessageMoveTask" => read(body).map(|r: wire::CancelMove| Self::CancelMove { handle: r.task_handle }),
            _ => {
                let message = format!("The action {operation} is not valid for this endpoint.");
                Err(Refusal::new(Code::UnknownOperation, message))
            }
        }
    }
}

/// The attributes that a receiver requests for each message, in addition to the body.
pub(super) fn wanted(body: &[u8]) -> Result<wire::ReceiveMessage, Refusal> {
    read(body)
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(body).map_err(|error| {
        // Position only: the parser's message may quote the queue message.
        let message = format!("malformed JSON at line {}, column {}", error.line(), error.column());
        Refusal::new(Code::Serialization, message)
    })
}

fn name(url: &str) -> String {
    queue_name(url).to_owned()
}

fn named(body: &[u8]) -> Result<String, Refusal> {
    read(body).map(|r: wire::QueueOnly| name(&r.queue_url))
}

fn send(outgoing: wire::Outgoing) -> Result<Now, Refusal> {
    let queue = name(&outgoing.queue_url);
    let draft = new_message::draft(outgoing)?;
    Ok(Now::Send {
        queue,
        draft: Box::new(draft),
    })
}

fn send_batch(batch: wire::Batch<wire::Outgoing>) -> Result<Now, Refusal> {
    check_ids(batch.entries.iter().map(|e| e.id.as_str()))?;
    let n_bytes: usize = batch.entries.iter().map(|e| e.message_body.len()).sum();
    if n_bytes > MAX_MESSAGE_BYTES {
        let message =
            format!("Batch requests cannot be longer than {MAX_MESSAGE_BYTES} bytes. You have sent {n_bytes} bytes.");
        return Err(Refusal::new(Code::BatchRequestTooLong, message));
    }
    let drafts = batch
        .entries
        .into_iter()
        .map(|entry| (entry.id.clone(), new_message::draft(entry)));
    Ok(Now::SendBatch {
        queue: name(&batch.queue_url),
        drafts: drafts.collect(),
    })
}

fn receive(request: &wire::ReceiveMessage) -> Result<Receive, Refusal> {
    let most = in_range("MaxNumberOfMessages", request.max_number_of_messages, (1, 10))?;
    Ok(Receive {
        queue: name(&request.queue_url),
        most: usize::try_from(most.unwrap_or(1)).unwrap_or(1),
        visibility_s: in_range("VisibilityTimeout", request.visibility_timeout, (0, MAX_VISIBILITY_S))?,
        wait_s: in_range("WaitTimeSeconds", request.wait_time_seconds, (0, MAX_WAIT_S))?,
    })
}

fn in_range(parameter: &str, value: Option<i64>, (min, max): (i64, i64)) -> Result<Option<i64>, Refusal> {
    match value {
        Some(n) if !(min..=max).contains(&n) => {
            let reason = format!("Must be between {min} and {max}, if provided.");
            Err(Refusal::invalid(parameter, n, &reason))
        }
        value => Ok(value),
    }
}

fn delete(receipt: wire::Receipt) -> Result<Now, Refusal> {
    Ok(Now::Settle {
        queue: name(&receipt.queue_url),
        handle: required("ReceiptHandle", receipt.receipt_handle)?,
        what: Settlement::Delete,
    })
}

fn delete_batch(batch: wire::Batch<wire::Receipt>) -> Result<Now, Refusal> {
    check_ids(batch.entries.iter().map(|e| e.id.as_str()))?;
    let settlements = batch
        .entries
        .into_iter()
        .map(|e| (e.id, Ok((e.receipt_handle, Settlement::Delete))));
    Ok(Now::SettleBatch {
        queue: name(&batch.queue_url),
        settlements: settlements.collect(),
    })
}

fn extend(request: wire::Visibility) -> Result<Now, Refusal> {
    let what = extension(request.visibility_timeout)?;
    Ok(Now::Settle {
        queue: name(&request.queue_url),
        handle: required("ReceiptHandle", request.receipt_handle)?,
        what,
    })
}

fn extend_batch(batch: wire::Batch<wire::Visibility>) -> Result<Now, Refusal> {
    check_ids(batch.entries.iter().map(|e| e.id.as_str()))?;
    let settlements = batch.entries.into_iter().map(|e| {
        let what = extension(e.visibility_timeout);
        (e.id, what.map(|what| (e.receipt_handle, what)))
    });
    Ok(Now::SettleBatch {
        queue: name(&batch.queue_url),
        settlements: settlements.collect(),
    })
}

fn extension(visibility_s: Option<i64>) -> Result<Settlement, Refusal> {
    let visibility_s = in_range("VisibilityTimeout", visibility_s, (0, MAX_VISIBILITY_S))?;
    let visibility_s = visibility_s.ok_or_else(|| Refusal::missing("VisibilityTimeout"))?;
    Ok(Settlement::Extend { visibility_s })
}

fn required(parameter: &str, value: String) -> Result<String, Refusal> {
    if value.is_empty() {
        return Err(Refusal::missing(parameter));
    }
    Ok(value)
}

/// Checks the ids of a batch; the rules are the same for all four kinds.
fn check_ids<'a>(ids: impl ExactSizeIterator<Item = &'a str>) -> Result<(), Refusal> {
    let n_entries = ids.len();
    if n_entries == 0 {
        let message = "There should be at least one entry in the request.";
        return Err(Refusal::new(Code::EmptyBatchRequest, message));
    }
    if n_entries > MAX_ENTRIES {
        let message = format!("Maximum number of entries per request are 10. You have sent {n_entries}.");
        return Err(Refusal::new(Code::TooManyEntriesInBatchRequest, message));
    }
    let mut seen = HashSet::new();
    for id in ids {
        if !is_entry_id(id) {
            let message = "A batch entry id can only contain alphanumeric characters, hyphens and underscores. \
                           It can be at most 80 letters long.";
            return Err(Refusal::new(Code::InvalidBatchEntryId, message));
        }
        if !seen.insert(id) {
            let message = format!("Id {id} repeated.");
            return Err(Refusal::new(Code::BatchEntryIdsNotDistinct, message));
        }
    }
    Ok(())
}

fn is_entry_id(id: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_".contains(&b);
    (1..=80).contains(&id.len()) && id.bytes().all(good)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(operation: &str, body: &str, expected: Code) {
        let parsed = Request::parse(operation, body.as_bytes());
        assert_eq!(parsed.map_err(|refusal| refusal.code).err(), Some(expected));
    }

    #[test]
    fn batches_need_one_to_ten_entries_with_distinct_ids() {
        check("DeleteMessageBatch", r#"{"Entries":[]}"#, Code::EmptyBatchRequest);
        let eleven: Vec<String> = (0..11).map(|i| format!(r#"{{"Id":"{i}"}}"#)).collect();
        let eleven = format!(r#"{{"Entries":[{}]}}"#, eleven.join(","));
        check("DeleteMessageBatch", &eleven, Code::TooManyEntriesInBatchRequest);
        let twins = r#"{"Entries":[{"Id":"a"},{"Id":"a"}]}"#;
        check("ChangeMessageVisibilityBatch", twins, Code::BatchEntryIdsNotDistinct);
        check(
            "SendMessageBatch",
            r#"{"Entries":[{"Id":"a b"}]}"#,
            Code::InvalidBatchEntryId,
        );
    }

    #[test]
    fn a_batch_is_at_most_one_mebibyte_together() {
        let body = "x".repeat(600_000);
        let json =
            format!(r#"{{"Entries":[{{"Id":"a","MessageBody":"{body}"}},{{"Id":"b","MessageBody":"{body}"}}]}}"#);
        check("SendMessageBatch", &json, Code::BatchRequestTooLong);
    }

    #[test]
    fn numbers_out_of_range_are_refused() {
        for body in [
            r#"{"MaxNumberOfMessages":0}"#,
            r#"{"MaxNumberOfMessages":11}"#,
            r#"{"WaitTimeSeconds":21}"#,
            r#"{"VisibilityTimeout":43201}"#,
        ] {
            check("ReceiveMessage", body, Code::InvalidParameterValue);
        }
    }

    #[test]
    fn malformed_requests_are_refused() {
        check("ReceiveMessage", "{", Code::Serialization);
        check("Fly", "{}", Code::UnknownOperation);
    }
}
