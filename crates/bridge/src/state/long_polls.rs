//! Operators' long polls in flight, limited per tenant, so that one can't hold all connections of a process.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

/// Most concurrent long polls per operator in this process.
const MAX_PER_OPERATOR: usize = 64;

/// Long polls in flight by operator.
#[derive(Debug, Default)]
pub struct LongPolls {
    in_flight: Mutex<HashMap<String, usize>>,
}

/// A long poll in flight, until it is dropped.
#[derive(Debug)]
pub(crate) struct LongPollPermit {
    polls: Arc<LongPolls>,
    owner: String,
}

impl LongPolls {
    /// Starts a long poll of an operator. `None`: the operator is at its limit.
    pub(crate) fn begin(self: &Arc<Self>, owner: &str) -> Option<LongPollPermit> {
        let owner = owner.to_owned();
        let mut in_flight = self.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        let n = in_flight.entry(owner.clone()).or_default();
        if *n >= MAX_PER_OPERATOR {
            return None;
        }
        *n += 1;
        drop(in_flight);
        Some(LongPollPermit {
            polls: Arc::clone(self),
            owner,
        })
    }
}

impl Drop for LongPollPermit {
    fn drop(&mut self) {
        let mut in_flight = self.polls.in_flight.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(n) = in_flight.get_mut(&self.owner) {
            *n -= 1;
            if *n == 0 {
                in_flight.remove(&self.owner);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_polls_are_limited_per_operator() {
        let polls = Arc::new(LongPolls::default());
        let mut held: Vec<_> = (0..MAX_PER_OPERATOR).map(|_| polls.begin("").unwrap()).collect();
        assert!(polls.begin("").is_none());
        drop(polls.begin("acme").unwrap());
        held.pop();
        held.push(polls.begin("").unwrap());
        assert!(polls.begin("").is_none());
        held.clear();
        assert!(polls.in_flight.lock().unwrap().is_empty());
    }
}
