//! Error codes of the platform that we act on. All others are permanent refusals.
//!
//! See [Feishu Docs/通用错误码](https://open.feishu.cn/document/ukTMukTMukTM/ugjM14COyUjL4ITN),
//! [发送消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create) and
//! [流式更新文本](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/cardkit-v1/card-element/content).

use serde::Deserialize as _;
use tieline_core::connector::MediaError;
use tieline_core::http_types::ApiAnswer;

use super::wire::ApiBody;

/// Meaning of a code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The access token is not valid any more.
    Token,
    /// Rate limit exceeded, or too many concurrent calls.
    Busy,
    /// A transient fault of the platform, or an operation in progress.
    Passing,
    /// The message that is replied to is withdrawn, deleted or not visible.
    TargetGone,
    /// The chat doesn't support replies in topics.
    NoTopic,
    /// The chat or the person can't be reached, or not by this bot.
    Unreachable,
    /// The text itself is refused.
    Withheld,
    /// The text is too long.
    TooLong,
    /// More tables or elements than a card may have.
    TooManyTables,
    /// Streaming has ended: it can be enabled again.
    StreamClosed,
    /// A click on the card is being processed.
    Clicking,
    /// The sequence number or the idempotency key was used before: try the next one.
    Sequence,
    /// An internal fault of the card: the next sequence number may be accepted after a moment.
    CardInternal,
    /// The platform failed itself, again and again.
    Failing,
    /// This card accepts no more content.
    CardFull,
    /// Any other refusal.
    Other,
}

/// Success.
pub(super) const OK: i64 = 0;
/// Rate limit of messages to one chat or person.
pub(super) const CHAT_LIMIT: i64 = 230_020;
/// The bot lacks a permission.
pub(super) const SCOPE_MISSING: i64 = 99_991_672;
/// Code that wraps the errors of cards; the actual error is in the message.
const CARD_FAULT: i64 = 230_099;

pub(super) fn meaning(code: i64, message: &str) -> Meaning {
    match code {
        99_991_663 | 99_991_664 | 99_991_665 | 99_991_671 => Meaning::Token,
        99_991_400 | 11_232 | CHAT_LIMIT => Meaning::Busy,
        230_049 => Meaning::Passing,
        // 231003 is the equivalent for reactions.
        230_011 | 230_019 | 230_050 | 230_110 | 231_003 => Meaning::TargetGone,
        230_071 | 230_072 => Meaning::NoTopic,
        99_991_662 | 99_991_401 | 99_991_403 => Meaning::Unreachable,
        230_002 | 230_006 | 230_013 | 230_015 | 230_017 | 230_018 => Meaning::Unreachable,
        230_027 | 230_029 | 230_034 | 230_035 | 230_036 | 230_038 | 230_053 => Meaning::Unreachable,
        230_075 | 232_009 | 99_992_351 | 99_992_361 => Meaning::Unreachable,
        230_022 | 230_028 => Meaning::Withheld,
        230_025 => Meaning::TooLong,
        200_510 | 200_850 | 300_309 => Meaning::StreamClosed,
        200_810 => Meaning::Clicking,
        300_120 => Meaning::CardInternal,
        200_770 | 300_317 => Meaning::Sequence,
        200_740 | 200_750 | 200_860 | 300_305 | 230_031 => Meaning::CardFull,
        CARD_FAULT => card_fault(message),
        _ => Meaning::Other,
    }
}

/// `Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; `
fn card_fault(message: &str) -> Meaning {
    let inner = message.split_once("ErrCode:").map(|(_, rest)| rest.trim_start());
    let digits = inner.and_then(|rest| rest.split(|c: char| !c.is_ascii_digit()).next());
    match digits.and_then(|digits| digits.parse::<i64>().ok()) {
        Some(11_310) if message.contains("table") => Meaning::TooManyTables,
        Some(11_310) => Meaning::TooLong,
        Some(code) if code != CARD_FAULT => match meaning(code, "") {
            Meaning::CardFull => Meaning::TooLong,
            inner => inner,
        },
        _ => Meaning::Other,
    }
}

/// Whether a retry may succeed.
pub(super) fn is_passing(code: i64) -> bool {
    matches!(meaning(code, ""), Meaning::Busy | Meaning::Passing)
}

/// "Try again", in the response to a download.
///
/// See [Feishu Docs/获取消息中的资源文件](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message-resource/get).
const TRY_AGAIN: i64 = 234_019;
/// Code of a refused token, from the same page.
const UNAUTHORIZED: i64 = 234_002;
/// The call carried no token, or an unreadable one.
const NO_TOKEN: i64 = 99_991_661;

/// The body of a successful response.
pub(super) fn accepted(answer: &ApiAnswer) -> Result<ApiBody, MediaError> {
    let ApiAnswer::Answered { status, .. } = answer else {
        return Err(MediaError::Passing);
    };
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    match body {
        Some(body) if body.code == Some(OK) && (200..300).contains(status) => Ok(body),
        body => Err(why(*status, body.and_then(|body| body.code))),
    }
}

/// Error of a download: JSON in place of the file, as for every call.
pub(super) fn of_download(status: u16, body: &[u8]) -> MediaError {
    let body: Option<ApiBody> = serde_json::from_slice(body).ok();
    why(status, body.and_then(|body| body.code))
}

/// Meaning of a refusal. The body takes precedence, because business errors come with status 400.
fn why(status: u16, code: Option<i64>) -> MediaError {
    match code {
        Some(UNAUTHORIZED | NO_TOKEN) => MediaError::TokenExpired,
        Some(TRY_AGAIN) => MediaError::Passing,
        Some(code) => match meaning(code, "") {
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

    #[test]
    fn card_faults_are_read_from_the_message() {
        let tables = "Failed to create card content, ext=ErrCode: 11310; ErrMsg: card table number over limit; ErrorValue: table; ";
        assert_eq!(meaning(230_099, tables), Meaning::TooManyTables);
        assert_eq!(
            meaning(230_099, "ext=ErrCode: 11310; ErrMsg: element exceeds the limit"),
            Meaning::TooLong
        );
        assert_eq!(meaning(230_099, "ext=ErrCode: 100290; ErrMsg: bad at"), Meaning::Other);
        assert_eq!(meaning(230_099, "ext=ErrCode: 230099; "), Meaning::Other);
        assert_eq!(meaning(230_099, ""), Meaning::Other);
    }

    #[track_caller]
    fn check(status: u16, body: &str, expected: MediaError) {
        assert_eq!(of_download(status, body.as_bytes()), expected, "{status} {body}");
    }

    #[test]
    fn refused_download_says_whether_a_retry_may_help() {
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
