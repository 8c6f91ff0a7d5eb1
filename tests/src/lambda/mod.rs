//! AWS Lambda, API Gateway and the SQS event source mapping, emulated by one process for tests.
//!
//! [`Emulator`] starts real function binaries (anything built on `lambda_runtime`) and emulates AWS for them: the
//! Runtime API, an HTTP API with payload format 2.0, and event source mappings that poll SQS queues. It
//! uses nothing of Tieline, so it is an independent implementation of the behaviour of AWS.
//!
//! The path of an invocation: `http`(mod@http) or `sqs` makes an event, [`Function`] finds or starts an instance,
//! the instance takes the event over its own Runtime API listener, and the [`Outcome`] goes back the same way.
//!
//! Emulated because code depends on it: one invocation at a time per instance, instances frozen between
//! invocations, death at the deadline, a cleared environment, payload limits, partial batch responses.

mod bundle;
mod cold_start;
mod config;
mod emulator;
mod environment;
mod function;
mod http;
mod ids;
mod instance;
mod keeper;
mod logs;
mod outcome;
mod runtime_api;
mod sqs;
mod stats;
mod tasks;

pub use bundle::bundle_size;
pub use cold_start::{ColdStart, measure_cold_start};
pub use config::{AtCapacity, Config, FunctionConfig, MappingConfig, Route};
pub use emulator::Emulator;
pub use function::Function;
pub use logs::{LogLine, Source};
pub use outcome::Outcome;
pub use stats::Stats;
