//! State of a bot's connection, readable without asking its task.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use tieline_core::timestamp::Timestamp;
use tieline_store::config::desired_connections::Live;
use tieline_store::status::ConnectionState;

/// State of a bot that other tasks may read without asking it.
#[derive(Debug)]
pub(super) struct BotStatus {
    /// Whether its first attempt to connect is over, successful or not.
    pub(super) settled: AtomicBool,
    /// Whether its platform allows two sockets, so that it can stay connected until another process has one.
    pub(super) warm: AtomicBool,
    /// Its platform, once known.
    pub(super) platform: OnceLock<&'static str>,
    /// The version of its integration as it has read it; 0 until then.
    version: AtomicU64,
    /// State of the connection, as last reported.
    state: Mutex<ConnectionState>,
    /// The time without a holder before this one, if it had one.
    pub(super) ownership_gap: Option<OwnershipGap>,
    /// Whether its task has ended, for whatever reason.
    has_ended: AtomicBool,
    /// Whether the task of any bot of its shard has ended: as long as none has, the shard doesn't read the status of each bot.
    any_has_ended: Arc<AtomicBool>,
}

/// Drop guard of a bot's task: records its end, after a panic too.
pub(super) struct EndGuard(pub(super) Arc<BotStatus>);

impl Drop for EndGuard {
    fn drop(&mut self) {
        self.0.has_ended.store(true, Ordering::Release);
        self.0.any_has_ended.store(true, Ordering::Release);
    }
}

/// The time between a bot's previous holder and this process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct OwnershipGap {
    /// When the holder before released the bot, or wrote its last heartbeat.
    pub(super) since: Timestamp,
    /// Whether it released the bot, and so keeps the connection open until this one is up, where the platform allows two.
    pub(super) was_released: bool,
}

impl OwnershipGap {
    /// How long the bot was disconnected, if it is connected again `now`.
    pub(super) fn disconnected_for(self, now: Timestamp, two_sockets: bool) -> Duration {
        match self.was_released && two_sockets {
            true => Duration::ZERO,
            false => now.since(self.since),
        }
    }
}

/// How a bot is affected by a change of its list entry.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Not at all.
    Nothing,
    /// At most by a new trigger.
    Trigger,
    /// Its settings have changed, or an operator wants it to reconnect.
    Settings,
}

impl BotStatus {
    /// The status of a bot that is being started.
    pub(super) const fn new(ownership_gap: Option<OwnershipGap>, any_has_ended: Arc<AtomicBool>) -> Self {
        Self {
            settled: AtomicBool::new(false),
            warm: AtomicBool::new(false),
            platform: OnceLock::new(),
            version: AtomicU64::new(0),
            state: Mutex::new(ConnectionState::Connecting),
            ownership_gap,
            has_ended: AtomicBool::new(false),
            any_has_ended,
        }
    }

    /// Whether the bot's task has ended.
    pub(super) fn has_ended(&self) -> bool {
        self.has_ended.load(Ordering::Acquire)
    }

    /// Records that the bot starts with this version of its integration.
    pub(super) fn begins(&self, version: u64) {
        self.version.store(version, Ordering::Relaxed);
    }

    /// How the bot is affected by the change of its list entry.
    pub(super) fn change(&self, before: &Live, wanted: &Live) -> Change {
        // A bot that started after the change was announced has read it already: restarting it would cut off what it is being sent.
        let knows_settings = before.version == wanted.version || self.version.load(Ordering::Relaxed) == wanted.version;
        match knows_settings {
            true if before == wanted => Change::Nothing,
            true => Change::Trigger,
            false => Change::Settings,
        }
    }

    /// State of the connection.
    pub(super) fn state(&self) -> ConnectionState {
        *self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the state of the connection.
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
    fn bot_restarts_only_for_settings_that_it_has_not_read() {
        let (status, before) = (BotStatus::new(None, Arc::default()), live(1, "a"));
        assert_eq!(status.change(&before, &live(1, "a")), Change::Nothing);
        assert_eq!(status.change(&before, &live(1, "b")), Change::Trigger);
        assert_eq!(status.change(&before, &live(2, "a")), Change::Settings);
        // It was started from an old entry of the list and has read a newer integration.
        status.begins(2);
        assert_eq!(status.change(&before, &live(2, "a")), Change::Trigger);
        assert_eq!(status.change(&before, &live(3, "a")), Change::Settings);
    }

    #[test]
    fn a_released_bot_has_no_gap_where_two_connections_are_allowed() {
        let gap = |was_released, two_sockets| {
            let since = Timestamp::from_secs(100);
            OwnershipGap { since, was_released }.disconnected_for(Timestamp::from_secs(107), two_sockets)
        };
        let seven = Duration::from_secs(7);
        assert_eq!(gap(true, true), Duration::ZERO);
        assert_eq!([gap(true, false), gap(false, true), gap(false, false)], [seven; 3]);
    }

    #[tokio::test]
    async fn a_task_that_panics_has_ended_too() {
        let of_shard = Arc::new(AtomicBool::new(false));
        let (one, other) = (
            Arc::new(BotStatus::new(None, Arc::clone(&of_shard))),
            BotStatus::new(None, Arc::clone(&of_shard)),
        );
        let end_guard = EndGuard(Arc::clone(&one));
        assert!(!one.has_ended());
        let task = tokio::spawn(async move {
            let _end_guard = end_guard;
            panic!("a mistake in a connector");
        });
        assert!(task.await.is_err_and(|end| end.is_panic()));
        assert!(one.has_ended());
        assert!(!other.has_ended());
        assert!(of_shard.load(Ordering::Acquire));
    }
}
