//! What a protocol's folder declares about itself, and what every one of them is given.

use tieline_core::ids::{OrganizationId, RunId, UserId, digest};

use crate::config::Field;

/// Facts about a protocol. Abilities are data, so that nothing outside asks for a protocol's name.
#[derive(Debug, Clone, Copy)]
pub struct Manifest {
    /// The word used in the API.
    pub word: &'static str,
    /// The name people know.
    pub name: &'static str,
    /// The fields of `config`.
    pub fields: &'static [Field],
    /// Whether the session keeps earlier turns for it, because it keeps none itself.
    pub needs_transcript: bool,
    /// Whether pictures should come with their bytes, because the agent may not reach our address.
    pub wants_inline_images: bool,
    /// Whether another process can go on reading a run where one stopped. [`crate::protocol::Adapter::can_resume`] says of which run.
    pub can_resume: bool,
}

/// How much of a session's past an agent can use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct History {
    /// Most turns.
    pub max_turns: usize,
    /// Most bytes of them, as they are kept.
    pub max_bytes: usize,
}

/// What an agent must know to stop a run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CancelRequest {
    /// The run.
    pub run: RunId,
    /// What identifies it at the agent, if it told.
    pub run_ref: Option<String>,
    /// What identifies the conversation at the agent, if it told.
    pub conversation_ref: Option<String>,
    /// The tenant.
    pub organization: OrganizationId,
    /// Who asked.
    pub user: UserId,
}

/// The person toward an agent: stable, and of no use elsewhere.
pub(crate) fn end_user(organization: &OrganizationId, user: &UserId) -> String {
    digest(&["end user", organization.as_str(), user.as_str()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn end_user_is_stable_and_tenants_differ() {
        let of = |organization: &str| end_user(&OrganizationId::new(organization), &UserId::new("usr_1"));
        assert_eq!(of("a"), of("a"));
        assert_ne!(of("a"), of("b"));
        assert!(!of("a").contains("usr_1"));
    }
}
