//! Replies, polled or posted: both carry the same state of the text.
//!
//! A posted reply is a snapshot of the whole text with a version. The version of a growing text is the time of its post, so that a
//! process that doesn't know what another process has posted continues above it, and snapshots needn't be recorded one by one. The
//! final snapshot has a version above all of them: the same number whichever process posts it.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::card;
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::ids;
use tieline_core::notice::Notice;
use tieline_core::reference::Reference;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyFile, ReplyTarget, ReplyView, Stage, Step};
use tieline_core::webhook_signature::{ID_HEADER, SIGNATURE_HEADER, TIMESTAMP_HEADER};

use super::manifest::SEND_URL;
use super::settings::Settings;
use super::wire::{PostedChat, PostedReply, State};

/// Version of a final snapshot, above every time in milliseconds since 1970 until the year 5138. Even that of the 90th attempt is a safe
/// integer in JavaScript.
const FINAL_VERSION: u64 = 99_999_999_999_999;
/// Longest text that is posted while it grows, in bytes: each snapshot repeats the whole text.
const MAX_GROWING_BYTES: usize = 64 * 1024;
/// Timeout of a post.
const TIMEOUT: Duration = Duration::from_secs(15);

/// How much of a reply the program shows.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct Posted {
    /// How often the reply was restarted. Versions of a later attempt are above those of an earlier one.
    pub(super) attempt: u64,
    /// Latest snapshot of this attempt: time of its post in milliseconds since 1970, or [`FINAL_VERSION`].
    pub(super) snapshot: u64,
    /// A digest of its text.
    pub(super) digest: String,
    /// Whether it is the final one.
    pub(super) done: bool,
    /// Whether a snapshot had text, after which reasoning is no longer shown.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub(super) has_text: bool,
}

impl Posted {
    fn version(&self) -> u64 {
        self.attempt * (FINAL_VERSION + 1) + self.snapshot
    }

    /// The part that must survive a change of the lease holder: without the rest, the next holder posts the latest snapshot again as a
    /// newer one.
    pub(super) fn lasting(self) -> Self {
        Self {
            snapshot: 0,
            digest: String::new(),
            ..self
        }
    }
}

/// The next delivery step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let settings = Settings::of(cx).ok_or(ComposeError::Incomplete { field: "secret" })?;
    let Some(url) = &settings.send_url else {
        // Polled, if there is a message by which the program can ask for the reply.
        return match desired.proactive {
            true => Err(ComposeError::Incomplete { field: SEND_URL }),
            false => Ok(Step::Done),
        };
    };
    let before: Posted = progress.read()?;
    let final_text = card::below(desired.text, &card::button_lines(desired.buttons, cx.account.language));
    let done = desired.stage == Stage::Final;
    let text = match desired.stage {
        Stage::Final => &final_text,
        Stage::Growing if cx.account.streaming && desired.text.len() <= MAX_GROWING_BYTES => desired.text,
        Stage::Growing | Stage::Thinking => "",
    };
    let reasoning = match done || before.has_text || !text.trim().is_empty() {
        true => "",
        false => desired.reasoning,
    };
    let digest = if reasoning.is_empty() {
        ids::digest(&[text])
    } else {
        ids::digest(&[text, reasoning])
    };
    let has_news = !text.trim().is_empty() || !reasoning.is_empty();
    let is_news = done || (has_news && digest != before.digest);
    if before.done || !is_news {
        return Ok(Step::Done);
    }
    let now_ms = u64::try_from(cx.now.as_millis()).unwrap_or_default();
    let after = Posted {
        attempt: before.attempt,
        snapshot: match done {
            true => FINAL_VERSION,
            false => now_ms.max(before.snapshot + 1),
        },
        digest,
        done,
        has_text: before.has_text || !text.trim().is_empty(),
    };
    let notice = (desired.notice, desired.reference);
    let state = State {
        reasoning,
        ..state(text, done, notice, desired.files, after.version(), cx)
    };
    Ok(Step::Call {
        call: ApiCall::Http(post(url, desired, to, state, settings, cx)),
        on_success: Progress::write(&after),
    })
}

/// A signed post of a state.
fn post(
    url: &str,
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    state: State<'_>,
    settings: &Settings,
    cx: &Context<'_>,
) -> HttpCall {
    let id = format!("{}.{}", desired.reply, state.version);
    let reply = PostedReply {
        kind: if desired.proactive { "message" } else { "reply" },
        reply_id: desired.reply.as_str(),
        state,
        buttons: desired.buttons,
        chat: PostedChat {
            id: to.chat.id.as_str(),
            kind: to.chat.kind,
        },
        thread: to.chat.thread.as_ref().map(|thread| thread.as_str()),
        asker: to.asker.as_str(),
        in_reply_to: Some(to.message.as_str()).filter(|_| !desired.proactive),
        reply_handle: to.handle.value(),
    };
    let body = serde_json::to_string(&reply).expect("replies serialize as JSON");
    let timestamp_s = cx.now.as_secs();
    let signature = settings.keys.sign(&id, timestamp_s, body.as_bytes());
    HttpCall {
        name: "reply",
        method: "POST",
        url: url.to_owned(),
        headers: vec![
            (ID_HEADER.to_owned(), id),
            (TIMESTAMP_HEADER.to_owned(), timestamp_s.to_string()),
            (SIGNATURE_HEADER.to_owned(), signature),
        ],
        body: Body::Json(body),
        token: TokenPlace::None,
        timeout: TIMEOUT,
    }
}

/// The response to a poll.
pub(super) fn polled<'a>(reply: &'a ReplyView, cx: &Context<'_>) -> State<'a> {
    let done = reply.stage == Stage::Final;
    let text = if done || cx.account.streaming {
        reply.text.as_str()
    } else {
        ""
    };
    let notice = (reply.notice, reply.reference);
    State {
        reasoning: if text.is_empty() && !done { &reply.reasoning } else { "" },
        ..state(text, done, notice, &reply.files, reply.version, cx)
    }
}

/// State of a reply: the notice is below the text, or replaces it; files are listed beside it.
fn state<'a>(
    text: &'a str,
    done: bool,
    (notice, reference): (Option<Notice>, Option<Reference>),
    files: &'a [ReplyFile],
    version: u64,
    cx: &Context<'_>,
) -> State<'a> {
    let notice = match notice {
        None if done && text.trim().is_empty() && files.is_empty() => Some(Notice::EmptyAnswer),
        notice => notice,
    };
    let text = match notice.map(|notice| notice.referring(reference, cx.account.language)) {
        None => text.into(),
        Some(sentence) if text.trim().is_empty() => sentence,
        Some(sentence) => format!("{text}\n\n{sentence}").into(),
    };
    State {
        text,
        reasoning: "",
        done,
        version,
        files,
        notice,
    }
}
