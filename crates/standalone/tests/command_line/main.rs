//! The command line as its users meet it: the built binary, on directories and ports of its own.

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
