//! A model of the lease of a relay's shard, with pauses and clock skew.
//!
//! Mirrors `connections/heartbeat.rs` and `store/src/leases.rs`: a holder sends only while its lease is valid by its own clock, and
//! another relay takes the shard over only when the lease has expired by its clock plus the maximum clock skew.

use crate::conversation::print_states;
use crate::search::{Model, explore};

const RELAYS: usize = 2;
/// Duration of a lease, and the maximum clock skew.
const LEASE: u8 = 3;
const MAX_SKEW: u8 = 1;
/// When the model ends.
const END: u8 = 9;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Relay {
    /// The fencing token under which the relay believes to hold the shard, and the lease's expiry by its own clock.
    holds: Option<(u8, u8)>,
    /// Whether it has checked its lease, and is about to send.
    sends: bool,
    paused: bool,
    /// Whether it sent a frame that it believed to be under the shard's newest fencing token, and that was not.
    stale: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    now: u8,
    fence: u8,
    expires_at: u8,
    relays: [Relay; RELAYS],
    /// The newest fencing token of a frame that the platform has received.
    newest: u8,
    pauses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    /// A lease is taken over as soon as it has expired by the taker's clock.
    NoMargin,
    /// A process may pause between checking the lease and sending the frame.
    CheckThenSend,
}

struct Shard {
    skews: [u8; RELAYS],
    mistake: Mistake,
}

impl Shard {
    fn clock(&self, state: &State, at: usize) -> u8 {
        state.now + self.skews[at]
    }

    fn step(&self, state: &State, at: usize, out: &mut Vec<(&'static str, State)>) {
        let relay = state.relays[at];
        if relay.paused {
            let mut after = state.clone();
            after.relays[at].paused = false;
            out.push(("relay goes on", after));
            return;
        }
        if state.pauses < 2 {
            let mut after = state.clone();
            (after.relays[at].paused, after.pauses) = (true, state.pauses + 1);
            out.push(("relay is paused", after));
        }
        let own = self.clock(state, at);
        match relay.holds {
            Some((fence, until)) => self.hold(state, at, (fence, until), out),
            None => {
                let margin = if self.mistake == Mistake::NoMargin { 0 } else { MAX_SKEW };
                if own >= state.expires_at + margin {
                    let mut after = state.clone();
                    after.fence += 1;
                    after.expires_at = own + LEASE;
                    after.relays[at].holds = Some((after.fence, after.expires_at));
                    out.push(("relay takes the shard", after));
                }
            }
        }
    }

    fn hold(&self, state: &State, at: usize, (fence, until): (u8, u8), out: &mut Vec<(&'static str, State)>) {
        let own = self.clock(state, at);
        let mut after = state.clone();
        if state.relays[at].sends {
            Self::send(&mut after, at, fence);
            out.push(("relay sends what it checked before", after));
            return;
        }
        if own >= until {
            after.relays[at].holds = None;
            out.push(("relay gives up", after));
            return;
        }
        let mut sent = after.clone();
        if self.mistake == Mistake::CheckThenSend {
            sent.relays[at].sends = true;
        } else {
            Self::send(&mut sent, at, fence);
        }
        out.push(("relay sends", sent));
        // The heartbeat of a relay that is no longer the holder is rejected.
        if state.fence == fence {
            after.expires_at = own + LEASE;
            after.relays[at].holds = Some((fence, after.expires_at));
        } else {
            after.relays[at].holds = None;
        }
        out.push(("relay renews", after));
    }

    fn send(state: &mut State, at: usize, fence: u8) {
        state.relays[at].sends = false;
        state.relays[at].stale |= fence < state.fence;
        state.newest = state.newest.max(fence);
    }
}

impl Model for Shard {
    type State = State;

    fn start(&self) -> State {
        let relay = Relay {
            holds: None,
            sends: false,
            paused: false,
            stale: false,
        };
        State {
            now: 0,
            fence: 0,
            expires_at: 0,
            relays: [relay; RELAYS],
            newest: 0,
            pauses: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<(&'static str, State)> {
        let mut out = Vec::new();
        if state.now == END {
            return out;
        }
        let mut later = state.clone();
        later.now += 1;
        out.push(("time passes", later));
        for at in 0..RELAYS {
            self.step(state, at, &mut out);
        }
        out
    }

    fn violation(&self, state: &State, _: bool) -> Option<&'static str> {
        let is_stale = state.relays.iter().any(|relay| relay.stale);
        is_stale.then_some("a relay sends over a shard that another one has taken")
    }
}

fn skews() -> [[u8; RELAYS]; 3] {
    [[0, 0], [0, MAX_SKEW], [MAX_SKEW, 0]]
}

#[test]
fn one_relay_at_a_time_sends_for_a_shard() {
    let mut n_states = 0;
    for skews in skews() {
        let mistake = Mistake::None;
        let explored = explore(&Shard { skews, mistake });
        assert!(explored.violation.is_none(), "{skews:?}: {:#?}", explored.violation);
        n_states += explored.n_states;
    }
    print_states("shards", n_states);
}

#[test]
fn planted_mistakes_are_found() {
    for mistake in [Mistake::NoMargin, Mistake::CheckThenSend] {
        let explored: Vec<_> = skews().map(|skews| explore(&Shard { skews, mistake })).into();
        let n_states = explored.iter().map(|it| it.n_states).sum();
        let found = explored.into_iter().find_map(|it| it.violation);
        let (what, path) = found.unwrap_or_else(|| panic!("{mistake:?} is not found"));
        print_states(
            &format!("shards, {mistake:?}, after {} steps {what:?}", path.len()),
            n_states,
        );
    }
}
