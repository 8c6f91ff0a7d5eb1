//! Everything in one process, and the command line.

pub mod apply;
pub mod args;
pub mod chat;
pub mod client;
pub mod data;
pub mod doctor;
pub mod kind;
pub mod local;
pub mod logging;
pub mod login;
pub mod logs;
pub mod metrics_route;
pub mod seed;
pub mod serve;
pub mod show;
pub mod table;
pub mod terminal;
pub mod webhook_routes;
