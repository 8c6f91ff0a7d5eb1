//! What of a reply is in the chat, and what comes next.
//!
//! A message of a person opens a window of a day and about ten answers, and nothing that was sent can be changed. So there is no
//! streaming: the typing sign while the agent works, then the whole text in as few messages as it takes.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::Context;
use tieline_core::notice::Notice;
use tieline_core::reply::{DesiredReply, Stage};
use tieline_core::split::{TextLimit, TextUnit};
use tieline_core::timestamp::{Timestamp, millis};

use super::dialect;
use crate::markdown::{self, Cutter, Piece, less_room};

/// Longest text of one message. The vendor splits at 4000, but phones were seen to cut from about 2000 on. 1800 characters are less
/// than 8 KiB in any script.
///
/// See [openclaw-weixin/src/messaging/send.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/messaging/send.ts).
pub(super) const TEXT: TextLimit = TextLimit {
    max: 1800,
    unit: TextUnit::Chars,
};
/// Most messages of one reply. The platform takes about ten for each message of the person.
const MOST_MESSAGES: u32 = 9;
/// Between two messages of one reply.
const BETWEEN_MESSAGES: Duration = Duration::from_millis(1200);
/// How long the typing sign is shown.
pub(super) const TYPING_LIFE: Duration = Duration::from_secs(5);

/// How far a reply has come.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub(super) struct WeChatProgress {
    /// The call that led here.
    pub(super) call: CallKind,
    pub(super) typing: Typing,
    /// When the typing sign was last shown. `None`: it is not shown.
    #[serde(with = "millis::option")]
    pub(super) typing_since: Option<Timestamp>,
    /// Messages of the text that were sent.
    pub(super) messages: u32,
    /// How much of the text they show, in bytes.
    pub(super) end: usize,
    /// The next message is not sent before then.
    #[serde(with = "millis::option")]
    pub(super) not_before: Option<Timestamp>,
    /// Whether a message was refused that may be sent once more.
    pub(super) repeats: bool,
}

/// What a call is for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum CallKind {
    /// Sends a part of the text.
    #[default]
    Message,
    /// Asks for the ticket of the typing sign.
    Ticket,
    /// Shows or hides the typing sign.
    Typing,
}

/// What is known of the typing sign.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Typing {
    /// Not asked yet.
    #[default]
    Unknown,
    /// The ticket for it.
    Ticket(String),
    /// The platform gives none.
    Unavailable,
}

/// What comes next.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    Ticket,
    /// Shows or hides the typing sign.
    Typing {
        ticket: String,
        on: bool,
    },
    Message {
        text: String,
        /// How much of the whole text is shown then, in bytes.
        end: usize,
    },
    Wait(Timestamp),
    Nothing,
}

/// What comes next.
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

/// The progress once the platform has accepted what is due.
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

/// The next message of the text. `None` if all of it is sent.
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
    // There is room for one message only, and more text than that.
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
    // No character takes more than four bytes.
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

/// The whole text: the agent's, then our sentence, then its files as links.
fn full_text(desired: &DesiredReply<'_>, cx: &Context<'_>) -> String {
    let text = markdown::without_data(desired.text);
    let notice = desired
        .notice
        .map(|notice| notice.referring(desired.reference, cx.account.language));
    let mut full_text = match (text.trim().is_empty(), notice) {
        (true, Some(notice)) => notice.into_owned(),
        (false, Some(notice)) => {
            // A fence that the text leaves open would take our sentence in.
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
