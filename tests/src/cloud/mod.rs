//! Tieline as functions, wired as the deployment template says: the release binaries under the Lambda emulator, over tables, queues
//! and a key service on the loopback address.
//!
//! Functions, their environment, time-outs and memory, routes, and event source mappings are read from `infra/template.yaml`, the
//! relay's environment from the stack that it nests, `infra/relay.yaml`. What a test machine can't have is replaced by name:
//! endpoints, the admin token that CloudFormation would resolve, and the permission to call agents on the loopback address.

mod kms;
mod servers;
mod wiring;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context as _, Result};
use serde_json::{Value, json};
use tieline_queue::{Urls, definitions};
use tieline_store::{Tables, create_missing};

use self::kms::Kms;
use self::wiring::Wiring;
use crate::console::Console;
use crate::lambda::{Config, Emulator};
use crate::process::binary;
use crate::relay::Relay;
use crate::reserved_port::free_port;

pub use servers::Servers;

/// The functions, by the names of their binaries.
pub const FUNCTIONS: [&str; 4] = ["webhook", "dispatcher", "runner", "admin"];
/// The template has this many queues of relay shards.
const N_SHARDS: usize = 16;
const KMS_KEY: &str = "arn:aws:kms:us-east-1:123456789012:key/1234abcd";

/// The parameters of a deployment that differ between scenarios.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Timeout of the runner, if not the template's.
    pub runner_timeout: Option<Duration>,
    /// Maximum instances of each function: a test machine has fewer cores than AWS.
    pub concurrency: usize,
    /// Where agents are called, as in the template's parameter `Runs`: `lambda`, or `container`, without a runner function.
    pub runs: &'static str,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            runner_timeout: None,
            concurrency: 8,
            runs: "lambda",
        }
    }
}

/// A deployment of the four functions, to which relays can be added.
pub struct Cloud {
    /// The emulator in which the functions run.
    pub emulator: Emulator,
    /// The queues.
    pub urls: Urls,
    /// A client of the queues.
    pub sqs: aws_sdk_sqs::Client,
    relay_env: BTreeMap<String, String>,
    logs: tempfile::TempDir,
    // Last, since the functions call it until they have ended.
    _kms: Kms,
    _servers: Servers,
}

impl Cloud {
    /// Deploys with tables and queues of its own.
    ///
    /// # Errors
    /// If a binary is missing, a table or queue can't be created, or the template has something that the emulator doesn't support.
    pub async fn deploy(servers: Servers, plan: &Plan) -> Result<Self> {
        let stack = format!("t{}", hex::encode(tieline_bridge::world::random::<6>()));
        let prefix = format!("{stack}-");
        let (dynamo, sqs) = (servers.dynamodb_client(), servers.sqs_client());
        let tables = Tables::with_prefix(&prefix);
        create_missing(&dynamo, &tables)
            .await
            .context("can't make the tables")?;
        let urls = definitions::create_missing(&sqs, &prefix, N_SHARDS)
            .await
            .context("can't make the queues")?;
        let kms = Kms::start(KMS_KEY).await?;
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let local = [
            ("AWS_ENDPOINT_URL_DYNAMODB", servers.dynamodb.clone()),
            ("AWS_ENDPOINT_URL_SQS", servers.sqs.clone()),
            ("AWS_ENDPOINT_URL_KMS", kms.url.clone()),
        ];
        let wiring = Wiring::read(&stack, plan, &tables, &urls, KMS_KEY, &format!("http://{listen}"))?;
        let config = Config {
            functions: wiring.functions(plan, &local)?,
            routes: wiring.routes()?,
            mappings: wiring.mappings(&sqs)?,
            listen,
            ..Config::default()
        };
        Ok(Self {
            relay_env: wiring.relay(&local)?,
            logs: tempfile::tempdir()?,
            emulator: Emulator::start(config).await?,
            urls,
            sqs,
            _kms: kms,
            _servers: servers,
        })
    }

    /// Replaces all functions by new instances, as a deployment does: old instances finish their invocations.
    ///
    /// # Errors
    /// If a binary is missing.
    pub async fn redeploy(&self, env: &BTreeMap<String, String>) -> Result<()> {
        for function in self.emulator.functions() {
            let mut env = env.clone();
            for (key, value) in function.env() {
                env.entry(key).or_insert(value);
            }
            function.deploy(binary(function.name())?, env).await;
        }
        Ok(())
    }

    /// Starts another task of the relay's service.
    ///
    /// # Errors
    /// If its binary is missing.
    pub fn relay(&self, name: &str) -> Result<Relay> {
        Relay::start(self.logs.path(), name, &self.relay_env)
    }

    /// The operator of this deployment.
    #[must_use]
    pub fn console(&self) -> Console {
        Console::new(self.emulator.url().to_owned())
    }

    /// Creates a bot, an agent and a trigger between them through the management API. Returns the bot's id.
    ///
    /// # Errors
    /// If one can't be created.
    pub async fn bind(&self, integration: &Value, agent: &Value) -> Result<String> {
        let made = self.console().bind(integration, agent, &json!({})).await;
        let made = made.with_context(|| self.log_tail())?;
        Ok(made["id"].as_str().context("no id")?.to_owned())
    }

    /// The newest log lines of every function, for a failing test.
    #[must_use]
    pub fn log_tail(&self) -> String {
        let mut text = String::new();
        for function in self.emulator.functions() {
            let _ = writeln!(text, "--- {}: {:?}", function.name(), function.stats());
            for line in function.logs(25) {
                let _ = writeln!(text, "{line}");
            }
        }
        text
    }
}
