//! Plans the next move towards the desired state of a chat.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::event::ChatKind;
use tieline_core::notice::Notice;
use tieline_core::reply::{DesiredReply, Progress, ReplyTarget, Stage, UnreadableProgress};
use tieline_core::timestamp::Timestamp;

use super::decode::CALLBACK;
use super::full_text;
use super::pages::{self, MAX_UNITS, Page};
use super::progress::{Bubble, TelegramProgress, Way};
use crate::text_digest::short_digest;

/// Interval of repeating the typing indicator, which fades after 5 s.
///
/// See [Bot API/sendChatAction](https://core.telegram.org/bots/api#sendchataction).
const TYPING: Duration = Duration::from_secs(4);
/// Interval of repeating a draft, which fades after 30 s.
///
/// See [Bot API/sendMessageDraft](https://core.telegram.org/bots/api#sendmessagedraft).
const DRAFT: Duration = Duration::from_secs(20);
/// Shortest interval between two edits in a group, where all of the bot's replies together may send 20 messages a minute.
///
/// See [Bots FAQ/My bot is hitting limits](https://core.telegram.org/bots/faq#my-bot-is-hitting-limits-how-do-i-avoid-this).
const GROUP_EDITS: Duration = Duration::from_secs(4);
/// Lower bound of a message's length, however often the platform finds the text too long.
const MIN_UNITS: usize = 256;

/// A change by one call, or a wait for it.
#[derive(Debug, PartialEq)]
pub(super) enum Move {
    /// End the progress bar of the button that was pressed.
    AnswerQuery(String),
    /// Show that the bot is typing.
    Typing,
    /// Show this content in a draft.
    Draft(Aim),
    /// Send a message with this content.
    Send(Aim),
    /// Edit the message to show this content.
    Edit(i64, Aim),
    /// Do nothing before this time.
    Wait(Timestamp),
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
    pub to: &'a ReplyTarget,
    pub cx: &'a Context<'a>,
    pub shown: TelegramProgress,
    pub full_text: String,
}

impl<'a> Situation<'a> {
    pub(super) fn new(
        desired: &'a DesiredReply<'a>,
        to: &'a ReplyTarget,
        progress: &Progress,
        cx: &'a Context<'a>,
    ) -> Result<Self, UnreadableProgress> {
        let mut shown: TelegramProgress = progress.read()?;
        if desired.plain && shown.bubble.draft.is_empty() {
            shown.way = Way::Edit;
        }
        let mut situation = Self {
            desired,
            to,
            cx,
            shown,
            full_text: full_text::whole(desired, cx.account.language),
        };
        situation.advance();
        Ok(situation)
    }

    /// The next move. `None` if the chat is in the desired state.
    pub(super) fn next(&self) -> Option<Move> {
        if let Some(query) = self.to.handle.text(CALLBACK).filter(|_| !self.shown.query_answered) {
            return Some(Move::AnswerQuery(query.to_owned()));
        }
        if self.shown.ending && self.grows() {
            return None;
        }
        if !self.shows_text() {
            return self.typing();
        }
        let aim = self.aim()?;
        if let Some(at) = self.shown.retry_at.filter(|at| *at > self.cx.now) {
            return Some(Move::Wait(at));
        }
        match self.shown.bubble.message {
            None if self.is_drafted() && !aim.page.more => Some(self.draft(aim)),
            None => Some(Move::Send(aim)),
            Some(message) => self.edit(message, aim),
        }
    }

    /// Desired content of the current bubble. `None` if there is no text for it.
    fn aim(&self) -> Option<Aim> {
        let max = (MAX_UNITS >> self.shown.shrunk.min(8)).max(MIN_UNITS);
        let (text, bubble) = (&self.full_text, &self.shown.bubble);
        let shown = bubble.shown_of(text);
        let full = shown.filter(|_| bubble.full);
        let page = match full.and_then(|end| pages::page_to(text, bubble.start, end, max)) {
            Some(page) => page,
            None if self.shows_reasoning() => pages::reasoning(self.desired.reasoning),
            None => pages::page(text, bubble.start, shown.unwrap_or(bubble.start), max, self.grows())?,
        };
        let last = !page.more && !self.grows();
        let button = last && self.desired.notice.is_some_and(offers_new_session);
        let has_card = last && self.desired.buttons.iter().any(full_text::is_accepted);
        let entities = if self.shown.plain {
            String::new()
        } else {
            serde_json::json!(page.shown.entities).to_string()
        };
        let card = if has_card { " card" } else { "" };
        let mark = short_digest(&[&format!("{} {entities} {button}{card}", page.shown.text)]);
        Some(Aim {
            page,
            button,
            has_card,
            mark,
        })
    }

    /// Whether this isn't the final text yet.
    pub(super) fn grows(&self) -> bool {
        self.desired.stage != Stage::Final
    }

    pub(super) fn is_group(&self) -> bool {
        self.to.chat.kind == ChatKind::Group
    }

    /// Whether this stage shows text.
    fn shows_text(&self) -> bool {
        match self.desired.stage {
            Stage::Final => true,
            Stage::Thinking => self.shows_reasoning(),
            Stage::Growing => self.cx.account.streaming && !self.desired.proactive && !self.shown.only_final,
        }
    }

    /// Whether the reasoning is shown in the place of the text.
    fn shows_reasoning(&self) -> bool {
        let bubble = &self.shown.bubble;
        let untouched = bubble.number == 0 && bubble.end == 0;
        self.grows() && untouched && self.full_text.trim().is_empty() && !self.desired.reasoning.is_empty()
    }

    fn is_drafted(&self) -> bool {
        self.grows() && !self.is_group() && self.shown.way == Way::Best
    }

    /// The typing indicator, repeated until there is text.
    fn typing(&self) -> Option<Move> {
        let bubble = &self.shown.bubble;
        let untouched = bubble.number == 0 && bubble.message.is_none() && bubble.draft.is_empty();
        if self.desired.proactive || !untouched {
            return None;
        }
        Some(self.due(self.shown.typing_at, TYPING).map_or(Move::Typing, Move::Wait))
    }

    /// A draft with the latest text, repeated before it fades.
    fn draft(&self, aim: Aim) -> Move {
        let bubble = &self.shown.bubble;
        if bubble.draft != aim.mark {
            return Move::Draft(aim);
        }
        self.due(bubble.changed_at, DRAFT).map_or(Move::Draft(aim), Move::Wait)
    }

    fn edit(&self, message: i64, aim: Aim) -> Option<Move> {
        let bubble = &self.shown.bubble;
        if bubble.mark == aim.mark || message == 0 {
            return None;
        }
        let paced = self.is_group() && self.grows() && !aim.page.more;
        let wait = paced.then(|| self.due(bubble.changed_at, GROUP_EDITS)).flatten();
        Some(wait.map_or(Move::Edit(message, aim), Move::Wait))
    }

    /// When an action that was last done `at` is due again. `None`: now.
    fn due(&self, at: Option<Timestamp>, every: Duration) -> Option<Timestamp> {
        at.map(|at| at.after(every)).filter(|due| *due > self.cx.now)
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
            self.shown.bubble = self.shown.bubble.next(&self.full_text);
        }
    }

    /// Whether the current bubble is finished and text remains for another one.
    fn is_full(&self) -> bool {
        let bubble: &Bubble = &self.shown.bubble;
        let rest = self.full_text.get(bubble.end..).unwrap_or_default();
        if rest.trim().is_empty() || bubble.end <= bubble.start {
            return false;
        }
        match bubble.message {
            None => false,
            // A message can't be edited without its id.
            Some(0) => true,
            Some(_) => self.aim().is_some_and(|aim| aim.page.more && aim.mark == bubble.mark),
        }
    }
}

/// Confirmations and failures, after which the person may want a new session.
const fn offers_new_session(notice: Notice) -> bool {
    matches!(notice, Notice::NewSession | Notice::AgentFailed | Notice::AgentTimedOut)
}
