//! Deliver: brings a chat to show a reply, call by call.

mod record;

use std::time::Duration;

use tieline_core::account::Account;
use tieline_core::backoff::Backoff;
use tieline_core::budget::Budget;
use tieline_core::connector::{Delivery, LimitScope, ModeManifest, SentCall, TokenError, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, Pulled, ReplyFile, ReplyTarget, Stage, Step};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::reply::{Outcome, ReplyRecord};
use tokio::time::Instant;
use tracing::{debug, info, warn};

pub use self::record::Patience;
use crate::accounts::Bot;
use crate::connections::relay_call::{self, FrameAttempts};
use crate::delivery_status::RateLimit;
use crate::lease_watch::LeaseWatch;
use crate::media::upload;
use crate::metrics::{Metric, RetrySource};
use crate::world::{World, chance};
use crate::{cooldown, courier, delivery_status, rate_limiter, rendering, reply_links};

/// Most calls that one change of the chat may take: more is a connector that goes in circles.
const MAX_CALLS: u32 = 400;
/// Between two tries of a call that failed in passing.
const BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(400),
    cap: Duration::from_secs(30),
};
/// So many failures of a call in a row are worth the operator's attention.
const LASTING_FAILURES: u32 = 3;
/// How long the platform is left alone when it says "slower" and not how much.
const SLOW_DOWN: Duration = Duration::from_secs(2);
/// How long a call over a socket may take.
const SOCKET_LIMIT: Duration = Duration::from_secs(15);
/// How long it may take to record what came of a call.
const RECORDING: Duration = Duration::from_secs(3);
/// How often in a row a shared limit is waited for.
const MAX_WAITS: u32 = 20;
/// A shared limit that is free again so soon is waited for.
const SHORT_WAIT: Duration = Duration::from_millis(500);
/// How long a final text is retried where the target names no end, from when the text was final.
const PATIENCE: Duration = Duration::from_secs(3600);
/// Longest wait for a platform that the conversation is held for. After a longer one a wake-up goes on.
const LONGEST_WAIT: Duration = Duration::from_secs(15);

/// A reply on its way into its chat.
pub struct ReplyDelivery<'a> {
    /// The world.
    pub world: &'a World,
    /// The bot that was spoken to.
    pub bot: &'a Bot,
    /// Where the answer goes. Fixed when the message was received.
    pub target: &'a ReplyTarget,
    /// The reply's record.
    pub record: ReplyRecord,
    /// The record as the table has it, if it has it.
    saved: Option<ReplyRecord>,
    /// FrameAttempts in a row that failed in passing.
    failures: u32,
    /// How often the same frame went to the bot's socket.
    tries: FrameAttempts,
    /// Whether the chat shows text of the answer already.
    has_shown_text: bool,
    /// Whether the ledger will tell at once that the chat shows the final text, so that the record needn't.
    ledger_tells: bool,
    /// Whether the record is ahead of the table.
    is_ahead: bool,
    /// Whether the ledger has the rate limit that this delivery met.
    limit_noted: bool,
    /// Tells whether the conversation is still ours, where a run shows the reply.
    hold: Option<LeaseWatch>,
    /// When this process is cut off, if it is.
    process_ends: Option<Instant>,
}

/// What the chat should show.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// How far the reply has come.
    pub stage: Stage,
    /// The text so far.
    pub text: &'a str,
    /// The reasoning so far.
    pub reasoning: &'a str,
    /// A sentence of ours.
    pub notice: Option<Notice>,
    /// Files.
    pub files: &'a [ReplyFile],
}

/// What came of showing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The chat shows it, or will when the platform asks.
    Yes,
    /// The chat shows it until then: what was shown fades, or the platform's pace defers an update. Never the outcome of a final text.
    Until(Timestamp),
    /// Not before then.
    NotBefore(Timestamp),
    /// The run was stopped before the chat showed the answer whole. Only the outcome of a final text.
    Stopped,
    /// Not in this chat, for good.
    Never {
        /// The platform's code, or ours.
        code: String,
    },
}

/// What came of a call.
enum Sent {
    Answer(ApiAnswer),
    NoToken(TokenError),
    NoTime,
}

/// Why showing had to be given up by this process.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The table; [`StoreError::Conflict`] means that another process holds the reply now.
    #[error("reply can't be recorded")]
    Store(#[from] StoreError),
    /// Another process holds the conversation now and shows the reply.
    #[error("conversation was lost")]
    Lost,
}

impl<'a> ReplyDelivery<'a> {
    /// Begins with what the table has, or with a blank record.
    #[must_use]
    pub fn new(
        world: &'a World,
        bot: &'a Bot,
        target: &'a ReplyTarget,
        saved: Option<ReplyRecord>,
        blank: impl FnOnce() -> ReplyRecord,
    ) -> Self {
        let record = saved.clone().unwrap_or_else(blank);
        let has_shown_text = record.stage != Stage::Thinking;
        let tries = FrameAttempts::after(record.tried.as_ref());
        Self {
            world,
            bot,
            target,
            record,
            saved,
            failures: 0,
            tries,
            has_shown_text,
            ledger_tells: false,
            is_ahead: false,
            limit_noted: false,
            hold: None,
            process_ends: None,
        }
    }

    /// The same in a process that is cut off then: it makes no call that it could not record.
    #[must_use]
    pub const fn in_process_until(mut self, end: Option<Instant>) -> Self {
        self.process_ends = end;
        self
    }

    /// The same for a run, which may show nothing any more when it has lost its conversation. `fence` tells its writes from those of
    /// other holders.
    #[must_use]
    pub fn under_lease(mut self, hold: LeaseWatch, fence: u64) -> Self {
        self.hold = Some(hold);
        self.record.fence = fence;
        self
    }

    /// Leaves it to the ledger to tell that the final text is shown: the message must be ended right after. Saves a write where
    /// one call shows all.
    pub const fn let_the_ledger_tell(&mut self) {
        self.ledger_tells = true;
    }

    /// The chat shows text of the answer now.
    pub fn note_text(&mut self) {
        if !self.has_shown_text {
            self.has_shown_text = true;
            let took = self.now().since(self.record.received_at);
            self.world.metrics.time(Metric::TimeToFirstText, self.platform(), took);
        }
    }

    fn platform(&self) -> &'static str {
        self.bot.connector.manifest().platform
    }

    /// The limits of the bot's mode.
    #[must_use]
    pub fn budget(&self) -> &'static Budget {
        &mode(self.bot).budget
    }

    /// Whether the platform asks for the newest state.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        is_pulled(self.bot)
    }

    /// Brings the chat there. Passing faults of the platform are not retried here: see [`DeliveryOutcome::NotBefore`].
    ///
    /// # Errors
    /// [`DeliverError`] if the record can't be written.
    pub async fn show(&mut self, look: Snapshot<'_>) -> Result<DeliveryOutcome, DeliverError> {
        let shown = self.show_in_time(look).await?;
        Ok(shown.unwrap_or_else(|| DeliveryOutcome::NotBefore(self.now().after(SLOW_DOWN))))
    }

    /// The same. `None`: this process ends before a call could be answered.
    async fn show_in_time(&mut self, look: Snapshot<'_>) -> Result<Option<DeliveryOutcome>, DeliverError> {
        let link = reply_links::link(self.world, &self.record);
        let mut token_renewed = false;
        let (mut n_calls, mut n_waits) = (0, 0);
        while n_calls < MAX_CALLS {
            let cx = self.bot.context(self.world, None);
            let id = self.record.id.clone();
            let progress = self.progress();
            let closed = self.record.closed.clone();
            let wanted = self.wanted(&id, look, &link, closed.as_ref());
            let (call, on_success) = match rendering::deliver(self.bot, &wanted, self.target, &progress, &cx).await {
                Ok(Step::Done) => {
                    if look.stage != Stage::Thinking && !look.text.is_empty() {
                        self.note_text();
                    }
                    return Ok(Some(DeliveryOutcome::Yes));
                }
                // Only now: an answer that the chat shows whole is not stopped any more.
                Ok(Step::Wait { .. } | Step::Call { .. }) if look.stage == Stage::Final && self.is_stopped() => {
                    self.catch_up().await?;
                    return Ok(Some(DeliveryOutcome::Stopped));
                }
                Ok(Step::Wait { until }) => {
                    self.catch_up().await?;
                    let defers = self.is_pulled() || look.stage == Stage::Final;
                    let outcome = if defers {
                        DeliveryOutcome::NotBefore(until)
                    } else {
                        DeliveryOutcome::Until(until)
                    };
                    return Ok(Some(outcome));
                }
                Ok(Step::Call { call, on_success }) => (call, on_success),
                Err(error) => {
                    self.catch_up().await?;
                    let code = compose_code(&error).to_owned();
                    return Ok(Some(DeliveryOutcome::Never { code }));
                }
            };
            self.catch_up().await?;
            let quotas = self.budget().quotas;
            let (bot, chat) = (&self.bot.account.integration, &self.target.chat.id);
            if let Some(at) = rate_limiter::take(self.world, bot, chat, call.name(), look.stage, quotas).await {
                debug!(account.id = %bot, event.key = %self.record.message, "a limit that all processes share is used up");
                let pause = at.since(self.now());
                // There will be another snapshot, and the end of the answer must not wait for this one.
                if look.stage != Stage::Final || pause > SHORT_WAIT || n_waits == MAX_WAITS {
                    return Ok(Some(DeliveryOutcome::NotBefore(at)));
                }
                // What takes several calls isn't torn apart for a moment.
                n_waits += 1;
                self.pause(pause).await?;
                continue;
            }
            (n_calls, n_waits) = (n_calls + 1, 0);
            let answer = match self.send(&call).await? {
                Sent::Answer(answer) => answer,
                Sent::NoTime => return Ok(None),
                Sent::NoToken(TokenError::Refused { code }) => return Ok(Some(self.unauthorized(code).await)),
                Sent::NoToken(TokenError::Unavailable { code }) => return Ok(Some(self.later(&code).await)),
            };
            let sent = SentCall {
                call: &call,
                progress: &progress,
                on_success: &on_success,
            };
            let verdict = self.bot.connector.classify(&sent, &answer, &cx);
            if matches!((&call, &answer), (ApiCall::Socket(_), ApiAnswer::Answered { .. })) {
                // Else the next holder would find this answer again, for as long as it is kept.
                self.record.tried = match &verdict {
                    Verdict::Accepted(_) => None,
                    _ => Some(self.tries.so_far()),
                };
            }
            match verdict {
                Verdict::Accepted(progress) => self.accepted(progress, look.stage).await?,
                Verdict::FallBack { progress, code } => {
                    info!(account.id = %self.bot.account.integration, call = call.name(), code, "reply takes another way");
                    self.record.progress = progress;
                    self.save().await?;
                }
                Verdict::Closed {
                    progress,
                    code,
                    rest,
                    missing,
                } => {
                    cooldown::close(self.world, self.bot, rest, &code, &missing).await;
                    self.record.progress = progress;
                    self.save().await?;
                }
                Verdict::Resting {
                    progress,
                    code,
                    way,
                    rest,
                } => {
                    cooldown::rest(self.world, self.bot, way, rest, &code).await;
                    self.record.progress = progress;
                    self.save().await?;
                }
                Verdict::SlowDown {
                    retry_after,
                    code,
                    scope,
                } => {
                    return Ok(Some(self.slower(retry_after, &code, scope).await));
                }
                Verdict::TokenExpired if !token_renewed => {
                    token_renewed = true;
                    courier::forget_token(self.world, self.bot).await;
                }
                Verdict::TokenExpired => return Ok(Some(self.later("token_expired").await)),
                Verdict::Retry { code } => return Ok(Some(self.later(&code).await)),
                Verdict::Refused { code } => return Ok(Some(self.refused(code).await)),
                Verdict::CredentialsRefused { code } => return Ok(Some(self.unauthorized(code).await)),
            }
        }
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, "reply goes in circles");
        let code = "too_many_calls".to_owned();
        Ok(Some(DeliveryOutcome::Never { code }))
    }

    /// Brings the final text there, waiting a little and trying again: until `until`, or until the target has run out. What takes
    /// longer is for another time.
    ///
    /// # Errors
    /// [`DeliverError`] if the record can't be written, or the conversation was lost.
    pub async fn finish(&mut self, until: Option<Instant>) -> Result<DeliveryOutcome, DeliverError> {
        loop {
            let (text, reasoning) = (self.record.text.clone(), String::new());
            let files = self.record.files.clone();
            let look = Snapshot {
                stage: Stage::Final,
                text: &text,
                reasoning: &reasoning,
                notice: self.record.notice,
                files: &files,
            };
            // A run that was stopped calls no platform, so it needs no wait.
            let shown = match self.is_asked_to_wait().filter(|_| !self.is_stopped()) {
                Some(at) => DeliveryOutcome::NotBefore(at),
                None => match self.show_in_time(look).await? {
                    Some(shown) => shown,
                    // By another process, at once.
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

    /// Whether `/stop` still counts. Not where the platform polls, which may have fetched a recorded answer already.
    fn can_be_stopped(&self) -> bool {
        !self.is_pulled() && !matches!(self.record.outcome, Some(Outcome::Stopped))
    }

    /// Whether a person wants no more of a recorded answer.
    fn is_stopped(&self) -> bool {
        self.can_be_stopped() && self.hold.as_ref().is_some_and(LeaseWatch::is_stopped)
    }

    /// Replaces the recorded answer by the notice that it was stopped. `false`: the chat shows nothing of it, so it needs no notice.
    pub fn replace_by_stopped(&mut self) -> bool {
        self.record.outcome = Some(Outcome::Stopped);
        self.record.notice = Some(Notice::Stopped);
        self.record.text = String::new();
        self.record.files = Vec::new();
        self.record.progress != Progress::default()
    }

    /// Until when the platform wants to be left alone: it may have said so to an earlier holder.
    fn is_asked_to_wait(&self) -> Option<Timestamp> {
        let now = self.now();
        let at = self.record.pace.next_at(self.budget(), Stage::Final, now);
        at.filter(|at| *at > now && !self.is_pulled())
    }

    /// When there is no point in trying any more.
    fn end(&self) -> Timestamp {
        let patience = || self.record.final_at.unwrap_or_else(|| self.now()).after(PATIENCE);
        self.target.expires_at.unwrap_or_else(patience)
    }

    async fn pause(&self, wait: Duration) -> Result<(), DeliverError> {
        record::pause(self.hold.as_ref(), wait).await
    }

    /// The reply's progress, as it is while some of the bot's ways rest.
    fn progress(&self) -> Progress {
        let resting = self.world.cooldowns.resting(&self.bot.account.integration, self.now());
        resting
            .into_iter()
            .fold(self.record.progress.clone(), |progress, (way, until)| {
                self.bot.connector.with_resting_way(&progress, way, until)
            })
    }

    fn wanted<'w>(
        &self,
        id: &'w tieline_core::ids::ReplyId,
        look: Snapshot<'w>,
        link: &'w str,
        closed: Option<&'w Progress>,
    ) -> DesiredReply<'w> {
        let pulled = self.is_pulled().then_some(Pulled {
            received_at: self.record.received_at,
            closed,
        });
        DesiredReply {
            reply: id,
            stage: look.stage,
            text: look.text,
            reasoning: look.reasoning,
            notice: look.notice,
            files: look.files,
            link: Some(link),
            // A target without a message is none that is answered.
            proactive: self.target.message.as_str().is_empty(),
            plain: self
                .world
                .cooldowns
                .is_closed(&self.bot.account.integration, self.now()),
            pulled,
        }
    }

    async fn send(&mut self, call: &ApiCall) -> Result<Sent, DeliverError> {
        let limit = match call {
            ApiCall::Http(call) => call.timeout,
            ApiCall::Socket(_) => SOCKET_LIMIT,
        };
        if !self.has_time_for(limit) {
            return Ok(Sent::NoTime);
        }
        let token = match call {
            ApiCall::Http(call) => courier::token_for(self.world, self.bot, call).await,
            ApiCall::Socket(_) => Ok(None),
        };
        let token = match token {
            Ok(token) => token,
            Err(error) => return Ok(Sent::NoToken(error)),
        };
        // Only now: getting the token may have taken long, and a new holder of the reply sends it too.
        if !self.has_time_for(limit) {
            return Ok(Sent::NoTime);
        }
        self.ensure_lease(limit).await?;
        Ok(Sent::Answer(match call {
            ApiCall::Http(call) => upload::send(self.world, self.bot, call, token.as_ref()).await,
            ApiCall::Socket(call) => {
                let bot = &self.bot.account.integration;
                relay_call::send(self.world, bot, &self.record.id, call, &mut self.tries).await
            }
        }))
    }

    /// Whether this process lives until a call that takes so long is answered and that is recorded.
    fn has_time_for(&self, limit: Duration) -> bool {
        self.process_ends
            .is_none_or(|end| Instant::now() + limit + RECORDING < end)
    }

    /// Ensures that no other process can hold the reply for as long as the call may take.
    async fn ensure_lease(&mut self, limit: Duration) -> Result<(), DeliverError> {
        if let Some(hold) = &self.hold {
            // What may take longer than a fresh lease is guarded by the heartbeats that go on beside it.
            let settings = &self.world.settings;
            let needed = limit.min(settings.lease.saturating_sub(settings.heartbeat));
            if !hold.ensure(needed, settings.heartbeat).await {
                return Err(DeliverError::Lost);
            }
        }
        let lease_ends = self.record.lease.as_ref().map(|lease| lease.expires_at);
        match lease_ends.is_some_and(|end| end <= self.now().after(limit)) {
            // Saving extends it, unless another process was faster.
            true => self.save().await,
            false => Ok(()),
        }
    }

    async fn accepted(&mut self, progress: Progress, stage: Stage) -> Result<(), DeliverError> {
        self.failures = 0;
        self.record.progress = progress;
        self.record.pace.sent(self.now());
        debug!(account.id = %self.bot.account.integration, event.key = %self.record.message, stage = ?stage, "reply moved on");
        if stage == Stage::Final && self.ledger_tells {
            self.is_ahead = true;
            return Ok(());
        }
        match stage {
            // The platform accepted it: a holder that doesn't know would send it again.
            Stage::Final => self.save_patiently().await,
            Stage::Thinking | Stage::Growing => self.save().await,
        }
    }

    async fn slower(&mut self, retry_after: Option<Duration>, code: &str, scope: LimitScope) -> DeliveryOutcome {
        let now = self.now();
        let limit = RateLimit {
            code,
            scope,
            until: retry_after.map(|wait| now.after(wait)),
        };
        delivery_status::rate_limited(self.world, &self.bot.account.integration, &limit).await;
        // Once a delivery: a platform that repeats it says nothing new.
        if !std::mem::replace(&mut self.limit_noted, true) {
            delivery_status::note_limit(self.world, &self.record.message, code).await;
        }
        self.record.pace.slowed(retry_after, now, SLOW_DOWN);
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, code, "platform asks to go slower");
        DeliveryOutcome::NotBefore(now.after(retry_after.unwrap_or(SLOW_DOWN)))
    }

    async fn later(&mut self, code: &str) -> DeliveryOutcome {
        self.failures += 1;
        if self.failures >= LASTING_FAILURES {
            delivery_status::calls_failing(self.world, &self.bot.account.integration, code).await;
        }
        self.world.metrics.retry(RetrySource::Platform);
        let wait = BACKOFF.wait(self.failures, chance());
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, code, attempt = self.failures, "reply is tried again");
        DeliveryOutcome::NotBefore(self.now().after(wait))
    }

    async fn refused(&self, code: String) -> DeliveryOutcome {
        delivery_status::call_refused(self.world, &self.bot.account.integration, &code).await;
        DeliveryOutcome::Never { code }
    }

    async fn unauthorized(&self, code: String) -> DeliveryOutcome {
        delivery_status::credentials_refused(self.world, &self.bot.account.integration, &code).await;
        DeliveryOutcome::Never { code }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
}

/// Whether a final text has been tried for so long that there is no point in going on, whatever its target says.
#[must_use]
pub fn is_too_late(record: &ReplyRecord, now: Timestamp) -> bool {
    record.final_at.is_some_and(|at| now > at.after(PATIENCE))
}

/// The facts about a bot's mode.
///
/// # Panics
/// If the integration's mode isn't one of its platform's, which saving it checks.
#[must_use]
pub fn mode(bot: &Bot) -> &'static ModeManifest {
    let account: &Account = &bot.account;
    bot.connector
        .manifest()
        .mode(account.mode)
        .expect("an integration's mode is one of its platform's, checked when saved")
}

/// How a reply reaches the bot's chats.
#[must_use]
pub fn delivery(bot: &Bot) -> Delivery {
    mode(bot).delivery_with(&bot.account.endpoints)
}

/// Whether the bot's platform asks for the newest state of a reply.
#[must_use]
pub fn is_pulled(bot: &Bot) -> bool {
    matches!(delivery(bot), Delivery::Pull { .. })
}

const fn compose_code(error: &ComposeError) -> &'static str {
    match error {
        ComposeError::Expired => "target_expired",
        ComposeError::ForeignAddress => "target_foreign_address",
        ComposeError::Incomplete { .. } => "target_incomplete",
        ComposeError::UnreadableProgress(_) => "unreadable_progress",
    }
}
