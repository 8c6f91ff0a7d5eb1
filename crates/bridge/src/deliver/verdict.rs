//! What a platform's answer means for a delivery: recorded progress, another way, a wait, or the end.

use std::time::Duration;

use tieline_core::backoff::Backoff;
use tieline_core::connector::{LimitScope, Verdict};
use tieline_core::reply::{Progress, Stage};
use tracing::{debug, info, warn};

use super::files::Subject;
use super::{DeliverError, DeliveryOutcome, ReplyDelivery, SLOW_DOWN};
use crate::delivery_status::RateLimit;
use crate::metrics::RetrySource;
use crate::world::chance;
use crate::{cooldown, courier, delivery_status};

/// Between two attempts of a call that failed transiently.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(400),
    cap: Duration::from_secs(30),
};
/// Failures of a call in a row after which the operator is notified.
const LASTING_FAILURES: u32 = 3;

impl ReplyDelivery<'_> {
    /// Records the outcome of a call. `None`: the delivery goes on.
    pub(super) async fn apply(
        &mut self,
        verdict: Verdict,
        call: &str,
        what: (Subject, Stage),
        token_renewed: &mut bool,
    ) -> Result<Option<DeliveryOutcome>, DeliverError> {
        match verdict {
            Verdict::Accepted(progress) => self.accepted(progress, what).await?,
            Verdict::FallBack { progress, code } => {
                info!(account.id = %self.bot.account.integration, call, code, "reply takes another way");
                *self.progress_of(what.0) = progress;
                self.save_progress().await?;
            }
            Verdict::Closed {
                progress,
                code,
                rest,
                missing,
            } => {
                cooldown::close(self.world, self.bot, rest, &code, &missing).await;
                *self.progress_of(what.0) = progress;
                self.save_progress().await?;
            }
            Verdict::Resting {
                progress,
                code,
                way,
                rest,
            } => {
                cooldown::rest(self.world, self.bot, way, rest, &code).await;
                *self.progress_of(what.0) = progress;
                self.save_progress().await?;
            }
            Verdict::SlowDown {
                retry_after,
                code,
                scope,
            } => return Ok(Some(self.slower(retry_after, &code, scope).await)),
            Verdict::TokenExpired if !*token_renewed => {
                *token_renewed = true;
                courier::forget_token(self.world, self.bot).await;
            }
            Verdict::TokenExpired => return Ok(Some(self.later("token_expired").await)),
            Verdict::Retry { code } => return Ok(Some(self.later(&code).await)),
            Verdict::Refused { code } => return Ok(Some(self.refused(code).await)),
            Verdict::CredentialsRefused { code } => return Ok(Some(self.unauthorized(code).await)),
        }
        Ok(None)
    }

    async fn accepted(&mut self, progress: Progress, what: (Subject, Stage)) -> Result<(), DeliverError> {
        let (subject, stage) = what;
        self.failures = 0;
        let is_repeatable = subject == Subject::Text && self.is_repeatable(&progress);
        match subject {
            Subject::File { is_last: true } => self.settle(false),
            _ => *self.progress_of(subject) = progress,
        }
        self.record.pace.sent(self.now());
        debug!(account.id = %self.bot.account.integration, event.key = %self.record.message, stage = ?stage, "reply made progress");
        if stage == Stage::Final && subject == Subject::Text && self.ledger_tells {
            self.is_ahead |= !is_repeatable;
            return Ok(());
        }
        match stage {
            // The platform accepted it: a holder that doesn't know that would send it again.
            Stage::Final => self.save_patiently().await,
            Stage::Thinking | Stage::Growing if is_repeatable && self.is_fresh() => Ok(()),
            Stage::Thinking | Stage::Growing => self.save_progress().await,
        }
    }

    async fn slower(&mut self, retry_after: Option<Duration>, code: &str, scope: LimitScope) -> DeliveryOutcome {
        let now = self.now();
        let until = now.after(retry_after.unwrap_or(SLOW_DOWN));
        let limit = RateLimit {
            code,
            scope,
            until: retry_after.map(|wait| now.after(wait)),
        };
        // Platforms extend the limit of a bot that goes on calling.
        let chat = (scope == LimitScope::Chat).then_some(&self.target.chat.id);
        self.world
            .cooldowns
            .hold(&self.bot.account.integration, chat, until, now);
        self.world.rate_limiter.slowed(&self.bot.account.integration, now);
        delivery_status::rate_limited(self.world, &self.bot.account.integration, &limit).await;
        // Once per delivery: a repetition says nothing new.
        if !std::mem::replace(&mut self.limit_noted, true) {
            delivery_status::note_limit(self.world, &self.record.message, code).await;
        }
        self.record.pace.slowed(retry_after, now, SLOW_DOWN);
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, code, "platform asks to go slower");
        DeliveryOutcome::NotBefore(until)
    }

    pub(super) async fn later(&mut self, code: &str) -> DeliveryOutcome {
        self.failures += 1;
        if self.failures >= LASTING_FAILURES {
            delivery_status::calls_failing(self.world, &self.bot.account.integration, code).await;
        }
        self.world.metrics.retry(RetrySource::Platform);
        let wait = BACKOFF.wait(self.failures, chance());
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, code, attempt = self.failures, "delivery of the reply is retried");
        DeliveryOutcome::NotBefore(self.now().after(wait))
    }

    async fn refused(&self, code: String) -> DeliveryOutcome {
        delivery_status::call_refused(self.world, &self.bot.account.integration, &code).await;
        DeliveryOutcome::Never { code }
    }

    pub(super) async fn unauthorized(&self, code: String) -> DeliveryOutcome {
        delivery_status::credentials_refused(self.world, &self.bot.account.integration, &code).await;
        DeliveryOutcome::Never { code }
    }
}
