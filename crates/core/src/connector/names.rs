//! Names of people and chats that a platform tells only when asked.

use super::Context;
use crate::http_types::{ApiAnswer, HttpCall};
use crate::ids::{ChatId, SenderId};

/// Names of people and chats.
pub trait NameSource: Sync {
    /// The question what a person is called. `None` where the platform can't be asked.
    fn person(&self, id: &SenderId, cx: &Context<'_>) -> Option<NameQuestion>;

    /// The question what a group is called. `None` where the platform can't be asked.
    fn group(&self, id: &ChatId, cx: &Context<'_>) -> Option<NameQuestion>;
}

/// A question for a name, and how its answer is read.
#[derive(Debug, Clone)]
pub struct NameQuestion {
    /// The call. It changes nothing on the platform.
    pub call: HttpCall,
    /// Reads the answer. `None` if it holds no name: the bot may not know it.
    pub read: fn(&ApiAnswer) -> Option<String>,
}
