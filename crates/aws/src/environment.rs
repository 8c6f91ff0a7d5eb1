//! Configuration of a deployed program, read from environment variables.

use std::num::NonZeroUsize;

use tieline_bridge::operator::{self, MIN_TOKEN_BITS};
use tieline_bridge::tenant_slots::SlotLimits;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::secret::Secret;
use tieline_queue::Urls;
use tieline_store::Tables;

/// Configuration of a deployed program, read from its environment variables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The tables.
    pub tables: Tables,
    /// The queues.
    pub urls: Urls,
    /// The deployment's public base URL.
    pub public_url: String,
    /// Base of the platforms' callback URLs. `None`: the public URL.
    pub callback_base: Option<String>,
    /// Source of the key that opens the stored data.
    pub key: KeySource,
    /// The root admin token, which gives access to all organizations. `None` in deployables that serve no operators.
    pub root_token: Option<Secret>,
    /// Which private addresses outgoing calls may go to.
    pub allow_private: PrivateEndpoints,
    /// CloudWatch namespace of the metrics. `None`: no metrics are written.
    pub metrics: Option<String>,
    /// Limits on concurrent work of one process.
    pub slots: SlotLimits,
    /// Which program calls agents and waits for their answers.
    pub runs: Runs,
    /// Endpoints of DynamoDB, SQS and KMS other than those of AWS. For tests.
    pub endpoints: Endpoints,
}

/// Which program calls agents and waits for their answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Runs {
    /// The Lambda function `runner`.
    #[default]
    Lambda,
    /// The relays.
    Container,
}

/// Endpoints of DynamoDB, SQS and KMS other than those of AWS. For tests.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// DynamoDB.
    pub dynamodb: Option<String>,
    /// SQS.
    pub sqs: Option<String>,
    /// KMS.
    pub kms: Option<String>,
}

/// Source of the key that opens the stored data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A KMS key wraps the data keys; the wrapped keys are in the table. Holds the KMS key's id.
    Kms(String),
    /// The data key itself, in hex. For deployments without KMS.
    Given(Secret),
}

/// What a container with 1 GB of memory can carry: a run that waits for its agent takes a few dozen kilobytes.
const DEFAULT_SLOTS: SlotLimits = SlotLimits {
    runs: 2048,
    deliveries: 512,
    working: 256,
};

/// Every mistake in the environment, so that one deploy shows all of them.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// Names of the environment variables. The AWS template sets the same names; a test compares the two.
pub mod variables {
    /// Name of the table `config`.
    pub const CONFIG_TABLE: &str = "TIELINE_CONFIG_TABLE";
    /// Name of the table `state`.
    pub const STATE_TABLE: &str = "TIELINE_STATE_TABLE";
    /// Name of the table `leases`.
    pub const LEASES_TABLE: &str = "TIELINE_LEASES_TABLE";
    /// URL of the queue `inbound.fifo`.
    pub const INBOUND_QUEUE: &str = "TIELINE_INBOUND_QUEUE_URL";
    /// URL of the queue `work`.
    pub const WORK_QUEUE: &str = "TIELINE_WORK_QUEUE_URL";
    /// URLs of the relays' queues in the order of shards, separated by commas. Optional.
    pub const RELAY_QUEUES: &str = "TIELINE_RELAY_QUEUE_URLS";
    /// The deployment's public base URL.
    pub const PUBLIC_URL: &str = "TIELINE_PUBLIC_URL";
    /// Base of the platforms' callback URLs, for the program that hands them out. Optional: without it the public URL.
    pub const CALLBACK_URL: &str = "TIELINE_CALLBACK_URL";
    /// The KMS key that wraps the data key.
    pub const KMS_KEY: &str = "TIELINE_KMS_KEY_ID";
    /// The data key itself, in hex, for deployments without KMS.
    pub const MASTER_KEY: &str = "TIELINE_MASTER_KEY";
    /// The root admin token, which gives access to all organizations.
    pub const ADMIN_TOKEN: &str = "TIELINE_ADMIN_TOKEN";
    /// `true`: outgoing calls may go to private addresses.
    pub const ALLOW_PRIVATE: &str = "TIELINE_ALLOW_PRIVATE_ENDPOINTS";
    /// CloudWatch namespace of the metrics. Optional: without it no metrics are written.
    pub const METRICS: &str = "TIELINE_METRICS_NAMESPACE";
    /// `container`: relays call the agents. `lambda`, or absent: the Lambda function `runner` calls them.
    pub const RUNS: &str = "TIELINE_RUNS";
    /// Largest number of concurrent agent runs of a process. Optional.
    pub const MAX_RUNS: &str = "TIELINE_MAX_RUNS";
    /// Largest number of concurrent deliveries of a process. Optional.
    pub const MAX_DELIVERIES: &str = "TIELINE_MAX_DELIVERIES";
}

/// Reads the configuration through `get`. Reads every variable before it fails.
///
/// # Errors
/// [`ConfigError`] that lists everything that is missing or invalid.
pub fn load(get: impl Fn(&str) -> Option<String>) -> Result<Deployment, ConfigError> {
    let mut wrong = Vec::new();
    let mut required = |name: &str| {
        let value = get(name).filter(|value| !value.is_empty());
        value.unwrap_or_else(|| {
            wrong.push(format!("{name} is not set"));
            String::new()
        })
    };
    let tables = Tables {
        config: required(variables::CONFIG_TABLE),
        state: required(variables::STATE_TABLE),
        leases: required(variables::LEASES_TABLE),
    };
    let urls = Urls {
        inbound: required(variables::INBOUND_QUEUE),
        work: required(variables::WORK_QUEUE),
        relay: list(get(variables::RELAY_QUEUES)),
    };
    let public_url = required(variables::PUBLIC_URL).trim_end_matches('/').to_owned();
    // A function URL ends with a slash.
    let callback_base = get(variables::CALLBACK_URL).filter(|url| !url.is_empty());
    let callback_base = callback_base.map(|url| url.trim_end_matches('/').to_owned());
    let key = match (get(variables::KMS_KEY), get(variables::MASTER_KEY)) {
        (Some(id), None) => Some(KeySource::Kms(id)),
        (None, Some(key)) => Some(KeySource::Given(Secret::new(key))),
        _ => None,
    };
    if key.is_none() {
        wrong.push(format!(
            "exactly one of {} and {} must be set",
            variables::KMS_KEY,
            variables::MASTER_KEY
        ));
    }
    let mut limit = |name: &str, default: usize| match get(name).filter(|value| !value.is_empty()) {
        None => default,
        Some(value) => value.parse::<NonZeroUsize>().map_or_else(
            |_| {
                wrong.push(format!("{name} is not a number from 1"));
                default
            },
            NonZeroUsize::get,
        ),
    };
    let slots = SlotLimits {
        runs: limit(variables::MAX_RUNS, DEFAULT_SLOTS.runs),
        deliveries: limit(variables::MAX_DELIVERIES, DEFAULT_SLOTS.deliveries),
        ..DEFAULT_SLOTS
    };
    let allow_private = match get(variables::ALLOW_PRIVATE).as_deref() {
        None | Some("" | "false") => PrivateEndpoints::Refused,
        Some("true") => PrivateEndpoints::Allowed,
        Some(networks) => PrivateEndpoints::within(networks).unwrap_or_else(|error| {
            wrong.push(format!("{}: {error}", variables::ALLOW_PRIVATE));
            PrivateEndpoints::Refused
        }),
    };
    let metrics = get(variables::METRICS).filter(|name| !name.is_empty());
    let root_token = get(variables::ADMIN_TOKEN)
        .filter(|token| !token.is_empty())
        .map(Secret::new);
    if root_token
        .as_ref()
        .is_some_and(|token| operator::bits(token.expose()) < MIN_TOKEN_BITS)
    {
        wrong.push(format!(
            "{} must have at least {MIN_TOKEN_BITS} bits: 32 random hex digits, for example",
            variables::ADMIN_TOKEN
        ));
    }
    let runs = match get(variables::RUNS).as_deref() {
        None | Some("" | "lambda") => Runs::Lambda,
        Some("container") => Runs::Container,
        Some(_) => {
            wrong.push(format!("{} is neither lambda nor container", variables::RUNS));
            Runs::Lambda
        }
    };
    match (key, wrong.is_empty()) {
        (Some(key), true) => Ok(Deployment {
            tables,
            urls,
            public_url,
            callback_base,
            key,
            root_token,
            allow_private,
            metrics,
            slots,
            runs,
            endpoints: Endpoints {
                dynamodb: get("AWS_ENDPOINT_URL_DYNAMODB"),
                sqs: get("AWS_ENDPOINT_URL_SQS"),
                kms: get("AWS_ENDPOINT_URL_KMS"),
            },
        }),
        _ => Err(ConfigError(wrong)),
    }
}

fn list(value: Option<String>) -> Vec<String> {
    value
        .unwrap_or_default()
        .split(',')
        .map(str::trim)
        .filter(|url| !url.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let ConfigError(wrong) = load(|_| None).unwrap_err();
        assert_eq!(wrong.len(), 7, "{wrong:?}");
    }

    fn complete(name: &str) -> Option<String> {
        let value = match name {
            variables::CONFIG_TABLE | variables::STATE_TABLE | variables::LEASES_TABLE => "table",
            variables::INBOUND_QUEUE | variables::WORK_QUEUE => "https://queue.example",
            variables::PUBLIC_URL => "https://bridge.example/",
            variables::KMS_KEY => "key",
            _ => return None,
        };
        Some(value.to_owned())
    }

    #[test]
    fn callback_base_is_optional_and_loses_its_trailing_slash() {
        let deployment = load(complete).unwrap();
        assert_eq!(deployment.public_url, "https://bridge.example");
        assert_eq!(deployment.callback_base, None);
        let with = |url: &'static str| {
            let get = |name: &str| (name == variables::CALLBACK_URL).then(|| url.to_owned());
            load(|name| get(name).or_else(|| complete(name))).unwrap().callback_base
        };
        assert_eq!(with(""), None);
        let function_url = "https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws";
        assert_eq!(
            with("https://abcdefghijklmnopqrstuvwxyz012345.lambda-url.us-east-1.on.aws/").as_deref(),
            Some(function_url)
        );
    }

    #[test]
    fn a_given_key_and_a_kms_key_exclude_each_other() {
        let get = |name: &str| Some(format!("value of {name}"));
        let ConfigError(wrong) = load(get).unwrap_err();
        assert!(wrong[0].contains("exactly one"), "{wrong:?}");
    }
}
