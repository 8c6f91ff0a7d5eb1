//! The same scenarios for every agent protocol: one row each in `servers`.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(unreachable_pub, reason = "a test's own parts")]

mod faults;
mod long_runs;
mod runs;
mod scenarios;
mod servers;

// The scripted server of the adapters' own tests.
#[path = "../../crates/agents/tests/loopback/server.rs"]
#[expect(dead_code, reason = "the adapters' tests use all of it")]
mod server;
