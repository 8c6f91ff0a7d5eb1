//! A model of conversation, ledger, reply, wake-ups and watchdog, with two runners and a dispatcher.
//!
//! Mirrors `dispatch/mod.rs` (`append`, `start_session`, `stop`), `dispatch/pending.rs`, `run/lease.rs` (`acquire`, `settle`),
//! `run/execute.rs` and `run/finish.rs`. Clocks have a model of their own (`shards.rs`): here a lease expires when its holder is dead or
//! paused.

use crate::search::{Explored, Model, explore};

const N: usize = 2;
const RUNNERS: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Fate {
    Absent,
    Queued,
    Answered,
    Stopped,
    Dropped,
}

impl Fate {
    const fn is_terminal(self) -> bool {
        matches!(self, Self::Answered | Self::Stopped | Self::Dropped)
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Event {
    Say(usize),
    New,
    Stop,
}

/// The conversation's item in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Item {
    version: u8,
    pending: [bool; N],
    closing: [Option<Fate>; N],
    run: Option<usize>,
    stop: bool,
    fence: u8,
    holder: Option<usize>,
}

/// A reply's item in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Reply {
    outcome: Option<Fate>,
    fence: u8,
    delivered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Dispatching {
    Claim,
    Load,
    Save,
    Close,
    Clear,
    Wake,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Running {
    Idle,
    Read,
    Take,
    LoadLedger,
    Ask,
    Record(Fate),
    Push(Fate),
    Mark(Fate),
    End(Fate),
    Settle,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Runner {
    at: Running,
    seen: Item,
    fence: u8,
    message: usize,
    watch: bool,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    // The dispatcher.
    event: usize,
    dispatching: Dispatching,
    again: bool,
    seen: Item,
    held_when_saved: bool,
    // The tables.
    item: Item,
    expired: bool,
    ledger: [Fate; N],
    replies: [Reply; N],
    // The queue.
    wakes: u8,
    watch: bool,
    runners: [Runner; RUNNERS],
    /// Terminal states that runners write without waiting for the write: message and state. Only where that mistake is planted.
    unawaited: [Option<(usize, Fate)>; RUNNERS],
    // What agents and platforms have received.
    asked: [u8; N],
    said: [u8; N],
    order: [Option<usize>; N],
    stop_was_ignored: bool,
    // The remaining faults.
    deaths: u8,
    /// How many of the remaining deaths may be of runners.
    runner_deaths: u8,
    pauses: u8,
    doubles: u8,
}

/// A planted mistake, which the oracles must find.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mistake {
    None,
    NoLookAgain,
    SettleWithoutFence,
    LedgerFirst,
    StopOnlyWhileAsking,
    ClaimIsAlwaysNew,
    EndIsNotAwaited,
}

struct ConversationModel {
    script: Vec<Event>,
    interrupts: bool,
    deaths: u8,
    pauses: u8,
    doubles: u8,
    mistake: Mistake,
}

impl ConversationModel {
    fn is_held(state: &State) -> bool {
        state.item.holder.is_some() && !state.expired
    }

    fn first(pending: [bool; N]) -> Option<usize> {
        pending.iter().position(|waits| *waits)
    }

    /// Moves the next message of the mailbox into a run.
    fn begin(&self, item: &mut Item) {
        item.run = Self::first(item.pending);
        if let Some(message) = item.run {
            item.pending[message] = false;
        }
        item.stop = self.interrupts && item.pending.contains(&true);
    }

    fn dispatch(&self, state: &State, out: &mut Vec<(&'static str, State)>) {
        let Some(event) = self.script.get(state.event).copied() else {
            return;
        };
        let mut after = state.clone();
        let name = match state.dispatching {
            Dispatching::Claim => {
                if let Event::Say(message) = event
                    && (state.ledger[message] == Fate::Absent || self.mistake == Mistake::ClaimIsAlwaysNew)
                {
                    after.ledger[message] = Fate::Queued;
                }
                after.dispatching = Dispatching::Load;
                "dispatcher claims"
            }
            Dispatching::Load => {
                after.seen = state.item;
                self.decide(event, state, &mut after);
                "dispatcher loads"
            }
            Dispatching::Save if state.item.version == state.seen.version => {
                self.save(event, &mut after);
                "dispatcher saves"
            }
            Dispatching::Save => {
                after.dispatching = Dispatching::Load;
                "dispatcher loses a race"
            }
            Dispatching::Close => {
                self.close(event, state, &mut after);
                "dispatcher ends a message in the ledger"
            }
            Dispatching::Clear => {
                after.item.closing = [None; N];
                after.item.version += 1;
                after.dispatching = Dispatching::Wake;
                "dispatcher clears what it closed"
            }
            Dispatching::Wake => {
                let wakes = match event {
                    Event::Say(_) => !state.held_when_saved,
                    Event::Stop => true,
                    Event::New => false,
                };
                if wakes {
                    after.wakes += 1;
                    after.watch = true;
                }
                Self::next_event(&mut after);
                "dispatcher sends a wake-up"
            }
        };
        out.push((name, after));
        if state.deaths < self.deaths && state.dispatching != Dispatching::Claim {
            let mut after = state.clone();
            after.deaths += 1;
            after.dispatching = Dispatching::Claim;
            after.again = true;
            out.push(("dispatcher dies", after));
        }
    }

    fn next_event(state: &mut State) {
        state.event += 1;
        state.dispatching = Dispatching::Claim;
        state.again = false;
        state.held_when_saved = false;
    }

    fn decide(&self, event: Event, state: &State, after: &mut State) {
        let item = &state.item;
        after.dispatching = Dispatching::Save;
        match event {
            Event::Say(message) if item.pending[message] || item.run == Some(message) => {
                after.held_when_saved = false;
                after.dispatching = Dispatching::Wake;
            }
            Event::Say(message) if state.again && state.ledger[message].is_terminal() => Self::next_event(after),
            Event::Say(_) => {}
            Event::Stop if item.run.is_none() && !item.pending.contains(&true) => {
                match item.closing.iter().any(Option::is_some) {
                    true => after.dispatching = Dispatching::Close,
                    false => Self::next_event(after),
                }
            }
            Event::New | Event::Stop if self.mistake == Mistake::LedgerFirst && item.pending.contains(&true) => {
                after.dispatching = Dispatching::Close;
            }
            Event::New | Event::Stop => {}
        }
    }

    fn end_of(event: Event) -> Fate {
        match event {
            Event::New => Fate::Dropped,
            Event::Say(_) | Event::Stop => Fate::Stopped,
        }
    }

    fn save(&self, event: Event, after: &mut State) {
        let item = &mut after.item;
        item.version += 1;
        match event {
            Event::Say(message) => {
                item.pending[message] = true;
                item.stop |= self.interrupts && item.run.is_some();
            }
            Event::New | Event::Stop => {
                for message in 0..N {
                    if item.pending[message] && self.mistake != Mistake::LedgerFirst {
                        item.closing[message] = Some(Self::end_of(event));
                    }
                    item.pending[message] = false;
                }
                item.stop |= event == Event::Stop && item.run.is_some();
            }
        }
        after.held_when_saved = after.item.run.is_some() && Self::is_held(after);
        let closes = after.item.closing.iter().any(Option::is_some);
        after.dispatching = if closes { Dispatching::Close } else { Dispatching::Wake };
    }

    fn close(&self, event: Event, state: &State, after: &mut State) {
        let early = self.mistake == Mistake::LedgerFirst;
        let end = |message: usize| match early {
            true => state.seen.pending[message].then(|| Self::end_of(event)),
            false => state.item.closing[message],
        };
        let open = (0..N).find(|message| end(*message).is_some() && !state.ledger[*message].is_terminal());
        match open {
            Some(message) => after.ledger[message] = end(message).unwrap_or(Fate::Stopped),
            None => after.dispatching = if early { Dispatching::Save } else { Dispatching::Clear },
        }
    }

    fn without_runner(state: &State, at: usize) -> State {
        let mut after = state.clone();
        (after.deaths, after.runner_deaths) = (state.deaths + 1, state.runner_deaths + 1);
        after.runners[at].at = Running::Idle;
        after.unawaited[at] = None;
        after
    }

    /// A write that a runner hasn't waited for happens some time later, if the runner lives so long.
    fn write_later(&self, state: &State, at: usize, out: &mut Vec<(&'static str, State)>) {
        let Some((message, end)) = state.unawaited[at] else {
            return;
        };
        let mut after = state.clone();
        after.unawaited[at] = None;
        if !state.ledger[message].is_terminal() {
            after.ledger[message] = end;
        }
        out.push(("the end is in the ledger after all", after));
        if state.deaths < self.deaths && state.runners[at].at == Running::Idle {
            out.push(("runner dies", Self::without_runner(state, at)));
        }
    }

    fn run(&self, state: &State, at: usize, out: &mut Vec<(&'static str, State)>) {
        let runner = state.runners[at];
        if runner.at == Running::Idle {
            self.receive(state, at, out);
            return;
        }
        if state.deaths < self.deaths {
            out.push(("runner dies", Self::without_runner(state, at)));
        }
        let mut after = state.clone();
        match runner.at {
            Running::Idle => {}
            Running::Read => {
                self.read(state, at, &mut after);
                out.push(("runner reads", after));
            }
            Running::Take => {
                self.take(state, at, &mut after);
                out.push(("runner takes", after));
            }
            Running::LoadLedger => {
                let message = runner.message;
                after.runners[at].at = match (state.ledger[message].is_terminal(), state.replies[message].outcome) {
                    (true, _) => Running::Settle,
                    (false, Some(outcome)) => Running::Push(outcome),
                    (false, None) if runner.seen.stop => Running::Record(Fate::Stopped),
                    (false, None) => Running::Ask,
                };
                out.push(("runner reads ledger and reply", after));
            }
            Running::Ask => {
                after.asked[runner.message] += 1;
                after.runners[at].at = Running::Record(Fate::Answered);
                if state.item.stop && state.item.fence == runner.fence {
                    let mut stopped = after.clone();
                    stopped.runners[at].at = Running::Record(Fate::Stopped);
                    out.push(("agent is stopped", stopped));
                }
                out.push(("agent answers", after));
            }
            Running::Record(outcome) => {
                let reply = &mut after.replies[runner.message];
                after.runners[at].at = match reply.outcome {
                    _ if reply.fence > runner.fence => Running::Idle,
                    // A result that an earlier holder recorded is used.
                    Some(before) => Running::Push(before),
                    None => {
                        (reply.outcome, reply.fence) = (Some(outcome), runner.fence);
                        Running::Push(outcome)
                    }
                };
                out.push(("runner records the result", after));
            }
            Running::Push(outcome) => self.push(state, at, outcome, out),
            Running::Mark(outcome) => {
                let reply = &mut after.replies[runner.message];
                after.runners[at].at = if reply.fence > runner.fence {
                    Running::Idle
                } else {
                    (reply.delivered, reply.fence) = (true, runner.fence);
                    Running::End(outcome)
                };
                out.push(("runner records the delivery", after));
            }
            Running::End(outcome) => {
                if self.mistake == Mistake::EndIsNotAwaited {
                    after.unawaited[at] = Some((runner.message, outcome));
                } else if !state.ledger[runner.message].is_terminal() {
                    after.ledger[runner.message] = outcome;
                }
                after.runners[at].at = Running::Settle;
                out.push(("runner ends the message", after));
            }
            Running::Settle => {
                self.settle(state, at, &mut after);
                out.push(("runner settles", after));
            }
        }
    }

    fn receive(&self, state: &State, at: usize, out: &mut Vec<(&'static str, State)>) {
        if state.wakes > 0 {
            let mut after = state.clone();
            (after.runners[at].at, after.runners[at].watch) = (Running::Read, false);
            if state.doubles < self.doubles {
                let mut doubled = after.clone();
                doubled.doubles += 1;
                out.push(("wake-up is delivered twice", doubled));
            }
            after.wakes -= 1;
            out.push(("wake-up is delivered", after));
        }
        if state.watch {
            let mut after = state.clone();
            after.watch = false;
            (after.runners[at].at, after.runners[at].watch) = (Running::Read, true);
            out.push(("watchdog is delivered", after));
        }
    }

    fn read(&self, state: &State, at: usize, after: &mut State) {
        let runner = &mut after.runners[at];
        runner.seen = state.item;
        let is_empty = state.item.run.is_none() && !state.item.pending.contains(&true);
        let is_held = Self::is_held(state);
        runner.at = if is_empty || is_held {
            Running::Idle
        } else {
            Running::Take
        };
        // A watchdog sends the next one before it takes over, and as long as another holder works.
        after.watch |= runner.watch && !is_empty;
    }

    fn take(&self, state: &State, at: usize, after: &mut State) {
        let is_free = state.item.holder.is_none() || state.expired;
        if state.item.version != state.runners[at].seen.version || !is_free {
            after.runners[at].at = Running::Read;
            after.runners[at].watch = false;
            return;
        }
        let item = &mut after.item;
        item.version += 1;
        (item.holder, item.fence) = (Some(at), item.version);
        if item.run.is_none() {
            self.begin(item);
        }
        after.expired = false;
        let runner = &mut after.runners[at];
        (runner.seen, runner.fence) = (after.item, after.item.fence);
        runner.message = after.item.run.unwrap_or_default();
        runner.at = Running::LoadLedger;
    }

    fn push(&self, state: &State, at: usize, outcome: Fate, out: &mut Vec<(&'static str, State)>) {
        let (runner, reply) = (state.runners[at], state.replies[state.runners[at].message]);
        let mut after = state.clone();
        // The lease outlasts the call, or the call isn't made.
        if state.item.holder != Some(at) || state.item.fence != runner.fence || state.expired {
            after.runners[at].at = Running::Idle;
            out.push(("runner has lost the lease", after));
            return;
        }
        if reply.delivered || outcome == Fate::Stopped {
            after.runners[at].at = Running::End(outcome);
            out.push(("nothing is left to show", after));
            return;
        }
        if state.item.stop && !self.interrupts && self.mistake != Mistake::StopOnlyWhileAsking {
            let mut stopped = state.clone();
            stopped.replies[runner.message].outcome = Some(Fate::Stopped);
            stopped.replies[runner.message].fence = runner.fence;
            stopped.runners[at].at = Running::End(Fate::Stopped);
            out.push(("delivery is stopped", stopped));
            return;
        }
        after.said[runner.message] += 1;
        after.stop_was_ignored |= state.item.stop && !self.interrupts;
        if after.said[runner.message] == 1 {
            let n_said = after.order.iter().flatten().count();
            after.order[n_said] = Some(runner.message);
        }
        after.runners[at].at = Running::Mark(outcome);
        out.push(("the chat shows the answer", after));
    }

    fn settle(&self, state: &State, at: usize, after: &mut State) {
        let is_ours = state.item.fence == state.runners[at].fence && state.item.holder == Some(at);
        if !is_ours && self.mistake != Mistake::SettleWithoutFence {
            after.runners[at].at = Running::Idle;
            return;
        }
        let item = &mut after.item;
        item.version += 1;
        (item.run, item.stop) = (None, false);
        if item.pending.contains(&true) && self.mistake != Mistake::NoLookAgain {
            self.begin(item);
            after.runners[at].seen = after.item;
            after.runners[at].message = after.item.run.unwrap_or_default();
            after.runners[at].at = Running::LoadLedger;
        } else {
            item.holder = None;
            after.expired = false;
            after.runners[at].at = Running::Idle;
        }
    }

    /// The lease expires, because its holder is dead or paused.
    fn expire(&self, state: &State, out: &mut Vec<(&'static str, State)>) {
        let Some(holder) = state.item.holder.filter(|_| !state.expired) else {
            return;
        };
        let runner = &state.runners[holder];
        let works =
            runner.fence == state.item.fence && !matches!(runner.at, Running::Idle | Running::Read | Running::Take);
        if works && state.pauses == self.pauses {
            return;
        }
        let mut after = state.clone();
        after.expired = true;
        after.pauses += u8::from(works);
        out.push(("the lease runs out", after));
    }
}

impl Model for ConversationModel {
    type State = State;

    fn start(&self) -> State {
        let item = Item {
            version: 1,
            pending: [false; N],
            closing: [None; N],
            run: None,
            stop: false,
            fence: 0,
            holder: None,
        };
        let reply = Reply {
            outcome: None,
            fence: 0,
            delivered: false,
        };
        let runner = Runner {
            at: Running::Idle,
            seen: item,
            fence: 0,
            message: 0,
            watch: false,
        };
        State {
            event: 0,
            dispatching: Dispatching::Claim,
            again: false,
            seen: item,
            held_when_saved: false,
            item,
            expired: false,
            ledger: [Fate::Absent; N],
            replies: [reply; N],
            wakes: 0,
            watch: false,
            runners: [runner; RUNNERS],
            unawaited: [None; RUNNERS],
            asked: [0; N],
            said: [0; N],
            order: [None; N],
            stop_was_ignored: false,
            deaths: 0,
            runner_deaths: 0,
            pauses: 0,
            doubles: 0,
        }
    }

    fn steps(&self, state: &State) -> Vec<(&'static str, State)> {
        let mut out = Vec::new();
        self.dispatch(state, &mut out);
        for at in 0..RUNNERS {
            self.run(state, at, &mut out);
            self.write_later(state, at, &mut out);
        }
        self.expire(state, &mut out);
        // Leftover state of an idle runner or dispatcher has no effect; resetting it makes states equal.
        for (_, after) in &mut out {
            for runner in &mut after.runners {
                if runner.at == Running::Idle {
                    let fence = runner.fence;
                    *runner = self.start().runners[0];
                    runner.fence = fence;
                }
            }
            if after.dispatching != Dispatching::Save && after.dispatching != Dispatching::Close {
                after.seen = self.start().item;
            }
        }
        out
    }

    fn violation(&self, state: &State, at_rest: bool) -> Option<&'static str> {
        let mishaps = state.deaths + state.pauses;
        for message in 0..N {
            let (fate, said) = (state.ledger[message], state.said[message]);
            if state.asked[message] > 1 + state.runner_deaths + state.pauses {
                return Some("the agent is asked more often than once and once for each runner's death");
            }
            if said > 1 + mishaps {
                return Some("the chat gets more final answers than one and one for each death");
            }
            if fate == Fate::Dropped && state.asked[message] > 0 {
                return Some("a message that was dropped is asked");
            }
            if matches!(fate, Fate::Stopped | Fate::Dropped) && said > 0 && mishaps == 0 {
                return Some("the ledger says stopped, the chat has the answer");
            }
            if at_rest && fate == Fate::Queued {
                return Some("a message has no fate");
            }
            if at_rest && fate == Fate::Answered && said == 0 {
                return Some("the ledger says answered, the chat has nothing");
            }
        }
        if state.stop_was_ignored {
            return Some("the chat gets an answer after it was stopped");
        }
        if state.order == [Some(1), Some(0)] {
            return Some("answers are out of order");
        }
        let is_idle = state.runners.iter().all(|runner| runner.at == Running::Idle);
        let is_dispatched = state.event == self.script.len();
        if is_idle && is_dispatched && state.wakes == 0 && mishaps == 0 && state.item.pending.contains(&true) {
            return Some("a message waits for the watchdog though no process died");
        }
        if is_idle && is_dispatched && mishaps == 0 && state.item.holder.is_some() {
            return Some("a lease is held by no one though no process died");
        }
        (at_rest && state.item.holder.is_some()).then_some("a lease is held at rest")
    }
}

/// The messages of people, and the trigger's policy for a message that arrives while an answer is being written.
fn scripts() -> Vec<(Vec<Event>, bool)> {
    use Event::{New, Say, Stop};
    vec![
        (vec![Say(0), Say(1)], false),
        (vec![Say(0), Say(1)], true),
        (vec![Say(0), Say(1), New], false),
        (vec![Say(0), Say(1), Stop], false),
        (vec![Say(0), Stop, Say(1)], false),
    ]
}

fn explore_all(mistake: Mistake, [deaths, pauses, doubles]: [u8; 3]) -> Vec<Explored> {
    let explored = scripts().into_iter().map(|(script, interrupts)| {
        explore(&ConversationModel {
            script,
            interrupts,
            deaths,
            pauses,
            doubles,
            mistake,
        })
    });
    explored.collect()
}

#[test]
fn no_order_of_steps_violates_an_invariant() {
    for budget in [[0, 0, 1], [1, 0, 0], [0, 1, 0]] {
        let explored = explore_all(Mistake::None, budget);
        for it in &explored {
            assert!(it.violation.is_none(), "{budget:?}: {:#?}", it.violation);
        }
        let n_states: usize = explored.iter().map(|it| it.n_states).sum();
        print_states(
            &format!("conversation, [deaths, pauses, doubles] = {budget:?}"),
            n_states,
        );
    }
}

#[test]
fn planted_mistakes_are_found() {
    let (a_death, a_pause) = ([1, 0, 0], [0, 1, 0]);
    let mistakes = [
        (Mistake::NoLookAgain, a_pause),
        (Mistake::SettleWithoutFence, a_pause),
        (Mistake::LedgerFirst, a_pause),
        (Mistake::StopOnlyWhileAsking, a_pause),
        (Mistake::ClaimIsAlwaysNew, a_death),
        (Mistake::EndIsNotAwaited, a_death),
    ];
    for (mistake, budget) in mistakes {
        let explored = explore_all(mistake, budget);
        let n_states: usize = explored.iter().map(|it| it.n_states).sum();
        let found = explored.into_iter().find_map(|it| it.violation);
        let (what, path) = found.unwrap_or_else(|| panic!("the oracles don't find {mistake:?}"));
        assert!(!path.is_empty(), "{mistake:?}: {what}");
        print_states(&format!("{mistake:?}, after {} steps {what:?}", path.len()), n_states);
    }
}

#[expect(clippy::print_stdout, reason = "the number of explored states is part of the result")]
pub(crate) fn print_states(what: &str, n_states: usize) {
    println!("{what}: {n_states} states");
}
