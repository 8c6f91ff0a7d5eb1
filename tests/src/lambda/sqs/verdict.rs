//! A function's report on its batch.
//!
//! See [Lambda Docs/Implementing partial batch responses](https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-errorhandling.html).

use std::collections::HashSet;

use aws_sdk_sqs::types::Message;
use serde_json::Value;

use super::event::id;

/// The consequence for a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Verdict {
    /// All messages are deleted.
    Handled,
    /// Those with these ids stay in the queue, the others are deleted.
    Partly(HashSet<String>),
    /// All messages stay in the queue, for this reason.
    Failed(String),
}

/// Parses an answer as a mapping with `ReportBatchItemFailures` does: an answer without a list of failures is a success,
/// and a list with a single invalid entry is a failure of everything.
pub(super) fn read(answer: &[u8], batch: &[Message]) -> Verdict {
    let failures = match serde_json::from_slice::<Value>(answer) {
        Ok(Value::Null) => return Verdict::Handled,
        Ok(Value::Object(mut answer)) => match answer.remove("batchItemFailures") {
            None | Some(Value::Null) => return Verdict::Handled,
            Some(Value::Array(failures)) => failures,
            Some(other) => return Verdict::Failed(format!("batchItemFailures is not a list: {other}")),
        },
        Ok(other) => return Verdict::Failed(format!("the answer is not an object: {other}")),
        Err(error) => return Verdict::Failed(format!("the answer is not JSON: {error}")),
    };
    let mut failed = HashSet::new();
    for failure in failures {
        match failure.get("itemIdentifier").and_then(Value::as_str) {
            Some(known) if batch.iter().any(|message| id(message) == known) => failed.insert(known.to_owned()),
            _ => return Verdict::Failed(format!("no message of the batch has the id in {failure}")),
        };
    }
    if failed.is_empty() {
        Verdict::Handled
    } else {
        Verdict::Partly(failed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(answer: &str) -> Verdict {
        let batch = ["m1", "m2", "m3"].map(|id| Message::builder().message_id(id).build());
        read(answer.as_bytes(), &batch)
    }

    #[test]
    fn answers_without_failures_are_successes() {
        for answer in [
            "null",
            "{}",
            r#"{"batchItemFailures":null}"#,
            r#"{"batchItemFailures":[]}"#,
            r#"{"statusCode":200}"#,
        ] {
            assert_eq!(verdict(answer), Verdict::Handled, "{answer}");
        }
    }

    #[test]
    fn listed_messages_fail_alone() {
        let answer =
            r#"{"batchItemFailures":[{"itemIdentifier":"m3"},{"itemIdentifier":"m1"},{"itemIdentifier":"m3"}]}"#;
        assert_eq!(
            verdict(answer),
            Verdict::Partly(HashSet::from(["m1".to_owned(), "m3".to_owned()]))
        );
    }

    #[test]
    fn one_fault_in_the_list_fails_everything() {
        for item in [
            r#"{"itemIdentifier":null}"#,
            r#"{"itemIdentifier":""}"#,
            r#"{"itemIdentifier":"m4"}"#,
            r#"{"itemIdentifier":1}"#,
            r#"{"itemId":"m1"}"#,
            r#""m1""#,
            "null",
        ] {
            let answer = format!(r#"{{"batchItemFailures":[{{"itemIdentifier":"m1"}},{item}]}}"#);
            assert!(
                matches!(verdict(&answer), Verdict::Failed(_)),
                "expected a failed batch for {answer}"
            );
        }
    }

    #[test]
    fn malformed_answers_fail_everything() {
        for answer in [
            "",
            "{",
            "[]",
            "true",
            r#""ok""#,
            r#"{"batchItemFailures":{}}"#,
            r#"{"batchItemFailures":"m1"}"#,
        ] {
            assert!(
                matches!(verdict(answer), Verdict::Failed(_)),
                "expected a failed batch for {answer}"
            );
        }
    }
}
