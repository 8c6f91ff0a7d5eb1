//! Error codes of Coze that we act on.
//!
//! See [coze-dev/coze-js](https://github.com/coze-dev/coze-js/blob/main/packages/coze-js/src/error.ts).

use tieline_core::agent::AgentFailure;
use tracing::warn;

use super::wire::LastError;
use crate::failure;

const BAD_REQUEST: i64 = 4000;
const TOKEN_REFUSED: i64 = 4100;
const NOT_PERMITTED: i64 = 4101;
const RATE_LIMITED: i64 = 4013;
const OCCUPIED: i64 = 4016;
const NOT_FOUND: i64 = 4200;
const SERVER_ERROR: i64 = 5000;

/// Whether the conversation has a chat that is still running.
pub(crate) const fn is_occupied(code: i64) -> bool {
    code == OCCUPIED
}

/// Whether an object named in the call doesn't exist.
pub(crate) const fn is_not_found(code: i64) -> bool {
    code == NOT_FOUND
}

/// Whether the call itself is invalid.
pub(crate) const fn is_bad_request(code: i64) -> bool {
    code == BAD_REQUEST
}

/// Whether the token is refused, or lacks a permission.
pub(crate) const fn is_unauthorized(code: i64) -> bool {
    matches!(code, TOKEN_REFUSED | NOT_PERMITTED)
}

/// Whether a retry may succeed.
pub(crate) const fn is_passing(code: i64) -> bool {
    matches!(code, RATE_LIMITED | SERVER_ERROR)
}

/// The failure of a run. The vendor's support asks for the log id.
pub(crate) fn failure_of(error: &LastError, log_id: Option<&str>) -> AgentFailure {
    let LastError { code, msg } = error;
    if let Some(log_id) = log_id {
        warn!(code, log_id, "Coze refused a call, log {log_id}");
    }
    let code = if *code == 0 {
        failure::AGENT_ERROR.to_owned()
    } else {
        format!("coze_{code}")
    };
    failure::new(
        code,
        format!("code {}, message {msg}", error.code),
        is_passing(error.code),
    )
}
