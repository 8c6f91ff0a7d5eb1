//! Delivery of the final text: retried until the chat shows it whole, or a person types `/stop` before that.

use std::time::Duration;

use tieline_core::card::Button;
use tieline_core::connector::CardButtons;
use tieline_core::notice::Notice;
use tieline_core::reply::{Progress, Stage};
use tieline_core::timestamp::Timestamp;
use tieline_store::reply::{Outcome, ReplyRecord};
use tokio::time::Instant;

use super::{DeliverError, DeliveryOutcome, ReplyDelivery, Snapshot};
use crate::lease_watch::LeaseWatch;
use crate::metrics::Metric;

/// How long a final text is retried if the target has no expiry, from when the text was final.
const PATIENCE: Duration = Duration::from_secs(3600);
/// The same after a wait that the platform asked for, if that ends later.
const AFTER_ASKED: Duration = Duration::from_secs(600);
/// Longest time for which a final text is retried because the platform asks to wait again and again.
const MAX_PATIENCE: Duration = Duration::from_hours(24);
/// Longest wait for a platform during which the conversation's lease is held. After a longer one a wake-up continues.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

impl ReplyDelivery<'_> {
    /// Shows the final text, with short waits and retries, until `until` or until the target expires. A longer wait is left to a later
    /// wake-up.
    ///
    /// # Errors
    /// [`DeliverError`] if the record can't be written, or the conversation was lost.
    pub async fn finish(&mut self, until: Option<Instant>) -> Result<DeliveryOutcome, DeliverError> {
        loop {
            let (text, buttons) = self.final_words();
            let (reasoning, files) = (String::new(), self.record.files.clone());
            let look = Snapshot {
                stage: Stage::Final,
                text: &text,
                reasoning: &reasoning,
                notice: self.record.notice,
                files: &files,
                buttons: &buttons,
            };
            // A run that was stopped calls no platform, so it needs no wait.
            let shown = match self.is_asked_to_wait().filter(|_| !self.is_stopped()) {
                Some(at) => DeliveryOutcome::NotBefore(at),
                None => match self.show_in_time(look).await? {
                    Some(shown) => shown,
                    // Retried by another process, at once.
                    None => return Ok(DeliveryOutcome::NotBefore(self.now())),
                },
            };
            let DeliveryOutcome::NotBefore(at) = shown else {
                return Ok(shown);
            };
            // Where the platform polls, this process doesn't wait: a wake-up checks later.
            if self.is_pulled() {
                return Ok(DeliveryOutcome::NotBefore(at));
            }
            if at > self.end() {
                return Ok(DeliveryOutcome::Never {
                    code: "target_expired".into(),
                });
            }
            let wait = at.since(self.now());
            if wait > LONGEST_WAIT || until.is_some_and(|until| Instant::now() + wait >= until) {
                return Ok(DeliveryOutcome::NotBefore(at));
            }
            self.world.metrics.time(Metric::BudgetWait, self.platform(), wait);
            match self.hold.as_ref().filter(|_| self.can_be_stopped()) {
                Some(hold) => {
                    tokio::select! {
                        biased;
                        paused = self.pause(wait) => paused?,
                        () = hold.stopped() => {}
                    }
                }
                None => self.pause(wait).await?,
            }
        }
    }

    /// The text with the card's text, and its buttons if the mode has any: else the buttons are lines of the text.
    fn final_words(&self) -> (String, Vec<Button>) {
        match super::mode(self.bot).buttons {
            CardButtons::Links | CardButtons::All => {
                (self.record.whole_text().into_owned(), self.record.buttons().to_vec())
            }
            CardButtons::None => {
                let text = self.record.text_with_buttons(self.bot.account.language);
                (text.into_owned(), Vec::new())
            }
        }
    }

    /// Whether `/stop` still has an effect. Not where the platform polls, which may have fetched a recorded answer already.
    fn can_be_stopped(&self) -> bool {
        !self.is_pulled() && !matches!(self.record.outcome, Some(Outcome::Stopped))
    }

    /// Whether a person has stopped a recorded answer.
    pub(super) fn is_stopped(&self) -> bool {
        self.can_be_stopped() && self.hold.as_ref().is_some_and(LeaseWatch::is_stopped)
    }

    /// Replaces the recorded answer by the notice that it was stopped. `false`: the chat shows nothing of it, so it needs no notice.
    pub fn replace_by_stopped(&mut self) -> bool {
        self.record.outcome = Some(Outcome::Stopped);
        self.record.notice = Some(Notice::Stopped);
        self.record.text = String::new();
        self.record.files = Vec::new();
        self.record.card = None;
        self.has_doubtful_call || self.record.progress != Progress::default()
    }

    /// Until when the platform asked for no calls: an earlier holder may have been asked.
    fn is_asked_to_wait(&self) -> Option<Timestamp> {
        let now = self.now();
        let at = self.record.pace.next_at(self.budget(), Stage::Final, now);
        at.filter(|at| *at > now && !self.is_pulled())
    }

    /// When retrying is pointless.
    fn end(&self) -> Timestamp {
        let patience = || ends_at(&self.record, self.record.final_at.unwrap_or_else(|| self.now()));
        self.target.expires_at.unwrap_or_else(patience)
    }
}

/// Whether a final text has been tried for so long that retrying is pointless, even if its target has not expired.
#[must_use]
pub fn is_too_late(record: &ReplyRecord, now: Timestamp) -> bool {
    record.final_at.is_some_and(|at| now > ends_at(record, at))
}

/// Until when a text that was final at `final_at` is retried.
fn ends_at(record: &ReplyRecord, final_at: Timestamp) -> Timestamp {
    let asked = record.pace.asked_until().map(|at| at.after(AFTER_ASKED));
    let end = final_at.after(PATIENCE);
    asked.map_or(end, |asked| end.max(asked).min(final_at.after(MAX_PATIENCE)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_support;

    #[test]
    fn final_text_outlives_a_wait_that_the_platform_asked_for() {
        let final_at = Timestamp::from_secs(1_000_000);
        let is_too_late = |asked_s: u64, later: Duration| {
            let mut record = test_support::blank_reply(final_at);
            record.final_at = Some(final_at);
            record
                .pace
                .slowed(Some(Duration::from_secs(asked_s)), final_at, Duration::ZERO);
            is_too_late(&record, final_at.after(later))
        };
        assert!(!is_too_late(1, PATIENCE));
        assert!(is_too_late(1, PATIENCE + Duration::from_secs(1)));
        assert!(!is_too_late(4000, Duration::from_secs(4001)));
        assert!(is_too_late(4000, Duration::from_secs(4000) + 2 * AFTER_ASKED));
        assert!(is_too_late(100_000, Duration::from_secs(100_001)));
    }
}
