//! Rate limiter shared by all processes: so many sends in so much time, for a bot or for one of its chats.
//!
//! Item `QTA#{integration}#{quota}#{chat}`/`QTA` of `state`: `t`, the point in time up to which sends are given out, in
//! microseconds. Every send advances it by a fixed step, and it may be ahead of the clock by a few steps (a leaky bucket as a
//! meter). A process reserves a block of sends with one write and must use it soon.

use std::time::Duration;

use aws_sdk_dynamodb::types::ReturnValue;
use tieline_core::budget::Quota;
use tieline_core::ids::{ChatId, IntegrationId, digest};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Written};
use crate::error::StoreError;
use crate::item::{get_number, number, text};
use crate::tables::TTL;
use crate::update::Update;

const SORT: &str = "QTA";

/// Outcome of reserving sends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// A number of sends, at least one, which must start before `until`.
    Granted {
        /// The number.
        n: u32,
        /// When they expire.
        until: Timestamp,
    },
    /// None is available before this time.
    Wait(Timestamp),
}

/// Reserves up to `n` sends of a quota; `chat` for a quota that each chat has of its own. `reserve` sends are always left for others.
///
/// However many processes reserve, and whenever within the granted time they send, no period of `quota.per` has more than
/// `quota.sends`, as long as their clocks agree. The price is that a steady stream gets about seven tenths of the quota.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn take(
    store: &Store,
    integration: &IntegrationId,
    quota: &Quota,
    chat: Option<&ChatId>,
    n: u32,
    reserve: u32,
    now: Timestamp,
) -> Result<Taken, StoreError> {
    let meter = Meter {
        reserve,
        ..Meter::new(quota)
    };
    let key = partition(integration, quota, chat);
    let mut n = n.clamp(1, meter.burst.saturating_sub(reserve).max(1));
    // A caller that asks for one has reserved none lately, and usually no other process has either: a wrong guess costs a write.
    let mut idle = n == 1;
    for _ in 0..MAX_TRIES {
        let change = if idle { meter.begin(n, now) } else { meter.go_on(n, now) };
        let table = &store.tables.state;
        let found = match dynamo::update(&store.dynamo, table, (&key, SORT), change, ReturnValue::None).await? {
            Written::Done(_) => {
                let until = now.after(quota.per / LATENESS);
                return Ok(Taken::Granted { n, until });
            }
            Written::Refused(found) => found,
        };
        let at = found
            .as_ref()
            .and_then(|item| get_number(item, "t"))
            .unwrap_or(i64::MIN);
        let is_impossible = meter.is_impossible(at, now);
        let left = if is_impossible {
            meter.burst.saturating_sub(reserve).max(1)
        } else {
            meter.left(at, now)
        };
        if left == 0 {
            return Ok(Taken::Wait(meter.next(at)));
        }
        idle = at <= meter.idle(now) || is_impossible;
        n = n.min(left);
    }
    // All attempts lost a race, so sends are being given out as fast as allowed.
    Ok(Taken::Wait(now.after(Duration::from_micros(meter.step.unsigned_abs()))))
}

/// Takes one send of a quota that the caller counts by itself, without the table. `given_out` is the point in time up to which it has given
/// out sends, in microseconds since 1970, and 0 at first. Returns the next such point.
///
/// # Errors
/// The time of the next send.
pub fn take_alone(quota: &Quota, given_out: i64, reserve: u32, now: Timestamp) -> Result<i64, Timestamp> {
    let meter = Meter {
        reserve,
        ..Meter::new(quota)
    };
    let given_out = match meter.is_impossible(given_out, now) {
        true => 0,
        false => given_out,
    };
    match meter.left(given_out, now) {
        0 => Err(meter.next(given_out)),
        _ => Ok(given_out.max(micros(now)) + meter.steps(1)),
    }
}

/// Most attempts of a write that loses races.
const MAX_TRIES: usize = 4;

/// Fraction of the quota's period in which a process has to use what it reserved.
const LATENESS: u32 = 10;

/// The arithmetic of a quota.
///
/// With step `s` and burst `b`, at most `b - 1 + ceil(w / s)` sends are given out in any period `w`. They are used up to a tenth of
/// `per` later, so `w` is eleven tenths of `per`, and `s` is chosen such that this equals `sends`.
///
/// A caller that leaves a reserve of `r` sends may only be `b - r` steps ahead; with a burst of no more than that it waits until nothing was
/// sent for the missing steps.
#[derive(Debug, Clone, Copy)]
struct Meter {
    burst: u32,
    reserve: u32,
    step: i64,
    per: Duration,
}

impl Meter {
    fn new(quota: &Quota) -> Self {
        let sends = quota.sends.max(1);
        let burst = (sends / 4).max(1);
        let span = quota.per + quota.per / LATENESS;
        let n_steps = u128::from(sends - burst + 1);
        let step = span.as_micros().div_ceil(n_steps).max(1);
        Self {
            burst,
            reserve: 0,
            step: i64::try_from(step).unwrap_or(i64::MAX / 1_000_000),
            per: quota.per,
        }
    }

    /// Reserves `n` when nothing was reserved lately.
    fn begin(&self, n: u32, now: Timestamp) -> Update {
        let mut change = Update::new();
        let (at, clock) = (change.path("t"), change.value(number(self.idle(now))));
        let impossible = change.value(number(self.impossible(now)));
        change.require(format!(
            "(attribute_not_exists({at}) OR {at} <= {clock} OR {at} > {impossible})"
        ));
        change.set("t", number(micros(now) + self.steps(n)));
        self.expire(&mut change, now);
        change
    }

    /// Reserves `n` in addition to earlier ones.
    fn go_on(&self, n: u32, now: Timestamp) -> Update {
        let mut change = Update::new();
        let at = change.path("t");
        let clock = change.value(number(self.idle(now)));
        let latest = change.value(number(self.latest(now) - self.steps(n)));
        change.require(format!("{at} > {clock} AND {at} <= {latest}"));
        change.add("t", self.steps(n));
        self.expire(&mut change, now);
        change
    }

    fn expire(&self, change: &mut Update, now: Timestamp) {
        change.set("v", text("1"));
        change.set(TTL, number(now.after(self.per * 2).as_secs() + 1));
    }

    fn steps(&self, n: u32) -> i64 {
        self.step.saturating_mul(i64::from(n))
    }

    /// How far ahead of the clock sends may be given out to this caller.
    fn latest(&self, now: Timestamp) -> i64 {
        micros(now) + self.steps(self.burst) - self.steps(self.reserve)
    }

    /// The latest `t` with which nothing counts against this caller.
    fn idle(&self, now: Timestamp) -> i64 {
        micros(now) - self.steps((self.reserve + 1).saturating_sub(self.burst))
    }

    /// No process with a correct clock can have granted sends beyond this: a clock that was hours ahead must not block a bot for hours.
    fn impossible(&self, now: Timestamp) -> i64 {
        let slack = i64::try_from((self.per * 2).as_micros()).unwrap_or(i64::MAX / 4);
        let latest = micros(now) + self.steps(self.burst);
        latest.saturating_add(slack)
    }

    fn is_impossible(&self, at: i64, now: Timestamp) -> bool {
        at > self.impossible(now)
    }

    /// How many are available now.
    fn left(&self, at: i64, now: Timestamp) -> u32 {
        let room = self.latest(now) - at.max(self.idle(now));
        u32::try_from(room / self.step).unwrap_or(0)
    }

    /// When the next one is available.
    fn next(&self, at: i64) -> Timestamp {
        let micros = at.saturating_sub(self.steps(self.burst - 1)) + self.steps(self.reserve);
        Timestamp::from_millis(micros.div_euclid(1000) + 1)
    }
}

const fn micros(time: Timestamp) -> i64 {
    time.as_millis().saturating_mul(1000)
}

fn partition(integration: &IntegrationId, quota: &Quota, chat: Option<&ChatId>) -> String {
    let chat = chat.map_or_else(String::new, |chat| digest(&[chat.as_str()]));
    format!("QTA#{integration}#{}#{chat}", quota.name)
}
