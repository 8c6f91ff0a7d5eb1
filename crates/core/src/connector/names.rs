//! Names of people and chats that a platform reveals only on request.

use super::Context;
use crate::http_types::{ApiAnswer, HttpCall};
use crate::ids::{ChatId, SenderId};

/// Names of people and chats.
pub trait NameSource: Sync {
    /// The call that asks for a person's name. `None` if the platform can't be asked.
    fn person(&self, id: &SenderId, cx: &Context<'_>) -> Option<NameQuestion>;

    /// The call that asks for a group's name. `None` if the platform can't be asked.
    fn group(&self, id: &ChatId, cx: &Context<'_>) -> Option<NameQuestion>;
}

/// A call that asks for a name, and the reader of its answer.
#[derive(Debug, Clone)]
pub struct NameQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer. `None` if it contains no name: the bot may lack the permission.
    pub read: fn(&ApiAnswer) -> Option<String>,
}
