//! How a bot stands, for those who must not ask it.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, OnceLock, PoisonError};

use tieline_core::timestamp::Timestamp;
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

    /// Whether it has begun with that version.
    pub(super) fn has_begun(&self, version: u64) -> bool {
        self.version.load(Ordering::Relaxed) == version
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
