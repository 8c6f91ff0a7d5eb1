//! Agents: one folder per protocol, all converted to the event model of [`tieline_core::agent`].
//!
//! [`protocol::Protocol::parse`] validates an agent's settings once and returns an [`protocol::Adapter`]; its `run` is a stream of
//! events that ends with exactly one terminal event (or `Deferred`). Dropping the stream closes the connection to the agent.
//!
//! A new protocol is a folder and its arms in `protocol.rs`. Shared code is here: settings (`config`, `settings`), a call with its
//! retries (`call`, `api`), bounded reading of the response (`answer`, `sse`, `json`), codes of failures (`failure`).

pub mod answer_memory;
pub mod config;
pub mod env;
pub mod failure;
pub mod protocol;
pub mod run;
pub mod sse;

pub mod a2a;
pub mod agentcore;
pub mod coze;
pub mod dify;
pub mod echo;
pub mod langgraph;
pub mod openai_chat;
pub mod openai_responses;
pub mod webhook;
pub mod xpert;

mod answer;
mod api;
mod call;
mod confirmation;
mod content;
mod derived_id;
mod error_body;
mod facts;
mod json;
mod json_api;
mod manifest;
mod prompt;
mod rejoin;
mod settings;
