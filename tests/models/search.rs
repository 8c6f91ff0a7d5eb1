//! Breadth-first search over all states of a model.

use std::collections::{HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::rc::Rc;

/// A state machine with an invariant.
pub(crate) trait Model {
    /// The state at one moment.
    type State: Clone + Eq + Hash + std::fmt::Debug;

    /// The initial state.
    fn start(&self) -> Self::State;

    /// Every step that is possible in a state, by name, with the state after it.
    fn steps(&self, state: &Self::State) -> Vec<(&'static str, Self::State)>;

    /// The violated invariant of a state, if any. `at_rest`: no further step is possible.
    fn violation(&self, state: &Self::State, at_rest: bool) -> Option<&'static str>;
}

/// Result of a search.
#[derive(Debug)]
pub(crate) struct Explored {
    pub(crate) n_states: usize,
    /// The first violation, with the steps that lead to it.
    pub(crate) violation: Option<(&'static str, Vec<&'static str>)>,
}

/// Visits every reachable state, up to the first violation.
pub(crate) fn explore<M: Model>(model: &M) -> Explored {
    let start = Rc::new(model.start());
    let mut found_by: Vec<(usize, &'static str)> = vec![(0, "start")];
    let mut known: HashSet<_, BuildHasherDefault<QuickHasher>> = HashSet::from_iter([Rc::clone(&start)]);
    let mut left = VecDeque::from([(0_usize, start)]);
    while let Some((at, state)) = left.pop_front() {
        let next = model.steps(&state);
        let at_rest = next.iter().all(|(_, after)| *after == *state);
        if let Some(what) = model.violation(&state, at_rest) {
            return Explored {
                n_states: known.len(),
                violation: Some((what, path(&found_by, at))),
            };
        }
        for (name, after) in next {
            let after = Rc::new(after);
            if known.insert(Rc::clone(&after)) {
                left.push_back((found_by.len(), after));
                found_by.push((at, name));
            }
        }
    }
    Explored {
        n_states: known.len(),
        violation: None,
    }
}

fn path(found_by: &[(usize, &'static str)], mut at: usize) -> Vec<&'static str> {
    let mut path = Vec::new();
    while at != 0 {
        let (before, name) = found_by[at];
        path.push(name);
        at = before;
    }
    path.reverse();
    path
}

/// The hash function of FxHash: fast, and good enough for values that no attacker chooses.
#[derive(Default)]
struct QuickHasher(u64);

impl QuickHasher {
    fn add(&mut self, word: u64) {
        const MULTIPLIER: u64 = 0x517c_c1b7_2722_0a95;
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(MULTIPLIER);
    }
}

impl Hasher for QuickHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.add(u64::from(*byte));
        }
    }

    fn write_u8(&mut self, byte: u8) {
        self.add(u64::from(byte));
    }

    fn write_u64(&mut self, word: u64) {
        self.add(word);
    }

    fn write_usize(&mut self, word: usize) {
        self.add(word as u64);
    }

    fn finish(&self) -> u64 {
        // The table uses the low bits for the bucket, and those of a product are poor.
        self.0.rotate_left(26)
    }
}
