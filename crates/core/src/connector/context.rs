//! What a connector is given besides its input, and what it notes about it.

use crate::account::Account;
use crate::event::{Event, Message};
use crate::timestamp::Timestamp;

/// What a connector is told besides its input. Time and chance are in here, so every behaviour fits in a vector.
#[derive(Debug, Clone, Copy)]
pub struct Context<'a> {
    /// The bot account.
    pub account: &'a Account,
    /// Now.
    pub now: Timestamp,
    /// Fresh random bytes.
    pub random: [u8; 32],
    /// The trigger's welcome text for a person who opens the chat, if any.
    pub welcome: Option<&'a str>,
    /// What becomes of what people say in groups and not to the bot.
    pub unaddressed: Unaddressed,
}

impl Context<'_> {
    /// The event of a message. One that isn't said to the bot must have been dropped where it is [`Unaddressed::Ignored`],
    /// unless it is a part of an album, to which another part may have been said.
    #[must_use]
    pub fn event(&self, said: Message, is_addressed: bool) -> Event {
        match is_addressed || self.unaddressed == Unaddressed::Answered {
            true => Event::Message(said),
            false => Event::Overheard(said),
        }
    }
}

/// What becomes of what people say in groups without mentioning the bot or replying to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Unaddressed {
    /// It is dropped unread.
    #[default]
    Ignored,
    /// It is kept for the questions that follow: [`Event::Overheard`].
    Kept,
    /// It is answered as if it were said to the bot.
    Answered,
}

/// Why a proved request gave no event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remark {
    /// Of no use to us. Not worth a warning.
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
