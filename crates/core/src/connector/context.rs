//! What a connector is given besides its input, and what it notes about it.

use crate::account::Account;
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
