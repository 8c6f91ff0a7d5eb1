//! What one connection leaves to the next: the session that goes on, and up to where its events are in the queue.

use serde::{Deserialize, Serialize};

/// Most of the bot's own roles that are remembered, one per server. Mentions of others are not recognized after a reconnect.
pub(super) const MAX_ROLES: usize = 256;

/// What the next connection needs to know. A secret only together with the bot's token.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Cursor {
    /// The address of the gateway for new sessions.
    pub gateway: String,
    /// The platform recommends more than one shard.
    #[serde(skip_serializing_if = "is_false")]
    pub is_sharding_recommended: bool,
    /// The platform has refused the Message Content Intent: the next session does without.
    #[serde(skip_serializing_if = "is_false")]
    pub without_content: bool,
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
    /// The platform's id of it.
    pub id: String,
    /// Where to resume it.
    pub url: String,
    /// The last event that needs no repetition: everything up to it is in the queue or of no use.
    pub sequence: u64,
    /// The bot's own user id.
    pub bot: String,
    /// The bot's own roles.
    pub roles: Vec<String>,
    /// Whether it was begun with the Message Content Intent.
    pub has_content: bool,
}

impl Cursor {
    /// `None` if it isn't one, as the empty one of a session that can't be resumed.
    pub(super) fn read(text: &str) -> Option<Self> {
        serde_json::from_str(text).ok()
    }

    pub(super) fn write(&self) -> String {
        serde_json::to_string(self).expect("a cursor serializes as JSON")
    }
}
