//! The conversation's mailbox: which messages wait, until when, and which go into a run together.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::timestamp::Timestamp;

/// A message that waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The message.
    pub message: MessageId,
    /// When it was put here.
    #[serde(with = "crate::timestamp::millis")]
    pub since: Timestamp,
    /// The number of its session: a run never spans two.
    pub session: u64,
    /// Whether it must not be held back: it brings media.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Whether a run was active at some time since it was put here, so that the run's holder may have signed it in the chat.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind_run: bool,
    /// When it was sent, by the platform's clock.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub sent_at: Option<Timestamp>,
}

/// Most messages that go into one run.
pub const MAX_MERGED: usize = 20;

/// Most messages that wait in one conversation. More are refused with a notice.
pub const MAX_PENDING: usize = 500;

/// How many windows a message waits at most.
const MAX_WINDOWS: u32 = 5;

/// What may be taken from a mailbox now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// Nothing waits.
    Empty,
    /// The first `n` messages go into a run.
    Now(usize),
    /// The first messages are held back until then.
    At(Timestamp),
}

/// Puts a message into a mailbox: behind those of its session that were sent before it, by the platform's clock. Without that time
/// on both sides the order is that of arrival.
pub fn insert(pending: &mut Vec<Pending>, new: Pending) {
    let is_later = |waiting: &&Pending| {
        let times = waiting.sent_at.zip(new.sent_at);
        waiting.session == new.session && times.is_some_and(|(waiting, new)| waiting > new)
    };
    let n_later = pending.iter().rev().take_while(is_later).count();
    pending.insert(pending.len() - n_later, new);
}

/// What may be taken from `pending`, which is in the order of [`insert`].
///
/// Without a window each message is a run of its own. With one, the messages of a session are merged until a window has
/// passed since the latest, or five since the first, or there are twenty, or one of them is urgent.
#[must_use]
pub fn due(pending: &[Pending], window: Duration, now: Timestamp) -> Due {
    let Some(first) = pending.first() else {
        return Due::Empty;
    };
    if window.is_zero() {
        return Due::Now(1);
    }
    let n_session = pending
        .iter()
        .take_while(|waiting| waiting.session == first.session)
        .count();
    let n_batch = n_session.min(MAX_MERGED);
    let batch = &pending[..n_batch];
    // What came after the batch can't join it any more, so it has nothing to wait for.
    let full = n_batch == MAX_MERGED || n_session < pending.len();
    if full || batch.iter().any(|waiting| waiting.urgent) {
        return Due::Now(n_batch);
    }
    let arrivals = batch.iter().map(|waiting| waiting.since);
    let earliest = arrivals.clone().min().unwrap_or(first.since);
    let latest = arrivals.max().unwrap_or(first.since);
    let until = latest.after(window).min(earliest.after(window * MAX_WINDOWS));
    if until <= now {
        Due::Now(n_batch)
    } else {
        Due::At(until)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn waiting(since_s: i64, session: u64) -> Pending {
        Pending {
            message: MessageId::new(format!("msg_{since_s}_{session}")),
            since: Timestamp::from_secs(since_s),
            session,
            urgent: false,
            behind_run: false,
            sent_at: None,
        }
    }

    /// The arrival numbers of messages that were sent at these times, in the order in which they wait.
    #[track_caller]
    fn check_order(sent: &[(Option<i64>, u64)], expected: &[i64]) {
        let mut pending = Vec::new();
        for (since, (sent_at, session)) in (0..).zip(sent) {
            let new = Pending {
                sent_at: sent_at.map(Timestamp::from_secs),
                ..waiting(since, *session)
            };
            insert(&mut pending, new);
        }
        let order: Vec<i64> = pending.iter().map(|waiting| waiting.since.as_secs()).collect();
        assert_eq!(order, expected);
    }

    #[test]
    fn messages_wait_in_the_order_in_which_they_were_sent() {
        check_order(&[(Some(10), 1), (Some(30), 1), (Some(20), 1)], &[0, 2, 1]);
        check_order(&[(Some(10), 1), (Some(10), 1)], &[0, 1]);
        // Without the platform's time a message stays where it arrived, and none goes past it.
        check_order(&[(Some(30), 1), (None, 1), (Some(20), 1)], &[0, 1, 2]);
        // Nor does one go into an earlier session.
        check_order(&[(Some(30), 1), (Some(20), 2)], &[0, 1]);
    }

    #[track_caller]
    fn check(pending: &[Pending], window_s: u64, now_s: i64, expected: Due) {
        assert_eq!(
            due(pending, Duration::from_secs(window_s), Timestamp::from_secs(now_s)),
            expected
        );
    }

    #[test]
    fn without_a_window_each_message_goes_alone() {
        check(&[], 0, 0, Due::Empty);
        check(&[waiting(0, 1), waiting(0, 1)], 0, 0, Due::Now(1));
    }

    #[test]
    fn window_counts_from_the_latest() {
        let pending = [waiting(0, 1), waiting(4, 1)];
        check(&pending, 5, 8, Due::At(Timestamp::from_secs(9)));
        check(&pending, 5, 9, Due::Now(2));
    }

    #[test]
    fn nobody_waits_longer_than_five_windows() {
        let pending: Vec<_> = (0..7).map(|at| waiting(at * 4, 1)).collect();
        check(&pending, 5, 24, Due::At(Timestamp::from_secs(25)));
        check(&pending, 5, 25, Due::Now(7));
    }

    #[test]
    fn twenty_go_at_once() {
        let pending: Vec<_> = (0..25).map(|_| waiting(0, 1)).collect();
        check(&pending, 5, 0, Due::Now(20));
    }

    #[test]
    fn media_is_not_held_back() {
        let pending = [
            waiting(0, 1),
            Pending {
                urgent: true,
                ..waiting(1, 1)
            },
        ];
        check(&pending, 60, 1, Due::Now(2));
    }

    #[test]
    fn a_run_never_spans_two_sessions() {
        check(&[waiting(0, 1), waiting(0, 1), waiting(0, 2)], 60, 0, Due::Now(2));
    }

    proptest! {
        #[test]
        fn what_is_held_back_becomes_due(times in proptest::collection::vec(0i64..500, 1..30), window_s in 1u64..60) {
            let mut times = times;
            times.sort_unstable();
            let pending: Vec<_> = times.iter().map(|at| waiting(*at, 1)).collect();
            let window = Duration::from_secs(window_s);
            let now = Timestamp::from_secs(*times.last().expect("not empty"));
            if let Due::At(until) = due(&pending, window, now) {
                prop_assert!(until > now);
                prop_assert!(until <= pending[0].since.after(window * MAX_WINDOWS));
                prop_assert_eq!(due(&pending, window, until), Due::Now(pending.len()));
            }
        }
    }
}
