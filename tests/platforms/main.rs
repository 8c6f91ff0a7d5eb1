//! The bridge in this process with strict platform simulators: whole message paths that need no process of their own.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod cards;
mod clicks;
mod dingtalk_faults;
mod downloads;
mod frame_vectors;
mod lark;
mod limits;
mod mentions;
mod names;
mod passive_replies;
mod polls;
mod quotes;
mod recalls;
mod status;
mod telegram;
mod test_bridge;
mod time;
mod vectors;
mod welcome;
