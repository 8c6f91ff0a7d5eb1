//! Further inputs of a connector, and its remarks about a request.

use crate::account::Account;
use crate::event::{Event, Message};
use crate::timestamp::Timestamp;

/// A connector's inputs besides the request or reply. Time and randomness are in here, so every behaviour fits in a test vector.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The bot account.
    pub account: &'a Account,
    /// The current time.
    pub now: Timestamp,
    /// Fresh random bytes.
    pub random: [u8; 32],
    /// The trigger's welcome text for a person who opens the chat, if any.
    pub welcome: Option<&'a str>,
    /// How to handle what people say in groups and not to the bot.
    pub unaddressed: Unaddressed,
}

impl Context<'_> {
    /// The event of a message. The caller must have dropped an unaddressed one where it is [`Unaddressed::Ignored`],
    /// unless it is a part of an album, of which another part may be addressed to the bot.
    #[must_use]
    pub fn event(&self, said: Message, is_addressed: bool) -> Event {
        match is_addressed || self.unaddressed == Unaddressed::Answered {
            true => Event::Message(said),
            false => Event::Overheard(said),
        }
    }
}

/// How to handle what people say in groups without mentioning the bot or replying to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unaddressed {
    /// Dropped unread.
    #[default]
    Ignored,
    /// Kept as context for later questions: [`Event::Overheard`].
    Kept,
    /// Answered as if it were addressed to the bot.
    Answered,
}

/// Why a verified request yielded no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Not used by us. Not worth a warning.
    Ignored(&'static str),
    /// Not understood: a warning in the integration's log.
    Unreadable(&'static str),
}

impl Remark {
    /// The reason.
    #[must_use]
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Ignored(reason) | Self::Unreadable(reason) => reason,
        }
    }
}
