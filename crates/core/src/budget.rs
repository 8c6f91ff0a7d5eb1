//! Rate limits and quotas of platforms, and the pace that keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reply::Stage;
use crate::split::TextLimit;
use crate::timestamp::{CLOCKS_DIFFER, Timestamp};

/// Limits of one platform mode. Constants with their source beside them, in each connector's manifest.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Budget {
    /// Longest text of one message or bubble.
    pub text: TextLimit,
    /// Least time between two updates of one reply while it is young.
    pub min_interval: Duration,
    /// After this age of the reply updates come at `slow_interval`.
    pub slow_after: Duration,
    /// Least time between two updates of an old reply.
    pub slow_interval: Duration,
    /// How long one bubble can be updated, counted from its first frame, with a margin already taken off.
    pub lifetime: Option<Duration>,
    /// How many updates one bubble accepts.
    pub max_updates: Option<u32>,
    /// Limits shared by all processes.
    pub quotas: &'static [Quota],
    /// Source of the numbers.
    pub source: &'static str,
}

/// A rate limit shared by all processes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// Its name in logs and in the table.
    pub name: &'static str,
    /// Whether it applies to each chat or to the bot.
    pub scope: QuotaScope,
    /// Number of sends.
    pub sends: u32,
    /// Per this time.
    pub per: Duration,
    /// Which calls count as a send.
    pub calls: Calls,
}

impl Quota {
    /// Whether a call of that name counts as a send.
    #[must_use]
    pub fn counts(&self, call: &str) -> bool {
        match self.calls {
            Calls::All => true,
            Calls::Only(names) => names.contains(&call),
        }
    }
}

/// Which calls a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Calls {
    /// Every call.
    #[default]
    All,
    /// Calls of these names: see [`crate::http_types::ApiCall::name`].
    Only(&'static [&'static str]),
}

/// What a quota counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QuotaScope {
    /// All sends of the bot.
    Account,
    /// Sends into one chat.
    Chat,
}

/// Throttle of one reply: when it may be updated again. Kept by the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    #[serde(with = "crate::timestamp::millis::option", default)]
    first_at: Option<Timestamp>,
    #[serde(with = "crate::timestamp::millis::option", default)]
    last_at: Option<Timestamp>,
    #[serde(with = "crate::timestamp::millis::option", default)]
    not_before: Option<Timestamp>,
    /// When `not_before` was set, by the clock of the process that did it.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    asked_at: Option<Timestamp>,
    updates: u32,
    /// By which factor updates are slower than the budget, because the platform asked to slow down.
    slowness: u32,
    /// Updates accepted since the platform last asked.
    #[serde(default)]
    taken: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_at: None,
            last_at: None,
            not_before: None,
            asked_at: None,
            updates: 0,
            slowness: 1,
            taken: 0,
        }
    }
}

/// Upper limit of that factor.
const MAX_SLOWNESS: u32 = 8;
/// After so many accepted updates the factor is halved.
const TAKEN_UPDATES: u32 = 8;
/// The connector counts from the platform's first answer, which arrived a little later than the pace started to count.
const ROTATION_SLACK: Duration = Duration::from_secs(5);

impl Pace {
    /// When a change of this stage may be sent. `None`: only the final text may still be sent.
    ///
    /// Final and first texts are only delayed by the platform's own demand.
    #[must_use]
    pub fn next_at(&self, budget: &Budget, stage: Stage, now: Timestamp) -> Option<Timestamp> {
        let asked = self.not_before.unwrap_or(now).max(now);
        let Some((first, last)) = self.first_at.zip(self.last_at) else {
            return Some(asked);
        };
        if stage == Stage::Final {
            return Some(asked);
        }
        // One update is always reserved for the final text.
        if budget.max_updates.is_some_and(|max| self.updates + 1 >= max) {
            return None;
        }
        let young = now.since(first) < budget.slow_after;
        let interval = if young {
            budget.min_interval
        } else {
            budget.slow_interval
        };
        Some(asked.max(last.after(interval * self.slowness)))
    }

    /// Moves the times that were recorded by a process whose clock was ahead of this one's: else a wait of seconds could last for hours.
    pub fn correct(&mut self, now: Timestamp) {
        let Some(latest) = self
            .asked_at
            .max(self.last_at)
            .filter(|at| at.since(now) > CLOCKS_DIFFER)
        else {
            return;
        };
        let ahead = latest.since(now);
        for at in [
            &mut self.first_at,
            &mut self.last_at,
            &mut self.not_before,
            &mut self.asked_at,
        ] {
            *at = at.map(|at| at.before(ahead));
        }
    }

    /// A process takes over a reply from another one, which may have sent more than it recorded until now.
    pub const fn taken_over(&mut self, now: Timestamp) {
        if self.first_at.is_some() {
            self.last_at = Some(now);
        }
    }

    /// An update was sent.
    pub fn sent(&mut self, now: Timestamp) {
        self.first_at.get_or_insert(now);
        self.last_at = Some(now);
        self.updates += 1;
        self.taken += 1;
        if self.taken >= TAKEN_UPDATES {
            self.taken = 0;
            self.slowness = (self.slowness / 2).max(1);
        }
    }

    /// The platform asked to slow down.
    pub fn slowed(&mut self, retry_after: Option<Duration>, now: Timestamp, fallback: Duration) {
        self.not_before = Some(now.after(retry_after.unwrap_or(fallback)));
        self.asked_at = Some(now);
        self.slowness = (self.slowness * 2).min(MAX_SLOWNESS);
        self.taken = 0;
    }

    /// Until when the platform asked to send nothing.
    #[must_use]
    pub const fn asked_until(&self) -> Option<Timestamp> {
        self.not_before
    }

    /// When the bubble expires and another has to be started. The connector does that; it only has to be called.
    #[must_use]
    pub fn rotates_at(&self, budget: &Budget) -> Option<Timestamp> {
        let (first, life) = self.first_at.zip(budget.lifetime)?;
        Some(first.after(life + ROTATION_SLACK))
    }

    /// A new bubble is started.
    pub fn rotated(&mut self) {
        *self = Self {
            slowness: self.slowness,
            not_before: self.not_before,
            asked_at: self.asked_at,
            ..Self::default()
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::split::TextUnit;

    const BUDGET: Budget = Budget {
        text: TextLimit {
            max: 1000,
            unit: TextUnit::Bytes,
        },
        min_interval: Duration::from_millis(500),
        slow_after: Duration::from_secs(30),
        slow_interval: Duration::from_secs(2),
        lifetime: None,
        max_updates: None,
        quotas: &[],
        source: "",
    };

    #[test]
    fn reply_that_is_taken_over_waits_as_if_an_update_had_just_been_sent() {
        let (sent, now) = (Timestamp::from_secs(100), Timestamp::from_secs(110));
        let mut pace = Pace::default();
        pace.taken_over(now);
        assert_eq!(
            pace.next_at(&BUDGET, Stage::Growing, now),
            Some(now),
            "nothing was sent yet"
        );
        pace.sent(sent);
        pace.taken_over(now);
        let soon = now.after(BUDGET.min_interval);
        assert_eq!(pace.next_at(&BUDGET, Stage::Growing, now), Some(soon));
        assert_eq!(pace.next_at(&BUDGET, Stage::Final, now), Some(now));
    }

    #[test]
    fn wait_recorded_by_a_clock_that_was_ahead_lasts_no_longer() {
        let (now, ahead) = (Timestamp::from_secs(1000), Duration::from_secs(7200));
        let wait = Duration::from_secs(30);
        let mut slowed = Pace::default();
        slowed.slowed(Some(wait), now.after(ahead), Duration::ZERO);
        slowed.correct(now);
        assert_eq!(slowed.next_at(&BUDGET, Stage::Final, now), Some(now.after(wait)));
        let mut sent = Pace::default();
        sent.sent(now.after(ahead));
        sent.slowed(Some(wait), now.after(ahead), Duration::ZERO);
        sent.correct(now);
        assert_eq!(sent.next_at(&BUDGET, Stage::Growing, now), Some(now.after(wait)));
        let lifetime = Some(Duration::from_secs(60));
        let rotates_at = sent.rotates_at(&Budget { lifetime, ..BUDGET });
        assert_eq!(rotates_at, Some(now.after(Duration::from_secs(65))));
    }

    #[test]
    fn long_wait_recorded_by_a_correct_clock_is_kept() {
        let (asked_at, wait) = (Timestamp::from_secs(1000), Duration::from_secs(7200));
        let mut pace = Pace::default();
        pace.slowed(Some(wait), asked_at, Duration::ZERO);
        pace.correct(asked_at.before(Duration::from_secs(4)));
        assert_eq!(
            pace.next_at(&BUDGET, Stage::Final, asked_at),
            Some(asked_at.after(wait))
        );
    }
}
