//! A response before it becomes HTTP: for a socket or for the SDK's connector.

use bytes::Bytes;
use serde::Serialize;

/// Status, JSON, and the one header that clients read.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Bytes,
    /// The header `x-amzn-query-error`.
    pub(crate) query_error: Option<String>,
}

impl Answer {
    pub(crate) const CONTENT_TYPE: &str = "application/x-amz-json-1.0";

    pub(crate) fn json(status: u16, body: &impl Serialize) -> Self {
        let body = serde_json::to_vec(body).expect("answers have string keys only");
        Self::of(status, body)
    }

    pub(crate) fn of(status: u16, json: impl Into<Bytes>) -> Self {
        Self {
            status,
            body: json.into(),
            query_error: None,
        }
    }

    /// The response to a call whose outcome must stay hidden from the caller. AWS clients retry after it.
    pub(crate) fn internal_error() -> Self {
        let body = r#"{"__type":"com.amazon.coral.service#InternalServerError","message":"internal error"}"#;
        Self::of(500, body)
    }

    pub(crate) fn unknown_operation() -> Self {
        Self::of(
            400,
            r#"{"__type":"com.amazon.coral.service#UnknownOperationException"}"#,
        )
    }
}
