//! Refusals of the Bot API, classified by their meaning.

use serde::Deserialize as _;
use tieline_core::http_types::ApiAnswer;

use super::wire::ApiBody;

/// Why a call failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ApiError {
    pub meaning: Meaning,
    /// For logs and status.
    pub code: String,
    /// Seconds that the platform asks us to wait.
    pub retry_after_s: Option<u64>,
}

/// What a refusal means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The call never reached the platform.
    NotDone,
    /// The platform may or may not have executed the call.
    Uncertain,
    /// Rate limit exceeded.
    TooFast,
    /// The token is wrong or revoked.
    BadToken,
    /// The server doesn't know the method or the token: it responds 404 to both. Every server knows every method but that of drafts.
    UnknownMethod,
    /// The group has become this supergroup.
    Migrated(i64),
    /// An edit that would change nothing.
    NotModified,
    /// The formatting (entities) is refused.
    BadEntities,
    /// The text is too long.
    TooLong,
    /// The text is empty.
    Empty,
    /// The message that is replied to is gone.
    NothingToReplyTo,
    /// The edited message is gone or can't be edited any more.
    NotEditable,
    /// Refused permanently: blocked, removed, no rights, chat or topic gone, or any unknown refusal.
    Refused,
}

/// Texts of refusals with status 400, in lower case, and their meaning. The first match wins.
///
/// See [telegram-bot-api Client.cpp](https://github.com/tdlib/telegram-bot-api/blob/master/telegram-bot-api/Client.cpp), `fail_query_with_error`.
const TEXTS: &[(&str, Meaning, &str)] = &[
    ("message is not modified", Meaning::NotModified, "not_modified"),
    ("can't parse entities", Meaning::BadEntities, "bad_entities"),
    ("entity_", Meaning::BadEntities, "bad_entities"),
    ("entities_", Meaning::BadEntities, "bad_entities"),
    ("message is too long", Meaning::TooLong, "too_long"),
    ("text is too long", Meaning::TooLong, "too_long"),
    ("message_too_long", Meaning::TooLong, "too_long"),
    ("message text is empty", Meaning::Empty, "empty_text"),
    ("text must be non-empty", Meaning::Empty, "empty_text"),
    (
        "message to be replied not found",
        Meaning::NothingToReplyTo,
        "reply_gone",
    ),
    ("replied message not found", Meaning::NothingToReplyTo, "reply_gone"),
    // An error of the servers behind the Bot API, if the message goes between their checks. Contains the code of a lost edited message.
    ("reply_message_id_invalid", Meaning::NothingToReplyTo, "reply_gone"),
    ("message to edit not found", Meaning::NotEditable, "message_gone"),
    ("message can't be edited", Meaning::NotEditable, "not_editable"),
    ("message_id_invalid", Meaning::NotEditable, "message_gone"),
    ("message thread not found", Meaning::Refused, "topic_gone"),
    ("topic_closed", Meaning::Refused, "topic_closed"),
    ("topic_deleted", Meaning::Refused, "topic_gone"),
    ("chat not found", Meaning::Refused, "chat_not_found"),
    ("peer_id_invalid", Meaning::Refused, "chat_not_found"),
    ("not enough rights", Meaning::Refused, "no_rights"),
    ("chat_write_forbidden", Meaning::Refused, "no_rights"),
];

/// Texts of refusals with status 403, in lower case.
const FORBIDDEN: &[(&str, &str)] = &[
    ("blocked by the user", "bot_blocked"),
    ("user is deactivated", "user_deactivated"),
    ("bot was kicked", "bot_removed"),
    ("not a member", "bot_removed"),
    ("can't initiate conversation", "not_started"),
];

/// Reads a response: the result, or the error.
pub(super) fn result(answer: &ApiAnswer) -> Result<serde_json::Value, ApiError> {
    let ApiAnswer::Answered {
        status, retry_after_s, ..
    } = answer
    else {
        let meaning = if *answer == ApiAnswer::NotSent {
            Meaning::NotDone
        } else {
            Meaning::Uncertain
        };
        return Err(error(meaning, "unreachable", None));
    };
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    let body = body.unwrap_or_default();
    if body.ok && (200..300).contains(status) {
        return Ok(body.result);
    }
    let retry_after_s = body.parameters.retry_after.or(*retry_after_s);
    let status = body.error_code.unwrap_or(*status);
    let (meaning, code) = meaning(status, &body);
    Err(ApiError {
        meaning,
        code: code.map_or_else(|| format!("http_{status}"), str::to_owned),
        retry_after_s,
    })
}

fn error(meaning: Meaning, code: &str, retry_after_s: Option<u64>) -> ApiError {
    ApiError {
        meaning,
        code: code.to_owned(),
        retry_after_s,
    }
}

fn meaning(status: u16, body: &ApiBody) -> (Meaning, Option<&'static str>) {
    let text = body.description.to_ascii_lowercase();
    if let Some(chat) = body.parameters.migrate_to_chat_id {
        return (Meaning::Migrated(chat), Some("migrated"));
    }
    match status {
        400 | 413 => {
            let known = TEXTS.iter().find(|(words, ..)| text.contains(words));
            known.map_or((Meaning::Refused, None), |(_, meaning, code)| (*meaning, Some(*code)))
        }
        401 => (Meaning::BadToken, Some("unauthorized")),
        403 => {
            let known = FORBIDDEN.iter().find(|(words, _)| text.contains(words));
            (Meaning::Refused, Some(known.map_or("forbidden", |(_, code)| *code)))
        }
        404 => (Meaning::UnknownMethod, Some("not_found")),
        429 => (Meaning::TooFast, Some("rate_limited")),
        // 502 and 503 too: a gateway that gives up doesn't know what the server behind it has done.
        500..=599 => (Meaning::Uncertain, None),
        // A success status with `ok: false`, or a status from a proxy.
        _ => (Meaning::Refused, None),
    }
}
