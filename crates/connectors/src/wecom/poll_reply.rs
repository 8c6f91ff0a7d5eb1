//! Polled replies: what each poll of a stream shows, where the stream ends, and what is left to push.
//!
//! The platform polls until a response says `finish`, or for 6 minutes. Exactly one response ends the stream; its content is decided once
//! ([`ends`]), stored by the bridge as the reply's `closed`, and from then on shown by every further poll ([`ended`]) and left out of what
//! is pushed ([`rest_from`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::{Context, PollRequest};
use tieline_core::http_types::WebhookAnswer;
use tieline_core::ids;
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{Progress, ReplyView, Stage, UnreadableProgress};
use tieline_core::timestamp::Timestamp;

use super::callback_answer::sealed;
use super::full_text::{self, DOTS};
use super::settings::WebhookKeys;
use super::wire::{Say, SayFeedback, SayStream};
use crate::markdown;

/// Age at which we end a stream: half a minute before the platform stops polling.
pub(super) const LIFETIME: Duration = Duration::from_secs(5 * 60 + 30);
/// Final state of the stream. Stored in the reply's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Ending {
    /// Number of bytes of the agent's text that the stream shows.
    shown: usize,
    /// Digest of those bytes: if the agent replaces them, all of its text is pushed.
    digest: String,
    /// Whether the stream shows the end of the reply too, so nothing is left.
    last: bool,
    /// Whether the stream ends with a link to the rest, because nothing can follow.
    linked: bool,
}

impl Ending {
    fn at(text: &str, shown: usize, last: bool) -> Progress {
        Progress::write(&Self {
            shown,
            digest: ids::digest(&[&text[..shown]]),
            last,
            linked: false,
        })
    }

    fn linked(text: &str, shown: usize) -> Progress {
        Progress::write(&Self {
            shown,
            digest: ids::digest(&[&text[..shown]]),
            last: true,
            linked: true,
        })
    }

    /// The part of `text` that the stream shows.
    fn part<'a>(&self, text: &'a str) -> Option<&'a str> {
        text.get(..self.shown)
            .filter(|part| ids::digest(&[part]) == self.digest)
    }
}

/// Final state of the stream, if no newer state of `reply` can follow in it.
pub(super) fn ends(reply: &ReplyView, streaming: bool, language: Language, now: Timestamp) -> Option<Progress> {
    let closed = ends_above_rest(reply, streaming, language, now)?;
    if reply.rest_follows || !leaves_rest(&closed) {
        return Some(closed);
    }
    let is_shown = streaming || reply.stage == Stage::Final;
    let text = if is_shown {
        &*markdown::with_files(&reply.text, &reply.files)
    } else {
        ""
    };
    let tail = full_text::behind(reply.link.as_deref(), language);
    let end = match streaming {
        true => full_text::longest_end(text, &tail),
        false => full_text::last(text, 0, &tail, language).end,
    };
    Some(Ending::linked(text, end))
}

/// Final state of the stream, if the part that it doesn't show will follow.
fn ends_above_rest(reply: &ReplyView, streaming: bool, language: Language, now: Timestamp) -> Option<Progress> {
    if reply.stage == Stage::Final {
        let text = &*markdown::with_files(&reply.text, &reply.files);
        let whole = full_text::last(
            text,
            0,
            &full_text::sentence(reply.notice, reply.reference, language),
            language,
        );
        return Some(if whole.end == text.len() {
            Ending::at(text, text.len(), true)
        } else {
            Ending::at(text, full_text::part(text, 0, 0, language).end, false)
        });
    }
    let text = if streaming { &*reply.text } else { "" };
    // The rest follows only once the text is complete, so nothing that an earlier poll has shown may be left to it.
    let end = full_text::longest_end(text, Notice::Continued.text(language));
    if end < text.len() {
        return Some(Ending::at(text, end, false));
    }
    let over = now.since(reply.received_at) >= LIFETIME;
    // Everything that was shown: a stream's text must never shrink.
    over.then(|| Ending::at(text, text.len(), false))
}

/// Content of the open stream.
pub(super) fn growing(reply: &ReplyView, streaming: bool) -> String {
    match streaming {
        true if full_text::is_blank(&reply.text) => full_text::thinking(&reply.reasoning),
        true => full_text::growing(&reply.text, 0),
        false => full_text::thinking(""),
    }
}

/// Content of the stream that ended with `closed`.
pub(super) fn ended(reply: &ReplyView, closed: &Progress, language: Language) -> String {
    let Ok(ending) = closed.read::<Ending>() else {
        // The stream's final state can't be read; `deliver` reports it.
        return Notice::Expired.text(language).to_owned();
    };
    let text = &*markdown::with_files(&reply.text, &reply.files);
    if ending.linked {
        let part = ending.part(text).unwrap_or_default();
        return full_text::last(part, 0, &full_text::behind(reply.link.as_deref(), language), language).shown;
    }
    if ending.last {
        return full_text::last(
            text,
            0,
            &full_text::sentence(reply.notice, reply.reference, language),
            language,
        )
        .shown;
    }
    let part = ending.part(text).unwrap_or_default();
    full_text::part(part, 0, 0, language).shown
}

/// Whether there is more to send than the stream showed. Also true if `closed` can't be read: `deliver` reports it.
pub(super) fn leaves_rest(closed: &Progress) -> bool {
    closed.read::<Ending>().map_or(true, |ending| !ending.last)
}

/// Start of the text that is left to push. `None` if the stream showed everything.
pub(super) fn rest_from(text: &str, closed: &Progress) -> Result<Option<usize>, UnreadableProgress> {
    let ending: Ending = closed.read()?;
    Ok((!ending.last).then(|| ending.part(text).map_or(0, str::len)))
}

/// The state of a stream, as the response to the callback that began it or to a poll.
pub(super) fn answer(
    asked: &PollRequest,
    reply: Option<&ReplyView>,
    keys: &WebhookKeys,
    cx: &Context<'_>,
) -> WebhookAnswer {
    let language = cx.account.language;
    let closed = reply.and_then(|reply| reply.closed.clone().or_else(|| ending(asked, reply, cx)));
    let gone = || (Notice::Expired.text(language).to_owned(), true);
    let (content, finish) = match (reply, closed) {
        (Some(reply), _) if reply.asker != asked.asker => gone(),
        (Some(reply), Some(closed)) => (ended(reply, &closed, language), true),
        (Some(reply), None) => (growing(reply, cx.account.streaming), false),
        (None, _) if asked.first || cx.account.ids.made("tl-", asked.reply.as_str()) => (DOTS.to_owned(), false),
        (None, _) => gone(),
    };
    let stream = SayStream {
        id: asked.reply.as_str(),
        finish,
        content: &content,
        feedback: asked.first.then_some(SayFeedback {
            id: asked.reply.as_str(),
        }),
    };
    sealed(&Say::Stream { stream }, &asked.note, keys, cx)
}

/// Final state of the stream, if this response ends it.
pub(super) fn ending(asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
    if reply.asker != asked.asker {
        return None;
    }
    ends(reply, cx.account.streaming, cx.account.language, cx.now)
}
