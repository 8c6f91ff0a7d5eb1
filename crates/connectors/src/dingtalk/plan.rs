//! Plans the next change towards the desired state of the chat: a function of the desired reply and of the progress.

use tieline_core::card::{self, Button};
use tieline_core::connector::Context;
use tieline_core::notice::Notice;
use tieline_core::reply::{DesiredReply, ReplyFile, Stage};
use tieline_core::split::TextUnit;
use tieline_core::thinking_display::tail;

use super::dialect::{self, Surface};
use super::progress::{CardState, DingTalkProgress, MessagesPlan, Withheld};
use super::settings::{self, TemplateKind};
use crate::markdown::{self, Cutter, Piece, less_room};
use crate::text_digest::short_digest;

/// Size limits of a surface.
#[derive(Debug, Clone, Copy)]
struct Room {
    surface: Surface,
    chars: usize,
    bytes: usize,
    /// Bytes inside a JSON string, where quotes and line breaks take two.
    escaped: usize,
}

impl Room {
    /// Number of characters for which there is room below `shown`. `None` if that doesn't fit.
    fn spare(self, shown: &str) -> Option<usize> {
        let chars = self.chars.checked_sub(shown.chars().count())?;
        let bytes = self.bytes.checked_sub(shown.len())?;
        let escaped = self.escaped.checked_sub(escaped_len(shown))?;
        Some(chars.min(bytes).min(escaped))
    }
}

/// Length of `text` as a JSON string, in bytes.
fn escaped_len(text: &str) -> usize {
    serde_json::Value::from(text).to_string().len()
}

/// Limits of a card. Above them users saw blank cards. See protocol notes on streaming updates.
const CARD: Room = Room {
    surface: Surface::Card,
    chars: 3000,
    bytes: 12_000,
    escaped: 24_000,
};
/// Limits of a message: whichever is reached first; leaves room for title and number below 15,000 bytes of `msgParam`.
///
/// See [DingTalk Docs/机器人发送群聊消息](https://open.dingtalk.com/document/development/the-robot-sends-a-group-message).
const MESSAGE: Room = Room {
    surface: Surface::Message,
    chars: 3500,
    bytes: 12_000,
    escaped: 14_500,
};
/// Longest reasoning that a card shows; it allows for lines of one letter each after the quote mark.
const MAX_REASONING_BYTES: usize = 750;
/// Limits of a message with buttons, whose URLs need space too.
const MESSAGE_WITH_BUTTONS: Room = Room {
    bytes: 11_000,
    escaped: 12_000,
    ..MESSAGE
};
/// Longest total length of a message's button URLs, in bytes: others become links in the text.
const MAX_ADDRESSES: usize = 2000;
/// Largest number of messages if the rest can be read through a link: more would exceed the limit per minute.
const MOST_MESSAGES: usize = 20;

/// The next change.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Create a card that shows that the bot is working.
    Create,
    /// Set the state in which text begins: only public templates need it.
    Begin,
    /// Show text in the card.
    Frame(Frame),
    /// Set the card's final state.
    Settle(Frame),
    /// Send a message.
    Message(Outgoing),
    /// Send a notice that the answer may be missing.
    LossNotice(Outgoing),
    /// Stop the spinner of a card that takes no text.
    Mark,
    /// Nothing: the chat is in the desired state.
    Nothing,
}

/// A text for the card.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// In the card's dialect.
    pub(super) content: String,
    /// Whether it is the final text of this card.
    pub(super) last: bool,
    /// The run has failed.
    pub(super) failed: bool,
    /// How much of the text it shows, in bytes.
    pub(super) covers: usize,
}

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Outgoing {
    pub(super) title: String,
    /// In the messages' dialect.
    pub(super) text: String,
    /// End of its text in the whole text.
    pub(super) end: usize,
    /// Plan of this message and those after it, if there are any.
    pub(super) plan: Option<MessagesPlan>,
    /// The buttons below it.
    pub(super) links: Vec<ButtonLink>,
}

/// A button that opens a URL.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ButtonLink {
    pub(super) label: String,
    pub(super) url: String,
}

/// The next change.
pub(super) fn due(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> Due {
    let is_final = desired.stage == Stage::Final;
    match shown.card {
        CardState::None if !is_final && wants_card(desired, cx) => Due::Create,
        CardState::Unsure => Due::Create,
        CardState::Thinking | CardState::Writing | CardState::Muted => in_card(desired, shown, cx),
        CardState::Ended => Due::Settle(last_frame(desired, shown, cx)),
        CardState::None | CardState::Settled | CardState::Refused | CardState::Stuck
            if is_final && shown.unconfirmed.is_some() && shown.given_up.is_none() =>
        {
            Due::LossNotice(loss_notice(desired, cx))
        }
        CardState::None | CardState::Settled | CardState::Refused if is_final => {
            message(desired, shown, cx).map_or(Due::Nothing, Due::Message)
        }
        CardState::Stuck if is_final && shown.given_up.is_some() => Due::Mark,
        CardState::Stuck if is_final => message(desired, shown, cx).map_or(Due::Mark, Due::Message),
        CardState::None | CardState::Settled | CardState::Refused | CardState::Stuck | CardState::Marked => {
            Due::Nothing
        }
    }
}

fn wants_card(desired: &DesiredReply<'_>, cx: &Context<'_>) -> bool {
    cx.account.streaming && !desired.proactive && !desired.plain
}

fn in_card(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> Due {
    let grows = desired.stage != Stage::Final;
    let has_text = desired.stage != Stage::Thinking && !desired.text.trim().is_empty();
    let reasons = !has_text && !desired.reasoning.is_empty() && (shown.reasons || shown.card == CardState::Thinking);
    if grows && (shown.card == CardState::Muted || !(has_text || reasons)) {
        return Due::Nothing;
    }
    let frame = match grows && reasons {
        true => reasoning(desired.reasoning),
        false => frame(desired, shown, cx),
    };
    if !frame.last && short_digest(&[&frame.content]) == shown.frame {
        return Due::Nothing;
    }
    if shown.card == CardState::Thinking && settings::of(cx).template.kind == TemplateKind::Public {
        return Due::Begin;
    }
    Due::Frame(frame)
}

/// The card's next text. If the text doesn't fit, the card ends with the part that does; the rest is sent as messages once it is complete.
fn frame(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> Frame {
    let text = body(desired, shown, cx);
    let cutter = Cutter::new(&text);
    let pointer = pointer(cx);
    let above_pointer = Room {
        chars: CARD.chars - pointer.chars().count(),
        ..CARD
    };
    let is_final = desired.stage == Stage::Final;
    // A text that grows leaves space for the pointer, so that no shown text has to make way for it.
    let piece = fit(&cutter, 0, if is_final { CARD } else { above_pointer });
    if piece.end == text.len() {
        return Frame {
            content: piece.shown,
            last: is_final,
            failed: has_failed(desired),
            covers: text.len(),
        };
    }
    let head = keeping(
        &cutter,
        shown.kept_of(&text),
        fit(&cutter, 0, above_pointer),
        above_pointer,
    );
    Frame {
        content: head.shown + &pointer,
        last: true,
        failed: false,
        covers: head.end,
    }
}

/// The reasoning of an agent that has sent no text yet, as a block quote.
fn reasoning(reasoning: &str) -> Frame {
    let quotation = markdown::quotation(tail(reasoning, MAX_REASONING_BYTES));
    Frame {
        content: whole(&quotation, Surface::Card),
        last: false,
        failed: false,
        covers: 0,
    }
}

/// The card's last text once more: the part that the card already has, although the text may have grown since.
fn last_frame(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> Frame {
    let text = body(desired, shown, cx);
    match shown.start(&text) {
        end if end > 0 && end < text.len() => Frame {
            content: whole(&text[..end], Surface::Card) + &pointer(cx),
            last: true,
            failed: false,
            covers: end,
        },
        _ => frame(desired, shown, cx),
    }
}

fn pointer(cx: &Context<'_>) -> String {
    format!("\n\n{}", Notice::Continued.text(cx.account.language))
}

/// The piece from `start` that fits.
fn fit(cutter: &Cutter<'_>, start: usize, room: Room) -> Piece {
    let mut bytes = likely_bytes(cutter, start, room);
    let mut attempt = 0;
    loop {
        let piece = cutter.piece(start, bytes, |part| dialect::write(part, room.surface));
        let (chars, escaped) = (piece.shown.chars().count(), escaped_len(&piece.shown));
        if (chars <= room.chars && escaped <= room.escaped) || bytes < LEAST_BYTES {
            if attempt == 0 && bytes < room.bytes && piece.end < cutter.text().len() {
                // The rendered text is shorter than the source.
                bytes = room.bytes;
                attempt = 1;
                continue;
            }
            return piece;
        }
        attempt += 1;
        let fair = (bytes.min(piece.shown.len()) * room.chars / chars).min(bytes * room.escaped / escaped);
        bytes = less_room(attempt, fair, bytes.min(piece.end - start).max(1));
    }
}

/// `head`, the text's first piece; a longer one if the card shows the text up to `kept` already, so that nothing visible disappears.
fn keeping(cutter: &Cutter<'_>, kept: usize, head: Piece, room: Room) -> Piece {
    if head.end >= kept {
        return head;
    }
    let to = |end| cutter.piece_within(end, 0, usize::MAX, |part| dialect::write(part, room.surface));
    let spare = |end| room.spare(&to(end).shown);
    cutter.end_keeping(kept, TextUnit::Chars, spare).map_or(head, to)
}

/// Estimated length of a piece in bytes: one and a half times the characters that are shown.
fn likely_bytes(cutter: &Cutter<'_>, start: usize, room: Room) -> usize {
    let rest = &cutter.text()[start..];
    let end = rest.char_indices().nth(room.chars + room.chars / 2);
    end.map_or(room.bytes, |(end, _)| end.min(room.bytes))
}

/// A piece below this size is accepted as it is.
const LEAST_BYTES: usize = 64;

/// All of `text` for a surface, with its fences closed.
fn whole(text: &str, surface: Surface) -> String {
    markdown::piece(text, 0, usize::MAX, |part| dialect::write(part, surface)).shown
}

/// The next message. `None` if all have been sent.
fn message(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> Option<Outgoing> {
    let text = full_text(desired, shown, cx);
    let cutter = Cutter::new(&text);
    let links = button_links(desired, shown);
    let full = if links.is_empty() {
        MESSAGE
    } else {
        MESSAGE_WITH_BUTTONS
    };
    let room = Room {
        chars: full.chars >> shown.shrunk.min(8),
        bytes: full.bytes >> shown.shrunk.min(8),
        ..full
    };
    let start = shown.start(&text);
    let print = short_digest(&[&text]);
    let planned = shown.messages_plan.as_ref();
    let plan = match planned.filter(|plan| plan.rest(&print, shown.shrunk, start).is_some()) {
        Some(plan) => plan.clone(),
        None => plan_messages(&cutter, start, room, print.clone(), shown, desired.link.is_some()),
    };
    let rest = plan.rest(&print, shown.shrunk, start).unwrap_or(&plan.parts);
    let ((from, end), more) = rest.split_first()?;
    let number = shown.messages + 1;
    let total = number + more.len();
    if let Some(link) = desired.link.filter(|_| number >= MOST_MESSAGES && total > number) {
        let line = behind(link, cx);
        return Some(Outgoing {
            title: dialect::title(&line),
            text: line,
            end: text.len(),
            plan: None,
            links,
        });
    }
    let is_last = more.is_empty();
    let piece = cutter.piece_within(*end, *from, room.bytes, |part| dialect::write(part, room.surface));
    let title = dialect::title(&piece.shown);
    let number = match total {
        1 => String::new(),
        _ if desired.link.is_some() => format!("\n\n({number}/{})", total.min(MOST_MESSAGES)),
        _ => format!("\n\n({number}/{total})"),
    };
    Some(Outgoing {
        title,
        text: piece.shown + &number,
        end: piece.end,
        plan: (total > 1).then_some(plan),
        links: if is_last { links } else { Vec::new() },
    })
}

/// Plans the messages from `start`, up to the maximum number, so that each later message is cut only once.
fn plan_messages(
    cutter: &Cutter<'_>,
    start: usize,
    room: Room,
    text: String,
    shown: &DingTalkProgress,
    has_link: bool,
) -> MessagesPlan {
    let most = match has_link {
        true => (MOST_MESSAGES + 1).saturating_sub(shown.messages).max(2),
        false => 5 * MOST_MESSAGES,
    };
    let (mut parts, mut at) = (Vec::new(), start);
    while at < cutter.text().len() && parts.len() < most {
        let end = fit(cutter, at, room).end;
        if !cutter.text()[at..end].trim().is_empty() {
            parts.push((at, end));
        }
        at = end;
    }
    MessagesPlan {
        text,
        shrunk: shown.shrunk,
        parts,
        is_whole: at == cutter.text().len(),
    }
}

/// The text of the messages: the whole text, or its replacement if the platform blocks it.
pub(super) fn full_text(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> String {
    match (shown.withheld, desired.link) {
        (Withheld::No, _) => body(desired, shown, cx),
        (Withheld::Answer, Some(link)) => {
            let sentence = Notice::BlockedBehindLink.text(cx.account.language);
            format!("{sentence}\n\n{link}")
        }
        (Withheld::Answer, None) | (Withheld::Link, _) => Notice::Blocked.text(cx.account.language).to_owned(),
    }
}

/// A notice that the answer may be missing, with the link to the whole answer if there is one.
fn loss_notice(desired: &DesiredReply<'_>, cx: &Context<'_>) -> Outgoing {
    let sentence = Notice::Incomplete.text(cx.account.language);
    let text = match desired.link {
        Some(link) => format!("{sentence}\n\n{}", behind(link, cx)),
        None => sentence.to_owned(),
    };
    Outgoing {
        title: dialect::title(&text),
        text,
        end: 0,
        plan: None,
        links: Vec::new(),
    }
}

fn behind(link: &str, cx: &Context<'_>) -> String {
    format!("{}\n\n{link}", Notice::RestBehindLink.text(cx.account.language))
}

/// Buttons of the last message: those that open a URL, because the platform reports no clicks on messages. A reply in a streamed card has
/// none.
fn button_links(desired: &DesiredReply<'_>, shown: &DingTalkProgress) -> Vec<ButtonLink> {
    let in_messages = matches!(shown.card, CardState::None | CardState::Refused) && shown.withheld == Withheld::No;
    let links = desired.buttons.iter().filter_map(|button| {
        Some(ButtonLink {
            label: button.text.clone(),
            url: button.url()?.to_owned(),
        })
    });
    let links: Vec<_> = links.filter(|_| in_messages).collect();
    match links.iter().map(|link| link.url.len()).sum::<usize>() {
        0..=MAX_ADDRESSES => links,
        _ => Vec::new(),
    }
}

/// The whole text: the agent's text, buttons that can't be shown, the notice, then the files as links.
pub(super) fn body(desired: &DesiredReply<'_>, shown: &DingTalkProgress, cx: &Context<'_>) -> String {
    if desired.stage != Stage::Final {
        return markdown::without_data(desired.text).into_owned();
    }
    let mut body = markdown::answer(desired.text).into_owned();
    let has_links = !button_links(desired, shown).is_empty();
    let is_line = |button: &&Button| !has_links || button.value().is_some();
    let lines = card::button_lines(desired.buttons.iter().filter(is_line), cx.account.language);
    let mut blocks: Vec<String> = Vec::new();
    blocks.extend(Some(lines).filter(|lines| !lines.is_empty()));
    blocks.extend(desired.notice.map(|notice| {
        let sentence = notice.referring(desired.reference, cx.account.language);
        sentence.into_owned()
    }));
    blocks.extend(desired.files.iter().map(file_link));
    if body.trim().is_empty() {
        // A card must not stay in its thinking state, and an empty message is refused.
        if blocks.is_empty() {
            blocks.push(Notice::EmptyAnswer.text(cx.account.language).to_owned());
        }
        return blocks.join("\n\n");
    }
    if !blocks.is_empty() {
        body = markdown::piece(&body, 0, usize::MAX, str::to_owned).shown;
    }
    for block in blocks {
        body.push_str("\n\n");
        body.push_str(&block);
    }
    body
}

fn file_link(file: &ReplyFile) -> String {
    let name: String = file
        .name
        .chars()
        .filter(|c| !matches!(c, '[' | ']' | '\n' | '\r'))
        .collect();
    format!("[{name}]({})", markdown::address(file))
}

/// Whether the run produced nothing but the notice that it failed.
fn has_failed(desired: &DesiredReply<'_>) -> bool {
    let failure = matches!(desired.notice, Some(Notice::AgentFailed | Notice::AgentTimedOut));
    desired.stage == Stage::Final && desired.text.trim().is_empty() && failure
}
