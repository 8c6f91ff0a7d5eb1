//! Watching, and breaking, what changes: for tests that ask what happens if the process dies right here.

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

/// On which side of a call's effect.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Nothing has happened yet.
    Before,
    /// The call has taken effect durably, or was refused; its caller doesn't know yet.
    After,
}

/// A place where a process may die: one side of one changing call.
///
/// Every call that may change something has two, `ReceiveMessage` among them.
#[derive(Debug, Clone, Copy)]
pub struct CrashPoint<'a> {
    /// The service called.
    pub service: Service,
    /// The operation, as the service spells it: `SendMessage`, `PutItem`.
    pub operation: &'a str,
    /// The request, JSON.
    pub request: &'a [u8],
    /// How many changing calls came before this one since the engine was opened.
    pub number: u64,
    /// Which side.
    pub moment: Moment,
}

/// What becomes of a call at a [`CrashPoint`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It goes on.
    Proceed,
    /// Its caller gets an internal error (status 500), the kind that SDKs retry.
    Fail,
    /// The process is dead from here on: this call and every other one, under way or yet to come, ends in a broken connection and
    /// nothing takes effect any more, except calls that are already being executed. What was acknowledged is there when the
    /// directory is opened again.
    Die,
}

/// Decides at every [`CrashPoint`]. Must not block: it runs on the caller's task.
#[derive(Clone)]
pub struct Observer(Arc<dyn Fn(&CrashPoint<'_>) -> Verdict + Send + Sync>);

impl Observer {
    /// An observer that asks `decide`.
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
