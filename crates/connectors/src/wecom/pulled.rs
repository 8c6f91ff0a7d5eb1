//! What a stream shows that the platform asks for, where it ends, and what is left to push.
//!
//! The platform asks until it is told `finish`, or for 6 minutes. Exactly one answer ends the stream; what it shows is decided once
//! ([`ends`]), kept by the bridge as the reply's `closed`, and from then on shown by every further poll ([`ended`]) and left out of what
//! is pushed ([`rest_from`]).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::ids;
use tieline_core::notice::Language;
use tieline_core::reply::{Progress, ReplyView, Stage};
use tieline_core::timestamp::Timestamp;

use super::text;
use crate::markdown;

/// When we end a stream ourselves: half a minute before the platform stops asking.
pub(super) const LIFETIME: Duration = Duration::from_secs(5 * 60 + 30);
/// What the stream ended with. Kept in the reply's record.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Ending {
    /// How many bytes of the agent's text the stream shows.
    shown: usize,
    /// A digest of those bytes: if the agent takes them back, all of its text is pushed.
    digest: String,
    /// Whether the stream shows the last word too, so that nothing is left.
    last: bool,
    /// Whether the last word is where the rest can be read, for nothing can follow.
    #[serde(default)]
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

/// What the stream ends with, if the state `reply` can't be followed by a newer one.
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
    let tail = text::behind(reply.link.as_deref(), language);
    Some(Ending::linked(text, text::last(text, 0, &tail, language).end))
}

/// The same if what it doesn't show follows.
fn ends_above_rest(reply: &ReplyView, streaming: bool, language: Language, now: Timestamp) -> Option<Progress> {
    if reply.stage == Stage::Final {
        let text = &*markdown::with_files(&reply.text, &reply.files);
        let whole = text::last(text, 0, text::sentence(reply.notice, language), language);
        return Some(if whole.end == text.len() {
            Ending::at(text, text.len(), true)
        } else {
            Ending::at(text, text::part(text, 0, language).end, false)
        });
    }
    let text = if streaming { &*reply.text } else { "" };
    let first = text::part(text, 0, language);
    if first.end < text.len() {
        return Some(Ending::at(text, first.end, false));
    }
    let over = now.since(reply.received_at) >= LIFETIME;
    // All that was shown: a shown text never shrinks.
    over.then(|| Ending::at(text, text.len(), false))
}

/// The content of the stream while it is open.
pub(super) fn growing(reply: &ReplyView, streaming: bool) -> String {
    match streaming {
        true if text::is_blank(&reply.text) => text::thinking(&reply.reasoning),
        true => text::growing(&reply.text, 0),
        false => text::thinking(""),
    }
}

/// The content of the stream that ended with `closed`.
pub(super) fn ended(reply: &ReplyView, closed: &Progress, language: Language) -> String {
    let ending: Ending = closed.read();
    let text = &*markdown::with_files(&reply.text, &reply.files);
    if ending.linked {
        let part = ending.part(text).unwrap_or_default();
        return text::last(part, 0, &text::behind(reply.link.as_deref(), language), language).shown;
    }
    if ending.last {
        return text::last(text, 0, text::sentence(reply.notice, language), language).shown;
    }
    let part = ending.part(text).unwrap_or_default();
    text::part(part, 0, language).shown
}

/// Whether there is more to say than the stream showed.
pub(super) fn leaves_rest(closed: &Progress) -> bool {
    !closed.read::<Ending>().last
}

/// Where in the text that which is left to push begins. `None` if the stream showed the last word.
pub(super) fn rest_from(text: &str, closed: &Progress) -> Option<usize> {
    let ending: Ending = closed.read();
    (!ending.last).then(|| ending.part(text).map_or(0, str::len))
}
