//! Tests of the management API from the caller's side, on in-memory tables and queues.
#![expect(clippy::unwrap_used, reason = "a test that can't go on should say where")]

mod access;
mod agents;
mod allowed_agents;
mod apply;
mod audit;
mod causes;
mod console;
mod described;
mod doctor;
mod idempotency;
mod integrations;
mod ledger;
mod links;
mod mapper;
mod message_flow;
mod notify;
mod openapi;
mod overview;
mod people;
mod periodic;
mod question_limits;
mod redaction;
mod restore;
mod routes;
mod runs;
mod scheduled;
mod secrets;
mod sessions;
mod synthetic_check;
mod tasks;
mod tenant_isolation;
mod test_api;
mod triggers;
mod versions;
mod wrong_files;
