//! The whole bridge as one process, from a platform's callback to the answer in the chat.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod chat;
mod custom_platform;
mod kills;
mod rude_agent;
mod wecom_callbacks;
mod wecom_vectors;
mod wrong_input;
