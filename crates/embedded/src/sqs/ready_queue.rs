//! Order of deliveries: which message of a queue comes next. Pure: in memory, no IO, time is an argument.
//!
//! The ready queue has one small entry for each message of its queue; bodies stay on disk. Messages are in lanes, one lane for each
//! message group (and one for all messages without a group). Lanes take turns, so a lane with a large backlog doesn't delay the others,
//! and no operation scans a backlog.
//!
//! - **Fifo:** a lane delivers messages from its oldest on, as many as requested, and then nothing until all of those are deleted or
//!   visible again. That is the group lock. Groups whose names are equal up to the first `.` form one family, and families take turns
//!   too: a family with many waiting groups doesn't delay one with a single group. SQS guarantees no order between groups, so any will do.
//! - **Fair:** a lane delivers one message a turn. The lane with the fewest messages in flight goes first, so one tenant's
//!   slow messages can't take every consumer.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// A message's sequence number: its position in the order of all messages. Unique within the engine, always rising.
pub(super) type Seq = i64;
/// A message group. Unique within its queue.
pub(super) type Group = Option<Arc<str>>;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    Fifo,
    Fair,
}

/// A message's entry in memory.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) group: Group,
    pub(super) sent_ms: i64,
    /// When it was first received, 0 before that.
    pub(super) first_ms: i64,
    /// Receive count.
    pub(super) count: i64,
    /// Nonce of the latest delivery; 0 before the first.
    pub(super) nonce: i64,
    pub(super) visibility: Visibility,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Visibility {
    Ready,
    Delayed {
        until_ms: i64,
    },
    /// In flight: received at `since_ms`, hidden until `until_ms`.
    InFlight {
        since_ms: i64,
        until_ms: i64,
    },
}

/// The conditions of a receive.
#[derive(Debug, Clone, Copy)]
pub(super) struct Terms {
    pub(super) now_ms: i64,
    pub(super) until_ms: i64,
    /// A message received this often becomes a dead letter.
    pub(super) max_receives: Option<i64>,
    pub(super) most: usize,
}

/// The result of a receive.
#[derive(Debug, Default)]
pub(super) struct Picked {
    pub(super) lent: Vec<Seq>,
    /// Received too often: already removed from this queue.
    pub(super) dead: Vec<(Seq, Entry)>,
}

#[derive(Debug)]
pub(super) struct ReadyQueue {
    order: Order,
    entries: BTreeMap<Seq, Entry>,
    lanes: HashMap<Group, Lane>,
    /// Lanes that can deliver: fewest messages in flight first, then longest waiting.
    turns: BTreeMap<Turn, Group>,
    next_turn: u64,
    /// The current round of the families: that of the latest lane that delivered something.
    round: u64,
    /// The latest round for which each family has a lane queued.
    families: HashMap<Box<str>, u64>,
    /// Times at which delayed and in-flight messages become visible.
    timers: BTreeSet<(i64, Seq)>,
    n_delayed: usize,
    n_lent: usize,
}

/// Sort key of a lane: messages in flight, the family's round, position in the line.
type Turn = (usize, u64, u64);

/// Size of `families` above which those that have had their turn are dropped.
const MANY_FAMILIES: usize = 10_000;

#[derive(Debug, Default)]
struct Lane {
    ready: BTreeSet<Seq>,
    delayed: BTreeSet<Seq>,
    n_lent: usize,
    turn: Option<Turn>,
}

impl Lane {
    fn is_empty(&self) -> bool {
        self.ready.is_empty() && self.delayed.is_empty() && self.n_lent == 0
    }

    fn can_give(&self, order: Order) -> bool {
        match order {
            Order::Fair => !self.ready.is_empty(),
            Order::Fifo => self.n_lent == 0 && self.next_in_order().is_some(),
        }
    }

    /// The oldest message, unless it is still delayed: younger ones have to wait for it.
    fn next_in_order(&self) -> Option<Seq> {
        let oldest = *self.ready.first()?;
        let held_back = self.delayed.first().is_some_and(|d| *d < oldest);
        (!held_back).then_some(oldest)
    }
}

impl ReadyQueue {
    pub(super) fn new(order: Order) -> Self {
        Self {
            order,
            entries: BTreeMap::new(),
            lanes: HashMap::new(),
            turns: BTreeMap::new(),
            next_turn: 0,
            round: 0,
            families: HashMap::new(),
            timers: BTreeSet::new(),
            n_delayed: 0,
            n_lent: 0,
        }
    }

    pub(super) fn add(&mut self, seq: Seq, entry: Entry) {
        let group = entry.group.clone();
        let visibility = entry.visibility;
        self.entries.insert(seq, entry);
        self.enter(seq, &group, visibility);
        self.requeue(&group);
    }

    pub(super) fn get(&self, seq: Seq) -> Option<&Entry> {
        self.entries.get(&seq)
    }

    pub(super) fn remove(&mut self, seq: Seq) -> Option<Entry> {
        let entry = self.entries.remove(&seq)?;
        self.leave(seq, &entry.group, entry.visibility);
        self.requeue(&entry.group);
        Some(entry)
    }

    /// Makes messages visible whose delay or visibility timeout is over.
    pub(super) fn settle(&mut self, now_ms: i64) {
        while let Some(&(at_ms, seq)) = self.timers.first() {
            if at_ms > now_ms {
                break;
            }
            self.put(seq, Visibility::Ready);
        }
    }

    /// When the next delayed or in-flight message becomes visible.
    pub(super) fn next_due_ms(&self) -> Option<i64> {
        self.timers.first().map(|(at_ms, _)| *at_ms)
    }

    /// Whether a receive would find a message, as of the latest [`ReadyQueue::settle`].
    pub(super) fn can_give(&self) -> bool {
        !self.turns.is_empty()
    }

    /// Receives up to `terms.most` messages; `nonce` generates the nonce of each delivery.
    pub(super) fn pick(&mut self, terms: Terms, mut nonce: impl FnMut() -> i64) -> Picked {
        let mut picked = Picked::default();
        while picked.lent.len() < terms.most {
            let Some((turn, group)) = self.turns.first_key_value() else {
                break;
            };
            self.round = self.round.max(turn.1);
            let group = group.clone();
            let n_wanted = match self.order {
                Order::Fair => 1,
                Order::Fifo => terms.most - picked.lent.len(),
            };
            self.pick_from(&group, n_wanted, terms, &mut nonce, &mut picked);
            self.back_of_the_line(&group);
        }
        picked
    }

    fn pick_from(
        &mut self,
        group: &Group,
        n_wanted: usize,
        terms: Terms,
        nonce: &mut impl FnMut() -> i64,
        picked: &mut Picked,
    ) {
        for _ in 0..n_wanted {
            let next = self.lanes.get(group).and_then(|lane| match self.order {
                Order::Fair => lane.ready.first().copied(),
                Order::Fifo => lane.next_in_order(),
            });
            let Some(seq) = next else { return };
            let is_dead = terms.max_receives.is_some_and(|max| self.entries[&seq].count >= max);
            if is_dead {
                picked.dead.extend(self.remove(seq).map(|e| (seq, e)));
            } else {
                self.lend(seq, terms, nonce());
                picked.lent.push(seq);
            }
        }
    }

    fn lend(&mut self, seq: Seq, terms: Terms, nonce: i64) {
        if let Some(entry) = self.entries.get_mut(&seq) {
            entry.count += 1;
            entry.nonce = nonce;
            if entry.first_ms == 0 {
                entry.first_ms = terms.now_ms;
            }
        }
        let visibility = Visibility::InFlight {
            since_ms: terms.now_ms,
            until_ms: terms.until_ms,
        };
        self.put(seq, visibility);
    }

    /// Changes the visibility timeout of a delivery; a time at or before `now_ms` makes the message visible now.
    pub(super) fn extend(&mut self, seq: Seq, until_ms: i64, now_ms: i64) {
        let Some(entry) = self.entries.get(&seq) else {
            return;
        };
        match entry.visibility {
            Visibility::InFlight { since_ms, .. } if until_ms > now_ms => {
                self.put(seq, Visibility::InFlight { since_ms, until_ms });
            }
            Visibility::InFlight { .. } => self.put(seq, Visibility::Ready),
            Visibility::Ready | Visibility::Delayed { .. } => {}
        }
    }

    /// Undoes a delivery that never reached its receiver.
    pub(super) fn take_back(&mut self, seq: Seq, nonce: i64) -> bool {
        let Some(entry) = self.entries.get_mut(&seq) else {
            return false;
        };
        if entry.nonce != nonce || !matches!(entry.visibility, Visibility::InFlight { .. }) {
            return false;
        }
        entry.count -= 1;
        entry.nonce = 0;
        if entry.count == 0 {
            entry.first_ms = 0;
        }
        self.put(seq, Visibility::Ready);
        true
    }

    /// Removes the messages sent before `cutoff_ms` and returns them.
    pub(super) fn expire(&mut self, cutoff_ms: i64) -> Vec<Seq> {
        let old: Vec<Seq> = self
            .entries
            .iter()
            .take_while(|(_, e)| e.sent_ms < cutoff_ms)
            .map(|(seq, _)| *seq)
            .collect();
        for seq in &old {
            self.remove(*seq);
        }
        old
    }

    /// The oldest visible messages, up to `most`.
    pub(super) fn oldest_ready(&self, most: usize) -> Vec<Seq> {
        let ready = self.entries.iter().filter(|(_, e)| e.visibility == Visibility::Ready);
        ready.map(|(seq, _)| *seq).take(most).collect()
    }

    pub(super) fn n_ready(&self) -> usize {
        self.entries.len() - self.n_delayed - self.n_lent
    }

    pub(super) fn n_delayed(&self) -> usize {
        self.n_delayed
    }

    pub(super) fn n_lent(&self) -> usize {
        self.n_lent
    }

    fn put(&mut self, seq: Seq, visibility: Visibility) {
        let Some(entry) = self.entries.get_mut(&seq) else {
            return;
        };
        let before = std::mem::replace(&mut entry.visibility, visibility);
        let group = entry.group.clone();
        self.leave(seq, &group, before);
        self.enter(seq, &group, visibility);
        self.requeue(&group);
    }

    fn enter(&mut self, seq: Seq, group: &Group, visibility: Visibility) {
        let lane = self.lanes.entry(group.clone()).or_default();
        match visibility {
            Visibility::Ready => {
                lane.ready.insert(seq);
            }
            Visibility::Delayed { until_ms } => {
                lane.delayed.insert(seq);
                self.n_delayed += 1;
                self.timers.insert((until_ms, seq));
            }
            Visibility::InFlight { until_ms, .. } => {
                lane.n_lent += 1;
                self.n_lent += 1;
                self.timers.insert((until_ms, seq));
            }
        }
    }

    fn leave(&mut self, seq: Seq, group: &Group, visibility: Visibility) {
        let Some(lane) = self.lanes.get_mut(group) else {
            return;
        };
        match visibility {
            Visibility::Ready => {
                lane.ready.remove(&seq);
            }
            Visibility::Delayed { until_ms } => {
                lane.delayed.remove(&seq);
                self.n_delayed -= 1;
                self.timers.remove(&(until_ms, seq));
            }
            Visibility::InFlight { until_ms, .. } => {
                lane.n_lent -= 1;
                self.n_lent -= 1;
                self.timers.remove(&(until_ms, seq));
            }
        }
    }

    /// Updates a lane's place in the line after its messages changed: adds, moves or removes it.
    fn requeue(&mut self, group: &Group) {
        let Some(lane) = self.lanes.get(group) else {
            return;
        };
        let (n_lent, before) = (lane.n_lent, lane.turn);
        let turn = lane.can_give(self.order).then(|| match before {
            Some((_, round, since)) => (n_lent, round, since),
            None => {
                self.next_turn += 1;
                (n_lent, self.round_of(group), self.next_turn)
            }
        });
        let Some(lane) = self.lanes.get_mut(group) else {
            return;
        };
        if turn != lane.turn {
            if let Some(old) = lane.turn {
                self.turns.remove(&old);
            }
            if let Some(new) = turn {
                self.turns.insert(new, group.clone());
            }
            lane.turn = turn;
        }
        if lane.is_empty() {
            self.lanes.remove(group);
        }
    }

    /// The round of a lane that joins the line: the next one in which its family has no lane yet.
    fn round_of(&mut self, group: &Group) -> u64 {
        // Fair lanes are ordered by messages in flight.
        if self.order == Order::Fair {
            return 0;
        }
        if self.families.len() >= MANY_FAMILIES {
            self.families.retain(|_, latest| *latest > self.round);
        }
        let name = group.as_deref().unwrap_or_default();
        let family = name.split_once('.').map_or(name, |(family, _)| family);
        let latest = self.families.get(family).copied().unwrap_or(0);
        let round = latest.max(self.round) + 1;
        self.families.insert(family.into(), round);
        round
    }

    fn back_of_the_line(&mut self, group: &Group) {
        if let Some(lane) = self.lanes.get_mut(group)
            && let Some(turn) = lane.turn.take()
        {
            self.turns.remove(&turn);
        }
        self.requeue(group);
    }
}

#[cfg(test)]
#[path = "ready_queue/tests.rs"]
mod tests;
