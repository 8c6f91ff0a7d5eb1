//! State that one connection leaves to the next: the session to resume, and the sequence number up to which its events are in the queue.

use serde::{Deserialize, Serialize};

/// Largest number of the bot's own roles that are stored, one per server: the cursor is written with every heartbeat. Mentions of others are
/// not recognized in a resumed session.
pub(super) const MAX_STORED_ROLES: usize = 256;

/// State for the next connection. Secret only in combination with the bot's token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Cursor {
    /// URL of the gateway for new sessions.
    pub gateway: String,
    /// Whether the platform recommends more than one shard.
    #[serde(skip_serializing_if = "is_false")]
    pub is_sharding_recommended: bool,
    /// Whether the platform has refused the Message Content Intent: the next session doesn't request it.
    #[serde(skip_serializing_if = "is_false")]
    pub without_content: bool,
    /// Whether the Message Content Intent was enabled since the bot's settings were read: the next session requests it.
    #[serde(skip_serializing_if = "is_false")]
    pub content_enabled: bool,
    /// The session to resume.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session: Option<Resumable>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A gateway session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Resumable {
    /// Id given by the platform.
    pub id: String,
    /// URL for resuming it.
    pub url: String,
    /// Sequence number of the last event that needs no redelivery: all up to it are in the queue or irrelevant.
    pub sequence: u64,
    /// The bot's own user id.
    pub bot: String,
    /// The bot's own roles.
    pub roles: Vec<String>,
    /// Whether it was started with the Message Content Intent.
    pub has_content: bool,
    /// Whether the platform refused that intent before it was started, although it seemed enabled.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub content_refused: bool,
}

impl Cursor {
    /// `None` if it isn't a cursor, or the empty cursor of a session that can't be resumed.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("a cursor serializes as JSON")
    }
}
