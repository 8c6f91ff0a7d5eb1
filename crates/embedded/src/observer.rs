//! Observing and breaking calls that change something: for tests of what happens if the process dies at a given point.

use std::fmt;
use std::sync::Arc;

/// One of the two services.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Service {
    /// Tables.
    DynamoDb,
    /// Queues.
    Sqs,
}

/// Side of a call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The call has taken effect durably, or was refused; its caller doesn't know yet.
    After,
}

/// A point where a process may die: before or after one changing call.
///
/// Every call that may change something has two, including `ReceiveMessage`.
#[derive(Debug, Clone, Copy)]
pub struct CrashPoint<'a> {
    /// The service called.
    pub service: Service,
    /// The operation's name in the API: `SendMessage`, `PutItem`.
    pub operation: &'a str,
    /// The request's JSON.
    pub request: &'a [u8],
    /// Number of changing calls before this one since the engine was opened.
    pub number: u64,
    /// Before or after the call's effect.
    pub moment: Moment,
}

/// What happens to a call at a [`CrashPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// The call is executed.
    Proceed,
    /// The caller gets an internal error (status 500), which SDKs retry.
    Fail,
    /// The process is dead from here on: this call and all others, in flight or later, end in a broken connection and take no effect,
    /// except calls that are already being executed. Acknowledged writes are there when the directory is opened again.
    Die,
}

/// Decides at every [`CrashPoint`]. Must not block: it runs on the caller's task.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&CrashPoint<'_>) -> Verdict + Send + Sync>);

impl Observer {
    /// Creates an observer that calls `decide`.
    pub fn new(decide: impl Fn(&CrashPoint<'_>) -> Verdict + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(crate) fn decide(&self, point: &CrashPoint<'_>) -> Verdict {
        (self.0)(point)
    }
}

impl fmt::Debug for Observer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Observer(..)")
    }
}
