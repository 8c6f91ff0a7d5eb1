//! Delivery of a reply: a reconcile loop that brings a chat, call by call, to show it.

mod call;
mod files;
mod final_text;
mod record;
mod verdict;

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use tieline_core::account::Account;
use tieline_core::budget::Budget;
use tieline_core::card::{Button, Card};
use tieline_core::connector::{Context, Delivery, ModeManifest, SentCall, TokenError, Verdict};
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, Pulled, ReplyFile, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::ThinkingSign;
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::reply::{Outcome, ReplyRecord};
use tokio::sync::oneshot;
use tokio::time::Instant;
use tracing::{debug, warn};

use self::call::Sent;
use self::files::{Subject, is_doubtful};
pub use self::final_text::is_too_late;
pub use self::record::Patience;
use crate::accounts::Bot;
use crate::connections::relay_call::FrameAttempts;
use crate::delivery_status;
use crate::lease_watch::LeaseWatch;
use crate::local_replies::ReplyWatch;
use crate::metrics::Metric;
use crate::rate_limiter::{self, PlannedCall};
use crate::world::{World, chance};
use crate::{notices, rendering, reply_links};

/// Most calls for one change of the chat: more means that the connector loops.
const MAX_CALLS: u32 = 400;
/// How long calls pause when the platform asks to slow down and doesn't say for how long.
const SLOW_DOWN: Duration = Duration::from_secs(2);
/// Replies that were held for a platform go on within this time, in milliseconds.
const AFTER_HOLD_MS: u64 = 1000;
/// Most waits in a row for a quota shared by all processes.
const MAX_WAITS: u32 = 20;
/// A shared quota that is available again this soon is waited for.
const SHORT_WAIT: Duration = Duration::from_millis(500);

/// The delivery of a reply to its chat.
pub struct ReplyDelivery<'a> {
    /// The process's clients, settings and clock.
    pub world: &'a World,
    /// The bot that was spoken to.
    pub bot: &'a Bot,
    /// Where the answer goes. Fixed when the message was received, but for the handle of a newer one: see
    /// [`tieline_core::connector::Manifest::answers_by_newest`].
    pub target: Cow<'a, ReplyTarget>,
    /// The reply's record.
    pub record: ReplyRecord,
    /// The record as the table has it, if it is there.
    saved: Option<Arc<ReplyRecord>>,
    /// Transient failures of calls in a row.
    failures: u32,
    /// Attempts to send the same frame to the bot's socket.
    tries: FrameAttempts,
    /// Whether the chat shows text of the answer already.
    has_shown_text: bool,
    /// Whether the ledger will record at once that the chat shows the final text, so that the reply's record needn't.
    ledger_tells: bool,
    /// When the record was last written.
    saved_at: Timestamp,
    /// Whether the platform may have acted on a call that it didn't confirm: the chat may show more than the record says.
    has_doubtful_call: bool,
    /// Whether the record is ahead of the table by more than calls that can be repeated.
    is_ahead: bool,
    /// Where the result of the run arrives while its growing answer is shown.
    result: Option<oneshot::Receiver<RunResult>>,
    /// Whether the rate limit that this delivery met is in the ledger.
    limit_noted: bool,
    /// Watches whether this process still holds the conversation, where a run shows the reply.
    hold: Option<LeaseWatch>,
    /// The deadline of this process, if it has one.
    process_ends: Option<Instant>,
    /// Publishes what this process writes of the reply to the tasks of this process that follow it.
    _followed: Option<ReplyWatch>,
}

/// The result of a run, as the record of its reply has it.
#[derive(Debug)]
pub struct RunResult {
    /// The whole text.
    pub text: String,
    /// Its files.
    pub files: Vec<ReplyFile>,
    /// The card below it.
    pub card: Option<Card>,
    /// The agent's outcome.
    pub outcome: Outcome,
    /// A notice of the bridge.
    pub notice: Option<Notice>,
}

/// What the chat should show.
#[derive(Debug, Clone, Copy)]
pub struct Snapshot<'a> {
    /// How far the reply has got.
    pub stage: Stage,
    /// The text so far.
    pub text: &'a str,
    /// The reasoning so far.
    pub reasoning: &'a str,
    /// A notice of the bridge.
    pub notice: Option<Notice>,
    /// Files.
    pub files: &'a [ReplyFile],
    /// Buttons, in a mode that has them.
    pub buttons: &'a [Button],
}

/// Outcome of showing a snapshot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DeliveryOutcome {
    /// The chat shows it, or will when the platform polls.
    Yes,
    /// The chat shows it until then: what was shown expires, or the platform's pace defers an update. Never the outcome of a final text.
    Until(Timestamp),
    /// Not shown; try again at that time.
    NotBefore(Timestamp),
    /// The run was stopped before the chat showed the whole answer. Only the outcome of a final text.
    Stopped,
    /// Can never be shown in this chat.
    Never {
        /// The platform's code, or ours.
        code: String,
    },
}

/// The next step of a delivery.
enum Plan {
    /// Make this call, and record this progress if the platform accepts it.
    Call(Box<ApiCall>, Progress, Subject),
    /// No call: the outcome is known.
    Over(DeliveryOutcome),
}

/// Why this process had to abandon a delivery.
#[derive(Debug, thiserror::Error)]
pub enum DeliverError {
    /// The table failed; [`StoreError::Conflict`] means that another process holds the reply now.
    #[error("reply can't be recorded")]
    Store(#[from] StoreError),
    /// Another process holds the conversation now and shows the reply.
    #[error("conversation was lost")]
    Lost,
}

impl<'a> ReplyDelivery<'a> {
    /// Starts from the record in the table, or from a blank one.
    #[must_use]
    pub fn new(
        world: &'a World,
        bot: &'a Bot,
        target: &'a ReplyTarget,
        saved: Option<ReplyRecord>,
        blank: impl FnOnce() -> ReplyRecord,
    ) -> Self {
        let mut record = saved.clone().unwrap_or_else(blank);
        record.pace.correct(world.clock.now());
        let has_shown_text = record.stage != Stage::Thinking;
        let tries = match saved.as_ref().filter(|saved| may_have_been_sent(saved)) {
            Some(saved) => FrameAttempts::after(saved.tried.as_ref()),
            None => FrameAttempts::default(),
        };
        let followed = is_pulled(bot).then(|| world.local_replies.watch(&record.id));
        Self {
            world,
            bot,
            target: Cow::Borrowed(target),
            record,
            saved: saved.map(Arc::new),
            failures: 0,
            tries,
            has_shown_text,
            ledger_tells: false,
            saved_at: Timestamp::default(),
            has_doubtful_call: false,
            is_ahead: false,
            result: None,
            limit_noted: false,
            hold: None,
            process_ends: None,
            _followed: followed,
        }
    }

    /// Sets the deadline of this process: it makes no call whose outcome it could not record before.
    #[must_use]
    pub const fn in_process_until(mut self, end: Option<Instant>) -> Self {
        self.process_ends = end;
        self
    }

    /// Delivers for a run, which may show nothing once it has lost its conversation's lease. `fence` distinguishes its writes from those of
    /// other holders.
    #[must_use]
    pub fn under_lease(mut self, hold: LeaseWatch, fence: u64) -> Self {
        self.hold = Some(hold);
        self.record.fence = fence;
        self
    }

    /// Leaves it to the ledger to record that the final text is shown: the caller must end the message right after. Saves a write where
    /// one call shows everything.
    pub const fn let_the_ledger_tell(&mut self) {
        self.ledger_tells = true;
    }

    /// Records that the chat shows text of the answer now.
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

    /// Whether the platform polls for the newest state.
    #[must_use]
    pub fn is_pulled(&self) -> bool {
        is_pulled(self.bot)
    }

    /// Brings the chat to show the snapshot. Transient failures of the platform are not retried here: see [`DeliveryOutcome::NotBefore`].
    ///
    /// # Errors
    /// [`DeliverError`] if the record can't be written.
    pub async fn show(&mut self, look: Snapshot<'_>) -> Result<DeliveryOutcome, DeliverError> {
        let is_sign = look.stage == Stage::Thinking && self.bot.shown_reasoning(look.reasoning).is_empty();
        if is_sign && self.bot.account.thinking.sign == ThinkingSign::Off {
            return Ok(DeliveryOutcome::Yes);
        }
        let shown = self.show_in_time(look).await?;
        Ok(shown.unwrap_or_else(|| DeliveryOutcome::NotBefore(self.now().after(SLOW_DOWN))))
    }

    /// Like [`Self::show`]. `None`: this process ends before a call could be answered.
    async fn show_in_time(&mut self, look: Snapshot<'_>) -> Result<Option<DeliveryOutcome>, DeliverError> {
        let mut token_renewed = false;
        let (mut n_calls, mut n_waits) = (0, 0);
        while n_calls < MAX_CALLS {
            let cx = self.bot.context(self.world, None);
            let (call, on_success, subject) = match self.plan(look, &cx).await? {
                // The rest of a polled answer is left to its own wake-up: a poll that ends polling sends one too, and the platform takes the rest once.
                Plan::Call(..) if self.is_pulled() && self.hold.is_some() => {
                    return Ok(Some(DeliveryOutcome::NotBefore(self.now())));
                }
                Plan::Call(call, on_success, subject) => (call, on_success, subject),
                Plan::Over(outcome) => return Ok(Some(outcome)),
            };
            let progress = match subject {
                Subject::Text => self.progress(),
                Subject::File { .. } | Subject::Links => self.progress_of(subject).clone(),
            };
            self.catch_up().await?;
            let quotas = self.budget().quotas;
            let bot = &self.bot.account.integration;
            delivery_status::read_stored_limit(self.world, bot).await;
            if let Some(at) = self.world.cooldowns.held(bot, &self.target.chat.id, self.now()) {
                debug!(account.id = %bot, event.key = %self.record.message, "the platform has asked to slow down");
                // All that were held must not call at once.
                return Ok(Some(DeliveryOutcome::NotBefore(
                    at.after(Duration::from_millis(chance() % AFTER_HOLD_MS)),
                )));
            }
            let planned = PlannedCall {
                bot,
                chat: &self.target.chat.id,
                name: call.name(),
                stage: look.stage,
                over_own_connection: matches!(*call, ApiCall::Socket(_)) && self.world.sockets.is_here(bot),
            };
            if let Some(at) = rate_limiter::take(self.world, planned, quotas).await {
                debug!(account.id = %bot, event.key = %self.record.message, "a quota shared by all processes is used up");
                let pause = at.since(self.now());
                // Another snapshot will follow, and the end of the answer must not wait for this one.
                if look.stage != Stage::Final || pause > SHORT_WAIT || n_waits == MAX_WAITS {
                    return Ok(Some(DeliveryOutcome::NotBefore(at)));
                }
                // A text that takes several calls isn't interrupted for a moment's wait.
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
            self.has_doubtful_call |= is_doubtful(&answer);
            let sent = SentCall {
                call: &call,
                progress: &progress,
                on_success: &on_success,
            };
            let verdict = self.verdict(&sent, &answer, &cx, subject);
            if matches!((&*call, &answer), (ApiCall::Socket(_), ApiAnswer::Answered { .. })) {
                // Else the next holder would read this recorded answer again, for as long as it is kept.
                self.record.tried = match &verdict {
                    Verdict::Accepted(_) => None,
                    _ => Some(self.tries.so_far()),
                };
            }
            let verdict = match subject {
                Subject::File { .. } => self.file_verdict(verdict, &call, &answer).await,
                Subject::Links => self.links_verdict(verdict).await,
                Subject::Text => Some(verdict),
            };
            let Some(verdict) = verdict else { continue };
            let what = (subject, look.stage);
            if let Some(outcome) = self.apply(verdict, call.name(), what, &mut token_renewed).await? {
                return Ok(Some(outcome));
            }
        }
        warn!(account.id = %self.bot.account.integration, event.key = %self.record.message, "delivery of the reply does not converge");
        let code = "too_many_calls".to_owned();
        Ok(Some(DeliveryOutcome::Never { code }))
    }

    /// Asks the connector for the next step from what the chat shows to what it should show.
    async fn plan(&mut self, look: Snapshot<'_>, cx: &Context<'_>) -> Result<Plan, DeliverError> {
        if self.bot.connector.manifest().answers_by_newest
            && let Some(renewed) = self.world.newest_targets.renew(&self.target)
        {
            self.target = Cow::Owned(renewed);
        }
        let link = reply_links::link(self.world, &self.record);
        let (id, closed) = (self.record.id.clone(), self.record.closed.clone());
        let part = self.text_part(look);
        let shown = Snapshot {
            text: &part.text,
            files: &part.files,
            ..look
        };
        let wanted = DesiredReply {
            n_native_files: part.n_native_files,
            ..self.wanted(&id, shown, &link, closed.as_ref())
        };
        let step = match part.is_needless {
            true => Ok(Step::Done),
            false => rendering::deliver(self.bot, &wanted, &self.target, &self.progress(), cx).await,
        };
        let outcome = match step {
            Ok(Step::Done) => {
                if look.stage == Stage::Final
                    && let Some(plan) = self.plan_file(look.files, cx)
                {
                    return Ok(match self.is_stopped() {
                        true => Plan::Over(DeliveryOutcome::Stopped),
                        false => plan,
                    });
                }
                if look.stage != Stage::Thinking && !look.text.is_empty() {
                    self.note_text();
                }
                return Ok(Plan::Over(DeliveryOutcome::Yes));
            }
            // Only after planning: an answer that the chat shows whole is no longer stopped.
            Ok(Step::Wait { .. } | Step::Call { .. }) if look.stage == Stage::Final && self.is_stopped() => {
                DeliveryOutcome::Stopped
            }
            Ok(Step::Wait { until }) if self.is_pulled() || look.stage == Stage::Final => {
                DeliveryOutcome::NotBefore(until)
            }
            Ok(Step::Wait { until }) => DeliveryOutcome::Until(until),
            Ok(Step::Call { call, on_success }) => {
                return Ok(Plan::Call(Box::new(call), on_success, Subject::Text));
            }
            Err(error) => DeliveryOutcome::Never {
                code: compose_code(&error).to_owned(),
            },
        };
        self.catch_up().await?;
        Ok(Plan::Over(outcome))
    }

    async fn pause(&self, wait: Duration) -> Result<(), DeliverError> {
        record::pause(self.hold.as_ref(), wait).await
    }

    /// The reply's progress, with the ways of the bot that cool down marked.
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
            reasoning: self.bot.shown_reasoning(look.reasoning),
            notice: look.notice,
            reference: look.notice.and_then(|notice| notices::reference(notice, id)),
            files: look.files,
            n_native_files: 0,
            buttons: look.buttons,
            link: Some(link),
            // A target without a message doesn't answer any: the reply is proactive.
            proactive: self.target.message.as_str().is_empty(),
            plain: self
                .world
                .cooldowns
                .is_closed(&self.bot.account.integration, self.now()),
            pulled,
        }
    }

    fn now(&self) -> Timestamp {
        self.world.clock.now()
    }
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

/// Whether an earlier process may have sent frames of a reply. Not if it was written once, by no run: what writes a notice doesn't deliver it.
const fn may_have_been_sent(saved: &ReplyRecord) -> bool {
    saved.version > 1 || saved.fence > 0 || saved.tried.is_some()
}

/// Whether the bot's platform polls for the newest state of a reply.
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
