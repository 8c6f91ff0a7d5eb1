//! The rules of the configuration, each with a race that tries to break it.
//!
//! Runs over the embedded engine, or over the server that `TIELINE_TEST_DYNAMODB_ENDPOINT` names.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod agents;
mod allowed_agents;
mod desired_connections;
mod integrations;
mod notify;
mod organizations;
mod registration_due;
mod tables;
mod tokens;
mod trash;
mod triggers;
mod users;
