//! Plans the next move towards the desired state.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::event::ChatKind;
use tieline_core::notice::Notice;
use tieline_core::reply::{DesiredReply, Progress, ReplyTarget, Stage, UnreadableProgress};
use tieline_core::timestamp::Timestamp;

use super::card_action::{ANSWERED, Action};
use super::full_text;
use super::pages::{self, LIMIT, Page};
use super::progress::{Bubble, DiscordProgress, MessageId};
use crate::text_digest::short_digest;

/// Lifetime of an interaction's token, minus a margin for the last call.
///
/// See [Discord Docs/Followup Messages](https://discord.com/developers/docs/interactions/receiving-and-responding#followup-messages).
pub(super) const TOKEN_LIFE_MS: i64 = 15 * 60 * 1000 - 15_000;
/// Interval of repeating the typing indicator, which lasts ten seconds.
///
/// See [Discord Docs/Trigger Typing Indicator](https://discord.com/developers/docs/resources/channel#trigger-typing-indicator).
const TYPING: Duration = Duration::from_secs(7);
/// Time limit of an initial response: the platform waits three seconds; the rest allows for network latency and clock differences.
const RESPONSE_MS: i64 = 5000;
/// Time before its token expires at which a growing message says that the answer continues elsewhere.
const CLOSING: Duration = Duration::from_secs(105);

/// A change by one call.
#[derive(Debug, PartialEq)]
pub(super) enum Move {
    /// Show the typing indicator.
    Type,
    /// Open the direct channel to a person.
    OpenDirect,
    /// Create a message.
    Create(Aim, Way),
    /// Change a message.
    Edit(Aim, MessageId),
}

/// Ways to create a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    /// Fill in the deferred response of the interaction.
    Original,
    /// Send a follow-up message with the interaction's token.
    FollowUp,
    /// Send it to the channel.
    Channel,
}

/// Desired content of a message.
#[derive(Debug, PartialEq)]
pub(super) struct Aim {
    pub page: Page,
    pub button: Option<Action>,
    /// Whether the card's buttons are below it.
    pub has_card: bool,
    /// Whether it says that the answer continues in another message.
    pub continued: bool,
}

/// The desired reply, the progress, and everything else that the next move depends on.
pub(super) struct Situation<'a> {
    pub desired: &'a DesiredReply<'a>,
    pub to: &'a ReplyTarget,
    pub cx: &'a Context<'a>,
    pub shown: DiscordProgress,
    pub text: String,
}

impl<'a> Situation<'a> {
    pub(super) fn new(
        desired: &'a DesiredReply<'a>,
        to: &'a ReplyTarget,
        progress: &Progress,
        cx: &'a Context<'a>,
    ) -> Result<Self, UnreadableProgress> {
        let shown: DiscordProgress = progress.read()?;
        let language = cx.account.language;
        let text = match (&shown.unconfirmed, shown.withheld) {
            (Some(_), _) => full_text::unconfirmed(desired, language),
            (None, true) => full_text::withheld(desired, language),
            (None, false) => full_text::whole(desired, language),
        };
        let mut situation = Self {
            desired,
            to,
            cx,
            shown,
            text,
        };
        if situation.shows_text() {
            situation.advance();
        }
        Ok(situation)
    }

    /// The next move. `None` if the chat is in the desired state.
    pub(super) fn next(&self) -> Option<Move> {
        if self.shown.ending && self.desired.stage != Stage::Final {
            return None;
        }
        if !self.shows_text() {
            return self.is_typing_due().then_some(Move::Type);
        }
        if self.needs_direct_channel() {
            return Some(Move::OpenDirect);
        }
        let aim = self.aim()?;
        let bubble = &self.shown.bubble;
        match &bubble.message {
            None => Some(Move::Create(aim, self.way())),
            Some(message) if self.is_editable() && !shows(bubble, &aim) => Some(Move::Edit(aim, message.clone())),
            Some(_) => None,
        }
    }

    /// Whether this stage shows text.
    fn shows_text(&self) -> bool {
        match self.desired.stage {
            Stage::Final => true,
            Stage::Thinking | Stage::Growing if self.shows_reasoning() => true,
            Stage::Thinking => false,
            Stage::Growing if self.shown.only_final => false,
            Stage::Growing => self.cx.account.streaming && !self.desired.proactive && !self.text.trim().is_empty(),
        }
    }

    /// Whether the reasoning is shown in the place of the text.
    fn shows_reasoning(&self) -> bool {
        let bubble = &self.shown.bubble;
        let untouched = bubble.number == 0 && bubble.end == 0;
        self.grows() && untouched && self.text.trim().is_empty() && !self.desired.reasoning.is_empty()
    }

    pub(super) fn grows(&self) -> bool {
        self.desired.stage != Stage::Final
    }

    /// Interactions need no typing indicator: the deferred response shows that an answer is coming.
    fn is_typing_due(&self) -> bool {
        let rested = |typed_at: Timestamp| self.cx.now.since(typed_at) >= TYPING;
        let nothing_shown = self.shown.bubble.message.is_none();
        !self.desired.proactive && nothing_shown && self.token().is_none() && self.shown.typed_at.is_none_or(rested)
    }

    /// A proactive message may be for a person whose direct channel isn't known.
    fn needs_direct_channel(&self) -> bool {
        let chat = &self.to.chat;
        let names_person = chat.kind == ChatKind::Direct && chat.id.as_str() == self.to.asker.as_str();
        self.desired.proactive && names_person && self.shown.direct.is_none()
    }

    /// The channel of the answer.
    pub(super) fn channel(&self) -> &str {
        self.shown.direct.as_deref().unwrap_or(self.to.chat.id.as_str())
    }

    /// The interaction's token, if usable.
    pub(super) fn token(&self) -> Option<&'a str> {
        // A proactive message must not use up the interaction's deferred response, which is for the answer.
        let is_usable = !self.shown.token_closed && !self.desired.proactive;
        interaction_token(self.to, self.cx).filter(|_| is_usable)
    }

    fn token_ends(&self) -> Option<Timestamp> {
        token_ends(self.to)
    }

    /// Whether the platform may not have processed the initial response yet, before which the token is unknown to it.
    pub(super) fn is_token_young(&self) -> bool {
        let known_from = |until: Timestamp| until.as_millis() - TOKEN_LIFE_MS + RESPONSE_MS;
        self.token_ends()
            .is_some_and(|until| self.cx.now.as_millis() < known_from(until))
    }

    /// Whether the token expires so soon that a growing answer should stop using it.
    fn is_closing(&self) -> bool {
        self.token_ends()
            .is_some_and(|until| self.cx.now.after(CLOSING) >= until)
    }

    /// Whether the interaction has its response and no deferred one is pending.
    fn is_answered(&self) -> bool {
        self.to.handle.value().get(ANSWERED).is_some()
    }

    fn way(&self) -> Way {
        match self.token() {
            Some(_) if self.shown.bubble.number == 0 && !self.is_answered() => Way::Original,
            Some(_) if !self.grows() || !self.is_closing() => Way::FollowUp,
            _ => Way::Channel,
        }
    }

    fn is_editable(&self) -> bool {
        let bubble = &self.shown.bubble;
        let reachable = match &bubble.message {
            Some(MessageId::Original | MessageId::FollowUp(_)) => self.token().is_some(),
            Some(MessageId::Channel(_)) => true,
            None => false,
        };
        reachable && !bubble.frozen
    }

    /// Desired content of the current message. `None` if there is no text for it.
    pub(super) fn aim(&self) -> Option<Aim> {
        let bubble = &self.shown.bubble;
        let shown = bubble.shown_of(&self.text);
        if let Some(end) = shown.filter(|_| self.leaves_token()) {
            return Some(self.parting(end));
        }
        let full = shown.filter(|_| bubble.full);
        let page = match full.and_then(|end| pages::page_to(&self.text, bubble.start, end)) {
            Some(page) => page,
            None if self.shows_reasoning() => pages::reasoning(self.desired.reasoning),
            None => pages::page(&self.text, bubble.start, shown.unwrap_or(bubble.start))?,
        };
        let button = if page.more { None } else { self.button() };
        let is_answer = self.shown.unconfirmed.is_none();
        let has_card = is_answer && !page.more && !self.grows() && !self.desired.buttons.is_empty();
        Some(Aim {
            page,
            button,
            has_card,
            continued: false,
        })
    }

    /// Whether the current message has to say that the answer continues elsewhere.
    fn leaves_token(&self) -> bool {
        let by_token = matches!(
            self.shown.bubble.message,
            Some(MessageId::Original | MessageId::FollowUp(_))
        );
        by_token && self.grows() && self.is_closing()
    }

    fn parting(&self, end: usize) -> Aim {
        let text = pages::rendered(&self.text, self.shown.bubble.start, end);
        let continued = format!("{text}\n\n{}", Notice::Continued.text(self.cx.account.language));
        Aim {
            page: Page {
                text: if LIMIT.fits(&continued) { continued } else { text },
                end,
                more: true,
            },
            button: None,
            has_card: false,
            continued: true,
        }
    }

    fn button(&self) -> Option<Action> {
        let is_answer = !self.desired.proactive && !self.to.asker.as_str().is_empty();
        let action = match self.desired.notice {
            _ if self.grows() => Some(Action::Stop),
            Some(Notice::NewSession | Notice::AgentFailed | Notice::AgentTimedOut) => Some(Action::NewSession),
            _ => None,
        };
        action.filter(|_| is_answer)
    }

    /// Moves past messages that are in their desired state and full.
    fn advance(&mut self) {
        if !self.shown.bubble.fits(&self.text) {
            // The agent has changed text in earlier messages: the whole text has to be sent again.
            self.shown.bubble.start = 0;
            self.shown.bubble.start_tail.clear();
        }
        let bubble = &self.shown.bubble;
        if bubble.message.is_some() && !self.is_editable() && bubble.shown_of(&self.text).is_none() {
            self.shown.bubble = bubble.again();
        }
        while let Some(end) = self.full_at() {
            self.shown.bubble = self.shown.bubble.next(end, &self.text);
        }
    }

    /// End of the current message, if it is finished and text remains for another one.
    fn full_at(&self) -> Option<usize> {
        let bubble = &self.shown.bubble;
        let end = bubble.shown_of(&self.text)?;
        if self.text[end..].trim().is_empty() {
            return None;
        }
        let is_full = || self.aim().is_some_and(|aim| aim.page.more && shows(bubble, &aim));
        (bubble.continued || !self.is_editable() || is_full()).then_some(end)
    }
}

/// The interaction's token, while it is valid.
pub(super) fn interaction_token<'a>(to: &'a ReplyTarget, cx: &Context<'_>) -> Option<&'a str> {
    let until = token_ends(to)?;
    to.handle.text("interaction").filter(|_| cx.now < until)
}

fn token_ends(to: &ReplyTarget) -> Option<Timestamp> {
    let until = to.handle.value().get("until")?.as_i64()?;
    Some(Timestamp::from_millis(until))
}

/// Whether a message already shows `aim`.
fn shows(bubble: &Bubble, aim: &Aim) -> bool {
    bubble.text == short_digest(&[&aim.page.text]) && bubble.button == word(aim) && bubble.end == aim.page.end
}

/// Word by which a message's buttons are stored.
pub(super) fn word(aim: &Aim) -> String {
    let own = aim.button.map(Action::word).unwrap_or_default();
    match aim.has_card {
        true => format!("card {own}"),
        false => own,
    }
}
