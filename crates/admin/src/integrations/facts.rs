//! What is known of an integration: what is configured, and what processes have reported.

use tieline_core::account::ConnectionMode;
use tieline_core::timestamp::Timestamp;
use tieline_store::status::Status;

/// What the decision is made from.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) mode: ConnectionMode,
    /// Whether requests are proved by operators' tokens: then there is no platform that must find us.
    pub(super) own_channel: bool,
    /// Whether credentials are obtained by a login, and there are none yet.
    pub(super) logged_out: bool,
    pub(super) enabled: bool,
    /// Whether an enabled trigger names it.
    pub(super) bound: bool,
    /// What is wrong with its settings, if they can't be used.
    pub(super) unusable: Option<String>,
    pub(super) callback_url: &'a str,
    /// Whether a platform can call that address.
    pub(super) is_callable: bool,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    /// When its trigger's agent was last changed.
    pub(super) agent_changed_at: Option<Timestamp>,
    pub(super) now: Timestamp,
    /// Whether the trigger's access list leaves anybody out.
    pub(super) restricts_access: bool,
    /// What processes have reported.
    pub(super) reported: &'a Status,
}
