//! Errors of the store.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_dynamodb::error::{ProvideErrorMetadata as _, SdkError};
use aws_sdk_dynamodb::types::error::{ProvisionedThroughputExceededException, TransactionCanceledException};

/// Why the store did not carry out a request.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// A condition failed: another writer was faster. Read and decide again; repeating the same write is pointless.
    #[error("the item is not as it was read")]
    Conflict,
    /// The tables can't be reached, or are throttled, even after the client's own retries.
    #[error("the tables are not available")]
    Unavailable {
        /// The client's own error.
        #[source]
        source: Box<aws_sdk_dynamodb::Error>,
    },
    /// An item or a cursor has a shape that this version doesn't know.
    #[error("{what} does not have a known shape")]
    Unreadable {
        /// What it is.
        what: &'static str,
    },
    /// A sealed value was sealed with another key or for another purpose, or was tampered with.
    #[error("sealed value can't be opened")]
    Unsealable,
    /// A sealed value names a key that this process doesn't have: it was sealed after a rotation that the process hasn't read yet, its key
    /// was retired, or it was tampered with. Read the keys again and retry.
    #[error("the key that sealed the value is not known")]
    UnknownKey,
    /// The item exceeds a table's size limit.
    #[error("the item exceeds the table's size limit")]
    TooLarge,
}

impl<E, R> From<SdkError<E, R>> for StoreError
where
    aws_sdk_dynamodb::Error: From<SdkError<E, R>>,
{
    fn from(error: SdkError<E, R>) -> Self {
        aws_sdk_dynamodb::Error::from(error).into()
    }
}

impl From<aws_sdk_dynamodb::Error> for StoreError {
    fn from(error: aws_sdk_dynamodb::Error) -> Self {
        use aws_sdk_dynamodb::Error;
        match &error {
            Error::ConditionalCheckFailedException(_)
            | Error::TransactionConflictException(_)
            | Error::TransactionInProgressException(_) => Self::Conflict,
            Error::TransactionCanceledException(canceled) if is_conflict(canceled) => Self::Conflict,
            Error::TransactionCanceledException(canceled) if has_too_large(canceled) => Self::TooLarge,
            _ if error.code() == Some("ValidationException") && is_about_size(error.message()) => Self::TooLarge,
            _ => Self::unavailable(error),
        }
    }
}

/// Number of calls of this process to the tables that have failed after all retries.
static N_UNAVAILABLE: AtomicU64 = AtomicU64::new(0);

/// Number of calls of this process to the tables that have failed after all retries.
#[must_use]
pub fn unavailable_count() -> u64 {
    N_UNAVAILABLE.load(Ordering::Relaxed)
}

impl StoreError {
    fn unavailable(error: aws_sdk_dynamodb::Error) -> Self {
        N_UNAVAILABLE.fetch_add(1, Ordering::Relaxed);
        Self::Unavailable {
            source: Box::new(error),
        }
    }

    /// The table kept throttling until the retries were used up.
    pub(crate) fn throttled() -> Self {
        let error = ProvisionedThroughputExceededException::builder()
            .message("unprocessed after all retries")
            .build();
        Self::unavailable(aws_sdk_dynamodb::Error::ProvisionedThroughputExceededException(error))
    }
}

fn is_conflict(canceled: &TransactionCanceledException) -> bool {
    let codes = canceled
        .cancellation_reasons()
        .iter()
        .filter_map(|reason| reason.code());
    codes
        .into_iter()
        .any(|code| matches!(code, "ConditionalCheckFailed" | "TransactionConflict"))
}

/// Whether one of the writes made its item too large. A condition that failed as well takes precedence: after another read the write may be smaller.
fn has_too_large(canceled: &TransactionCanceledException) -> bool {
    let mut reasons = canceled.cancellation_reasons().iter();
    reasons.any(|reason| reason.code() == Some("ValidationError") && is_about_size(reason.message()))
}

// The service has no error code for this, only a message.
fn is_about_size(message: Option<&str>) -> bool {
    message.is_some_and(|text| text.contains("exceeded the maximum allowed size"))
}

#[cfg(test)]
mod tests {
    use aws_sdk_dynamodb::error::ErrorMetadata;
    use aws_sdk_dynamodb::operation::get_item::GetItemError;
    use aws_sdk_dynamodb::types::CancellationReason;

    use super::*;

    fn refused(message: &str) -> StoreError {
        let meta = ErrorMetadata::builder().code("ValidationException").message(message);
        aws_sdk_dynamodb::Error::from(GetItemError::generic(meta.build())).into()
    }

    #[test]
    fn items_that_are_or_become_too_large_are_distinguished_from_an_outage() {
        for message in [
            "Item size has exceeded the maximum allowed size",
            "Item size to update has exceeded the maximum allowed size",
        ] {
            assert!(matches!(refused(message), StoreError::TooLarge), "{message}");
        }
        assert!(matches!(
            refused("The table does not exist"),
            StoreError::Unavailable { .. }
        ));
    }

    fn canceled(reasons: &[(&str, &str)]) -> StoreError {
        let reasons = reasons.iter().map(|(code, message)| {
            let reason = CancellationReason::builder().code(*code);
            reason.message(*message).build()
        });
        let canceled = TransactionCanceledException::builder().set_cancellation_reasons(Some(reasons.collect()));
        aws_sdk_dynamodb::Error::TransactionCanceledException(canceled.build()).into()
    }

    #[test]
    fn a_transaction_with_a_too_large_item_is_distinguished_from_an_outage() {
        let too_large = (
            "ValidationError",
            "Item size to update has exceeded the maximum allowed size",
        );
        let conflict = ("ConditionalCheckFailed", "The conditional request failed");
        assert!(matches!(canceled(&[("None", ""), too_large]), StoreError::TooLarge));
        assert!(matches!(canceled(&[too_large, conflict]), StoreError::Conflict));
        assert!(matches!(
            canceled(&[("ValidationError", "One or more parameter values were invalid")]),
            StoreError::Unavailable { .. }
        ));
        assert!(matches!(
            canceled(&[("ThrottlingError", "exceeded the maximum allowed size of a burst")]),
            StoreError::Unavailable { .. }
        ));
    }
}
