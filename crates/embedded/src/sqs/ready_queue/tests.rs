//! Order of deliveries, in examples and against a slow but obvious model.

use std::collections::HashMap;

use proptest::prelude::*;

use super::{Entry, Group, Order, ReadyQueue, Seq, Terms, Visibility};

const HOLD_MS: i64 = 1_000;

fn entry(group: &str, visibility: Visibility) -> Entry {
    Entry {
        group: (!group.is_empty()).then(|| group.into()),
        sent_ms: 0,
        first_ms: 0,
        count: 0,
        nonce: 0,
        visibility,
    }
}

fn filled(order: Order, messages: &[(Seq, &str)]) -> ReadyQueue {
    let mut queue = ReadyQueue::new(order);
    for (seq, group) in messages {
        queue.add(*seq, entry(group, Visibility::Ready));
    }
    queue
}

fn receive(queue: &mut ReadyQueue, now_ms: i64, most: usize) -> Vec<Seq> {
    queue.settle(now_ms);
    let terms = Terms {
        now_ms,
        until_ms: now_ms + HOLD_MS,
        max_receives: None,
        most,
    };
    queue.pick(terms, || 1).lent
}

#[test]
fn a_group_in_flight_is_locked_until_its_last_message_is_settled() {
    let mut queue = filled(Order::Fifo, &[(1, "a"), (2, "a"), (3, "a"), (4, "b")]);
    assert_eq!(receive(&mut queue, 0, 2), [1, 2]);
    assert_eq!(receive(&mut queue, 0, 10), [4]);
    queue.remove(1);
    assert_eq!(receive(&mut queue, 0, 10), [0; 0]);
    queue.extend(2, 0, 0);
    assert_eq!(receive(&mut queue, 0, 10), [2, 3]);
}

#[test]
fn an_expired_delivery_returns_to_its_old_position() {
    let mut queue = filled(Order::Fifo, &[(1, "a"), (2, "a")]);
    assert_eq!(receive(&mut queue, 0, 1), [1]);
    assert_eq!(receive(&mut queue, HOLD_MS - 1, 10), [0; 0]);
    assert_eq!(receive(&mut queue, HOLD_MS, 10), [1, 2]);
}

#[test]
fn a_delayed_message_holds_back_the_younger_ones_of_its_group() {
    let mut queue = ReadyQueue::new(Order::Fifo);
    queue.add(1, entry("a", Visibility::Delayed { until_ms: 50 }));
    queue.add(2, entry("a", Visibility::Ready));
    queue.add(3, entry("b", Visibility::Ready));
    assert_eq!(receive(&mut queue, 0, 10), [3]);
    assert_eq!(receive(&mut queue, 50, 10), [1, 2]);
}

#[test]
fn fair_lanes_take_turns_whatever_their_backlog() {
    let mut messages: Vec<(Seq, &str)> = (0..100).map(|seq| (seq, "noisy")).collect();
    messages.extend([(200, "quiet"), (201, "quiet"), (300, "other")]);
    let mut queue = filled(Order::Fair, &messages);
    assert_eq!(receive(&mut queue, 0, 6), [0, 200, 300, 1, 201, 2]);
}

#[test]
fn a_family_with_many_groups_does_not_delay_another() {
    let mut queue = ReadyQueue::new(Order::Fifo);
    for seq in 0..500 {
        queue.add(seq, entry(&format!("loud.{seq}"), Visibility::Ready));
    }
    assert_eq!(receive(&mut queue, 0, 10).len(), 10);
    for seq in 500..503 {
        queue.add(seq, entry(&format!("quiet.{seq}"), Visibility::Ready));
    }
    let next = receive(&mut queue, 0, 10);
    assert_eq!(next.iter().filter(|seq| **seq >= 500).count(), 3, "{next:?}");
    // The groups of the large family get their turn too, in order.
    let rest: Vec<Seq> = std::iter::from_fn(|| receive(&mut queue, 0, 1).pop()).collect();
    assert_eq!(rest, (17..500).collect::<Vec<Seq>>());
}

#[test]
fn the_fair_lane_with_the_fewest_in_flight_goes_first() {
    let mut queue = filled(Order::Fair, &[(1, "noisy"), (2, "noisy"), (3, "noisy")]);
    assert_eq!(receive(&mut queue, 0, 2), [1, 2]);
    queue.add(4, entry("quiet", Visibility::Ready));
    assert_eq!(receive(&mut queue, 0, 2), [4, 3]);
}

#[test]
fn a_message_received_too_often_leaves_the_queue_and_unlocks_its_group() {
    let mut queue = filled(Order::Fifo, &[(1, "a"), (2, "a")]);
    let terms = Terms {
        now_ms: 0,
        until_ms: 0,
        max_receives: Some(1),
        most: 1,
    };
    assert_eq!(queue.pick(terms, || 1).lent, [1]);
    queue.settle(0);
    let second = queue.pick(terms, || 2);
    assert_eq!(second.dead.iter().map(|d| d.0).collect::<Vec<_>>(), [1]);
    assert_eq!(second.lent, [2]);
}

#[test]
fn a_delivery_taken_back_leaves_no_trace() {
    let mut queue = filled(Order::Fifo, &[(1, "a")]);
    assert_eq!(receive(&mut queue, 5, 1), [1]);
    assert!(!queue.take_back(1, 2), "that is another delivery");
    assert!(queue.take_back(1, 1));
    assert_eq!(queue.get(1), Some(&entry("a", Visibility::Ready)));
    assert_eq!(receive(&mut queue, 5, 1), [1]);
}

#[test]
fn emptied_lanes_leave_nothing_behind() {
    let mut queue = filled(Order::Fair, &[(1, "a"), (2, "b")]);
    receive(&mut queue, 0, 1);
    queue.remove(1);
    queue.remove(2);
    assert!(queue.lanes.is_empty() && queue.turns.is_empty() && queue.timers.is_empty());
    assert_eq!((queue.n_ready(), queue.n_lent()), (0, 0));
}

#[derive(Debug, Clone)]
enum Step {
    Send { group: u8, delay_ms: i64 },
    Receive { most: usize },
    Delete { nth: usize },
    Release { nth: usize },
    Wait { ms: i64 },
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (0u8..4, prop_oneof![Just(0i64), 1i64..300]).prop_map(|(group, delay_ms)| Step::Send { group, delay_ms }),
        4 => (1usize..6).prop_map(|most| Step::Receive { most }),
        3 => (0usize..8).prop_map(|nth| Step::Delete { nth }),
        1 => (0usize..8).prop_map(|nth| Step::Release { nth }),
        1 => (1i64..600).prop_map(|ms| Step::Wait { ms }),
    ]
}

/// Model of a queue: every message with the time from which it is visible, and whether it is in flight.
#[derive(Debug, Default)]
struct Model(Vec<(Seq, Group, i64, bool)>);

impl Model {
    fn is_out(&self, at: usize, now_ms: i64) -> bool {
        self.0[at].3 && self.0[at].2 > now_ms
    }

    /// The rule itself, evaluated over the whole backlog.
    fn may_give(&self, seq: Seq, order: Order, now_ms: i64) -> bool {
        let Some(at) = self.0.iter().position(|m| m.0 == seq) else {
            return false;
        };
        let group = &self.0[at].1;
        let mut mates = (0..self.0.len()).filter(|i| self.0[*i].1 == *group);
        self.0[at].2 <= now_ms
            && (order == Order::Fair
                || mates.all(|i| !self.is_out(i, now_ms) && (self.0[i].0 >= seq || self.0[i].2 <= now_ms)))
    }

    fn has_any(&self, order: Order, now_ms: i64) -> bool {
        self.0.iter().any(|m| self.may_give(m.0, order, now_ms))
    }
}

fn run(order: Order, steps: &[Step]) {
    let (mut queue, mut model, mut now_ms) = (ReadyQueue::new(order), Model::default(), 0);
    for (at, step) in steps.iter().enumerate() {
        let seq = at as Seq;
        let nth_out = |model: &Model, nth: usize| {
            let out: Vec<Seq> = (0..model.0.len())
                .filter(|i| model.is_out(*i, now_ms))
                .map(|i| model.0[i].0)
                .collect();
            out.get(nth % out.len().max(1)).copied()
        };
        match *step {
            Step::Send { group, delay_ms } => {
                let visibility = match delay_ms {
                    0 => Visibility::Ready,
                    ms => Visibility::Delayed { until_ms: now_ms + ms },
                };
                let entry = entry(&group.to_string(), visibility);
                model.0.push((seq, entry.group.clone(), now_ms + delay_ms, false));
                queue.add(seq, entry);
            }
            Step::Receive { most } => check_receive(&mut queue, &mut model, order, now_ms, most),
            Step::Delete { nth } => {
                if let Some(seq) = nth_out(&model, nth) {
                    queue.remove(seq);
                    model.0.retain(|m| m.0 != seq);
                }
            }
            Step::Release { nth } => {
                if let Some(seq) = nth_out(&model, nth) {
                    queue.extend(seq, now_ms, now_ms);
                    let message = model.0.iter_mut().find(|m| m.0 == seq);
                    message.expect("it was found above").2 = now_ms;
                }
            }
            Step::Wait { ms } => now_ms += ms,
        }
        queue.settle(now_ms);
        assert_eq!(queue.can_give(), model.has_any(order, now_ms), "after {step:?}");
    }
}

fn check_receive(queue: &mut ReadyQueue, model: &mut Model, order: Order, now_ms: i64, most: usize) {
    let before = Model(model.0.clone());
    let got = receive(queue, now_ms, most);
    let mut last: HashMap<Group, Seq> = HashMap::new();
    for seq in &got {
        let message = model.0.iter_mut().find(|m| m.0 == *seq);
        let message = message.expect("only what was sent is received");
        (message.2, message.3) = (now_ms + HOLD_MS, true);
        let earlier = last.insert(message.1.clone(), *seq);
        assert!(earlier < Some(*seq), "{seq} came after {earlier:?}");
        // The younger messages of a batch may be delivered only together with the older ones.
        assert!(
            earlier.is_some() || before.may_give(*seq, order, now_ms),
            "{seq} was not free"
        );
    }
    assert!(got.len() <= most);
    assert!(
        got.len() == most || !model.has_any(order, now_ms),
        "something was left lying"
    );
}

proptest! {
    #[test]
    fn fifo_queue_matches_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        run(Order::Fifo, &steps);
    }

    #[test]
    fn fair_queue_matches_the_model(steps in proptest::collection::vec(step(), 1..80)) {
        run(Order::Fair, &steps);
    }
}
