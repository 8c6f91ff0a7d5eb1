//! Everything in one process, and the command line.

pub mod args;
pub mod data;
pub mod edge;
pub mod local;
pub mod logging;
pub mod seed;
pub mod serve;
