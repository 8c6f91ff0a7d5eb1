//! The whole bridge as one process, from a platform's callback to the answer in the chat.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![expect(unreachable_pub, reason = "a test's own parts")]

mod agents;
mod chat;
mod custom_platform;
mod kills;
mod people;
mod redaction;
mod rude_agent;
mod webhook_examples;
mod wecom_callbacks;
mod wecom_vectors;
mod wrong_input;

// The vendors' servers of the adapters' own tests.
#[path = "../../crates/agents/tests/loopback/coze_server.rs"]
mod coze_server;
#[path = "../../crates/agents/tests/loopback/dify_server.rs"]
#[expect(dead_code, reason = "the adapters' tests use every kind of app")]
mod dify_server;
#[path = "../../crates/agents/tests/loopback/responses_server.rs"]
mod responses_server;
#[path = "../../crates/agents/tests/loopback/server.rs"]
#[expect(dead_code, reason = "the adapters' tests use all of it")]
mod server;
