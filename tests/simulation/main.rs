//! Simulates bridges on paused time: real code of events, runs, tables and queues, with calls that are late, fail, or take effect and
//! fail, with reads that find what was there a moment ago, and with processes that die, stand still and have clocks of their own. A seed decides everything, so that a failure replays:
//!
//! ```text
//! TIELINE_SEED=4711 cargo test -p tieline-simulation -- --nocapture
//! ```
//!
//! `TIELINE_SEEDS` says how many seeds are tried. Optimized code is some ten times as fast:
//!
//! ```text
//! TIELINE_SEEDS=10000 cargo test --release -p tieline-simulation
//! ```
//!
//! `TIELINE_MISTAKE` plants one of `mistakes.rs` in each, by its name: what finds it replays with that too. Optimized code plays each of them
//! until a seed finds it, which took less than 500 seeds. The fence of a run that is settled is not missed alone: the version of the item
//! refuses the same write, so the mistake leaves out both.
//!
//! The simulation has found a real mistake too: a process that died between getting a watchdog and sending it on.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    clippy::expect_used,
    reason = "a failed unwrap is a failed test"
)]

mod bot;
mod chance;
mod connector;
mod engine;
mod faults;
mod mistakes;
mod oracle;
mod past;
mod people;
mod process;
mod simulation;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use mimalloc::MiMalloc;
use mistakes::Mistake;
use oracle::Fates;
use simulation::{Report, outage, simulate};

/// As the program has it.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Seeds of one run of the tests.
const SEEDS: u64 = 150;
/// Seeds within which a planted mistake is found.
#[cfg(not(debug_assertions))]
const SEEDS_OF_MISTAKE: u64 = 10_000;

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok()?.parse().ok()
}

/// Simulates seeds on all cores, until so many have failed. How the messages of the others ended, and what was wrong with which seed.
fn simulate_all(seeds: Range<u64>, mistake: Option<Mistake>, most: usize) -> (Fates, BTreeMap<u64, String>) {
    let next = AtomicU64::new(seeds.start);
    let (fates, failures) = (Mutex::new(Fates::default()), Mutex::new(BTreeMap::new()));
    thread::scope(|scope| {
        for _ in 0..thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::SeqCst);
                    if seed >= seeds.end || failures.lock().unwrap().len() >= most {
                        return;
                    }
                    match simulate(seed, mistake) {
                        Ok(Report { fates: more, .. }) => fates.lock().unwrap().add(more),
                        Err(why) => drop(failures.lock().unwrap().insert(seed, why)),
                    }
                }
            });
        }
    });
    (fates.into_inner().unwrap(), failures.into_inner().unwrap())
}

#[test]
fn whatever_happens_every_message_ends_once_and_in_order() {
    let seeds = match number("TIELINE_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("TIELINE_SEEDS").unwrap_or(SEEDS),
    };
    let mistake = std::env::var("TIELINE_MISTAKE").ok();
    let mistake = mistake.map(|name| {
        let mut all = Mistake::ALL.into_iter();
        all.find(|mistake| format!("{mistake:?}") == name).unwrap()
    });
    let n_seeds = seeds.end - seeds.start;
    let (fates, failures) = simulate_all(seeds, mistake, 3);
    println!("{n_seeds} seeds, messages by their end: {:?}", fates.0);
    assert!(failures.is_empty(), "{failures:#?}");
}

/// The oracles see what they are for. Hundreds of seeds, so only in optimized code.
#[cfg(not(debug_assertions))]
#[test]
fn planted_mistakes_are_found() {
    for mistake in Mistake::ALL {
        let (_, found) = simulate_all(0..SEEDS_OF_MISTAKE, Some(mistake), 1);
        let Some((seed, what)) = found.first_key_value() else {
            panic!("{mistake:?} is not found in {SEEDS_OF_MISTAKE} seeds");
        };
        println!("{mistake:?} is found by seed {seed}: {what}");
    }
}

/// The same seed, the same calls at the same times.
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

#[test]
fn tables_that_are_away_for_six_hours_lose_nothing() {
    let Report { fates, ended_after, .. } = outage().unwrap();
    println!(
        "{fates:?}, the last one {} s after the beginning",
        ended_after.as_secs()
    );
    assert_eq!(fates.0.keys().copied().collect::<Vec<_>>(), ["answered"]);
}
