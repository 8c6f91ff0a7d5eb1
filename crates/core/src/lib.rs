//! Domain types and rules of Tieline: messages, their owners, and their outcomes.
//!
//! Everything here is pure: no IO, no clock, no randomness. Time and random bytes are arguments.

pub mod ids;
pub mod secret;
pub mod timestamp;

pub mod account;
pub mod chat;
pub mod envelope;
pub mod event;

pub mod access;
pub mod command;
pub mod conversation;
pub mod mailbox;
pub mod pairing;
pub mod people_texts;
pub mod routes;
pub mod session;
pub mod task_reply;
pub mod thinking_display;
pub mod trigger;

pub mod agent;
pub mod agent_texts;
pub mod backoff;
pub mod incident;
pub mod mapper;
pub mod message_state;

pub mod bilingual;
pub mod budget;
pub mod card;
pub mod chat_texts;
pub mod notice;
pub mod quiet_hours;
pub mod redaction;
pub mod reference;
pub mod reply;
pub mod split;

pub mod connection_state;
pub mod connector;
pub mod http_types;
pub mod json_depth;
pub mod keepalive;
pub mod login;
pub mod outbound_url;
pub mod shard_plan;
pub mod stream;
pub mod virtual_shard;
pub mod webhook_signature;
