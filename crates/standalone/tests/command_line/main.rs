//! Tests of the built binary from the user's side, each on its own directory and port.

#![expect(clippy::unwrap_used, reason = "a test that can't go on fails")]

mod apply;
mod bridge;
mod chat;
mod fake;
mod login;
mod notify;
mod readme;
mod release;
mod serve;
mod show;
mod verbs;
