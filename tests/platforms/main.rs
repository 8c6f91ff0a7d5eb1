//! The bridge's journeys in this process, against the platforms' own strictness: what takes a whole road but no process of its own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cards;
mod clicks;
mod dingtalk_faults;
mod downloads;
mod house;
mod limits;
mod mentions;
mod passive_replies;
mod polls;
mod quotes;
mod status;
mod telegram;
mod time;
mod welcome;
