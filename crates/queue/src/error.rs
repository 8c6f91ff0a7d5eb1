//! Errors of the queues.

use std::sync::atomic::{AtomicU64, Ordering};

use aws_sdk_sqs::error::{ProvideErrorMetadata, SdkError};

/// Why a queue call failed. In no case is anything lost that was acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The service refused or could not be reached, after the client's own retries.
    #[error("queue {operation} failed: {code}")]
    Unavailable {
        /// The operation.
        operation: &'static str,
        /// The service's code, or what happened.
        code: String,
    },
    /// Some entries of a batch were refused.
    #[error("queue {operation} refused {n_failed} entries: {code}")]
    Partial {
        /// The operation.
        operation: &'static str,
        /// How many.
        n_failed: usize,
        /// The code of the first.
        code: String,
    },
    /// The message exceeds the queue's size limit.
    #[error("message of {size_bytes} bytes exceeds the queue's size limit")]
    TooLarge {
        /// Its size.
        size_bytes: usize,
    },
    /// No queue has that name or number.
    #[error("there is no queue {0}")]
    Missing(String),
}

/// Number of calls of this process to the queues that have failed after all retries.
static N_UNAVAILABLE: AtomicU64 = AtomicU64::new(0);

/// Number of calls of this process to the queues that have failed after all retries.
#[must_use]
pub fn unavailable_count() -> u64 {
    N_UNAVAILABLE.load(Ordering::Relaxed)
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
            N_UNAVAILABLE.fetch_add(1, Ordering::Relaxed);
            Self::Unavailable { operation, code }
        }
    }
}
