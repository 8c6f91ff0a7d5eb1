//! The management API as its callers see it, over tables and queues in memory.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should say where")]

mod access;
mod agents;
mod apply;
mod audit;
mod causes;
mod console;
mod idempotency;
mod integrations;
mod ledger;
mod links;
mod openapi;
mod overview;
mod people;
mod place;
mod question_limits;
mod restore;
mod road;
mod runs;
mod secrets;
mod sessions;
mod tasks;
mod triggers;
mod trouble;
mod versions;
mod walls;
mod wrong_files;
