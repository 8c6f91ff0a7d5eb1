//! Replies as chunks: each is appended to the text of its message, in order, until the last one closes the message.
//!
//! Nothing can be edited or deleted. If an agent changes text that is shown already, the open message is closed and the whole final
//! text follows as a correction. There is no thinking state, and an empty message would stay, so the first chunk has text.
//!
//! See `src/outbound-stream.ts` and `src/send.ts` of [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo).

use std::borrow::Cow;
use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::event::ChatKind;
use tieline_core::http_types::{ApiCall, Body, HttpCall, SocketCall, TokenPlace};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyFile, ReplyTarget, Stage, Step};
use tieline_core::split::{TextLimit, split_first, split_late};

use super::manifest::{MAX_FRAME, MAX_MESSAGE};
use super::progress::{Phase, WeiboProgress};
use super::settings::{Settings, is_uid};
use super::wire;
use crate::markdown;

/// Wait for a connection after which an intermediate chunk is composed again, with the text added since.
const FRESH: Duration = Duration::from_secs(15);
/// Wait for a connection after which a chunk of a final text is composed again.
const LAST_WORD: Duration = Duration::from_secs(60);
/// Timeout for sending a file.
const FILE_TIMEOUT: Duration = Duration::from_secs(60);
/// Largest file that is sent as a file, in bytes. No limit is documented; this is the vendor client's.
const MAX_FILE_BYTES: usize = 5 * 1024 * 1024;
/// Remaining space in a message below which nothing is added to it: one character may take two units.
const LEAST_ROOM: usize = 2;

/// The next step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    progress: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    let uid = to.chat.id.as_str();
    let settings = Settings::of(cx).filter(|_| to.chat.kind == ChatKind::Direct && is_uid(uid));
    let settings = settings.ok_or(ComposeError::Incomplete { field: "user id" })?;
    let mut shown: WeiboProgress = progress.read()?;
    if let Some(refused) = shown.refused.filter(|refused| refused.until > cx.now) {
        return Ok(Step::Wait { until: refused.until });
    }
    // Files have no recipient: they go to the owner of the credentials, not to the asker.
    let sends_files = settings.owner_uid.as_deref() == Some(uid);
    let chunk = |shown: &WeiboProgress, text: &str, is_final| {
        let next = next_chunk(shown.clone(), text, is_final)?;
        Some(next.call(desired, uid, text, cx))
    };
    if desired.stage != Stage::Final {
        let is_shown = cx.account.streaming && !markdown::is_blank(desired.text);
        let text = if is_shown { desired.text } else { "" };
        let text = markdown::with_labels(markdown::settled(text));
        return Ok(chunk(&shown, &text, false).unwrap_or(Step::Done));
    }
    loop {
        let step = match shown.phase {
            Phase::Text => chunk(&shown, &final_text(desired, sends_files, cx), true),
            Phase::Files => desired
                .files
                .get(shown.files)
                .map(|file| send_file(file, settings, &shown)),
            Phase::Links => chunk(&shown, &links(desired, &shown), true),
            Phase::Done => Some(Step::Done),
        };
        match step {
            Some(step) => return Ok(step),
            None => shown = shown.next_phase(sends_files),
        }
    }
}

/// Links to the files that could not be sent.
fn links(desired: &DesiredReply<'_>, shown: &WeiboProgress) -> String {
    let files = shown.as_links.iter().filter_map(|at| desired.files.get(*at)).cloned();
    markdown::with_files("", &files.collect::<Vec<_>>()).into_owned()
}

/// The whole text with the notice below it, and links to the files unless they are sent as files.
fn final_text<'a>(desired: &DesiredReply<'a>, sends_files: bool, cx: &Context<'_>) -> Cow<'a, str> {
    let text = match markdown::is_blank(desired.text) {
        true => "".into(),
        false => markdown::with_labels(desired.text),
    };
    let files = if sends_files { &[] } else { desired.files };
    let text = match markdown::with_files(&text, files) {
        Cow::Owned(text) => Cow::Owned(text),
        Cow::Borrowed(_) => text,
    };
    let has_files = !desired.files.is_empty();
    let notice = match desired.notice {
        None if text.trim().is_empty() && !has_files => Some(Notice::EmptyAnswer),
        notice => notice,
    };
    match notice.map(|notice| notice.referring(desired.reference, cx.account.language)) {
        None => text,
        Some(sentence) if text.trim().is_empty() => sentence,
        Some(sentence) => format!("{text}\n\n{sentence}").into(),
    }
}

/// The next chunk.
struct NextChunk {
    /// Progress before it.
    before: WeiboProgress,
    /// Progress after it.
    after: WeiboProgress,
    /// Start of its text.
    start: usize,
}

impl NextChunk {
    fn call(self, desired: &DesiredReply<'_>, uid: &str, text: &str, cx: &Context<'_>) -> Step {
        let Self { before, after, start } = self;
        let is_last = after.message != before.message;
        let subject = format!("{}/{}", desired.reply, before.message);
        let message = cx.account.ids.other("msg_", &subject);
        let text = text.get(start..after.end.max(start)).unwrap_or_default();
        let patience = if desired.stage == Stage::Final {
            LAST_WORD
        } else {
            FRESH
        };
        Step::Call {
            call: ApiCall::Socket(SocketCall {
                name: "chunk".to_owned(),
                lane: format!("chat {uid}"),
                frame: wire::send_message(uid, &message, before.chunks, text, is_last),
                // Each chunk is appended to the one before it, so none can be skipped.
                replaceable: false,
                expires_at: cx.now.after(patience),
            }),
            on_success: Progress::write(&after),
        }
    }
}

/// The chunk that brings the chat closer to `text`. `None` if everything that can be shown now is shown.
fn next_chunk(mut before: WeiboProgress, text: &str, is_final: bool) -> Option<NextChunk> {
    if let Some(doubt) = before.doubt.take() {
        if is_same_so_far(&before, &doubt, text) {
            let start = before.end;
            return Some(NextChunk {
                before,
                after: *doubt,
                start,
            });
        }
        // Its message can't be closed either, because the next chunk number is unknown.
        before = is_final.then(|| before.restarted())?;
    }
    let is_right = match is_final {
        true => before.verified || before.is_beginning_of(text),
        false => before.is_open_part_of(text),
    };
    if !is_right {
        // A growing text may still return to what is shown.
        let restarted = is_final.then(|| before.restarted())?;
        if before.chunks > 0 {
            // Closed as it is, so that the whole final text can follow.
            return Some(NextChunk {
                before,
                after: restarted,
                start: 0,
            });
        }
        before = restarted;
    }
    before.verified = is_final;
    let rest = &text[before.end..];
    if rest.trim().is_empty() && !(is_final && before.chunks > 0) {
        return None;
    }
    let (piece, closes) = piece(&before, text, is_final);
    let start = before.end;
    let mut after = before.with_chunk(text, start + piece.len());
    if closes {
        after = after.closed(text);
    }
    Some(NextChunk { before, after, start })
}

/// The part of the rest of `text` for the next chunk, and whether it closes the message.
fn piece<'a>(before: &WeiboProgress, text: &'a str, is_final: bool) -> (&'a str, bool) {
    let rest = &text[before.end..];
    let room = MAX_MESSAGE
        .max
        .saturating_sub(MAX_MESSAGE.measure(&text[before.from()..before.end]));
    if room < LEAST_ROOM && !rest.is_empty() {
        return ("", true);
    }
    let from = before.from();
    // Where the message would end if all its text were there already, so that frames don't decide where it is cut.
    let end = from + split_first(&text[from..], MAX_MESSAGE).0.len();
    let limit = TextLimit {
        max: room,
        ..MAX_MESSAGE
    };
    let of_message = match text.get(before.end..end) {
        Some(of_message) if !of_message.is_empty() => of_message,
        _ => split_first(rest, limit).0,
    };
    let (piece, later) = split_late(of_message, MAX_FRAME);
    let is_whole = of_message.len() == rest.len();
    if !later.is_empty() || is_whole {
        return (piece, later.is_empty() && is_final);
    }
    let would_cut_a_line = !piece.ends_with('\n') && text[..before.end].ends_with('\n');
    if room <= MAX_FRAME.max && before.chunks > 0 && would_cut_a_line {
        // The line begins the next message, where it has more room.
        return ("", true);
    }
    (piece, true)
}

fn is_same_so_far(before: &WeiboProgress, doubt: &WeiboProgress, text: &str) -> bool {
    let repeated = text.get(..doubt.end).map(|_| before.with_chunk(text, doubt.end));
    match repeated {
        Some(chunk) if doubt.message == before.message => chunk.open_digest == doubt.open_digest,
        Some(chunk) => chunk.closed(text).closed_digest == doubt.closed_digest,
        None => false,
    }
}

fn send_file(file: &ReplyFile, settings: &Settings, before: &WeiboProgress) -> Step {
    let url = format!(
        "{}/open/dm/send_file?fileName={}",
        settings.api_base,
        encoded(&file.name)
    );
    Step::Call {
        call: ApiCall::Http(HttpCall {
            name: "file",
            method: "POST",
            url,
            headers: Vec::new(),
            body: Body::FileAt {
                url: file.url.clone(),
                max_bytes: MAX_FILE_BYTES,
                form: None,
            },
            token: TokenPlace::Query("token"),
            timeout: FILE_TIMEOUT,
        }),
        on_success: Progress::write(&WeiboProgress {
            files: before.files + 1,
            ..before.clone()
        }),
    }
}

fn encoded(name: &str) -> String {
    url::form_urlencoded::byte_serialize(name.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}
