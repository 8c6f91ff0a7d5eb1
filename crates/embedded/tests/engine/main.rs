//! Features that only the embedded engine has: a clock that a test moves, crash points, a directory, guaranteed fairness.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod clients;
mod crashes;
mod directory;
mod fairness;
mod receivers;
mod time;
