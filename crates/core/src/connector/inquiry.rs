//! Calls that ask a platform why a bot receives less than it could, and what they report.

use crate::http_types::{ApiAnswer, HttpCall};

/// A call that asks for the platform's delivery address, and the reader of its answer.
#[derive(Debug, Clone)]
pub struct AddressQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: the address, empty if there is none. `None` if the answer doesn't say.
    pub read: fn(&ApiAnswer) -> Option<String>,
}

/// A call that asks which permissions of the manifest the bot lacks, and the reader of its answer.
#[derive(Debug, Clone)]
pub struct PermissionQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: the permissions that are missing. `None` if the answer doesn't say.
    pub read: fn(&ApiAnswer) -> Option<Vec<&'static str>>,
}

/// Messages that a platform withholds from a bot because of one of its settings there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// Group messages except commands, replies to the bot and mentions of it.
    GroupMessages,
    /// The text of group messages without a mention of the bot.
    UnmentionedText,
}
