//! How a long connection stands, and when it is tried again.
//!
//! Decisions only: the bot's holder carries them out and reports the outcome.

use std::time::Duration;

use crate::backoff::Backoff;
use crate::stream::Refusal;
use crate::timestamp::Timestamp;

/// How patient we are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Patience {
    /// Between two tries after something passing.
    pub backoff: Backoff,
    /// Longest wait that a platform can ask for.
    pub longest_wait: Duration,
    /// From opening a socket to being accepted.
    pub greeting: Duration,
    /// Between two tries with credentials that were refused: more would only get us banned.
    pub refused: Duration,
    /// The same before the first of these tries, where the platform is known to refuse credentials by mistake.
    pub first_refused: Option<Duration>,
    /// Between two tries after the platform has ended the login: mostly only a person can help.
    pub logged_out: Duration,
    /// A connection that was up this long was a good one: failures before it count no more.
    pub stable: Duration,
    /// Shortest and longest wait before the one try after a kick.
    pub kicked: (Duration, Duration),
    /// Kicked again within this time: another client wants the bot, and it may have it.
    pub kick_memory: Duration,
}

impl Default for Patience {
    fn default() -> Self {
        Self {
            backoff: Backoff {
                base: Duration::from_secs(1),
                cap: Duration::from_secs(60),
            },
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

/// A long connection: how it stands and what must be remembered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConnectionLifecycle {
    /// How it stands.
    pub state: ConnectionPhase,
    /// Failures in a row.
    pub failures: u32,
    /// How often in a row the credentials were refused.
    refusals: u32,
    /// When we were last kicked.
    pub kicked_at: Option<Timestamp>,
}

/// How a connection stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConnectionPhase {
    /// There is none; it is tried at this time.
    Down {
        /// When.
        retry_at: Timestamp,
    },
    /// On its way up.
    Greeting {
        /// When that takes too long.
        give_up_at: Timestamp,
    },
    /// The platform has accepted us.
    Up {
        /// Since when.
        since: Timestamp,
    },
    /// The platform refuses the credentials.
    Refused {
        /// When it is tried again: they may have been set right on the platform's side.
        retry_at: Timestamp,
    },
    /// The platform has ended the login by which the credentials were obtained.
    LoggedOut {
        /// When it is tried again: the platform may have been mistaken.
        retry_at: Timestamp,
    },
    /// Another client has taken the bot.
    Kicked {
        /// When it is tried again. `None`: not by itself.
        retry_at: Option<Timestamp>,
    },
}

/// Why there is no connection any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Loss {
    /// The platform or the way to it failed, or refused.
    Failed(Refusal),
    /// Another client has taken the bot.
    Kicked,
}

impl Loss {
    /// Something passing.
    #[must_use]
    pub fn passing(code: impl Into<String>) -> Self {
        Self::Failed(Refusal::Passing {
            code: code.into(),
            retry_after: None,
        })
    }
}

/// What is known of earlier kicks of a bot, also under other holders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kick {
    /// When.
    pub at: Timestamp,
    /// Whether it was one too many.
    pub down: bool,
}

impl ConnectionLifecycle {
    /// A connection that is to be tried at once, unless kicks forbid it.
    #[must_use]
    pub fn new(kick: Option<Kick>, patience: &Patience, now: Timestamp, chance: u64) -> Self {
        let state = match kick {
            Some(Kick { down: true, .. }) => ConnectionPhase::Kicked { retry_at: None },
            // The holder that was kicked may have died while it waited.
            Some(Kick { at, .. }) if now < at.after(patience.kicked.0) => ConnectionPhase::Kicked {
                retry_at: Some(at.after(patience.kick_wait(chance))),
            },
            _ => ConnectionPhase::Down { retry_at: now },
        };
        Self {
            state,
            failures: 0,
            refusals: 0,
            kicked_at: kick.map(|kick| kick.at),
        }
    }

    /// When it is to be tried next. `None`: it is open or being opened, or isn't tried again by itself.
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

    /// It is being tried.
    pub fn begin(&mut self, patience: &Patience, now: Timestamp) {
        self.state = ConnectionPhase::Greeting {
            give_up_at: now.after(patience.greeting),
        };
    }

    /// The platform has accepted us.
    pub fn up(&mut self, now: Timestamp) {
        self.state = ConnectionPhase::Up { since: now };
        self.refusals = 0;
    }

    /// The connection has brought an event, so it is a good one: failures before it count no more.
    pub fn delivered(&mut self) {
        if matches!(self.state, ConnectionPhase::Up { .. }) {
            self.failures = 0;
        }
    }

    /// It is gone, or did not come about. Gives the kick to remember, if it was one.
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
            Loss::Failed(refusal @ (Refusal::Passing { .. } | Refusal::StaleToken { .. })) => {
                let asked = match refusal {
                    Refusal::Passing { retry_after, .. } => *retry_after,
                    _ => None,
                };
                let own = match was_good {
                    // At once: it worked until now.
                    true => Duration::ZERO,
                    false => patience.backoff.wait_about(self.failures, chance),
                };
                let wait = asked.map_or(own, |asked| asked.saturating_add(own).min(patience.longest_wait));
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
    fn a_new_link_is_tried_at_once() {
        assert_eq!(fresh().retry_at(), Some(at(0)));
    }

    #[test]
    fn failures_count_until_a_connection_was_good() {
        let mut link = fresh();
        for n in 1..=5 {
            link.begin(&patience(), at(0));
            link.lost(&Loss::passing("unreachable"), &patience(), at(0), 0);
            assert_eq!(link.failures, n);
        }
        // Accepted and thrown out at once is no good connection.
        link.up(at(100));
        link.lost(&Loss::passing("closed"), &patience(), at(101), 0);
        assert_eq!(link.failures, 6);
        link.up(at(200));
        link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
        assert_eq!(link.failures, 1);
        // One event is as good a sign as a minute.
        link.lost(&Loss::passing("closed"), &patience(), at(260), 0);
        link.up(at(270));
        link.delivered();
        link.lost(&Loss::passing("closed"), &patience(), at(271), 0);
        assert_eq!(link.failures, 1);
    }

    #[test]
    fn good_connection_is_replaced_at_once_and_then_backing_off() {
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
        // The least of each: a fifth below.
        assert_eq!(waits, [1600, 3200, 6400, 12_800, 25_600, 48_000, 48_000, 48_000]);
    }

    #[test]
    fn first_refusal_may_be_tried_again_sooner() {
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
    fn the_platforms_own_wait_is_kept_within_reason() {
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
    fn the_first_kick_is_answered_once_and_the_second_not() {
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
    fn kicks_far_apart_are_each_answered() {
        let mut link = fresh();
        link.lost(&Loss::Kicked, &patience(), at(100), 0);
        link.lost(&Loss::Kicked, &patience(), at(700), 0);
        assert_eq!(link.retry_at(), Some(at(710)));
    }

    #[test]
    fn a_new_holder_knows_of_kicks() {
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
        fn refused_credentials_are_never_tried_sooner_than_that(failures in 0u32..50, chance: u64) {
            let mut link = fresh();
            link.failures = failures;
            link.lost(&credentials(), &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_secs(300) && wait <= Duration::from_secs(330));
        }

        #[test]
        fn a_kick_is_answered_after_10_to_30_s(chance: u64) {
            let mut link = fresh();
            link.lost(&Loss::Kicked, &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_secs(10) && wait <= Duration::from_secs(30));
        }

        #[test]
        fn passing_faults_never_make_a_hot_loop(failures in 0u32..50, chance: u64) {
            let mut link = fresh();
            link.failures = failures;
            link.lost(&Loss::passing("closed"), &patience(), at(1000), chance);
            let wait = link.retry_at().unwrap().since(at(1000));
            prop_assert!(wait >= Duration::from_millis(500) && wait <= Duration::from_secs(60));
        }
    }
}
