//! A deployment on AWS: what the environment says, and the world that is built from it.

use std::time::Duration;

use aws_config::environment::EnvironmentVariableCredentialsProvider;
use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::SharedCredentialsProvider;
use tieline_core::backoff::Backoff;
use tieline_core::conversation::Owner;
use tieline_core::secret::Secret;
use tieline_queue::{Queues, Urls};
use tieline_store::{Keyring, Store, StoreError, Tables, wrapped_key};
use tokio::time::{Instant, sleep};
use tracing::{Level, warn};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::SubscriberInitExt as _;

use crate::clock::Clock;
use crate::error_chain::chain;
use crate::operator::{self, MIN_TOKEN_BITS};
use crate::world::{Registry, Settings, World, chance, random};

/// What the environment of a deployable says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Deployment {
    /// The tables.
    pub tables: Tables,
    /// The queues.
    pub urls: Urls,
    /// Our own address.
    pub public_url: String,
    /// What opens the data key.
    pub key: KeySource,
    /// The token that sees all, where this deployable serves operators.
    pub root_token: Option<Secret>,
    /// Whether private addresses may be called: for tests.
    pub allow_private: bool,
    /// Under which name metrics are written. `None`: they are not.
    pub metrics: Option<String>,
    /// Where DynamoDB, SQS and KMS are, if not at AWS: for tests.
    pub endpoints: Endpoints,
}

/// Where DynamoDB, SQS and KMS are, if not at AWS.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Endpoints {
    /// DynamoDB.
    pub dynamodb: Option<String>,
    /// SQS.
    pub sqs: Option<String>,
    /// KMS.
    pub kms: Option<String>,
}

/// What opens the data key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeySource {
    /// A KMS key wraps it; the wrapped key lies in the table.
    Kms(String),
    /// It is given, in hex: where there is no KMS.
    Given(Secret),
}

/// What is wrong with the environment: all of it, so that one deploy shows every mistake.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("environment: {}", .0.join("; "))]
pub struct ConfigError(pub Vec<String>);

/// Names of the environment variables. The template on AWS sets the same; a test compares.
pub mod variables {
    /// Name of the table `config`.
    pub const CONFIG_TABLE: &str = "TIELINE_CONFIG_TABLE";
    /// Name of the table `state`.
    pub const STATE_TABLE: &str = "TIELINE_STATE_TABLE";
    /// Name of the table `leases`.
    pub const LEASES_TABLE: &str = "TIELINE_LEASES_TABLE";
    /// Address of `inbound.fifo`.
    pub const INBOUND_QUEUE: &str = "TIELINE_INBOUND_QUEUE_URL";
    /// Address of `work`.
    pub const WORK_QUEUE: &str = "TIELINE_WORK_QUEUE_URL";
    /// Addresses of the relay's queues by shard, separated by commas. May be absent.
    pub const RELAY_QUEUES: &str = "TIELINE_RELAY_QUEUE_URLS";
    /// Our own address.
    pub const PUBLIC_URL: &str = "TIELINE_PUBLIC_URL";
    /// The KMS key that wraps the data key.
    pub const KMS_KEY: &str = "TIELINE_KMS_KEY_ID";
    /// The data key itself, in hex, where there is no KMS.
    pub const MASTER_KEY: &str = "TIELINE_MASTER_KEY";
    /// The token that sees all.
    pub const ADMIN_TOKEN: &str = "TIELINE_ADMIN_TOKEN";
    /// `true`: private addresses may be called.
    pub const ALLOW_PRIVATE: &str = "TIELINE_ALLOW_PRIVATE_ENDPOINTS";
    /// The namespace of the metrics. May be absent: then none are written.
    pub const METRICS: &str = "TIELINE_METRICS_NAMESPACE";
}

/// Reads every variable before failing.
///
/// # Errors
/// [`ConfigError`] that names all that is missing or wrong.
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
    let allow_private = get(variables::ALLOW_PRIVATE).is_some_and(|value| value == "true");
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
    match (key, wrong.is_empty()) {
        (Some(key), true) => Ok(Deployment {
            tables,
            urls,
            public_url,
            key,
            root_token,
            allow_private,
            metrics,
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

/// Which log lines there are, where it isn't the usual ones.
const LOG: &str = "TIELINE_LOG";

/// Starts a function's log: JSON lines on standard output, which is where CloudWatch reads.
///
/// # Panics
/// If there is a log already.
pub fn start_logging(get: impl Fn(&str) -> Option<String>) {
    // Not `EnvFilter`: its regular expressions are a tenth of the upload.
    let told = get(LOG).and_then(|text| text.parse().ok());
    let plain = || {
        Targets::new()
            .with_default(Level::INFO)
            .with_target("aws_config", Level::WARN)
    };
    let filter: Targets = told.unwrap_or_else(plain);
    let lines = tracing_subscriber::fmt::layer()
        .json()
        .flatten_event(true)
        .with_ansi(false);
    tracing_subscriber::registry().with(lines).with(filter).init();
}

/// Largest file that a function can answer with: an answer has at most 6 MB, and as base64 the file takes a third more.
///
/// See [AWS Lambda Developer Guide/Lambda quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const MAX_FUNCTION_FILE_BYTES: usize = 4_400 * 1024;
/// Most bytes of files that a function with 256 MB holds at a time: sealed, opened, encoded.
const MAX_FUNCTION_PASSING_BYTES: usize = 32 * 1024 * 1024;
/// A function that answers requests ends after 29 s, and API Gateway waits no longer.
const FUNCTION_FILE_PATIENCE: Duration = Duration::from_secs(25);

/// Longest wait for a connection to AWS.
const CONNECT_TIMEOUT: Duration = Duration::from_millis(3100);
/// Longest try of a call to a table or to the keys: all are small. A lease outlives two of them, so that a connection which died without a
/// word costs no other caller theirs.
const TRY_TIMEOUT: Duration = Duration::from_secs(5);
/// The same for queues, where a look may wait for 20 s.
const QUEUE_TRY_TIMEOUT: Duration = Duration::from_secs(25);

/// The SDK's configuration in a Lambda function: region and credentials are in the environment, always.
///
/// The SDK's own search for them brings profiles, STS, metadata services along, which a function starts and uploads for nothing.
#[must_use]
pub fn function_sdk(get: impl Fn(&str) -> Option<String>) -> SdkConfig {
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(get("AWS_REGION").map(Region::new))
        .credentials_provider(SharedCredentialsProvider::new(
            EnvironmentVariableCredentialsProvider::new(),
        ))
        .retry_config(RetryConfig::standard())
        .timeout_config(TimeoutConfig::builder().connect_timeout(CONNECT_TIMEOUT).build())
        .build()
}

/// How long a start may take: Lambda gives ten seconds, of which the program needs some for itself.
const START_PATIENCE: Duration = Duration::from_secs(8);
const START_BACKOFF: Backoff = Backoff {
    base: Duration::from_millis(100),
    cap: Duration::from_secs(1),
};

/// Why a world can't be built.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The table.
    #[error("table is unavailable")]
    Store(#[from] StoreError),
    /// KMS.
    #[error("data key can't be unwrapped: {0}")]
    Kms(String),
    /// The data key is not 32 bytes.
    #[error("data key is not 32 bytes long")]
    BadKey,
}

/// Builds the world of this process.
///
/// # Errors
/// [`StartError`].
pub async fn world(deployment: Deployment, sdk: &SdkConfig, registry: Registry) -> Result<World, StartError> {
    let Endpoints { dynamodb, sqs, kms } = deployment.endpoints;
    let (brief, queue) = (limited(sdk, TRY_TIMEOUT), limited(sdk, QUEUE_TRY_TIMEOUT));
    let dynamo = aws_sdk_dynamodb::config::Builder::from(sdk).timeout_config(brief.clone());
    let dynamo = aws_sdk_dynamodb::Client::from_conf(at(dynamodb, dynamo, |it, url| it.endpoint_url(url)).build());
    let queues = aws_sdk_sqs::config::Builder::from(sdk).timeout_config(queue);
    let sqs = at(sqs, queues, |it, url| it.endpoint_url(url));
    let key = match &deployment.key {
        KeySource::Given(text) => read_key(text)?,
        KeySource::Kms(id) => {
            let keys = aws_sdk_kms::config::Builder::from(sdk).timeout_config(brief);
            let kms = at(kms, keys, |it, url| it.endpoint_url(url));
            let kms = aws_sdk_kms::Client::from_conf(kms.build());
            patiently(START_PATIENCE, || unwrap_key(&kms, &dynamo, &deployment.tables, id)).await?
        }
    };
    // A function's instance has no name that outlives it: it is a node of its own.
    let name = hex(&random::<12>());
    let owner = Owner {
        node: name.clone(),
        life: name,
    };
    let mut settings = Settings::new(deployment.public_url, owner);
    settings.allow_private = deployment.allow_private;
    settings.root_token = deployment.root_token;
    settings.max_file_bytes = MAX_FUNCTION_FILE_BYTES;
    settings.max_passing_bytes = MAX_FUNCTION_PASSING_BYTES;
    settings.file_patience = FUNCTION_FILE_PATIENCE;
    let store = Store::new(dynamo, deployment.tables, Keyring::new(key));
    let queues = Queues::new(aws_sdk_sqs::Client::from_conf(sqs.build()), deployment.urls);
    let world = World::new(store, queues, registry, Clock::system(), settings);
    Ok(match deployment.metrics {
        Some(namespace) => world.watched(namespace),
        None => world,
    })
}

/// Tries again what fails for the moment, as throttled tables do, for as long as a start may take: a process that ends instead costs its
/// events the time that the queue hides them.
async fn patiently<T>(
    patience: Duration,
    mut start: impl AsyncFnMut() -> Result<T, StartError>,
) -> Result<T, StartError> {
    let until = Instant::now() + patience;
    let mut failures = 0;
    loop {
        let error = match start().await {
            Ok(started) => return Ok(started),
            Err(error) => error,
        };
        failures += 1;
        let wait = START_BACKOFF.wait(failures, chance());
        if !error.may_pass() || Instant::now() + wait >= until {
            return Err(error);
        }
        warn!(error = chain(&error), "start fails for the moment; trying again");
        sleep(wait).await;
    }
}

impl StartError {
    /// Whether the same may work a moment later.
    fn may_pass(&self) -> bool {
        match self {
            Self::Store(StoreError::Unavailable { .. } | StoreError::Conflict) => true,
            Self::Kms(code) => [
                "unreachable",
                "ThrottlingException",
                "KMSInternalException",
                "DependencyTimeoutException",
            ]
            .contains(&code.as_str()),
            Self::Store(_) | Self::BadKey => false,
        }
    }
}

/// The SDK's limits, with one for each try of a call: else a call whose connection died without a word waits for ever.
fn limited(sdk: &SdkConfig, each_try: Duration) -> TimeoutConfig {
    let limits = sdk
        .timeout_config()
        .map_or_else(TimeoutConfig::builder, TimeoutConfig::to_builder);
    limits.operation_attempt_timeout(each_try).build()
}

/// The service's own address, unless there is another.
fn at<B>(url: Option<String>, builder: B, set: impl FnOnce(B, String) -> B) -> B {
    match url {
        Some(url) => set(builder, url),
        None => builder,
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn read_key(text: &Secret) -> Result<[u8; 32], StartError> {
    let digits = text.expose().trim().as_bytes();
    let pair = |at: usize| u8::from_str_radix(std::str::from_utf8(digits.get(at..at + 2)?).ok()?, 16).ok();
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(pair).collect();
    bytes.and_then(|bytes| bytes.try_into().ok()).ok_or(StartError::BadKey)
}

/// The data key, unwrapped by KMS. The first process creates it; a conditional write lets only one be first.
async fn unwrap_key(
    kms: &aws_sdk_kms::Client,
    dynamo: &aws_sdk_dynamodb::Client,
    tables: &Tables,
    id: &str,
) -> Result<[u8; 32], StartError> {
    let wrapped = match wrapped_key::get(dynamo, tables).await? {
        Some(wrapped) => wrapped,
        None => {
            let made = kms
                .generate_data_key_without_plaintext()
                .key_id(id)
                .number_of_bytes(32)
                .send()
                .await;
            let blob = made.map_err(|error| StartError::Kms(code(&error)))?.ciphertext_blob;
            let fresh = blob.ok_or_else(|| StartError::Kms("no key".into()))?.into_inner();
            wrapped_key::put_first(dynamo, tables, fresh).await?
        }
    };
    let answer = kms.decrypt().key_id(id).ciphertext_blob(wrapped.into()).send().await;
    let plain = answer.map_err(|error| StartError::Kms(code(&error)))?.plaintext;
    plain
        .and_then(|plain| plain.into_inner().try_into().ok())
        .ok_or(StartError::BadKey)
}

fn code<E: aws_sdk_kms::error::ProvideErrorMetadata, R>(error: &aws_sdk_kms::error::SdkError<E, R>) -> String {
    let service = error
        .as_service_error()
        .and_then(aws_sdk_kms::error::ProvideErrorMetadata::code);
    service.unwrap_or("unreachable").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_mistake_is_named_at_once() {
        let ConfigError(wrong) = load(|_| None).unwrap_err();
        assert_eq!(wrong.len(), 7, "{wrong:?}");
    }

    #[test]
    fn a_key_and_a_key_service_are_one_too_many() {
        let get = |name: &str| Some(format!("value of {name}"));
        let ConfigError(wrong) = load(get).unwrap_err();
        assert!(wrong[0].contains("exactly one"), "{wrong:?}");
    }

    #[test]
    fn a_function_can_answer_with_the_longest_file() {
        let (max_answer, headers) = (6 * 1024 * 1024, 64 * 1024);
        assert!(MAX_FUNCTION_FILE_BYTES.div_ceil(3) * 4 + headers <= max_answer);
    }

    #[test]
    fn no_try_lasts_for_ever_and_a_lease_outlives_two() {
        let sdk = function_sdk(|_| None);
        let limits = limited(&sdk, TRY_TIMEOUT);
        assert_eq!(limits.operation_attempt_timeout(), Some(TRY_TIMEOUT));
        assert_eq!(limits.connect_timeout(), Some(CONNECT_TIMEOUT), "what was set stays");
        let settings = Settings::new(
            String::new(),
            Owner {
                node: String::new(),
                life: String::new(),
            },
        );
        assert!(settings.heartbeat + TRY_TIMEOUT * 2 < settings.lease);
        assert!(QUEUE_TRY_TIMEOUT > tieline_queue::receive::MAX_WAIT);
    }

    #[tokio::test]
    async fn a_start_tries_again_what_passes_and_nothing_else() {
        let started = async |patience: Duration, n_failures: u32, code: &str| {
            let mut n_tries = 0;
            let start = async || {
                n_tries += 1;
                match n_tries > n_failures {
                    true => Ok(()),
                    false => Err(StartError::Kms(code.to_owned())),
                }
            };
            let is_started = patiently(patience, start).await.is_ok();
            (is_started, n_tries)
        };
        assert_eq!(started(START_PATIENCE, 3, "ThrottlingException").await, (true, 4));
        assert_eq!(started(START_PATIENCE, 3, "AccessDeniedException").await, (false, 1));
        let short = Duration::from_millis(300);
        let begun = Instant::now();
        let (is_started, n_tries) = started(short, u32::MAX, "unreachable").await;
        assert!(!is_started && n_tries > 1 && begun.elapsed() <= short, "{n_tries}");
    }

    #[test]
    fn a_key_is_64_digits() {
        assert!(read_key(&Secret::new("ab".repeat(32))).is_ok());
        for wrong in ["", "ab", "zz", &"ab".repeat(33), "äää"] {
            assert!(read_key(&Secret::new(wrong)).is_err(), "{wrong}");
        }
    }
}
