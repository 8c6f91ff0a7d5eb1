//! The start of a deployed program: the world that its environment describes.

use std::time::Duration;

use aws_config::SdkConfig;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Registry, Settings, World, random};
use tieline_core::conversation::Owner;
use tieline_queue::Queues;
use tieline_store::{Keyring, Store};

use crate::data_key::{self, DataKeyError};
use crate::environment::{self, ConfigError, Deployment, KeySource};
use crate::sdk;

/// Largest file that a function can answer with: an answer has at most 6 MB, and as base64 the file takes a third more.
///
/// See [AWS Lambda Developer Guide/Lambda quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const MAX_FUNCTION_FILE_BYTES: usize = 4_400 * 1024;
/// Most bytes of files that a function with 256 MB holds at a time: sealed, opened, encoded.
const MAX_FUNCTION_PASSING_BYTES: usize = 32 * 1024 * 1024;
/// A function that answers requests ends after 29 s, and API Gateway waits no longer.
const FUNCTION_FILE_PATIENCE: Duration = Duration::from_secs(25);

/// Why a program can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The environment.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data key.
    #[error(transparent)]
    DataKey(#[from] DataKeyError),
}

/// The world of a program that is always a Lambda function.
///
/// # Errors
/// [`StartError`].
pub async fn function_world(get: impl Fn(&str) -> Option<String>, registry: Registry) -> Result<World, StartError> {
    let deployment = environment::load(&get)?;
    world(deployment, &sdk::of_function(&get), registry).await
}

/// The world of a program that may be a container, where the SDK has to search for region and credentials.
///
/// # Errors
/// [`StartError`].
pub async fn container_world(get: impl Fn(&str) -> Option<String>, registry: Registry) -> Result<World, StartError> {
    let deployment = environment::load(&get)?;
    world(deployment, &aws_config::load_from_env().await, registry).await
}

async fn world(deployment: Deployment, sdk: &SdkConfig, registry: Registry) -> Result<World, StartError> {
    let endpoints = deployment.endpoints;
    let dynamo = sdk::dynamodb(sdk, endpoints.dynamodb);
    let key = match &deployment.key {
        KeySource::Given(text) => data_key::read(text)?,
        KeySource::Kms(id) => {
            let kms = sdk::kms(sdk, endpoints.kms);
            data_key::unwrap(&kms, &dynamo, &deployment.tables, id).await?
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
    settings.slots = deployment.slots;
    settings.root_token = deployment.root_token;
    settings.max_file_bytes = MAX_FUNCTION_FILE_BYTES;
    settings.max_passing_bytes = MAX_FUNCTION_PASSING_BYTES;
    settings.file_patience = FUNCTION_FILE_PATIENCE;
    let store = Store::new(dynamo, deployment.tables, Keyring::new(key));
    let queues = Queues::new(sdk::sqs(sdk, endpoints.sqs), deployment.urls);
    let world = World::new(store, queues, registry, Clock::system(), settings);
    Ok(match deployment.metrics {
        Some(namespace) => world.watched(namespace),
        None => world,
    })
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_can_answer_with_the_longest_file() {
        let (max_answer, headers) = (6 * 1024 * 1024, 64 * 1024);
        assert!(MAX_FUNCTION_FILE_BYTES.div_ceil(3) * 4 + headers <= max_answer);
    }
}
