//! Error codes of the HTTP API.

use serde_json::Value;

/// The access token is invalid or has expired.
pub(super) const TOKEN_EXPIRED: i64 = 40100;
/// A daily limit or rate limit was exceeded.
pub(super) const LIMIT: i64 = 42900;
/// A fault of the server.
pub(super) const SERVER: i64 = 50000;

/// Whether a status means a transient fault. Every other one except success is final.
pub(super) const fn is_passing(status: u16) -> bool {
    matches!(status, 408 | 425 | 429 | 500 | 502 | 503 | 504)
}

/// The code in a body, under any of its observed names.
pub(super) fn code_in(body: &Value) -> Option<i64> {
    ["code", "error_code"].into_iter().find_map(|name| body[name].as_i64())
}

/// Code for the log: the response's own code if it has one, else the status.
pub(super) fn code(status: u16, body: &Value) -> String {
    code_in(body)
        .filter(|code| *code != 0)
        .unwrap_or_else(|| status.into())
        .to_string()
}
