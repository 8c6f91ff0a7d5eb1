//! The two engines as clients and the server call them.

use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::watch;

use crate::Answer;
use crate::dynamodb::{self, Tables};
use crate::observer::{CrashPoint, Moment, Observer, Service, Verdict};
use crate::sqs::{self, Sqs};

/// Endpoint for an SDK client that uses [`crate::Embedded::http_client`]. Nothing listens there.
pub const ENDPOINT_URL: &str = "http://embedded.invalid";

/// Both engines, shared by clients and the server.
#[derive(Debug)]
pub(crate) struct Engines {
    pub(crate) sqs: Sqs,
    pub(crate) tables: Tables,
    pub(crate) observer: Option<Observer>,
    pub(crate) n_changes: AtomicU64,
    /// Closed, or killed by an observer's verdict.
    pub(crate) is_gone: watch::Sender<bool>,
    /// A storage thread has ended, whether asked to or not.
    pub(crate) has_ended: watch::Sender<bool>,
}

/// There is no response: the connection breaks.
#[derive(Debug, thiserror::Error)]
#[error("embedded engine is closed")]
pub(crate) struct Gone;

impl Engines {
    /// Answers one request. `target` is the header `x-amz-target`, `origin` the scheme and authority that the caller used.
    pub(crate) async fn call(&self, target: &str, body: &[u8], origin: &str) -> Result<Answer, Gone> {
        let mut gone = self.is_gone.subscribe();
        tokio::select! {
            biased;
            _ = gone.wait_for(|is_gone| *is_gone) => Err(Gone),
            answer = self.dispatch(target, body, origin) => answer,
        }
    }

    async fn dispatch(&self, target: &str, body: &[u8], origin: &str) -> Result<Answer, Gone> {
        if let Some(operation) = target.strip_prefix(sqs::TARGET_PREFIX) {
            let number = self.number(Sqs::changes_something(operation));
            self.observed(Service::Sqs, operation, body, number, async {
                self.sqs.call(operation, body, origin).await
            })
            .await
        } else if let Some(operation) = dynamodb::operation(target) {
            let number = self.number(Tables::changes_something(operation));
            self.observed(Service::DynamoDb, operation, body, number, async {
                self.tables.call(operation, body).await
            })
            .await
        } else {
            Ok(Answer::unknown_operation())
        }
    }

    /// The number of a call that may change something, if there is an observer.
    fn number(&self, changes: bool) -> Option<u64> {
        let counts = changes && self.observer.is_some();
        counts.then(|| self.n_changes.fetch_add(1, Ordering::Relaxed))
    }

    async fn observed(
        &self,
        service: Service,
        operation: &str,
        request: &[u8],
        number: Option<u64>,
        call: impl Future<Output = Answer>,
    ) -> Result<Answer, Gone> {
        let (Some(observer), Some(number)) = (&self.observer, number) else {
            return Ok(call.await);
        };
        let at = |moment| CrashPoint {
            service,
            operation,
            request,
            number,
            moment,
        };
        match observer.decide(&at(Moment::Before)) {
            Verdict::Proceed => {}
            Verdict::Fail => return Ok(Answer::internal_error()),
            Verdict::Die => return Err(self.die()),
        }
        let answer = call.await;
        match observer.decide(&at(Moment::After)) {
            Verdict::Proceed => Ok(answer),
            Verdict::Fail => Ok(Answer::internal_error()),
            Verdict::Die => Err(self.die()),
        }
    }

    fn die(&self) -> Gone {
        self.is_gone.send_replace(true);
        self.sqs.stop();
        self.tables.stop();
        Gone
    }

    pub(crate) fn close(&self) {
        self.is_gone.send_replace(true);
        self.sqs.close();
        self.tables.close();
    }
}
