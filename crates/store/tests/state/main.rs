//! The table `state`: tested over the embedded engine, or over the server that `TIELINE_TEST_DYNAMODB_ENDPOINT` names.

#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod conversations;
mod dead_letters;
mod files;
mod idempotency;
mod leases;
mod logins;
mod logs;
mod mailbox;
mod message_rates;
mod messages;
mod moved_chats;
mod notifications;
mod overheard;
mod poll_cursors;
mod quotas;
mod repeated_writes;
mod replies;
mod rotation;
mod run_slots;
mod runs;
mod scheduled;
mod sealed_items;
mod shapes;
mod shards;
mod statuses;
mod tables;
mod tokens;
mod transcripts;
