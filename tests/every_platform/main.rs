//! The same scenarios for every platform and mode: one row each in `tieline_tests::rows`.
//!
//! `TIELINE_PLATFORM=telegram` runs the rows of one platform only.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod answers;
mod cards;
mod chat_rules;
mod commands;
mod faults;
mod groups;
mod media;
mod relays;
mod tasks;
mod telegram;
mod test_bridge;
