//! State shared by everything that serves one bot.

use std::sync::{Arc, OnceLock};

use tieline_core::connector::Context;
use tieline_core::envelope::Envelope;
use tieline_core::event::Event;
use tieline_core::stream::{Refusal, StreamProtocol};
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration;
use tieline_store::log::{Level, LogEntry};
use tieline_store::status::StatusChange;
use tokio::sync::mpsc::UnboundedSender;
use tracing::{info, warn};

use super::inbound_writer::{Job, Stored};
use super::shared::RelayShared;
use super::status_writer::StatusUpdate;
use super::trigger_wants::TriggerWants;
use crate::accounts::Bot;
use crate::large_event::StoredApart;
use crate::media::{self, InlineFile};
use crate::printable::Printable;
use crate::{courier, probe, receive};

/// State shared by everything that serves one bot. Cheap to clone.
#[derive(Clone)]
pub(super) struct BotContext {
    /// What the bots of this process share.
    pub(super) shared: Arc<RelayShared>,
    /// The bot as it was when its connection began.
    pub(super) bot: Bot,
    /// The same bot, with what its platform has reported of it since.
    pub(super) learned: Arc<OnceLock<Bot>>,
    /// The protocol of its platform.
    pub(super) protocol: &'static dyn StreamProtocol,
    /// What its trigger asks of the connector.
    pub(super) wants: TriggerWants,
    /// The integration's version.
    pub(super) version: u64,
    /// The fence of the shard.
    pub(super) fence: u64,
    /// Whether a new connection may be opened before the old one is closed.
    pub(super) two_sockets: bool,
}

impl BotContext {
    /// Now.
    pub(super) fn now(&self) -> Timestamp {
        self.shared.world.clock.now()
    }

    /// The connector's context.
    pub(super) fn context(&self) -> Context<'_> {
        Context {
            unaddressed: self.wants.unaddressed,
            ..self.newest().context(&self.shared.world, self.wants.welcome.as_deref())
        }
    }

    /// The platform's name.
    pub(super) fn platform(&self) -> &'static str {
        self.bot.connector.manifest().platform
    }

    fn newest(&self) -> &Bot {
        self.learned.get().unwrap_or(&self.bot)
    }

    /// Asks the platform for facts of the bot that it hasn't reported yet.
    pub(super) fn learn(&self) {
        if !probe::is_due(&self.shared.world, self.newest()) {
            return;
        }
        let context = self.clone();
        tokio::spawn(async move {
            let (world, id) = (&context.shared.world, &context.bot.account.integration);
            match integration::load_bound(&world.store, id).await {
                Ok(Some(bound)) => {
                    if let Some(bot) = probe::complete(world, &context.bot, &bound.integration).await {
                        // Setting it once is enough: concurrent callers got the same answer.
                        let _ = context.learned.set(bot);
                    }
                }
                Ok(None) => {}
                Err(error) => warn!(account.id = %id, error = %error, "bot can't be read"),
            }
        });
    }

    /// Forgets the bot's access token if the platform no longer accepts it, so that the next attempt fetches another.
    pub(super) async fn heed(&self, refusal: &Refusal) {
        if matches!(refusal, Refusal::StaleToken { .. }) {
            courier::forget_token(&self.shared.world, &self.bot).await;
        }
    }

    /// Hands events to the inbound writer.
    pub(super) fn deliver(
        &self,
        mut events: Vec<Event>,
        give_up_at: Timestamp,
        done: UnboundedSender<(u64, Stored)>,
        token: u64,
    ) {
        self.learn();
        let take = |event| media::take_inline(&self.bot, event);
        let files: Vec<_> = events.iter_mut().flat_map(take).collect();
        let (sealed, apart): (Vec<_>, Vec<_>) = events
            .iter()
            .map(|event| receive::inbound(&self.shared.world, &self.bot, event))
            .unzip();
        let apart: Vec<_> = apart.into_iter().flatten().collect();
        for (inbound, event) in sealed.iter().zip(&events) {
            let Envelope::V1(envelope) = &inbound.envelope;
            info!(
                platform = self.platform(),
                account.id = %self.bot.account.integration,
                chat.id = %Printable(event.chat().id.as_str()),
                event.key = %envelope.message,
                "received event {}",
                envelope.message
            );
        }
        let job = Job {
            n_bytes: sealed.iter().map(receive::size_of).sum::<usize>()
                + files.iter().map(InlineFile::n_bytes).sum::<usize>()
                + apart.iter().map(StoredApart::n_bytes).sum::<usize>(),
            files,
            apart,
            events: sealed,
            give_up_at,
            done,
            token,
        };
        self.shared.inbound_writer.put(&self.bot.account.integration, job);
    }

    /// Reports a change of the bot's status, and adds an entry to its log, if there is one.
    pub(super) fn report(&self, changes: Vec<StatusChange>, entry: Option<LogEntry>) {
        self.shared.status_writer.note(StatusUpdate {
            integration: self.bot.account.integration.clone(),
            fence: self.fence,
            changes,
            entry,
        });
    }

    /// An entry for the bot's log.
    pub(super) fn entry(&self, level: Level, code: &str, message: impl Into<String>) -> LogEntry {
        LogEntry {
            at: self.now(),
            level,
            code: code.to_owned(),
            message: message.into(),
        }
    }

    /// Writes a warning to the bot's log, rate-limited.
    pub(super) fn complain(&self, code: &'static str, reason: &'static str) {
        let id = &self.bot.account.integration;
        warn!(platform = self.platform(), account.id = %id, error = reason, "frame can't be used");
        if self.shared.world.log_throttle.lets_pass(id, code, self.now()) {
            self.report(Vec::new(), Some(self.entry(Level::Warn, code, reason)));
        }
    }
}
