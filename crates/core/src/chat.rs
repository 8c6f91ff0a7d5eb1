//! Chats.

use serde::{Deserialize, Serialize};

use crate::ids::{ChatId, ThreadId};

/// Whether a chat is direct or a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ChatKind {
    /// One person and the bot.
    Direct,
    /// Several people.
    Group,
}

/// A chat of a platform, with the thread where there is one.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Chat {
    /// Direct or group.
    pub kind: ChatKind,
    /// The platform's own id. In a direct chat of a platform without chat ids: the person's id.
    pub id: ChatId,
    /// The thread, where the platform has them and the message was in one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub thread: Option<ThreadId>,
}
