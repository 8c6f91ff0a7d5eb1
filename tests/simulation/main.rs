//! Deterministic simulation of bridges on paused time: the real code of dispatch, runs, tables and queues, with calls that are delayed, fail, or
//! take effect and fail, with stale reads, and with processes that die, freeze and have skewed clocks. Even seeds simulate AWS: tables are called
//! through its client, which retries, and have replicas that lag. Odd seeds simulate the standalone program, which calls its tables directly. Answers
//! of half of the seeds are pulled, as our own channel does, and those of the other half are pushed to a platform that may refuse or forget to
//! confirm them; an operator
//! schedules and cancels messages there and erases people, and whatever has failed is redriven in the end. A seed determines everything, so that a failure replays:
//!
//! ```text
//! TIELINE_SEED=4711 cargo test -p tieline-simulation -- --nocapture
//! ```
//!
//! `TIELINE_SEEDS` is the number of seeds, or a range such as `10000..20000`. Optimized code is some ten times as fast:
//!
//! ```text
//! TIELINE_SEEDS=10000 cargo test --release -p tieline-simulation
//! ```
//!
//! `TIELINE_MISTAKE` plants one of the mistakes of `mistakes.rs` by its name; a failure replays with both variables. Optimized code tests each of
//! them (mutation testing) until a seed finds it, which took less than 500 seeds. The fencing token of a settled run can't be left out alone: the
//! item's version rejects the same write, so that mistake leaves out both.
//!
//! The simulation has found real bugs too: a process that died between receiving a watchdog and sending the next one, and (seed 255231) one that
//! died while it waited for a table with a wake-up that it had hidden for a quarter of an hour.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod bot;
mod chance;
mod chat_oracle;
mod connector;
mod direct_tables;
mod engine;
mod erasure;
mod faults;
mod mistakes;
mod operator;
mod oracle;
mod past;
mod people;
mod platform;
mod process;
mod scripted;
mod simulation;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mimalloc::MiMalloc;
use mistakes::Mistake;
use oracle::MessageEnds;
use scripted::{death_while_a_table_hangs, late_write, outage, slow_read};
use simulation::{Report, simulate};

/// The program's allocator.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Number of seeds of a test run.
const SEEDS: u64 = 150;
/// Number of seeds within which a planted mistake must be found.
#[cfg(not(debug_assertions))]
const SEEDS_OF_MISTAKE: u64 = 10_000;

/// The seeds that the environment asks for.
fn seeds() -> Range<u64> {
    let number = |text: &str| text.parse::<u64>().expect("a seed is a number");
    if let Ok(seed) = std::env::var("TIELINE_SEED") {
        return number(&seed)..number(&seed) + 1;
    }
    match std::env::var("TIELINE_SEEDS") {
        Err(_) => 0..SEEDS,
        Ok(seeds) => match seeds.split_once("..") {
            Some((first, end)) => number(first)..number(end),
            None => 0..number(&seeds),
        },
    }
}

/// Simulates seeds on all cores, until `most` have failed. Returns how the messages of the successful ones ended, and each failed seed with its
/// error.
fn simulate_all(seeds: Range<u64>, mistake: Option<Mistake>, most: usize) -> (MessageEnds, BTreeMap<u64, String>) {
    let next = AtomicU64::new(seeds.start);
    let (message_ends, failures) = (Mutex::new(MessageEnds::default()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= most {
                        return;
                    }
                    match simulate(seed, mistake) {
                        Ok(Report { message_ends: more, .. }) => message_ends.lock().unwrap().add(more),
                        Err(why) => drop(failures.lock().unwrap().insert(seed, why)),
                    }
                }
            });
        }
    });
    (message_ends.into_inner().unwrap(), failures.into_inner().unwrap())
}

#[test]
fn every_message_ends_once_and_in_order_under_faults() {
    let seeds = seeds();
    let mistake = std::env::var("TIELINE_MISTAKE").ok();
    let mistake = mistake.map(|name| {
        let mut all = Mistake::ALL.into_iter();
        all.find(|mistake| format!("{mistake:?}") == name).unwrap()
    });
    let n_seeds = seeds.end - seeds.start;
    let (message_ends, failures) = simulate_all(seeds, mistake, 3);
    println!("{n_seeds} seeds, messages by their end: {:?}", message_ends.0);
    assert!(failures.is_empty(), "expected none, found {failures:#?}");
}

/// The oracles find what they are for. Needs hundreds of seeds, so only in optimized code.
#[cfg(not(debug_assertions))]
#[test]
fn planted_mistakes_are_found() {
    for mistake in Mistake::ALL {
        let (_, found) = simulate_all(0..SEEDS_OF_MISTAKE, Some(mistake), 1);
        let Some((seed, what)) = found.first_key_value() else {
            panic!("{mistake:?} is not found within {SEEDS_OF_MISTAKE} seeds");
        };
        println!("{mistake:?} is found by seed {seed}: {what}");
    }
}

/// The same seed makes the same calls at the same times.
#[test]
fn a_seed_replays() {
    for seed in 0..5 {
        let (one, other) = (simulate(seed, None).unwrap(), simulate(seed, None).unwrap());
        let mut differing = one.calls.iter().zip(&other.calls).enumerate();
        if let Some((at, _)) = differing.find(|(_, (one, other))| one != other) {
            let from = at.saturating_sub(6);
            panic!(
                "seed {seed}\n{:#?}\n{:#?}",
                &one.calls[from..=at + 2],
                &other.calls[from..=at + 2]
            );
        }
        assert_eq!(one, other, "seed {seed}");
    }
}

/// A wake-up is never hidden for much longer than it has been processed.
#[test]
fn death_while_a_table_hangs_silences_no_chat_for_minutes() {
    let report = death_while_a_table_hangs().unwrap();
    assert_eq!(report.message_ends.0.keys().copied().collect::<Vec<_>>(), ["answered"]);
    assert!(report.ended_after.as_secs() < 150, "{:?}", report.ended_after);
}

/// The lease is renewed while the run waits for the table.
#[test]
fn agent_is_asked_once_if_a_read_takes_longer_than_the_lease() {
    let report = slow_read().unwrap();
    assert_eq!(report.message_ends.0.keys().copied().collect::<Vec<_>>(), ["answered"]);
    assert_eq!(report.n_asked, 1);
}

/// The agent is asked by the process that was frozen, and by the one that has taken over.
#[test]
fn late_write_to_a_reply_ends_no_run_that_has_taken_over() {
    let report = late_write().unwrap();
    assert_eq!(report.message_ends.0.keys().copied().collect::<Vec<_>>(), ["answered"]);
    assert_eq!(report.n_asked, 2);
}

#[test]
fn table_outage_of_six_hours_loses_no_message() {
    let Report {
        message_ends,
        ended_after,
        ..
    } = outage().unwrap();
    println!(
        "{message_ends:?}, the last one {} s after the beginning",
        ended_after.as_secs()
    );
    assert_eq!(message_ends.0.keys().copied().collect::<Vec<_>>(), ["answered"]);
}
