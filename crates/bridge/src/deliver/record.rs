//! Writes the record of a reply while it is shown, with retries where it must not be lost.

use std::sync::Arc;
use std::time::Duration;

use tieline_core::agent::Draft;
use tieline_core::backoff::Backoff;
use tieline_core::ids::MessageId;
use tieline_core::notice::Notice;
use tieline_core::redaction::HeldBack;
use tieline_core::reply::{Progress, Stage};
use tieline_store::StoreError;
use tieline_store::reply::{self, Outcome, ReplyRecord};
use tokio::sync::oneshot;
use tokio::time::sleep;
use tracing::warn;

use super::{DeliverError, ReplyDelivery, RunResult};
use crate::lease_watch::LeaseWatch;
use crate::reply_writes;
use crate::world::chance;

/// Least time between two records of a text that only grows. After a crash within that time, a new holder shows again what the chat shows
/// already; the record avoids that, and nothing else.
const BETWEEN_GROWTHS: Duration = Duration::from_secs(30);
/// Between two attempts of a write that must not be lost.
const BETWEEN_SAVES: Backoff = Backoff {
    base: Duration::from_millis(400),
    cap: Duration::from_secs(5),
};
/// Most attempts of such a write.
const MAX_SAVES: u32 = 8;

impl ReplyDelivery<'_> {
    /// Replaces what the record has of the answer.
    pub fn set_draft(&mut self, draft: Draft) {
        self.record.text = draft.text;
        self.record.held_back = draft.held_back;
        self.record.files = draft.files;
        self.record.card = draft.card;
        self.record.question = draft.question;
    }

    /// Ends the record's answer with the run's outcome. It must be saved before the agent is regarded as done.
    pub fn conclude(&mut self, outcome: Outcome, notice: Option<Notice>) {
        self.record.stage = Stage::Final;
        self.record.reasoning = String::new();
        self.record.held_back = HeldBack::default();
        self.record.question = None;
        self.record.outcome = Some(outcome);
        self.record.notice = notice;
        self.record.resume = None;
    }

    /// The run's result will arrive here: it is recorded at once, even while a call is in flight.
    pub fn expect_result(&mut self, result: oneshot::Receiver<RunResult>) {
        self.result = Some(result);
    }

    /// Moves the run's result into the record, if it has arrived and is not there yet. No other is expected.
    pub fn take_result(&mut self) {
        if let Some(result) = self.result.take().and_then(|mut result| result.try_recv().ok()) {
            self.set_result(result);
        }
    }

    fn set_result(&mut self, result: RunResult) {
        self.record.text = result.text;
        self.record.files = result.files;
        self.record.card = result.card;
        self.conclude(result.outcome, result.notice);
    }

    /// Whether the table has the outcome, and all that must be known before anything more is sent.
    #[must_use]
    pub fn has_recorded_outcome(&self) -> bool {
        !self.is_ahead && self.saved.as_ref().is_some_and(|saved| saved.outcome.is_some())
    }

    /// Waits for a call. A result that arrives meanwhile is recorded: if this process dies before the call is answered, the next one
    /// doesn't ask the agent again.
    pub(super) async fn while_recording<T>(&mut self, call: impl Future<Output = T>) -> T {
        let Some(mut arriving) = self.result.take() else {
            return call.await;
        };
        tokio::pin!(call);
        let arrived = tokio::select! {
            biased;
            answer = &mut call => {
                self.result = Some(arriving);
                return answer;
            }
            arrived = &mut arriving => arrived,
        };
        let Ok(result) = arrived else {
            return call.await;
        };
        self.set_result(result);
        let (answer, saved) = tokio::join!(call, self.save());
        if let Err(error) = saved {
            // Recorded again, patiently, once the call is answered.
            warn!(event.key = %self.record.message, error = %error, "result can't be recorded during a call");
        }
        answer
    }

    /// Writes what was shown, if the table doesn't have it: required before anything more is sent.
    pub(super) async fn catch_up(&mut self) -> Result<(), DeliverError> {
        match self.is_ahead {
            true => self.save().await,
            false => Ok(()),
        }
    }

    /// Writes progress that must be in the table before anything more is sent: if it can't be written now, the next call waits for it.
    pub(super) async fn save_progress(&mut self) -> Result<(), DeliverError> {
        self.is_ahead = true;
        self.save().await
    }

    /// Whether a holder that has only the table's record may repeat the calls that led to `progress`.
    pub(super) fn is_repeatable(&self, progress: &Progress) -> bool {
        let saved = self.saved.as_ref().map(|saved| &saved.progress);
        saved.is_some_and(|saved| self.bot.connector.is_repeatable(saved, progress))
    }

    /// The text is about to grow, possibly after text that an earlier holder has shown and not recorded.
    pub fn begin_growing(&mut self) {
        let now = self.now();
        if self.saved.is_some() {
            self.record.pace.taken_over(now);
        }
    }

    /// Whether growth was recorded so recently that recording more can wait.
    pub(super) fn is_fresh(&self) -> bool {
        self.now() < self.saved_at.after(BETWEEN_GROWTHS)
    }

    /// Records the progress of a growing text, for a process that leaves the reply to a later one.
    ///
    /// # Errors
    /// [`DeliverError`] if it can't be written or belongs to another holder now.
    pub async fn save_growth(&mut self) -> Result<(), DeliverError> {
        let is_saved = |saved: &ReplyRecord| saved.progress == self.record.progress;
        match self.saved.as_deref().is_some_and(is_saved) {
            true => Ok(()),
            false => self.save().await,
        }
    }

    /// Writes the record.
    ///
    /// # Errors
    /// [`DeliverError`] if it can't be written or belongs to another holder now.
    pub async fn save(&mut self) -> Result<(), DeliverError> {
        let now = self.now();
        if let Some(lease) = &mut self.record.lease {
            lease.expires_at = lease.expires_at.max(now.after(self.world.settings.lease));
        }
        let world = self.world;
        let written = reply_writes::save_and_keep(world, self.saved.as_deref(), &mut self.record, now).await;
        let saved = match written {
            // If the record in the table is this holder's, an earlier write succeeded and only its response was lost.
            Err(StoreError::Conflict) if self.hold.is_some() || self.record.lease.is_some() => {
                let ours = reply::get(&world.store, &self.record.id, now).await?;
                let ours = ours.filter(|found| self.has_written(found));
                let ours = ours.ok_or(StoreError::Conflict)?;
                reply_writes::save_and_keep(world, Some(&ours), &mut self.record, now).await?
            }
            written => written?,
        };
        self.saved = Some(saved);
        (self.saved_at, self.is_ahead) = (now, false);
        Ok(())
    }

    /// Continues with the record as another writer has left it, if that writer has recorded the message's outcome and is not a later
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
        self.saved = Some(Arc::new(found));
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

    /// Like [`Self::save`], but retried for as long as no other process may take over. For progress that must not be lost.
    ///
    /// # Errors
    /// [`DeliverError`] if all attempts fail, or it belongs to another holder now.
    pub async fn save_patiently(&mut self) -> Result<(), DeliverError> {
        let mut patience = Patience::new(self.hold.clone());
        loop {
            match self.save().await {
                Err(DeliverError::Store(error)) => patience.wait(&self.record.message, error).await?,
                saved => return saved,
            }
        }
    }

    /// Retries for further writes that must not be lost.
    #[must_use]
    pub fn patience(&self) -> Patience {
        Patience::new(self.hold.clone())
    }
}

/// Retries of a write, limited in number, and to the time for which this process holds the conversation.
#[derive(Debug)]
pub struct Patience {
    hold: Option<LeaseWatch>,
    attempt: u32,
}

impl Patience {
    /// Retries under the holder's lease, if there is one.
    #[must_use]
    pub const fn new(hold: Option<LeaseWatch>) -> Self {
        Self { hold, attempt: 0 }
    }

    /// Waits until the next attempt of a write that failed.
    ///
    /// # Errors
    /// [`DeliverError`] if no attempt is left.
    pub async fn wait(&mut self, message: &MessageId, error: StoreError) -> Result<(), DeliverError> {
        self.attempt += 1;
        if self.attempt >= MAX_SAVES || !matches!(error, StoreError::Unavailable { .. }) {
            return Err(error.into());
        }
        warn!(event.key = %message, attempt = self.attempt, error = %error, "outcome can't be recorded yet");
        pause(self.hold.as_ref(), BETWEEN_SAVES.wait(self.attempt, chance())).await
    }
}

/// Waits, unless the conversation's lease is lost meanwhile.
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
