//! Watchdogs: delayed wake-ups. While a conversation has a run, one is in flight that checks whether the run is still worked on.

use std::time::Duration;

use tieline_core::envelope::{ParkedV1, WakeUp, WakeUpV1};
use tieline_core::timestamp::Timestamp;
use tieline_queue::work::{self, MAX_DELAY};

use super::RunError;
use crate::world::World;

/// How long after the end of a holder's lease its watchdog is due.
const AFTER_LEASE: Duration = Duration::from_secs(1);

/// A watch that lasts this many times the usual delay counts as long: usually the agent is to call back.
const LONG: u32 = 4;

/// The watchdog of what a wake-up works on.
pub(super) struct Watchdog<'a> {
    world: &'a World,
    wake: &'a WakeUpV1,
    sent: Option<Timestamp>,
}

impl<'a> Watchdog<'a> {
    pub(super) const fn new(world: &'a World, wake: &'a WakeUpV1) -> Self {
        Self {
            world,
            wake,
            sent: None,
        }
    }

    /// Whether this wake-up is a watchdog and has sent itself on: it will be delivered again in any case and must not stay on the queue too.
    pub(super) const fn is_sent_on(&self) -> bool {
        self.wake.watch && self.sent.is_some()
    }

    /// Whether this wake-up is a watchdog that was delivered before: what it watches takes long.
    pub(super) fn was_sent_on(&self) -> bool {
        let is_later = |at: Timestamp| self.world.clock.now().since(at) >= LONG * self.world.settings.watchdog;
        self.wake.watch && self.wake.watch_at.is_some_and(is_later)
    }

    /// Schedules the watchdog for the time when the holder's lease expires, in case the holder is dead by then.
    pub(super) async fn after_lease(&mut self, expires_at: Timestamp) -> Result<(), RunError> {
        let delay = expires_at.since(self.world.clock.now()) + AFTER_LEASE;
        self.send(self.wake.watch_at, delay).await
    }

    /// Schedules the watchdog for the end of a run whose agent is to call back, or for a check before that.
    pub(super) async fn after_callback(&mut self, parked: ParkedV1) -> Result<(), RunError> {
        let delay = parked.until.since(self.world.clock.now()) + AFTER_LEASE;
        self.schedule(self.wake.watch_at, delay.min(MAX_DELAY), Some(parked))
            .await
    }

    /// Schedules the watchdog of this wake-up again after the usual time.
    pub(super) async fn again(&mut self) -> Result<(), RunError> {
        self.send(self.wake.watch_at, self.world.settings.watchdog).await
    }

    /// Sends the watchdog of a run that is about to be acquired, or sends this very one on. Returns the watch's name. Sends at most once.
    pub(super) async fn begin(&mut self) -> Result<Timestamp, RunError> {
        if let Some(sent) = self.sent {
            return Ok(sent);
        }
        let delay = self.world.settings.watchdog;
        let own = self.wake.watch_at.filter(|_| self.wake.watch);
        let name = own.unwrap_or_else(|| self.world.clock.now().after(delay));
        self.send(Some(name), delay).await?;
        Ok(name)
    }

    async fn send(&mut self, name: Option<Timestamp>, delay: Duration) -> Result<(), RunError> {
        self.schedule(name, delay.min(self.world.settings.watchdog), None).await
    }

    async fn schedule(
        &mut self,
        name: Option<Timestamp>,
        delay: Duration,
        parked: Option<ParkedV1>,
    ) -> Result<(), RunError> {
        // The first attempt lost the claim to another process.
        if self.sent.is_some() {
            return Ok(());
        }
        let watchdog = WakeUp::V1(WakeUpV1 {
            watch: true,
            watch_at: name,
            relay: None,
            parked,
            ..self.wake.clone()
        });
        work::send(&self.world.queues, &[(watchdog, delay)]).await?;
        self.sent = name.or_else(|| Some(self.world.clock.now()));
        Ok(())
    }
}
