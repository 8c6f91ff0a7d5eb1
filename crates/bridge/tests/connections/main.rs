//! Long connections over loopback sockets: which process holds which bots, what is lost when one dies, and what operators read of it.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod calls;
mod changes;
mod desired_lists;
mod faults;
mod hand_over;
mod outages;
mod platform;
mod poll_platform;
mod polling;
mod single;
mod table_calls;
mod test_cluster;
