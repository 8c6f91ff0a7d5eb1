//! What to run: functions, routes and queue mappings, as a template would declare them.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

/// Everything an [`Emulator`](super::Emulator) runs.
#[derive(Clone, Debug)]
pub struct Config {
    /// The functions, each with a name of its own.
    pub functions: Vec<FunctionConfig>,
    /// The routes of the one HTTP API. Without any, every request is answered 404.
    pub routes: Vec<Route>,
    /// The queues that invoke functions.
    pub mappings: Vec<MappingConfig>,
    /// Where the HTTP API listens. Port 0 takes a free one.
    pub listen: SocketAddr,
    /// How long the HTTP API waits for a function before it returns 503. The limit of AWS is 30 s.
    ///
    /// See [API Gateway Docs/HTTP API quotas](https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html).
    pub integration_timeout: Duration,
    /// How long an instance may take from its start to its first request for an event. AWS allows 10 s.
    pub init_timeout: Duration,
    /// Stops instances between invocations, as AWS does: work that continues after an answer is frozen.
    pub freeze_idle: bool,
    /// Ends instances that were idle for this long. `None` keeps them.
    pub idle_limit: Option<Duration>,
    /// How many of the newest log lines are kept per function.
    pub log_lines: usize,
    /// The region that functions and events name.
    pub region: String,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            functions: Vec::new(),
            routes: Vec::new(),
            mappings: Vec::new(),
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            integration_timeout: Duration::from_secs(30),
            init_timeout: Duration::from_secs(10),
            freeze_idle: true,
            idle_limit: None,
            log_lines: 20_000,
            region: "us-east-1".to_owned(),
        }
    }
}

/// One function.
#[derive(Clone, Debug)]
pub struct FunctionConfig {
    /// Name, unique within the emulator.
    pub name: String,
    /// The executable, what a deployment calls `bootstrap`.
    pub binary: PathBuf,
    /// Environment variables beside those that Lambda sets. The test's own environment is not inherited.
    pub env: BTreeMap<String, String>,
    /// How long one invocation may take. AWS allows 1 s to 900 s; tests may go lower.
    pub timeout: Duration,
    /// Reported to the function; not enforced.
    pub memory_mb: u32,
    /// How many instances may live at once.
    pub concurrency: usize,
    /// What happens to an invocation when all instances are busy.
    pub at_capacity: AtCapacity,
}

impl FunctionConfig {
    /// A function with AWS's defaults (3 s, 128 MB), up to 8 instances and no environment.
    pub fn new(name: impl Into<String>, binary: impl Into<PathBuf>) -> Self {
        Self {
            name: name.into(),
            binary: binary.into(),
            env: BTreeMap::new(),
            timeout: Duration::from_secs(3),
            memory_mb: 128,
            concurrency: 8,
            at_capacity: AtCapacity::Wait,
        }
    }

    /// Adds an environment variable.
    #[must_use]
    pub fn env(mut self, key: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.insert(key.into(), value.into());
        self
    }
}

/// What happens to an invocation when all instances are busy.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AtCapacity {
    /// It waits for its turn, like in an account with far more concurrency than a test machine has cores.
    #[default]
    Wait,
    /// It is rejected, as AWS does at reserved concurrency: the HTTP API returns 503, a mapping retries later.
    Throttle,
}

/// One route of the HTTP API.
#[derive(Clone, Debug)]
pub struct Route {
    /// Method and path as AWS writes them: `POST /hooks/{id}`, `ANY /api/{proxy+}`, or `$default`.
    pub key: String,
    /// Name of the function that answers.
    pub function: String,
}

impl Route {
    /// A route from its key and the name of the function that answers it.
    pub fn new(key: impl Into<String>, function: impl Into<String>) -> Self {
        Self {
            key: key.into(),
            function: function.into(),
        }
    }
}

/// One event source mapping: a queue that invokes a function.
#[derive(Clone, Debug)]
pub struct MappingConfig {
    /// The queue. A name that ends in `.fifo` makes it first in, first out.
    pub queue_url: String,
    /// The client that the mapping polls and deletes with.
    pub client: aws_sdk_sqs::Client,
    /// Name of the function that is invoked.
    pub function: String,
    /// The most messages one invocation gets, 1 to 10. (More would need a batch window, which FIFO queues can't have.)
    pub batch_size: i32,
    /// The most invocations at once from this queue, 2 to 1,000 as on AWS. `None`: as many as the function may have.
    pub maximum_concurrency: Option<usize>,
    /// Whether the function's list of failed items is read (`ReportBatchItemFailures`).
    pub report_batch_item_failures: bool,
    /// How long one receive call waits for messages, at most 20 s.
    pub wait: Duration,
}

impl MappingConfig {
    /// A mapping with batches of 10, partial batch responses on, no concurrency limit of its own and 20 s of long polling.
    pub fn new(client: aws_sdk_sqs::Client, queue_url: impl Into<String>, function: impl Into<String>) -> Self {
        Self {
            queue_url: queue_url.into(),
            client,
            function: function.into(),
            batch_size: 10,
            maximum_concurrency: None,
            report_batch_item_failures: true,
            wait: Duration::from_secs(20),
        }
    }
}
