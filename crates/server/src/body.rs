//! Request bodies, read whole within a memory budget before the router sees the request. Backpressure: what exceeds it is refused.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use http::header::{CONNECTION, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderValue, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::{Body as _, Incoming};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout, timeout_at};

use crate::limits::Limits;
use crate::registry::{Connection, Phase, Registry};

/// Longest announced body that counts as small. Platforms' callbacks are far below this.
const SMALL_BYTES: u64 = 64 * 1024;
/// Body bytes reserved in the memory budget at a time.
const UNIT_BYTES: usize = 1024;

/// Memory budget of all request bodies in flight.
#[derive(Debug)]
pub(crate) struct BodyBudget {
    small: Arc<Semaphore>,
    large: Arc<Semaphore>,
}

/// A whole request body with its permit of the memory budget.
pub(crate) struct Held {
    pub(crate) body: Body,
    pub(crate) _share: Option<OwnedSemaphorePermit>,
}

/// Why a body was not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The memory budget is used up.
    Busy,
    /// The body didn't arrive in time.
    TooSlow,
    /// The client ended the body before its announced end.
    BrokenOff,
}

impl BodyBudget {
    pub(crate) fn new(limits: &Limits) -> Self {
        let units = |bytes: usize| Arc::new(Semaphore::new(bytes.div_ceil(UNIT_BYTES)));
        Self {
            small: units(limits.max_small_bodies_bytes),
            large: units(limits.max_large_bodies_bytes),
        }
    }

    /// Reads a whole request body.
    pub(crate) async fn read(
        &self,
        body: Incoming,
        limits: &Limits,
        registry: &Registry,
        connection: &Connection,
    ) -> Result<Held, Refusal> {
        let announced = body.size_hint().exact();
        if body.is_end_stream() {
            return Ok(Held {
                body: Body::empty(),
                _share: None,
            });
        }
        if announced.is_some_and(|length| length > limits.max_body_bytes as u64) {
            return Ok(Held {
                body: unreadable(),
                _share: None,
            });
        }
        let is_small = announced.is_some_and(|length| length <= SMALL_BYTES);
        let budget = if is_small { &self.small } else { &self.large };
        let reading = Reading {
            budget,
            limits,
            registry,
            connection,
            share: None,
            bytes: Vec::new(),
        };
        reading.whole(body).await
    }
}

struct Reading<'a> {
    budget: &'a Arc<Semaphore>,
    limits: &'a Limits,
    registry: &'a Registry,
    connection: &'a Connection,
    share: Option<OwnedSemaphorePermit>,
    bytes: Vec<u8>,
}

impl Reading<'_> {
    async fn whole(mut self, mut body: Incoming) -> Result<Held, Refusal> {
        self.connection.enter(Phase::Body);
        let end = Instant::now() + self.limits.body_timeout;
        loop {
            let until = end.min(Instant::now() + self.limits.body_idle_timeout);
            let frame = timeout_at(until, body.frame()).await.map_err(|_| Refusal::TooSlow)?;
            let Some(frame) = frame else {
                break;
            };
            let Ok(data) = frame.map_err(|_| Refusal::BrokenOff)?.into_data() else {
                continue;
            };
            if self.bytes.len() + data.len() > self.limits.max_body_bytes {
                return Ok(Held {
                    body: unreadable(),
                    _share: None,
                });
            }
            self.reserve(data.len()).await?;
            // Copied: a slice would keep the connection's whole buffer alive.
            self.bytes.extend_from_slice(&data);
        }
        self.connection.enter(Phase::Working);
        Ok(Held {
            body: Body::from(Bytes::from(self.bytes)),
            _share: self.share,
        })
    }

    /// Reserves memory for `n_bytes` more.
    async fn reserve(&mut self, n_bytes: usize) -> Result<(), Refusal> {
        let held = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let needed = (self.bytes.len() + n_bytes).div_ceil(UNIT_BYTES).saturating_sub(held);
        let needed = u32::try_from(needed).map_err(|_| Refusal::Busy)?;
        let now = Arc::clone(self.budget).try_acquire_many_owned(needed);
        let more = match now {
            Ok(more) => more,
            Err(_) => self.wait_for(needed).await?,
        };
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        Ok(())
    }

    async fn wait_for(&self, needed: u32) -> Result<OwnedSemaphorePermit, Refusal> {
        self.connection.rename(Phase::BodyWaits);
        self.registry.evict_slowest_body();
        let waiting = Arc::clone(self.budget).acquire_many_owned(needed);
        let permit = timeout(self.limits.body_patience, waiting).await;
        self.connection.rename(Phase::Body);
        permit.ok().and_then(Result::ok).ok_or(Refusal::Busy)
    }
}

/// A body that fails when it is read, like one that breaks off. The handler words the response.
fn unreadable() -> Body {
    Body::from_stream(stream::iter([Err::<Bytes, _>(io::Error::from(
        io::ErrorKind::FileTooLarge,
    ))]))
}

impl Refusal {
    /// The error response. The connection is closed after it, since the rest of the body is not read.
    pub(crate) fn answer(self, patience: Duration) -> Response {
        let (status, code, detail) = match self {
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "unavailable",
                "too many request bodies are in flight; try again",
            ),
            Self::TooSlow => (
                StatusCode::REQUEST_TIMEOUT,
                "body_timeout",
                "the request's body did not arrive in time",
            ),
            Self::BrokenOff => (StatusCode::BAD_REQUEST, "invalid_body", "the request's body broke off"),
        };
        let title = status.canonical_reason().unwrap_or_default();
        let problem = format!(
            r#"{{"type":"about:blank","title":"{title}","status":{},"code":"{code}","detail":"{detail}"}}"#,
            status.as_u16()
        );
        let mut response = (status, problem).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
        if self == Self::Busy {
            headers.insert(RETRY_AFTER, HeaderValue::from(patience.as_secs().max(1)));
        }
        response
    }
}
