//! Answers to calls that fetch something: what was asked for, or why it isn't given.

use serde::Deserialize as _;
use tieline_core::connector::MediaError;
use tieline_core::http_types::ApiAnswer;

use super::codes::{self, Meaning};
use super::wire::ApiBody;

/// "Try again", in the answer to a download.
///
/// See [Feishu Docs/获取消息中的资源文件](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-resource/get).
const TRY_AGAIN: i64 = 234_019;
/// The same page's word for a token that isn't taken.
const UNAUTHORIZED: i64 = 234_002;
/// The call carried no token, or one that nobody can read.
const NO_TOKEN: i64 = 99_991_661;

/// The body of an answer that says yes.
pub(super) fn accepted(answer: &ApiAnswer) -> Result<ApiBody, MediaError> {
    let ApiAnswer::Answered { status, .. } = answer else {
        return Err(MediaError::Passing);
    };
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    match body {
        Some(body) if body.code == Some(codes::OK) && (200..300).contains(status) => Ok(body),
        body => Err(why(*status, body.and_then(|body| body.code))),
    }
}

/// What came in place of a file: JSON, as for every call.
pub(super) fn of_download(status: u16, body: &[u8]) -> MediaError {
    let body: Option<ApiBody> = serde_json::from_slice(body).ok();
    why(status, body.and_then(|body| body.code))
}

/// What a refusal means. The body speaks first: business errors come with status 400.
fn why(status: u16, code: Option<i64>) -> MediaError {
    match code {
        Some(UNAUTHORIZED | NO_TOKEN) => MediaError::TokenExpired,
        Some(TRY_AGAIN) => MediaError::Passing,
        Some(code) => match codes::meaning(code, "") {
            Meaning::Token => MediaError::TokenExpired,
            Meaning::Busy | Meaning::Passing => MediaError::Passing,
            _ if status >= 500 || status == 429 => MediaError::Passing,
            _ => MediaError::Gone,
        },
        None if status == 401 => MediaError::TokenExpired,
        None if status >= 500 || status == 429 => MediaError::Passing,
        None => MediaError::Gone,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(status: u16, body: &str, expected: MediaError) {
        assert_eq!(of_download(status, body.as_bytes()), expected, "{status} {body}");
    }

    #[test]
    fn refused_download_says_whether_to_ask_again() {
        for code in [99_991_663, 99_991_661, 99_991_671, 234_002] {
            check(
                400,
                &format!(r#"{{"code":{code},"msg":"token"}}"#),
                MediaError::TokenExpired,
            );
        }
        check(400, r#"{"code":234019,"msg":"retry"}"#, MediaError::Passing);
        check(429, r#"{"code":99991400,"msg":"limit"}"#, MediaError::Passing);
        check(502, "<html>", MediaError::Passing);
        for code in [234_003, 234_004, 234_037, 234_043, 230_110] {
            check(400, &format!(r#"{{"code":{code},"msg":"no"}}"#), MediaError::Gone);
        }
        check(401, "", MediaError::TokenExpired);
        check(404, "", MediaError::Gone);
    }
}
