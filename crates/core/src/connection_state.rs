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
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(secs: i64) -> Timestamp {
        Timestamp::from_secs(secs)
    }

    fn patience() -> Patience {
        Patience::default()
    }

    fn fresh() -> ConnectionLifecycle {
        ConnectionLifecycle::new(None, &patience(), at(0), 0)
    }

    fn credentials() -> Loss {
        Loss::Failed(Refusal::Credentials { code: "853000".into() })
    }

    #[test]
    fn a_new_connection_is_tried_at_once() {
        assert_eq!(fresh().retry_at(), Some(at(0)));
    }

    #[test]
    fn failures_count_until_a_connection_was_stable() {
        let mut link = fresh();
        for n in 1..=5 {
            link.begin(&patience(), at(0));
            link.lost(&Loss::passing("unreachable"), &patience(), at(0), 0);
            assert_eq!(link.failures, n);
        }
        // A connection that is closed right after it was accepted is not stable.
        link.up(at(100));
        link.lost(&Loss::passing("closed"), &patience(), at(101), 0);
        assert_eq!(link.failures, 6);
        link.up(at(200));
        link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
        assert_eq!(link.failures, 1);
        // One event proves as much as a minute.
        link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
        link.up(at(270));
        link.delivered();
        link.lost(&Loss::passing("closed"), &patience(), at(271), 0);
        assert_eq!(link.failures, 1);
    }

    #[test]
    fn stable_connection_is_replaced_at_once_and_then_with_backoff() {
        let mut link = fresh();
        link.up(at(0));
        link.lost(&Loss::passing("closed"), &patience(), at(100), 0);
        assert_eq!(link.retry_at(), Some(at(100)));
        let mut waits = Vec::new();
        for _ in 0..8 {
            link.begin(&patience(), at(100));
            link.lost(&Loss::passing("unreachable"), &patience(), at(100), 0);
            waits.push(link.retry_at().unwrap().since(at(100)).as_millis());
        }
        // The least of each: minus a fifth.
        assert_eq!(waits, [1600, 3200, 6400, 12_800, 25_600, 48_000, 48_000, 48_000]);
    }

    #[test]
    fn connections_that_are_closed_again_and_again_are_not_replaced_at_once() {
        let mut link = fresh();
        let mut wait = |now| {
            link.begin(&patience(), at(now));
            link.up(at(now));
            link.delivered();
            link.lost(&Loss::passing("closed"), &patience(), at(now), 0);
            link.retry_at().unwrap().since(at(now)).as_millis()
        };
        assert_eq!([wait(0), wait(1), wait(59), wait(60)], [0, 800, 800, 0]);
    }

    #[test]
    fn platform_may_ask_for_a_pause_before_each_replacement() {
        let patience = Patience {
            replacement: Duration::from_secs(1),
            ..patience()
        };
        let mut link = fresh();
        link.up(at(0));
        link.lost(&Loss::passing("closed"), &patience, at(100), 0);
        assert_eq!(link.retry_at(), Some(at(101)));
    }

    #[test]
    fn refused_token_is_renewed_soon_only_once() {
        let stale = Loss::Failed(Refusal::StaleToken { code: "403".into() });
        let mut link = fresh();
        let mut wait = |up: bool| {
            if up {
                link.up(at(0));
            }
            link.lost(&stale, &patience(), at(0), 0);
            link.retry_at().unwrap()
        };
        assert!(wait(false) < at(3));
        assert_eq!([wait(false), wait(false)], [at(60), at(60)]);
        assert!(wait(true) < at(60));
    }

    #[test]
    fn first_refusal_may_be_retried_sooner() {
        let patience = Patience {
            first_refused: Some(Duration::from_secs(60)),
            ..patience()
        };
        let mut link = fresh();
        let mut wait = |up: bool| {
            if up {
                link.up(at(0));
            }
            link.lost(&credentials(), &patience, at(0), 0);
            link.retry_at().unwrap()
        };
        assert_eq!([wait(false), wait(false), wait(false)], [at(60), at(300), at(300)]);
        assert_eq!(wait(true), at(60));
    }

    #[test]
    fn the_platforms_own_wait_is_capped() {
        let asks = |secs| {
            Loss::Failed(Refusal::Passing {
                code: "busy".into(),
                retry_after: Some(Duration::from_secs(secs)),
            })
        };
        let mut link = fresh();
        link.lost(&asks(300), &patience(), at(0), 0);
        assert!(link.retry_at().unwrap() >= at(300));
        link.lost(&asks(u64::MAX), &patience(), at(0), 0);
        assert_eq!(link.retry_at(), Some(at(3600)));
    }

    #[test]
    fn the_first_kick_reconnects_once_and_the_second_does_not() {
        let mut link = fresh();
        link.up(at(0));
        let kick = link.lost(&Loss::Kicked, &patience(), at(100), 7_000);
        assert_eq!(
            kick,
            Some(Kick {
                at: at(100),
                down: false
            })
        );
        assert_eq!(link.retry_at(), Some(at(117)));
        link.begin(&patience(), at(117));
        link.up(at(118));
        let kick = link.lost(&Loss::Kicked, &patience(), at(699), 0);
        assert_eq!(
            kick,
            Some(Kick {
                at: at(699),
                down: true
            })
        );
        assert_eq!(link.retry_at(), None);
    }

    #[test]
    fn kicks_far_apart_each_reconnect() {
        let mut link = fresh();
        link.lost(&Loss::Kicked, &patience(), at(100), 0);
        link.lost(&Loss::Kicked, &patience(), at(700), 0);
        assert_eq!(link.retry_at(), Some(at(710)));
    }

    #[test]
    fn a_new_holder_remembers_kicks() {
        let new = |kick, now| ConnectionLifecycle::new(Some(kick), &patience(), now, 0).retry_at();
        let once = Kick {
            at: at(100),
            down: false,
        };
        assert_eq!(new(once, at(103)), Some(at(110)));
        assert_eq!(new(once, at(115)), Some(at(115)));
        assert_eq!(
            new(
                Kick {
                    at: at(100),
                    down: true
                },
                at(9_999)
            ),
            None
        );
        let mut link = ConnectionLifecycle::new(Some(once), &patience(), at(115), 0);
        link.up(at(116));
        assert_eq!(
            link.lost(&Loss::Kicked, &patience(), at(120), 0).map(|kick| kick.down),
            Some(true)
        );
    }

    proptest! {
        #[test]
        fn refused_credentials_are_never_retried_too_soon(failures in 0u32..50, chance: u64) {
            let mut link = fresh();
            link.failures = failures;
            link.lost(&credentials(), &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_secs(300) && wait <= Duration::from_secs(330));
        }

        #[test]
        fn a_kicked_bot_reconnects_after_10_to_30_s(chance: u64) {
            let mut link = fresh();
            link.lost(&Loss::Kicked, &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_secs(10) && wait <= Duration::from_secs(30));
        }

        #[test]
        fn transient_failures_never_make_a_hot_loop(failures in 0u32..50, chance: u64) {
            let mut link = fresh();
            link.failures = failures;
            link.lost(&Loss::passing("closed"), &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(60));
        }
    }
}
