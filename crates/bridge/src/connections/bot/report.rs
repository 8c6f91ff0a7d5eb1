//! Reports of a bot's connection: its status, and a log line for each new cause of a disconnect.

use tieline_core::connection_state::{ConnectionPhase, Loss, Patience};
use tieline_core::stream::Refusal;
use tieline_core::timestamp::Timestamp;
use tieline_store::log::{Level, LogEntry};
use tieline_store::status::{ConnectionState, KickRecord, StatusChange, StatusError};
use tracing::warn;

use super::BotTask;
use crate::world::chance;

/// Reason and log code of a bot whose connection has missed its heartbeats.
const SILENT: &str = "silent";
/// Reason and error code of a bot whose login the platform has ended.
const LOGIN_EXPIRED: &str = "login_expired";

impl BotTask {
    pub(super) fn lost(&mut self, loss: &Loss) {
        let now = self.context.now();
        let patience = Patience {
            first_refused: self.context.protocol.first_retry_after_refusal(),
            replacement: self.context.protocol.wait_before_replacement(),
            ..self.context.shared.patience
        };
        let kick = self.link.lost(loss, &patience, now, chance());
        let code = code_of(loss);
        let message = message_of(loss);
        let hopeless = self.link.retry_at().is_none();
        if hopeless
            || self
                .link
                .retry_at()
                .is_some_and(|at| self.waiting.iter().all(|(_, call)| call.expires_at < at))
        {
            let waiting = std::mem::take(&mut self.waiting);
            self.refuse(waiting);
        }
        let error = StatusError {
            at: now,
            code: code.clone(),
            message: message.clone(),
        };
        // Reported once per cause, however many attempts fail.
        let entry = (self.told.as_ref() != Some(&code)).then(|| self.context.entry(Level::Warn, &code, message));
        if entry.is_some() {
            warn!(platform = self.context.platform(), account.id = %self.id(), error = code, attempt = self.link.failures, "no connection");
        }
        self.told = Some(code);
        let mut changes = vec![StatusChange::LastError(error)];
        if let Loss::Failed(Refusal::Passing {
            retry_after: Some(after),
            ..
        }) = loss
        {
            changes.push(StatusChange::RateLimitedUntil(Some(now.after(*after))));
        }
        changes.extend(kick.map(|kick| {
            StatusChange::Kick(KickRecord {
                at: kick.at,
                down: kick.down,
                version: self.context.version,
            })
        }));
        self.report(Some(changes), entry);
    }

    pub(super) fn doubtful_at(&self) -> Option<Timestamp> {
        self.current.as_ref()?.doubtful_at(&self.context)
    }

    /// Reports a connection that has become silent, or is heard from again.
    pub(super) fn doubt(&mut self) {
        let now = self.context.now();
        let is_silent = self.doubtful_at().is_some_and(|at| at <= now);
        if is_silent == self.is_silent {
            return;
        }
        self.is_silent = is_silent;
        let entry = is_silent.then(|| {
            warn!(platform = self.context.platform(), account.id = %self.id(), "connection is silent");
            self.context
                .entry(Level::Warn, SILENT, "the connection shows no sign of life")
        });
        self.report(None, entry);
    }

    /// Reports the connection's state.
    pub(super) fn report(&self, more: Option<Vec<StatusChange>>, entry: Option<LogEntry>) {
        let (state, reason, since) = match &self.link.state {
            ConnectionPhase::Up { .. } if self.is_silent => (ConnectionState::Retrying, Some(SILENT), None),
            ConnectionPhase::Up { since } => (ConnectionState::Connected, None, Some(*since)),
            ConnectionPhase::Down { .. } | ConnectionPhase::Greeting { .. } if self.link.failures == 0 => {
                (ConnectionState::Connecting, None, None)
            }
            ConnectionPhase::Down { .. } | ConnectionPhase::Greeting { .. } => (ConnectionState::Retrying, None, None),
            ConnectionPhase::Refused { .. } => (ConnectionState::Disconnected, Some("config_invalid"), None),
            ConnectionPhase::LoggedOut { .. } => (ConnectionState::NeedsLogin, Some(LOGIN_EXPIRED), None),
            ConnectionPhase::Kicked { .. } => (ConnectionState::Disconnected, Some("kicked"), None),
        };
        self.status.tell(state);
        let mut changes = vec![
            StatusChange::State(state, reason.map(str::to_owned)),
            StatusChange::ConnectedAt(since),
            StatusChange::ReconnectAttempts(self.link.failures),
            StatusChange::Owner(Some(self.context.shared.world.settings.owner.node.clone())),
        ];
        if since.is_some() {
            changes.push(StatusChange::RateLimitedUntil(None));
            changes.extend(since.map(StatusChange::LastConnectedAt));
            // The platform has just accepted the credentials.
            changes.push(StatusChange::CredentialsRefused(None));
        }
        changes.extend(more.into_iter().flatten());
        self.context.report(changes, entry);
    }
}

fn code_of(loss: &Loss) -> String {
    match loss {
        Loss::Kicked => "kicked".to_owned(),
        Loss::Failed(Refusal::LoggedOut { .. }) => LOGIN_EXPIRED.to_owned(),
        Loss::Failed(Refusal::Credentials { code } | Refusal::StaleToken { code } | Refusal::Passing { code, .. }) => {
            code.clone()
        }
    }
}

fn message_of(loss: &Loss) -> String {
    match loss {
        Loss::Kicked => "another client has taken the bot over".to_owned(),
        Loss::Failed(refusal) => refusal.to_string(),
    }
}
