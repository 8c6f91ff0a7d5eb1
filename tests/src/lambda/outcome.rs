//! How an invocation ended.

use std::time::Duration;

use bytes::Bytes;

/// The maximum size of an event and of an answer, in bytes of JSON.
///
/// See [Lambda Docs/Lambda quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
pub(super) const MAX_PAYLOAD_BYTES: usize = 6 * 1024 * 1024;

/// How an invocation ended, as AWS reports it to the caller.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The function answered with this payload.
    Answered(Bytes),
    /// The function reported an error, which includes a panic that its runtime caught.
    Failed {
        /// Type of the error, from the function or from Lambda.
        error_type: String,
        /// Message of the error.
        message: String,
    },
    /// The instance was killed at the function's deadline.
    TimedOut {
        /// The function's timeout.
        after: Duration,
    },
    /// The instance ended before it answered.
    Crashed {
        /// Exit code or signal.
        how: String,
    },
    /// All instances were busy, and the function is configured to reject then.
    Throttled,
    /// The event exceeds Lambda's limit.
    TooLarge,
}

impl Outcome {
    /// The answer as JSON, if there is one.
    pub fn json(&self) -> Option<serde_json::Value> {
        match self {
            Self::Answered(payload) => serde_json::from_slice(payload).ok(),
            Self::Failed { .. } | Self::TimedOut { .. } | Self::Crashed { .. } | Self::Throttled | Self::TooLarge => {
                None
            }
        }
    }
}
