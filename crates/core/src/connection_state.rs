//! State machine of a long connection, with its reconnect backoff.
//!
//! Decisions only: the holder of the bot carries them out and reports the outcome.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::stream::Refusal;
use crate::timestamp::Timestamp;

/// Timeouts and backoff of a long connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Backoff between two attempts after a transient failure.
    pub backoff: Backoff,
    /// Wait before a connection that was stable is replaced, unless another one was replaced so shortly before.
    pub replacement: Duration,
    /// Longest wait that a platform can ask for.
    pub longest_wait: Duration,
    /// Timeout from opening a socket to being accepted.
    pub greeting: Duration,
    /// Between two attempts with credentials that were refused: more would only get the bot banned.
    pub refused: Duration,
    /// Before the first of these attempts, where the platform is known to refuse credentials by mistake.
    pub first_refused: Option<Duration>,
    /// Between two attempts after the platform has ended the login: usually only a person can fix that.
    pub logged_out: Duration,
    /// A connection that was up for this long counts as stable: failures before it are forgotten.
    pub stable: Duration,
    /// Shortest and longest wait before the single reconnect after a kick.
    pub kicked: (Duration, Duration),
    /// A second kick within this time means that another client uses the bot, so it is not reconnected.
    pub kick_memory: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
            replacement: Duration::ZERO,
            longest_wait: Duration::from_secs(3600),
            greeting: Duration::from_secs(30),
            refused: Duration::from_secs(300),
            first_refused: None,
            logged_out: Duration::from_hours(1),
            stable: Duration::from_secs(60),
            kicked: (Duration::from_secs(10), Duration::from_secs(30)),
            kick_memory: Duration::from_secs(600),
        }
    }
}

/// A long connection: its phase, and the failures to remember.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLifecycle {
    /// Its phase.
    pub state: ConnectionPhase,
    /// Failures in a row.
    pub failures: u32,
    /// Refusals of the credentials in a row.
    refusals: u32,
    /// Access tokens in a row that were refused.
    stale_tokens: u32,
    /// When a stable connection was last replaced without backoff.
    replaced_at: Option<Timestamp>,
    /// When another client last took the bot.
    pub kicked_at: Option<Timestamp>,
}

/// Phase of a connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// There is no connection; the next attempt is at this time.
    Down {
        /// When it is tried again.
        retry_at: Timestamp,
    },
    /// Being opened.
    Greeting {
        /// When the attempt times out.
        give_up_at: Timestamp,
    },
    /// The platform has accepted the connection.
    Up {
        /// Since when.
        since: Timestamp,
    },
    /// The platform refuses the credentials.
    Refused {
        /// When it is tried again: they may have been corrected on the platform's side.
        retry_at: Timestamp,
    },
    /// The platform has ended the login by which the credentials were obtained.
    LoggedOut {
        /// When it is tried again: the platform may have made a mistake.
        retry_at: Timestamp,
    },
    /// Another client has taken the bot.
    Kicked {
        /// When it is tried again. `None`: not by itself.
        retry_at: Option<Timestamp>,
    },
}

/// Why a connection was lost.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The platform or the network failed, or the platform refused.
    Failed(Refusal),
    /// Another client has taken the bot.
    Kicked,
}

impl Loss {
    /// A transient failure.
    #[must_use]
    pub fn passing(code: impl Into<String>) -> Self {
        Self::Failed(Refusal::Passing {
            code: code.into(),
            retry_after: None,
        })
    }
}

/// The last kick of a bot, also under earlier holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kick {
    /// When it happened.
    pub at: Timestamp,
    /// Whether it ended the reconnects.
    pub down: bool,
}

impl ConnectionLifecycle {
    /// A connection that is opened at once, unless a kick forbids it.
    #[must_use]
    pub fn new(kick: Option<Kick>, patience: &Patience, now: Timestamp, chance: u64) -> Self {
        let state = match kick {
            Some(Kick { down: true, .. }) => ConnectionPhase::Kicked { retry_at: None },
            // The holder that was kicked may have died during the wait.
            Some(Kick { at, .. }) if now < at.after(patience.kicked.0) => ConnectionPhase::Kicked {
                retry_at: Some(at.after(patience.kick_wait(chance))),
            },
            _ => ConnectionPhase::Down { retry_at: now },
        };
        Self {
            state,
            failures: 0,
            refusals: 0,
            stale_tokens: 0,
            replaced_at: None,
            kicked_at: kick.map(|kick| kick.at),
        }
    }

    /// When the next attempt is due. `None`: it is open or being opened, or isn't retried automatically.
    #[must_use]
    pub const fn retry_at(&self) -> Option<Timestamp> {
        match self.state {
            ConnectionPhase::Down { retry_at }
            | ConnectionPhase::Refused { retry_at }
            | ConnectionPhase::LoggedOut { retry_at } => Some(retry_at),
            ConnectionPhase::Kicked { retry_at } => retry_at,
            ConnectionPhase::Greeting { .. } | ConnectionPhase::Up { .. } => None,
        }
    }

    /// An attempt starts.
    pub fn begin(&mut self, patience: &Patience, now: Timestamp) {
        self.state = ConnectionPhase::Greeting {
            give_up_at: now.after(patience.greeting),
        };
    }

    /// The platform has accepted the connection.
    pub fn up(&mut self, now: Timestamp) {
        self.state = ConnectionPhase::Up { since: now };
        (self.refusals, self.stale_tokens) = (0, 0);
    }

    /// The connection has received an event, so it counts as stable: failures before it are forgotten.
    pub fn delivered(&mut self) {
        if matches!(self.state, ConnectionPhase::Up { .. }) {
            self.failures = 0;
        }
    }

    /// The connection is lost, or the attempt failed. Returns the kick to remember, if it was one.
    pub fn lost(&mut self, loss: &Loss, patience: &Patience, now: Timestamp, chance: u64) -> Option<Kick> {
        let was_up = matches!(self.state, ConnectionPhase::Up { .. });
        if let ConnectionPhase::Up { since } = self.state
            && now.since(since) >= patience.stable
        {
            self.failures = 0;
        }
        let was_good = was_up && self.failures == 0;
        self.failures = self.failures.saturating_add(1);
        match loss {
            Loss::Failed(Refusal::Passing { retry_after, .. }) => {
                let own = self.own_wait(was_good, patience, now, chance);
                let wait = retry_after.map_or(own, |asked| asked.saturating_add(own).min(patience.longest_wait));
                self.state = ConnectionPhase::Down {
                    retry_at: now.after(wait),
                };
                None
            }
            Loss::Failed(Refusal::StaleToken { .. }) => {
                self.stale_tokens = self.stale_tokens.saturating_add(1);
                let own = self.own_wait(was_good, patience, now, chance);
                let wait = match self.stale_tokens {
                    1 => own,
                    // A new token was refused too, so the next one hardly helps.
                    _ => own.max(patience.backoff.cap),
                };
                self.state = ConnectionPhase::Down {
                    retry_at: now.after(wait),
                };
                None
            }
            Loss::Failed(Refusal::Credentials { .. }) => {
                self.refusals = self.refusals.saturating_add(1);
                let first = patience.first_refused.filter(|_| self.refusals == 1);
                let wait = first.unwrap_or(patience.refused);
                self.state = ConnectionPhase::Refused {
                    retry_at: now.after(wait + spread(wait / 10, chance)),
                };
                None
            }
            Loss::Failed(Refusal::LoggedOut { .. }) => {
                let spread = spread(patience.logged_out / 10, chance);
                self.state = ConnectionPhase::LoggedOut {
                    retry_at: now.after(patience.logged_out + spread),
                };
                None
            }
            Loss::Kicked => Some(self.kicked(patience, now, chance)),
        }
    }

    /// The wait after a transient failure. A platform that accepts connections, perhaps sends something and closes them is not reconnected in a
    /// loop without pauses.
    fn own_wait(&mut self, was_good: bool, patience: &Patience, now: Timestamp, chance: u64) -> Duration {
        let is_first = self.replaced_at.is_none_or(|at| now.since(at) >= patience.stable);
        if was_good && is_first {
            self.replaced_at = Some(now);
            return patience.replacement;
        }
        patience.backoff.wait_about(self.failures, chance)
    }

    fn kicked(&mut self, patience: &Patience, now: Timestamp, chance: u64) -> Kick {
        let down = self
            .kicked_at
            .is_some_and(|last| now.since(last) < patience.kick_memory);
        self.kicked_at = Some(now);
        self.state = ConnectionPhase::Kicked {
            retry_at: (!down).then(|| now.after(patience.kick_wait(chance))),
        };
        Kick { at: now, down }
    }
}

impl Patience {
    fn kick_wait(&self, chance: u64) -> Duration {
        let (least, most) = self.kicked;
        least + spread(most.saturating_sub(least), chance)
    }
}

fn spread(most: Duration, chance: u64) -> Duration {
    let millis = u64::try_from(most.as_millis()).unwrap_or(u64::MAX).saturating_add(1);
    Duration::from_millis(chance % millis)
}

#[cfg(test)]
mod tests;
