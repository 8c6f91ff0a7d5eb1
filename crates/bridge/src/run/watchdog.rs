//! Watchdogs: for as long as a run is in a conversation, one is on its way that comes and looks.

use std::time::Duration;

use tieline_core::envelope::{WakeUp, WakeUpV1};
use tieline_core::timestamp::Timestamp;
use tieline_queue::work::{self, MAX_DELAY};

use super::RunError;
use crate::world::World;

/// How long after the end of a holder's lease its watchdog looks.
const AFTER_LEASE: Duration = Duration::from_secs(1);

/// What is watched for so many times the usual time takes long: an agent that is to call back.
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

    /// Whether this wake-up is a watchdog and has sent itself on: it will be delivered again in any case and must not also stay.
    pub(super) const fn is_sent_on(&self) -> bool {
        self.wake.watch && self.sent.is_some()
    }

    /// Whether this wake-up is a watchdog that has come before: what it watches takes long.
    pub(super) fn was_sent_on(&self) -> bool {
        let is_later = |at: Timestamp| self.world.clock.now().since(at) >= LONG * self.world.settings.watchdog;
        self.wake.watch && self.wake.watch_at.is_some_and(is_later)
    }

    /// Has the watchdog come when the holder's lease would have run out, if the holder is gone by now.
    pub(super) async fn after_lease(&mut self, expires_at: Timestamp) -> Result<(), RunError> {
        let delay = expires_at.since(self.world.clock.now()) + AFTER_LEASE;
        self.send(self.wake.watch_at, delay).await
    }

    /// Has the watchdog come at the end of a run whose agent is to call back, or to look whether it has.
    pub(super) async fn after_callback(&mut self, until: Timestamp) -> Result<(), RunError> {
        let delay = until.since(self.world.clock.now()) + AFTER_LEASE;
        self.schedule(self.wake.watch_at, delay.min(MAX_DELAY)).await
    }

    /// Schedules the watchdog of this wake-up again after the usual time.
    pub(super) async fn again(&mut self) -> Result<(), RunError> {
        self.send(self.wake.watch_at, self.world.settings.watchdog).await
    }

    /// Sends the watchdog of a run that is about to be taken, or sends this very one on. Gives the watch's name. Once is enough.
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
        self.schedule(name, delay.min(self.world.settings.watchdog)).await
    }

    async fn schedule(&mut self, name: Option<Timestamp>, delay: Duration) -> Result<(), RunError> {
        // It was about to claim what another process claimed first.
        if self.sent.is_some() {
            return Ok(());
        }
        let watchdog = WakeUp::V1(WakeUpV1 {
            watch: true,
            watch_at: name,
            relay: None,
            ..self.wake.clone()
        });
        work::send(&self.world.queues, &[(watchdog, delay)]).await?;
        self.sent = name.or_else(|| Some(self.world.clock.now()));
        Ok(())
    }
}
