//! Code that the programs of a deployment on AWS share: environment, SDK, data keys, logging, signals, health check, SQS batches.

pub mod data_key;
pub mod environment;
pub mod health_check;
pub mod logging;
mod sdk;
pub mod shutdown;
pub mod sqs_batch;
pub mod start;
