//! Why a queue did not do what it was asked.

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Why a queue did not do what it was asked. In every case nothing is lost that was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The service refused or could not be reached, after the client's own retries.
    #[error("queue {operation} failed: {code}")]
    Unavailable {
        /// What was asked.
        operation: &'static str,
        /// The service's code, or what happened.
        code: String,
    },
    /// Some entries of a batch were refused.
    #[error("queue {operation} refused {n_failed} entries: {code}")]
    Partial {
        /// What was asked.
        operation: &'static str,
        /// How many.
        n_failed: usize,
        /// The code of the first.
        code: String,
    },
    /// The message is larger than a queue takes.
    #[error("message of {size_bytes} bytes is larger than a queue takes")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// There is no queue of that name or number.
    #[error("there is no queue {0}")]
    Missing(String),
}

impl QueueError {
    pub(crate) fn of<E, R>(operation: &'static str) -> impl FnOnce(SdkError<E, R>) -> Self
    where
        E: ProvideErrorMetadata,
    {
        move |error| {
            let code = match &error {
                SdkError::ServiceError(service) => service.err().code().unwrap_or("unknown").to_owned(),
                SdkError::TimeoutError(_) => "timeout".to_owned(),
                SdkError::DispatchFailure(_) => "unreachable".to_owned(),
                _ => "unreadable answer".to_owned(),
            };
            Self::Unavailable { operation, code }
        }
    }
}
