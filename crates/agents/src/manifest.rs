//! Manifest of a protocol: what its folder declares about itself.

use tieline_core::ids::{OrganizationId, RunId, UserId, digest};

use crate::config::Field;

/// Facts about a protocol. Capabilities are data, so that no other code asks for a protocol by name.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// The word used in the API.
    pub word: &'static str,
    /// The name that people know.
    pub name: &'static str,
    /// The fields of `config`.
    pub fields: &'static [Field],
    /// Whether the session stores earlier turns, because the protocol has no memory of its own.
    pub needs_transcript: bool,
    /// Whether pictures should be sent with their bytes, because the agent may not be able to reach our links.
    pub wants_inline_images: bool,
    /// Whether another process can continue reading a run. [`crate::protocol::Adapter::can_resume`] decides for a single run.
    pub can_resume: bool,
}

/// How much of a session's history an agent can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Largest number of turns.
    pub max_turns: usize,
    /// Largest number of bytes, as stored.
    pub max_bytes: usize,
}

/// Identifies a run that is to be cancelled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// The run.
    pub run: RunId,
    /// The agent's reference of the run, if it sent one.
    pub run_ref: Option<String>,
    /// The agent's reference of the conversation, if it sent one.
    pub conversation_ref: Option<String>,
    /// The tenant.
    pub organization: OrganizationId,
    /// The user who asked.
    pub user: UserId,
    /// Whether a person has stopped the run, rather than a fault or a newer message.
    pub is_stop: bool,
}

/// The user's id for an agent: stable, and meaningless elsewhere.
pub(crate) fn end_user(organization: &OrganizationId, user: &UserId) -> String {
    digest(&["end user", organization.as_str(), user.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_user_is_stable_and_differs_between_tenants() {
        let of = |organization: &str| end_user(&OrganizationId::new(organization), &UserId::new("usr_1"));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(!of("a").contains("usr_1"));
    }
}
