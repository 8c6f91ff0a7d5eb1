//! Plans the next move towards the desired state.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, UnreadableProgress};
use tieline_core::timestamp::Timestamp;

use super::full_text;
use super::pages::{self, Page};
use super::progress::{Call, CallKind, Card, LarkProgress, Sign, Way};
use super::surface::Surface;
use crate::text_digest::short_digest;

/// Largest weight of the text of one card or post. 30 KB is the limit of the whole request, but how it is counted is not documented.
///
/// See [Feishu Docs/发送消息](https://open.feishu.cn/document/uAjLw4CM/ukTMukTMukTM/reference/im-v1/message/create).
pub(super) const MAX_CARD: usize = 20_000;
/// Largest weight of a text message; 150 KB are documented.
const MAX_TEXT: usize = 100_000;
/// Lower bound of a message's size, however often the platform finds the text too long.
const LEAST: usize = 600;
/// Time after which streaming is enabled again, since it ends by itself 10 minutes after it was enabled.
///
/// See [Feishu Docs/流式更新卡片](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/streaming-updates-openapi-overview).
const STREAMING: Duration = Duration::from_secs(8 * 60);
/// Shortest interval between two replacements of a card in a message; the official plugin's value.
const REPLACING: Duration = Duration::from_millis(1500);

/// A change by one call.
#[derive(Debug, PartialEq)]
pub(super) enum Move {
    /// Add the reaction that means "received".
    React,
    /// Remove the reaction.
    Unreact(String),
    /// Create a card entity with this content.
    Create(Aim),
    /// Send the entity to the chat.
    SendCard(Card),
    /// Stream this into the card.
    Write(Card, Aim),
    /// Enable streaming again.
    Reopen(Card),
    /// End streaming.
    Close(Card, Aim),
    /// End streaming of a card that was given up.
    CloseLeft(Card),
    /// Replace the content of the whole card, which isn't streaming any more.
    Replace(Card, Aim),
    /// Send a message with this content.
    Send(Aim),
    /// Replace the card in that message.
    Patch(String, Aim),
}

impl Move {
    const fn kind(&self) -> CallKind {
        match self {
            Self::React => CallKind::React,
            Self::Unreact(_) => CallKind::Unreact,
            Self::Create(_) => CallKind::CreateCard,
            Self::SendCard(_) => CallKind::SendCard,
            Self::Write(..) => CallKind::WriteCard,
            Self::Reopen(_) => CallKind::ReopenCard,
            Self::Close(..) => CallKind::CloseCard,
            Self::CloseLeft(_) => CallKind::CloseLeft,
            Self::Replace(..) => CallKind::ReplaceCard,
            Self::Send(_) => CallKind::Send,
            Self::Patch(..) => CallKind::Patch,
        }
    }
}

/// Desired content of a bubble.
#[derive(Debug, PartialEq)]
pub(super) struct Aim {
    pub page: Page,
    /// Whether a button for a new session is below it.
    pub button: bool,
    /// Whether the card's buttons are below it.
    pub has_card: bool,
    /// Digest of the content, different for any other aim.
    pub mark: String,
}

/// The desired reply, the progress, and everything else that the next move depends on.
pub(super) struct Situation<'a> {
    pub desired: &'a DesiredReply<'a>,
    pub cx: &'a Context<'a>,
    pub shown: LarkProgress,
    pub full_text: String,
}

impl<'a> Situation<'a> {
    pub(super) fn new(
        desired: &'a DesiredReply<'a>,
        done: &Progress,
        cx: &'a Context<'a>,
    ) -> Result<Self, UnreadableProgress> {
        let mut shown: LarkProgress = done.read()?;
        if desired.plain && shown.bubble.card.is_none() {
            // A card that was started is finished.
            shown.way = shown.way.max(Way::Card);
        }
        let language = cx.account.language;
        let full_text = match (shown.withheld, shown.way.edits()) {
            (true, _) => full_text::withheld(desired, language),
            (false, true) => full_text::whole(desired, language),
            // Only cards have buttons.
            (false, false) => full_text::whole_with_buttons(desired, language),
        };
        let mut situation = Self {
            desired,
            cx,
            shown,
            full_text,
        };
        situation.advance();
        Ok(situation)
    }

    /// The next move. `None` if the chat is in the desired state.
    pub(super) fn next(&self, to: &ReplyTarget) -> Option<Move> {
        if self.shown.ending && self.desired.stage != Stage::Final {
            return None;
        }
        if !self.shows_text() {
            return self.sign().filter(|_| answers(self.desired, to));
        }
        if self.ends_without_a_word() {
            return self.tidy_at_last();
        }
        match self.aim() {
            Some(aim) => self.towards(aim).or_else(|| self.tidy_at_last()),
            None => self.tidy_at_last(),
        }
    }

    /// Desired content of the current bubble. `None` if there is no text for it.
    pub(super) fn aim(&self) -> Option<Aim> {
        let (max, surface) = (self.max(), self.surface());
        let (text, bubble) = (&self.full_text, &self.shown.bubble);
        let kept = bubble.leads_on(text).then_some(bubble.end);
        let full = kept.filter(|_| bubble.full);
        let page = match full.and_then(|end| pages::page_to(text, bubble.start, end, max, surface)) {
            Some(page) => page,
            None if self.shows_reasoning() => pages::reasoning(self.desired.reasoning, max, surface)?,
            None => pages::page(text, bubble.start, kept.unwrap_or(bubble.start), max, surface)?,
        };
        let last = !page.more && self.desired.stage == Stage::Final;
        let button = last && self.shown.way.edits() && self.desired.notice.is_some_and(offers_new_session);
        let has_card = last && self.shown.way.edits() && !self.desired.buttons.is_empty();
        let buttons = match (button, has_card) {
            (false, false) => "",
            (true, false) => "button",
            (_, true) => "card",
        };
        let mark = short_digest(&[&page.text, buttons]);
        Some(Aim {
            page,
            button,
            has_card,
            mark,
        })
    }

    /// Progress after the platform accepted the call of `next`, without the ids in its response.
    pub(super) fn after(&self, next: &Move) -> LarkProgress {
        let mut after = self.shown.clone();
        after.ending |= !self.grows();
        after.call = Some(Call {
            kind: next.kind(),
            leads_on: self.shown.bubble.leads_on(&self.full_text),
        });
        match next {
            Move::React => {}
            Move::Unreact(_) => (after.sign, after.unremoved) = (Sign::Gone, None),
            Move::CloseLeft(_) => after.left = None,
            Move::Create(aim) => {
                self.show(&mut after, aim);
                after.bubble.card = Some(Card {
                    open: true,
                    since: Some(self.cx.now),
                    made_at: Some(self.cx.now),
                    ..Card::default()
                });
            }
            Move::SendCard(_) => {
                if let Some(card) = &mut after.bubble.card {
                    card.sent = true;
                }
            }
            Move::Send(aim) => {
                self.show(&mut after, aim);
                // An earlier attempt may have succeeded unnoticed with less text; then this one is taken for its repetition.
                if self.grows() {
                    after.bubble.mark.clear();
                }
            }
            Move::Patch(_, aim) => self.show(&mut after, aim),
            Move::Write(_, aim) | Move::Replace(_, aim) => {
                self.show(&mut after, aim);
                self.change(&mut after, next.kind());
            }
            Move::Reopen(_) | Move::Close(..) => self.change(&mut after, next.kind()),
        }
        after
    }

    /// Time before which `next` would fail like the call before it.
    pub(super) fn hold(&self, next: &Move) -> Option<Timestamp> {
        let until = match next {
            Move::Write(card, _) | Move::Reopen(card) | Move::Close(card, _) | Move::Replace(card, _) => {
                card.hold_until
            }
            Move::Unreact(_) => self.shown.unremoved.map(|failed| failed.retry_at),
            _ => None,
        };
        until.filter(|until| self.cx.now < *until)
    }

    fn show(&self, after: &mut LarkProgress, aim: &Aim) {
        after
            .bubble
            .shows(&self.full_text, aim.page.end, aim.page.more, &aim.mark, self.cx.now);
    }

    /// Records a change of the card entity.
    fn change(&self, after: &mut LarkProgress, kind: CallKind) {
        let Some(card) = &mut after.bubble.card else {
            return;
        };
        card.sequence = card.next_sequence(self.cx.now);
        card.hold_until = None;
        match kind {
            // Enabling streaming again is not a success yet: the text must be accepted.
            CallKind::ReopenCard => {
                card.since = Some(self.cx.now);
                card.open = true;
                return;
            }
            CallKind::WriteCard => card.open = true,
            _ => card.open = false,
        }
        (card.refused, card.clicked) = (0, 0);
    }

    fn max(&self) -> usize {
        let max = if self.shown.way == Way::Text {
            MAX_TEXT
        } else {
            MAX_CARD
        };
        max.checked_shr(self.shown.shrunk).unwrap_or_default().max(LEAST)
    }

    const fn surface(&self) -> Surface {
        match self.shown.way {
            Way::Stream | Way::Card if self.shown.plain_tables => Surface::CardWithoutTables,
            Way::Stream | Way::Card => Surface::Card,
            Way::Post => Surface::Post,
            Way::Text => Surface::Text,
        }
    }

    /// Whether this isn't the final text yet.
    pub(super) fn grows(&self) -> bool {
        self.desired.stage != Stage::Final
    }

    /// Whether this stage shows text.
    fn shows_text(&self) -> bool {
        match self.desired.stage {
            Stage::Final => true,
            Stage::Thinking => self.shows_reasoning(),
            // Messages that can't be edited are only sent at the end.
            Stage::Growing => self.cx.account.streaming && !self.desired.proactive && self.shown.way.edits(),
        }
    }

    /// Whether the reasoning is shown in the place of the text.
    fn shows_reasoning(&self) -> bool {
        let bubble = &self.shown.bubble;
        let untouched = bubble.number == 0 && bubble.end == 0 && self.shown.way.edits();
        self.grows() && untouched && self.full_text.trim().is_empty() && !self.desired.reasoning.is_empty()
    }

    /// Whether the message gets no answer of its own, only the reaction: see
    /// [`tieline_core::connector::WaitingSign::Mark`].
    fn ends_without_a_word(&self) -> bool {
        let DesiredReply {
            text,
            notice,
            files,
            buttons,
            ..
        } = self.desired;
        let is_silent = text.trim().is_empty() && notice.is_none() && files.is_empty() && buttons.is_empty();
        is_silent && !self.grows() && self.shown.sign != Sign::Not && self.nothing_sent()
    }

    fn nothing_sent(&self) -> bool {
        let bubble = &self.shown.bubble;
        bubble.number == 0 && bubble.message.is_none() && bubble.card.is_none()
    }

    fn sign(&self) -> Option<Move> {
        (self.shown.sign == Sign::Not && self.nothing_sent()).then_some(Move::React)
    }

    fn towards(&self, aim: Aim) -> Option<Move> {
        let bubble = &self.shown.bubble;
        match (&bubble.card, &bubble.message) {
            (Some(card), _) => self.stream(card, aim),
            (None, None) if self.shown.way == Way::Stream && self.grows() => Some(Move::Create(aim)),
            (None, None) => Some(Move::Send(aim)),
            (None, Some(message)) => self.patch(message, aim),
        }
    }

    fn stream(&self, card: &Card, aim: Aim) -> Option<Move> {
        if !card.sent {
            return Some(Move::SendCard(card.clone()));
        }
        // The reaction is removed as soon as there is something to read.
        if let Some(tidy) = self.tidy() {
            return Some(tidy);
        }
        let card = card.clone();
        let shown = self.shown.bubble.mark == aim.mark;
        let lapsed = card.since.is_none_or(|since| self.cx.now.since(since) >= STREAMING);
        if self.grows() && !aim.page.more {
            return match (shown, card.open && !lapsed) {
                (true, _) => None,
                (false, false) => Some(Move::Reopen(card)),
                (false, true) => Some(Move::Write(card, aim)),
            };
        }
        match (card.open, shown) {
            (false, true) => None,
            (true, true) => Some(Move::Close(card, aim)),
            (true, false) if !lapsed && !aim.button && !aim.has_card => Some(Move::Write(card, aim)),
            (_, false) => Some(Move::Replace(card, aim)),
        }
    }

    fn patch(&self, message: &str, aim: Aim) -> Option<Move> {
        if let Some(tidy) = self.tidy() {
            return Some(tidy);
        }
        let bubble = &self.shown.bubble;
        let possible = self.shown.way.edits() && !message.is_empty();
        let rested = bubble.changed_at.is_none_or(|at| self.cx.now.since(at) >= REPLACING);
        let due = bubble.mark != aim.mark && (rested || !self.grows());
        (possible && due).then(|| Move::Patch(message.to_owned(), aim))
    }

    /// Removes temporary content. A failed removal of the reaction is not retried here: the text comes first.
    fn tidy(&self) -> Option<Move> {
        let first = self.unreact().filter(|_| self.shown.unremoved.is_none());
        first.or_else(|| self.shown.left.clone().map(Move::CloseLeft))
    }

    /// Removes temporary content once all text is shown.
    fn tidy_at_last(&self) -> Option<Move> {
        self.tidy().or_else(|| self.unreact().filter(|_| !self.grows()))
    }

    fn unreact(&self) -> Option<Move> {
        match &self.shown.sign {
            Sign::Put(reaction) => Some(Move::Unreact(reaction.clone())),
            Sign::Not | Sign::Gone => None,
        }
    }

    /// Moves past bubbles that are in their desired state and full.
    fn advance(&mut self) {
        if !self.shown.bubble.fits(&self.full_text) {
            // The agent has changed text in earlier messages: the whole text has to be sent again.
            self.shown.bubble.start = 0;
        }
        if !self.shows_text() {
            return;
        }
        while self.is_full() {
            self.shown.bubble = self.shown.bubble.next(self.shown.bubble.end, &self.full_text);
        }
    }

    /// Whether the current bubble is finished and text remains for another one.
    fn is_full(&self) -> bool {
        let bubble = &self.shown.bubble;
        let sent = match &bubble.card {
            Some(card) => card.sent && !card.open,
            None => bubble.message.is_some(),
        };
        let rest = self.full_text.get(bubble.end..).unwrap_or_default();
        if !sent || rest.trim().is_empty() || bubble.end <= bubble.start {
            return false;
        }
        // A message that can't be edited is finished once it is sent.
        !self.shown.way.edits()
            || bubble.message.as_deref() == Some("")
            || self.aim().is_some_and(|aim| aim.page.more && aim.mark == bubble.mark)
    }
}

/// Whether there is a message to reply to.
fn answers(desired: &DesiredReply<'_>, to: &ReplyTarget) -> bool {
    !desired.proactive && !to.message.as_str().is_empty()
}

/// What a new message replies to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Hook<'a> {
    /// The message of the asker, or the first one of its topic.
    Message(&'a str),
    /// No message: it is sent to the chat.
    Chat(&'a str),
}

/// What a new message replies to, after `gone` candidates turned out to be deleted. A reply never leaves its topic.
pub(super) fn hook(to: &ReplyTarget, gone: u32) -> Result<Hook<'_>, ComposeError> {
    let chat = Hook::Chat(to.chat.id.as_str());
    let message = to.message.as_str();
    let root = to.handle.text("root").filter(|root| *root != message);
    match (gone, &to.chat.thread) {
        (0, _) if !message.is_empty() => Ok(Hook::Message(message)),
        (0, _) | (1, None) => Ok(chat),
        (1, Some(_)) => root.map(Hook::Message).ok_or(ComposeError::Expired),
        _ => Err(ComposeError::Expired),
    }
}

/// Confirmations and failures, after which the person may want a new session.
const fn offers_new_session(notice: Notice) -> bool {
    matches!(notice, Notice::NewSession | Notice::AgentFailed | Notice::AgentTimedOut)
}

#[cfg(test)]
mod tests;
