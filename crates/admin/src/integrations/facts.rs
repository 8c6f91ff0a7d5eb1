//! The facts about an integration: its configuration, and what processes have reported.

use tieline_core::account::ConnectionMode;
use tieline_core::timestamp::Timestamp;
use tieline_store::status::Status;

use super::registration::Registration;

/// Input of the effective status.
#[derive(Debug, Clone)]
pub(super) struct Facts<'a> {
    pub(super) mode: ConnectionMode,
    /// Whether requests are authenticated with operators' tokens: then no platform needs to call us.
    pub(super) own_channel: bool,
    /// Whether credentials are obtained by a login that hasn't happened yet.
    pub(super) logged_out: bool,
    pub(super) enabled: bool,
    /// Whether an enabled trigger names it.
    pub(super) bound: bool,
    /// Why its settings can't be used, if they can't.
    pub(super) unusable: Option<String>,
    pub(super) callback_url: &'a str,
    /// When that address replaced another one. `None`: no other one is known.
    pub(super) callback_url_since: Option<Timestamp>,
    /// How the platform learns it.
    pub(super) registration: &'a Registration,
    /// Whether a platform can call the callback address.
    pub(super) is_callable: bool,
    /// Whether its platform offers a long connection, which needs no callback address.
    pub(super) has_long_connection: bool,
    pub(super) created_at: Timestamp,
    pub(super) changed_at: Timestamp,
    /// When its trigger's agent was last changed.
    pub(super) agent_changed_at: Option<Timestamp>,
    pub(super) now: Timestamp,
    /// Whether the trigger's access list excludes anyone.
    pub(super) restricts_access: bool,
    /// The status that processes have reported.
    pub(super) reported: &'a Status,
}

impl Facts<'_> {
    /// When the platform last called the address, as far as verified requests prove it.
    pub(super) fn called_at(&self) -> Option<Timestamp> {
        // Only authenticated requests become events.
        self.at_this_address(self.reported.verified_at.max(self.reported.last_event_at))
    }

    /// The time, unless it is older than the address.
    pub(super) fn at_this_address(&self, at: Option<Timestamp>) -> Option<Timestamp> {
        at.filter(|at| self.callback_url_since.is_none_or(|since| *at >= since))
    }
}
