//! Classification of the program's response to a post.

use std::time::Duration;

use tieline_core::connector::{LimitScope, SentCall, Verdict};
use tieline_core::http_types::ApiAnswer;

/// Classifies the response to a posted reply.
pub(super) fn classify(sent: &SentCall<'_>, answer: &ApiAnswer) -> Verdict {
    let (status, retry_after_s) = match answer {
        ApiAnswer::Answered {
            status, retry_after_s, ..
        } => (*status, *retry_after_s),
        // Safe to repeat: the program deduplicates by the post's id.
        ApiAnswer::NotSent | ApiAnswer::Unknown => {
            let code = "no_answer".to_owned();
            return Verdict::Retry { code };
        }
    };
    let code = status.to_string();
    match (status, retry_after_s) {
        // A conflict means that the program already has this version or a newer one.
        (200..=299 | 409, _) => Verdict::Accepted(sent.on_success.clone()),
        (429, retry_after_s) | (503, retry_after_s @ Some(_)) => Verdict::SlowDown {
            retry_after: retry_after_s.map(Duration::from_secs),
            code,
            scope: LimitScope::Bot,
        },
        (408 | 425 | 500..=599, _) => Verdict::Retry { code },
        (410, _) => Verdict::Refused {
            code: "gone".to_owned(),
        },
        _ => Verdict::Refused { code },
    }
}
