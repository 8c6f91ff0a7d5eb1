//! Rate limits and quotas of platforms, and the pace that keeps them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::reply::Stage;
use crate::split::TextLimit;
use crate::timestamp::Timestamp;

/// What one platform mode allows. Constants with their source beside them, in each connector's manifest.
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
    /// How many updates one bubble takes.
    pub max_updates: Option<u32>,
    /// Limits shared by all processes.
    pub quotas: &'static [Quota],
    /// Where the numbers come from.
    pub source: &'static str,
}

/// A limit that all processes share.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Quota {
    /// What it is called in logs and in the table.
    pub name: &'static str,
    /// Whether each chat has its own or the bot has one.
    pub scope: QuotaScope,
    /// How many sends.
    pub sends: u32,
    /// In how much time.
    pub per: Duration,
    /// What counts as a send.
    pub calls: Calls,
}

impl Quota {
    /// Whether a call of that name uses up a send.
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

/// When a reply may be shown again. One per reply, kept by the runner.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Pace {
    #[serde(with = "crate::timestamp::millis::option", default)]
    first_at: Option<Timestamp>,
    #[serde(with = "crate::timestamp::millis::option", default)]
    last_at: Option<Timestamp>,
    #[serde(with = "crate::timestamp::millis::option", default)]
    not_before: Option<Timestamp>,
    updates: u32,
    /// How many times slower than the budget we go, because the platform asked.
    slowness: u32,
    /// Updates that were taken since the platform last asked.
    #[serde(default)]
    taken: u32,
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            first_at: None,
            last_at: None,
            not_before: None,
            updates: 0,
            slowness: 1,
            taken: 0,
        }
    }
}

/// Most that a platform's complaints slow us down.
const MAX_SLOWNESS: u32 = 8;
/// After so many updates that were taken, the pace goes half as slow.
const TAKEN_UPDATES: u32 = 8;
/// The connector counts from the platform's first answer, which came a little later than the pace began to count.
const ROTATION_SLACK: Duration = Duration::from_secs(5);

impl Pace {
    /// When a change of this stage may be sent. `None`: not at all, only the final text still may.
    ///
    /// Final and first texts wait for nothing but the platform's own demand.
    #[must_use]
    pub fn next_at(&self, budget: &Budget, stage: Stage, now: Timestamp) -> Option<Timestamp> {
        let asked = self.not_before.unwrap_or(now).max(now);
        let Some((first, last)) = self.first_at.zip(self.last_at) else {
            return Some(asked);
        };
        if stage == Stage::Final {
            return Some(asked);
        }
        // Always keep room for the final text.
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

    /// A process goes on with a reply that another one has shown, which may have sent more until now than was recorded.
    pub const fn taken_over(&mut self, now: Timestamp) {
        if self.first_at.is_some() {
            self.last_at = Some(now);
        }
    }

    /// Something was sent.
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

    /// The platform asked us to go slower.
    pub fn slowed(&mut self, retry_after: Option<Duration>, now: Timestamp, fallback: Duration) {
        self.not_before = Some(now.after(retry_after.unwrap_or(fallback)));
        self.slowness = (self.slowness * 2).min(MAX_SLOWNESS);
        self.taken = 0;
    }

    /// Nothing may be sent before then, for a reason that says nothing about the pace.
    pub fn wait(&mut self, until: Timestamp) {
        self.not_before = self.not_before.max(Some(until));
    }

    /// When the bubble has run out of time, and another has to begin. The connector does that; it must only be asked.
    #[must_use]
    pub fn rotates_at(&self, budget: &Budget) -> Option<Timestamp> {
        let (first, life) = self.first_at.zip(budget.lifetime)?;
        Some(first.after(life + ROTATION_SLACK))
    }

    /// A new bubble begins.
    pub fn rotated(&mut self) {
        *self = Self {
            slowness: self.slowness,
            not_before: self.not_before,
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
    fn reply_that_is_taken_over_grows_as_if_something_had_just_been_sent() {
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
}
