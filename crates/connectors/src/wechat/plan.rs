//! Progress of a reply, and the plan of its next change.
//!
//! A person's message opens a window of a day and about ten answers, and sent messages can't be edited. So there is no streaming: the
//! typing indicator while the agent works, then the whole text in as few messages as possible.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Context;
use tieline_core::notice::Notice;
use tieline_core::reply::{DesiredReply, Stage};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::timestamp::{Timestamp, millis};

use super::dialect;
use crate::markdown::{self, Cutter, Piece, less_room};

/// Longest text of one message. The vendor's client splits at 4000, but phones were seen to cut from about 2000 on. 1800 characters are
/// less than 8 KiB in any script.
///
/// See [openclaw-weixin/src/messaging/send.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/messaging/send.ts).
pub(super) const TEXT: TextLimit = TextLimit {
    max: 1800,
    unit: TextUnit::Chars,
};
/// Largest number of messages in one reply. The platform accepts about ten for each message of the person.
const MOST_MESSAGES: u32 = 9;
/// Pause between two messages of one reply.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(1200);
/// How long the typing indicator is shown.
pub(super) const TYPING_LIFE: Duration = Duration::from_secs(5);

/// Progress of a reply.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WeChatProgress {
    /// The call that led to this progress.
    pub(super) call: CallKind,
    pub(super) typing: Typing,
    /// When the typing indicator was last shown. `None`: it is not shown.
    #[serde(with = "millis::option")]
    pub(super) typing_since: Option<Timestamp>,
    /// Number of sent messages of the text.
    pub(super) messages: u32,
    /// End of the text that they show, in bytes.
    pub(super) end: usize,
    /// Time before which the next message is not sent.
    #[serde(with = "millis::option")]
    pub(super) not_before: Option<Timestamp>,
    /// Whether a message was refused that may be retried once.
    pub(super) repeats: bool,
}

/// Purpose of a call.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Sends a part of the text.
    #[default]
    Message,
    /// Fetches the ticket of the typing indicator.
    Ticket,
    /// Shows or hides the typing indicator.
    Typing,
}

/// State of the typing indicator's ticket.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Typing {
    /// Not requested yet.
    #[default]
    Unknown,
    /// The ticket.
    Ticket(String),
    /// The platform returns none.
    Unavailable,
}

/// The next change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ticket,
    /// Shows or hides the typing indicator.
    Typing {
        ticket: String,
        on: bool,
    },
    Message {
        text: String,
        /// End of the text that is shown after it, in bytes.
        end: usize,
    },
    Wait(Timestamp),
    Nothing,
}

/// The next change.
pub(super) fn due(desired: &DesiredReply<'_>, shown: &WeChatProgress, cx: &Context<'_>) -> Due {
    if desired.stage != Stage::Final {
        return typing(shown, cx.now);
    }
    let full_text = full_text(desired, cx);
    if let Some(message) = message(&full_text, desired.link, shown, cx) {
        return match shown.not_before {
            Some(at) if at > cx.now => Due::Wait(at),
            _ => message,
        };
    }
    match (&shown.typing, shown.typing_since) {
        (Typing::Ticket(ticket), Some(_)) => Due::Typing {
            ticket: ticket.clone(),
            on: false,
        },
        _ => Due::Nothing,
    }
}

fn typing(shown: &WeChatProgress, now: Timestamp) -> Due {
    match &shown.typing {
        Typing::Unknown => Due::Ticket,
        Typing::Unavailable => Due::Nothing,
        Typing::Ticket(ticket) => match shown.typing_since.map(|at| at.after(TYPING_LIFE)) {
            Some(fades_at) if now < fades_at => Due::Wait(fades_at),
            _ => Due::Typing {
                ticket: ticket.clone(),
                on: true,
            },
        },
    }
}

/// Progress after the platform accepted the change.
pub(super) fn after(due: &Due, shown: &WeChatProgress, now: Timestamp) -> WeChatProgress {
    let mut after = shown.clone();
    match due {
        Due::Ticket => after.call = CallKind::Ticket,
        Due::Typing { on, .. } => {
            after.call = CallKind::Typing;
            after.typing_since = on.then_some(now);
        }
        Due::Message { end, .. } => {
            after.call = CallKind::Message;
            after.messages += 1;
            after.end = *end;
            after.not_before = Some(now.after(BETWEEN_MESSAGES));
            after.repeats = false;
        }
        Due::Wait(_) | Due::Nothing => {}
    }
    after
}

/// The next message of the text. `None` if all has been sent.
fn message(full_text: &str, link: Option<&str>, shown: &WeChatProgress, cx: &Context<'_>) -> Option<Due> {
    let cutter = Cutter::new(full_text);
    let piece = next_piece(&cutter, shown.end)?;
    let is_last = shown.messages + 1 >= MOST_MESSAGES;
    if !is_last || next_piece(&cutter, piece.end).is_none() {
        return Some(Due::Message {
            text: piece.shown,
            end: piece.end,
        });
    }
    // Only one more message may be sent, and the text is longer than that.
    let language = cx.account.language;
    let text = match link {
        Some(link) => format!("{}\n{link}", Notice::RestBehindLink.text(language)),
        None => Notice::Incomplete.text(language).to_owned(),
    };
    Some(Due::Message {
        text,
        end: full_text.len(),
    })
}

/// The next piece that isn't blank.
fn next_piece(cutter: &Cutter<'_>, from: usize) -> Option<Piece> {
    let full_text = cutter.text();
    let mut start = from;
    while start < full_text.len() && full_text.is_char_boundary(start) {
        let piece = fit(cutter, start);
        if !full_text[start..piece.end].trim().is_empty() {
            return Some(Piece {
                shown: piece.shown.trim().to_owned(),
                end: piece.end,
            });
        }
        start = piece.end;
    }
    None
}

/// The piece of the text from `start` that fits into one message.
fn fit(cutter: &Cutter<'_>, start: usize) -> Piece {
    let mut attempt = 0;
    // A character has at most four bytes.
    let mut bytes = TEXT.max * 4;
    loop {
        let piece = cutter.piece(start, bytes, dialect::write);
        let chars = TEXT.measure(&piece.shown);
        if chars <= TEXT.max {
            return piece;
        }
        attempt += 1;
        let fair = bytes.min(piece.shown.len()) * TEXT.max / chars;
        bytes = less_room(attempt, fair, bytes.min(piece.end - start).max(1));
    }
}

/// The whole text: the agent's, then the notice, then its files as links.
fn full_text(desired: &DesiredReply<'_>, cx: &Context<'_>) -> String {
    let text = markdown::answer(desired.text);
    let notice = desired
        .notice
        .map(|notice| notice.referring(desired.reference, cx.account.language));
    let mut full_text = match (text.trim().is_empty(), notice) {
        (true, Some(notice)) => notice.into_owned(),
        (false, Some(notice)) => {
            // An open code fence would include the notice.
            let closed = markdown::piece(&text, 0, usize::MAX, str::to_owned).shown;
            format!("{closed}\n\n{notice}")
        }
        (_, None) => text.into_owned(),
    };
    for file in desired.files {
        let name = file.name.replace(['\n', '\r'], " ");
        full_text.push_str(&format!("\n\n{name}: {}", markdown::address(file)));
    }
    match full_text.trim().is_empty() {
        true => Notice::EmptyAnswer.text(cx.account.language).to_owned(),
        false => full_text,
    }
}
