//! Classification of the outcome of a chunk or a file.

use std::time::Duration;

use tieline_core::connector::{Context, Planned, SentCall, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall, FILE_NOT_FETCHED, FILE_TOO_LARGE};
use tieline_core::reply::Progress;

use super::api_error;
use super::progress::{Refusals, WeiboProgress};
use super::receipts::REFUSED;

/// Wait after a refused chunk, longer each time.
const REFUSED_WAIT: Duration = Duration::from_secs(5);
/// Number of refusals after which a chunk is given up.
const MAX_REFUSALS: u32 = 4;

/// Classifies the outcome of a call.
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    match sent.call {
        ApiCall::Socket(_) => chunk(sent, answer, cx),
        ApiCall::Http(_) => file(sent, answer),
    }
}

/// Classifies the outcome of a chunk: read by the platform (or assumed so), refused, or in doubt because its connection ended.
fn chunk(sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
    let Planned {
        before,
        on_success: after,
    }: Planned<WeiboProgress> = match sent.read() {
        Ok(planned) => planned,
        Err(verdict) => return verdict,
    };
    match answer {
        ApiAnswer::Answered { status: REFUSED, .. } => refused(before, after, cx),
        ApiAnswer::Answered { .. } => Verdict::Accepted(sent.on_success.clone()),
        ApiAnswer::NotSent => retry("not_sent"),
        ApiAnswer::Unknown if before.doubt.as_deref() == Some(&after) => retry("unconfirmed"),
        // Stored before anything else is sent: the next frame with the same key must have the same content.
        ApiAnswer::Unknown => Verdict::FallBack {
            progress: Progress::write(&WeiboProgress {
                doubt: Some(Box::new(after)),
                ..before
            }),
            code: "unconfirmed".to_owned(),
        },
    }
}

/// An error frame names neither the frame that it is about nor whether the error is transient, so the chunk is sent again unchanged.
fn refused(before: WeiboProgress, after: WeiboProgress, cx: &Context<'_>) -> Verdict {
    let code = "error_frame".to_owned();
    let times = before.refused.map_or(1, |refused| refused.times + 1);
    if times >= MAX_REFUSALS {
        return Verdict::Refused { code };
    }
    let until = cx.now.after(REFUSED_WAIT * times);
    Verdict::FallBack {
        progress: Progress::write(&WeiboProgress {
            doubt: Some(Box::new(after)),
            refused: Some(Refusals { times, until }),
            ..before
        }),
        code,
    }
}

fn file(sent: &SentCall<'_>, answer: &ApiAnswer) -> Verdict {
    let status = match answer {
        ApiAnswer::Answered { status, .. } => *status,
        ApiAnswer::NotSent => return retry("not_sent"),
        // A repeated file could appear twice.
        ApiAnswer::Unknown => return as_link(sent, "no_answer".to_owned()),
    };
    let body = answer.json().unwrap_or_default();
    let code = api_error::code(status, &body);
    let has_ids =
        body["data"]["message_id"].as_str().is_some_and(|id| !id.is_empty()) && body["data"]["fid"].is_number();
    match (status, api_error::code_in(&body)) {
        (200..=299, Some(0)) if has_ids => Verdict::Accepted(sent.on_success.clone()),
        (_, Some(api_error::TOKEN_EXPIRED)) => Verdict::TokenExpired,
        // Limits include daily ones, which are too long to wait for.
        (_, Some(api_error::LIMIT)) | (FILE_NOT_FETCHED | FILE_TOO_LARGE | 429, _) => as_link(sent, code),
        (_, Some(api_error::SERVER)) => retry(&code),
        (status, _) if api_error::is_passing(status) => retry(&code),
        _ => as_link(sent, code),
    }
}

/// Gives up sending the file and shows it as a link.
fn as_link(sent: &SentCall<'_>, code: String) -> Verdict {
    let Ok(mut after) = sent.on_success.read::<WeiboProgress>() else {
        return Verdict::unreadable_progress();
    };
    after.as_links.push(after.files.saturating_sub(1));
    Verdict::FallBack {
        progress: Progress::write(&after),
        code,
    }
}

fn retry(code: &str) -> Verdict {
    Verdict::Retry { code: code.to_owned() }
}
