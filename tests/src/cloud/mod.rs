//! Tieline as functions: the release binaries under the Lambda emulator, over tables and queues on the loopback address.

mod bots;
mod servers;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tieline_bridge::deployment::variables;
use tieline_queue::{Urls, definitions};
use tieline_store::{Keyring, Store, Tables, create_missing};

use crate::console::Console;
use crate::lambda::{Config, Emulator, FunctionConfig, MappingConfig, Route};
use crate::process::{ADMIN_TOKEN, binary, free_port};

pub use servers::Servers;

/// The functions, by the names of their binaries.
pub const FUNCTIONS: [&str; 4] = ["webhook", "dispatcher", "runner", "admin"];
/// Which function answers what. API Gateway takes the most specific route.
const ROUTES: [(&str, &str); 3] = [
    ("ANY /api/{platform}/webhook/{integration}", "webhook"),
    ("GET /api/web/replies/{reply}", "webhook"),
    ("$default", "admin"),
];
/// The data key of every deployment in tests.
const MASTER_KEY: [u8; 32] = [7; 32];

/// What differs between scenarios.
#[derive(Debug, Clone)]
pub struct Plan {
    /// How long one invocation of the runner may take.
    pub runner_timeout: Duration,
    /// How many instances each function may have.
    pub concurrency: usize,
}

impl Default for Plan {
    fn default() -> Self {
        Self {
            runner_timeout: Duration::from_secs(900),
            concurrency: 8,
        }
    }
}

/// A deployment of the four functions.
pub struct Cloud {
    /// AWS toward the functions.
    pub emulator: Emulator,
    /// The queues.
    pub urls: Urls,
    /// A client of the queues.
    pub sqs: aws_sdk_sqs::Client,
    store: Store,
    // Last: it is asked until the functions have ended.
    _servers: Servers,
}

impl Cloud {
    /// Deploys into tables and queues of its own.
    ///
    /// # Errors
    /// If a binary is missing, or a table or queue can't be made.
    pub async fn deploy(servers: Servers, plan: &Plan) -> Result<Self> {
        let prefix = format!("t{}-", hex::encode(tieline_bridge::world::random::<6>()));
        let (dynamo, sqs) = (servers.dynamodb_client(), servers.sqs_client());
        let tables = Tables::with_prefix(&prefix);
        create_missing(&dynamo, &tables)
            .await
            .context("can't make the tables")?;
        let urls = definitions::create_missing(&sqs, &prefix, 0)
            .await
            .context("can't make the queues")?;
        let listen = SocketAddr::from(([127, 0, 0, 1], free_port()?));
        let env = environment(&servers, &tables, &urls, listen);
        let config = Config {
            functions: functions(plan, &env)?,
            routes: ROUTES.map(|(key, function)| Route::new(key, function)).into(),
            mappings: vec![
                MappingConfig::new(sqs.clone(), &urls.inbound, "dispatcher"),
                MappingConfig::new(sqs.clone(), &urls.work, "runner"),
            ],
            listen,
            ..Config::default()
        };
        Ok(Self {
            emulator: Emulator::start(config).await?,
            urls,
            sqs,
            store: Store::new(dynamo, tables, Keyring::new(MASTER_KEY)),
            _servers: servers,
        })
    }

    /// Replaces all functions by new instances, as a deployment does: what is in hand is finished by the old ones.
    ///
    /// # Errors
    /// If a binary is missing.
    pub async fn redeploy(&self, env: &BTreeMap<String, String>) -> Result<()> {
        for name in FUNCTIONS {
            let function = self.emulator.function(name);
            let mut env = env.clone();
            for (key, value) in function.env() {
                env.entry(key).or_insert(value);
            }
            function.deploy(binary(name)?, env).await;
        }
        Ok(())
    }

    /// The operator of this deployment.
    #[must_use]
    pub fn console(&self) -> Console {
        Console::new(self.emulator.url().to_owned())
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

/// What every function of a deployment finds in its environment.
fn environment(servers: &Servers, tables: &Tables, urls: &Urls, listen: SocketAddr) -> BTreeMap<String, String> {
    let public_url = format!("http://{listen}");
    let own = [
        (variables::CONFIG_TABLE, tables.config.clone()),
        (variables::STATE_TABLE, tables.state.clone()),
        (variables::LEASES_TABLE, tables.leases.clone()),
        (variables::INBOUND_QUEUE, urls.inbound.clone()),
        (variables::WORK_QUEUE, urls.work.clone()),
        (variables::PUBLIC_URL, public_url),
        (variables::MASTER_KEY, hex::encode(MASTER_KEY)),
        (variables::ADMIN_TOKEN, ADMIN_TOKEN.to_owned()),
        (variables::ALLOW_PRIVATE, "true".to_owned()),
        ("AWS_ENDPOINT_URL_DYNAMODB", servers.dynamodb.clone()),
        ("AWS_ENDPOINT_URL_SQS", servers.sqs.clone()),
    ];
    own.map(|(key, value)| (key.to_owned(), value)).into()
}

fn functions(plan: &Plan, env: &BTreeMap<String, String>) -> Result<Vec<FunctionConfig>> {
    let function = |name: &str| {
        let path: PathBuf = binary(name)?;
        let timeout = match name {
            "runner" => plan.runner_timeout,
            // As long as the HTTP API waits, or as events may take.
            _ => Duration::from_secs(30),
        };
        Ok(FunctionConfig {
            env: env.clone(),
            timeout,
            memory_mb: 256,
            concurrency: plan.concurrency,
            ..FunctionConfig::new(name, path)
        })
    };
    FUNCTIONS.into_iter().map(function).collect()
}
