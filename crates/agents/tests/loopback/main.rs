//! The adapters against servers on the loopback address: well-behaved, broken and hostile ones.
#![expect(clippy::unwrap_used, reason = "tests")]
#![expect(unreachable_pub, reason = "a test's own parts")]

mod a2a;
mod agentcore;
mod ask;
mod coze;
mod coze_server;
mod dify;
mod dify_server;
mod dify_speakers;
mod facts;
mod langgraph;
mod openai_chat;
mod openai_responses;
mod patience;
mod responses_server;
mod retry;
mod server;
mod webhook;
mod xpert;
