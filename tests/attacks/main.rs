//! Attacks by unauthenticated clients on the whole bridge as one process.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod exhaustion;
