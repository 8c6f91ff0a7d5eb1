//! The conversation's mailbox: which messages are pending, for how long, and which are merged into one run.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::MessageId;
use crate::timestamp::{CLOCKS_DIFFER, Timestamp};

/// A pending message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pending {
    /// The message.
    pub message: MessageId,
    /// When it was put into the mailbox.
    #[serde(with = "crate::timestamp::millis")]
    pub since: Timestamp,
    /// The number of its session: a run never spans two.
    pub session: u64,
    /// Whether it must not be delayed: it has attachments.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub urgent: bool,
    /// Whether a run was active at some time since it was put here, so that the run's holder may have shown a waiting sign for it.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind_run: bool,
    /// When it was sent, by the platform's clock.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub sent_at: Option<Timestamp>,
    /// The album that it is a part of: its parts go into a run together.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
}

impl Pending {
    /// Whether both are parts of one album.
    fn is_sibling(&self, other: &Self) -> bool {
        self.session == other.session && self.album.is_some() && self.album == other.album
    }
}

/// Most messages that go into one run.
pub const MAX_MERGED: usize = 20;

/// Most pending messages of one conversation. Further ones are refused with a notice.
pub const MAX_PENDING: usize = 500;

/// Most windows for which a message waits.
const MAX_WINDOWS: u32 = 5;

/// The window of an album. Platforms send its parts right after one another, and don't say how many there are.
pub const ALBUM_WINDOW: Duration = Duration::from_secs(2);

/// Which messages are due.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    /// The mailbox is empty.
    Empty,
    /// The first `n` messages go into a run.
    Now(usize),
    /// The first messages are due at this time.
    At(Timestamp),
}

/// Inserts a message into a mailbox: after those of its session that were sent before it, by the platform's clock. Where one of the two
/// lacks that time, the order is that of arrival. The parts of an album stay together.
pub fn insert(pending: &mut Vec<Pending>, new: Pending) {
    if let Some(at) = pending.iter().rposition(|waiting| waiting.is_sibling(&new)) {
        pending.insert(at + 1, new);
        return;
    }
    let is_later = |waiting: &&Pending| {
        let times = waiting.sent_at.zip(new.sent_at);
        waiting.session == new.session && times.is_some_and(|(waiting, new)| waiting > new)
    };
    let n_later = pending.iter().rev().take_while(is_later).count();
    let at = (pending.len() - n_later..).find(|at| is_between_albums(pending, *at));
    pending.insert(at.unwrap_or(pending.len()), new);
}

/// Whether a cut at this index leaves every album whole.
fn is_between_albums(pending: &[Pending], at: usize) -> bool {
    let before = at.checked_sub(1).and_then(|before| pending.get(before));
    let around = before.zip(pending.get(at));
    around.is_none_or(|(before, behind)| !before.is_sibling(behind))
}

/// Which messages of `pending` are due; it is in the order of [`insert`].
///
/// Without a window each message is a run of its own, and so is each album. With one, the messages of a session are merged until a
/// window has passed since the latest, or five since the first, or there are twenty, or one of them is urgent. An album waits for
/// its other parts by the same rule, in a window of its own: [`ALBUM_WINDOW`].
///
/// A window that ends later than one that begins now comes from a clock that was ahead, and holds nothing back.
#[must_use]
pub fn due(pending: &[Pending], window: Duration, now: Timestamp) -> Due {
    let Some(first) = pending.first() else {
        return Due::Empty;
    };
    let n_session = pending
        .iter()
        .take_while(|waiting| waiting.session == first.session)
        .count();
    let mut whole = (1..=n_session.min(MAX_MERGED)).filter(|n_taken| is_between_albums(pending, *n_taken));
    let fitting = if window.is_zero() {
        whole.next()
    } else {
        whole.next_back()
    };
    let n_batch = fitting.unwrap_or(MAX_MERGED);
    let batch = &pending[..n_batch];
    // Later messages can't join the batch any more, so it has nothing to wait for.
    let full = n_session >= MAX_MERGED || n_session < pending.len();
    let goes_on = !window.is_zero() && !full && !batch.iter().any(|waiting| waiting.urgent);
    let merged_until = goes_on.then(|| window_end(batch.iter(), window, now)).flatten();
    let until = merged_until.max(albums_end(batch, now)).filter(|until| *until > now);
    until.map_or(Due::Now(n_batch), Due::At)
}

/// When the last album of a batch is no longer held back for further parts.
fn albums_end(batch: &[Pending], now: Timestamp) -> Option<Timestamp> {
    let albums = batch
        .chunk_by(Pending::is_sibling)
        .filter(|album| album[0].album.is_some());
    albums
        .filter_map(|album| window_end(album.iter(), ALBUM_WINDOW, now))
        .max()
}

/// One window after the latest of these messages, or five after the earliest. `None` if no window that has begun ends that late.
fn window_end<'a>(
    waiting: impl Iterator<Item = &'a Pending> + Clone,
    window: Duration,
    now: Timestamp,
) -> Option<Timestamp> {
    let arrivals = waiting.map(|waiting| waiting.since);
    let (earliest, latest) = (arrivals.clone().min()?, arrivals.max()?);
    let end = latest.after(window).min(earliest.after(window * MAX_WINDOWS));
    Some(end).filter(|end| end.since(now) <= window + CLOCKS_DIFFER)
}

/// The number of the session in which other parts of an album are pending.
#[must_use]
pub fn album_session(pending: &[Pending], album: Option<&str>) -> Option<u64> {
    let album = album?;
    let part = pending.iter().find(|waiting| waiting.album.as_deref() == Some(album))?;
    Some(part.session)
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
            album: None,
        }
    }

    fn part(album: &str, since_s: i64) -> Pending {
        Pending {
            urgent: true,
            album: Some(album.to_owned()),
            ..waiting(since_s, 1)
        }
    }

    /// The arrival numbers of messages that were sent at these times, in mailbox order.
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
    fn messages_are_pending_in_the_order_in_which_they_were_sent() {
        check_order(&[(Some(10), 1), (Some(30), 1), (Some(20), 1)], &[0, 2, 1]);
        check_order(&[(Some(10), 1), (Some(10), 1)], &[0, 1]);
        // Without the platform's time a message stays where it arrived, and no other is moved past it.
        check_order(&[(Some(30), 1), (None, 1), (Some(20), 1)], &[0, 1, 2]);
        // Nor is one moved into an earlier session.
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
    fn no_message_waits_longer_than_five_windows() {
        let pending: Vec<_> = (0..7).map(|at| waiting(at * 4, 1)).collect();
        check(&pending, 5, 24, Due::At(Timestamp::from_secs(25)));
        check(&pending, 5, 25, Due::Now(7));
    }

    #[test]
    fn message_put_there_by_a_clock_that_was_ahead_is_not_held_back() {
        let hour = 3600;
        // The clocks of two machines may differ a little.
        check(&[waiting(5, 1)], 60, 0, Due::At(Timestamp::from_secs(65)));
        check(&[waiting(6, 1)], 60, 0, Due::Now(1));
        check(&[waiting(0, 1), waiting(hour, 1)], 60, 10, Due::Now(2));
        check(&[part("a", hour), waiting(0, 1)], 0, 10, Due::Now(1));
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

    #[test]
    fn album_waits_for_its_parts_whatever_the_window_is() {
        let pending = [part("a", 0), part("a", 1), waiting(1, 1)];
        for window_s in [0, 1] {
            let n_taken = if window_s == 0 { 2 } else { 3 };
            check(&pending, window_s, 2, Due::At(Timestamp::from_secs(3)));
            check(&pending, window_s, 3, Due::Now(n_taken));
        }
        // Messages before it go first.
        check(&[waiting(0, 1), part("a", 0)], 0, 0, Due::Now(1));
        // Another album is another question.
        check(&[part("a", 0), part("b", 0)], 0, 2, Due::Now(1));
        check(&[part("a", 0), part("b", 1)], 60, 2, Due::At(Timestamp::from_secs(3)));
        check(&[part("a", 0), part("b", 1)], 60, 3, Due::Now(2));
        // A longer window doesn't delay its attachments, and a later session doesn't shorten its own window.
        check(&[waiting(0, 1), part("a", 0)], 60, 2, Due::Now(2));
        check(&[part("a", 0), waiting(1, 2)], 60, 1, Due::At(Timestamp::from_secs(2)));
        let drop_by_drop: Vec<_> = (0..12).map(|at| part("a", at)).collect();
        check(&drop_by_drop, 0, 11, Due::Now(12));
    }

    #[test]
    fn album_is_not_cut() {
        let sent = |it: Pending, at| Pending {
            sent_at: Some(Timestamp::from_secs(at)),
            ..it
        };
        let mut pending = Vec::new();
        for new in [
            sent(part("a", 0), 10),
            sent(part("a", 1), 12),
            sent(waiting(2, 1), 11),
            sent(part("a", 3), 13),
            sent(waiting(4, 1), 9),
        ] {
            insert(&mut pending, new);
        }
        let order: Vec<i64> = pending.iter().map(|waiting| waiting.since.as_secs()).collect();
        assert_eq!(order, [4, 0, 1, 3, 2]);
        assert_eq!(album_session(&pending, Some("a")), Some(1));
        assert_eq!(
            (album_session(&pending, Some("b")), album_session(&pending, None)),
            (None, None)
        );
    }

    #[test]
    fn many_messages_are_merged_up_to_an_album_that_does_not_fit() {
        let mut pending: Vec<_> = (0..MAX_MERGED as i64 - 1).map(|at| waiting(at, 1)).collect();
        pending.extend([part("a", 19), part("a", 19)]);
        check(&pending, 60, 21, Due::Now(MAX_MERGED - 1));
        let album: Vec<_> = (0..MAX_MERGED + 5).map(|_| part("a", 0)).collect();
        check(&album, 60, 2, Due::Now(MAX_MERGED));
    }

    proptest! {
        #[test]
        fn held_back_messages_become_due(times in proptest::collection::vec(0i64..500, 1..30), window_s in 1u64..60) {
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
