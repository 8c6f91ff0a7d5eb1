//! What a platform can be asked, or has told, about why a bot hears less than it could.

use crate::http_types::{ApiAnswer, HttpCall};

/// A question to which address the platform delivers, and how its answer is read.
#[derive(Debug, Clone)]
pub struct AddressQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: the address, empty if there is none. `None` if the answer doesn't say.
    pub read: fn(&ApiAnswer) -> Option<String>,
}

/// A question which of the permissions in the manifest the bot doesn't have, and how its answer is read.
#[derive(Debug, Clone)]
pub struct PermissionQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer: the permissions that are missing. `None` if the answer doesn't say.
    pub read: fn(&ApiAnswer) -> Option<Vec<&'static str>>,
}

/// Messages that a platform keeps from a bot because of one of its settings there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Withheld {
    /// What is said in groups, but for commands, replies to the bot and mentions of it.
    GroupMessages,
    /// The text of what is said in groups without a mention of the bot.
    UnmentionedText,
}
