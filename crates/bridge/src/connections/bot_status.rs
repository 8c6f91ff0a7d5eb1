//! How a bot stands, for those who must not ask it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tieline_core::timestamp::Timestamp;
use tieline_store::config::desired_connections::Live;
use tieline_store::status::ConnectionState;

/// What others may know of a bot without asking it.
#[derive(Debug)]
pub(super) struct BotStatus {
    /// Its first attempt is over, however it went.
    pub(super) settled: AtomicBool,
    /// Its platform allows two sockets, so it can go on until another process has one.
    pub(super) warm: AtomicBool,
    /// Its platform, once it is known.
    pub(super) platform: OnceLock<&'static str>,
    /// The version of its integration as it has read it; 0 until then.
    version: AtomicU64,
    /// How it stands, as it was last told.
    state: Mutex<ConnectionState>,
    /// Since when it had no holder before.
    pub(super) free_since: Option<Timestamp>,
}

/// What has changed for a bot.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing.
    Nothing,
    /// At most what its trigger wants.
    Trigger,
    /// Its settings, or an operator wants it to connect anew.
    Settings,
}

impl BotStatus {
    /// A bot without a holder since then, if it had one before.
    pub(super) const fn new(free_since: Option<Timestamp>) -> Self {
        Self {
            settled: AtomicBool::new(false),
            warm: AtomicBool::new(false),
            platform: OnceLock::new(),
            version: AtomicU64::new(0),
            state: Mutex::new(ConnectionState::Connecting),
            free_since,
        }
    }

    /// It begins with its integration in this version.
    pub(super) fn begins(&self, version: u64) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// What the change of its list entry means for it.
    pub(super) fn change(&self, before: &Live, wanted: &Live) -> Change {
        // A bot that began after the change was announced has read it already: what it is being sent must not be cut off.
        let knows_settings = before.version == wanted.version || self.version.load(Ordering::Relaxed) == wanted.version;
        match knows_settings {
            true if before == wanted => Change::Nothing,
            true => Change::Trigger,
            false => Change::Settings,
        }
    }

    /// How it stands.
    pub(super) fn state(&self) -> ConnectionState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// That is how it stands now.
    pub(super) fn tell(&self, state: ConnectionState) {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner) = state;
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::{IntegrationId, OrganizationId};

    use super::*;

    fn live(version: u64, greeting: &str) -> Live {
        Live {
            integration: IntegrationId::new("int_1"),
            organization: OrganizationId::new("default"),
            version,
            greeting: greeting.to_owned(),
        }
    }

    #[test]
    fn bot_begins_anew_only_for_settings_that_it_has_not_read() {
        let (status, before) = (BotStatus::new(None), live(1, "a"));
        assert_eq!(status.change(&before, &live(1, "a")), Change::Nothing);
        assert_eq!(status.change(&before, &live(1, "b")), Change::Trigger);
        assert_eq!(status.change(&before, &live(2, "a")), Change::Settings);
        // It was started by an old entry of the list and has read a newer integration.
        status.begins(2);
        assert_eq!(status.change(&before, &live(2, "a")), Change::Trigger);
        assert_eq!(status.change(&before, &live(3, "a")), Change::Settings);
    }
}
