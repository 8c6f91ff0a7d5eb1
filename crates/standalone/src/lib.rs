//! Everything in one process, and the command line.

pub mod apply;
pub mod args;
pub mod chat;
pub mod client;
pub mod color;
pub mod completion;
pub mod confirm;
pub mod data;
pub mod doctor;
pub mod export;
pub mod impact;
pub mod kind;
pub mod local;
pub mod logging;
pub mod login;
pub mod logs;
pub mod metrics_route;
pub mod output;
pub mod seed;
pub mod serve;
pub mod show;
pub mod since;
pub mod table;
pub mod terminal;
pub mod verbs;
pub mod webhook_routes;
