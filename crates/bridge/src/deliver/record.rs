//! The record of a reply while it is shown: what is written of it, and how patiently.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::ids::MessageId;
use tieline_core::reply::Progress;
use tieline_store::StoreError;
use tieline_store::reply::{self, ReplyRecord};
use tokio::time::sleep;
use tracing::warn;

use super::{DeliverError, ReplyDelivery};
use crate::lease_watch::LeaseWatch;
use crate::reply_writes;
use crate::world::chance;

/// Least time between two records of a text that only grows: until then a new holder shows again what the chat shows already. A record
/// spares it that, and nothing else.
const BETWEEN_GROWTHS: Duration = Duration::from_secs(30);
/// Between two tries to record what must not be forgotten.
const BETWEEN_SAVES: Backoff = Backoff {
    base: Duration::from_millis(400),
    cap: Duration::from_secs(5),
};
/// How often that is tried.
const MAX_SAVES: u32 = 8;

impl ReplyDelivery<'_> {
    /// Before anything more is sent, the table must know what was.
    pub(super) async fn catch_up(&mut self) -> Result<(), DeliverError> {
        match self.is_ahead {
            true => self.save().await,
            false => Ok(()),
        }
    }

    /// Whether a holder that knows only the table's record may make the calls that led to `progress` once more.
    pub(super) fn is_repeatable(&self, progress: &Progress) -> bool {
        let saved = self.saved.as_ref().map(|saved| &saved.progress);
        saved.is_some_and(|saved| self.bot.connector.is_repeatable(saved, progress))
    }

    /// The text is about to grow, perhaps behind what an earlier holder has shown and not recorded.
    pub fn begin_growing(&mut self) {
        let now = self.now();
        if self.saved.is_some() {
            self.record.pace.taken_over(now);
        }
    }

    /// Whether growth was recorded so lately that more of it can wait.
    pub(super) fn is_fresh(&self) -> bool {
        self.now() < self.saved_at.after(BETWEEN_GROWTHS)
    }

    /// Writes what a growing text has come to, for a process that leaves the reply to a later one.
    ///
    /// # Errors
    /// [`DeliverError`] if it can't be written or belongs to another holder now.
    pub async fn save_growth(&mut self) -> Result<(), DeliverError> {
        let is_saved = |saved: &ReplyRecord| saved.progress == self.record.progress;
        match self.saved.as_ref().is_some_and(is_saved) {
            true => Ok(()),
            false => self.save().await,
        }
    }

    /// Writes the record as it stands.
    ///
    /// # Errors
    /// [`DeliverError`] if it can't be written or belongs to another holder now.
    pub async fn save(&mut self) -> Result<(), DeliverError> {
        let now = self.now();
        if let Some(lease) = &mut self.record.lease {
            lease.expires_at = lease.expires_at.max(now.after(self.world.settings.lease));
        }
        let world = self.world;
        match reply_writes::save(world, self.saved.as_ref(), &mut self.record, now).await {
            // An earlier write was done and only its answer was lost, if what is there is this holder's.
            Err(StoreError::Conflict) if self.hold.is_some() || self.record.lease.is_some() => {
                let ours = reply::get(&world.store, &self.record.id, now).await?;
                let ours = ours.filter(|found| self.has_written(found));
                reply_writes::save(world, Some(&ours.ok_or(StoreError::Conflict)?), &mut self.record, now).await?;
            }
            saved => saved?,
        }
        self.saved = Some(self.record.clone());
        (self.saved_at, self.is_ahead) = (now, false);
        Ok(())
    }

    /// Continues with the record as another writer has left it, if that one has recorded what came of the message and is no later
    /// holder. `false` if not.
    ///
    /// # Errors
    /// [`DeliverError`] if the table doesn't answer.
    pub async fn adopt_outcome(&mut self) -> Result<bool, DeliverError> {
        let found = reply::get(&self.world.store, &self.record.id, self.now()).await?;
        let found = found.filter(|found| found.outcome.is_some() && found.fence <= self.record.fence);
        let Some(found) = found else {
            return Ok(false);
        };
        self.record = ReplyRecord {
            fence: self.record.fence,
            ..found.clone()
        };
        self.saved = Some(found);
        self.is_ahead = false;
        Ok(true)
    }

    fn has_written(&self, found: &ReplyRecord) -> bool {
        if self.hold.is_some() {
            return found.fence == self.record.fence;
        }
        let leases = self.record.lease.as_ref().zip(found.lease.as_ref());
        leases.is_some_and(|(ours, theirs)| ours.owner == theirs.owner && ours.fence == theirs.fence)
    }

    /// The same for what must not be forgotten, for as long as no other process may do it again.
    ///
    /// # Errors
    /// [`DeliverError`] if it can't be written however often it is tried, or belongs to another holder now.
    pub async fn save_patiently(&mut self) -> Result<(), DeliverError> {
        let mut patience = Patience::new(self.hold.clone());
        loop {
            match self.save().await {
                Err(DeliverError::Store(error)) => patience.wait(&self.record.message, error).await?,
                saved => return saved,
            }
        }
    }

    /// With which to write what else must not be forgotten.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::new(self.hold.clone())
    }
}

/// How often something is tried to be recorded, at most for as long as the conversation is ours.
#[derive(Debug)]
pub struct Patience {
    hold: Option<LeaseWatch>,
    attempt: u32,
}

impl Patience {
    /// Patience of a holder, with its lease if there is one.
    #[must_use]
    pub const fn new(hold: Option<LeaseWatch>) -> Self {
        Self { hold, attempt: 0 }
    }

    /// Waits until the next try of a write that failed.
    ///
    /// # Errors
    /// [`DeliverError`] if there is none.
    pub async fn wait(&mut self, message: &MessageId, error: StoreError) -> Result<(), DeliverError> {
        self.attempt += 1;
        if self.attempt >= MAX_SAVES || !matches!(error, StoreError::Unavailable { .. }) {
            return Err(error.into());
        }
        warn!(event.key = %message, attempt = self.attempt, error = %error, "what came of it can't be recorded yet");
        pause(self.hold.as_ref(), BETWEEN_SAVES.wait(self.attempt, chance())).await
    }
}

/// Waits, unless the conversation is lost meanwhile.
pub(super) async fn pause(hold: Option<&LeaseWatch>, pause: Duration) -> Result<(), DeliverError> {
    let Some(hold) = hold else {
        sleep(pause).await;
        return Ok(());
    };
    tokio::select! {
        biased;
        () = hold.lost() => Err(DeliverError::Lost),
        () = sleep(pause) => Ok(()),
    }
}
