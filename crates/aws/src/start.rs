//! Start of a deployed program: builds the `World` that the environment describes.

use std::sync::Arc;
use std::time::Duration;

use aws_config::SdkConfig;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Registry, Settings, World, random};
use tieline_core::conversation::Owner;
use tieline_queue::Queues;
use tieline_store::data_keys::DataKeyError;
use tieline_store::{Keyring, Store, Tables};

use crate::data_key::{self, KmsKeyMaker, KmsKeys, Patience, patiently};
use crate::environment::{self, ConfigError, Deployment, KeySource, Runs};
use crate::{logging, sdk};

/// Largest file that a function can send: a response has at most 6 MB, and base64 makes the file a third larger.
///
/// See [AWS Lambda Developer Guide/Lambda quotas](https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html).
const MAX_FUNCTION_FILE_BYTES: usize = 4_400 * 1024;
/// Memory budget of the files that a function with 256 MB serves concurrently: each is held encrypted, decrypted and encoded.
const MAX_FUNCTION_PASSING_BYTES: usize = 32 * 1024 * 1024;
/// Time limit for serving a file. A function that answers requests ends after 29 s, and API Gateway waits no longer.
const FUNCTION_FILE_PATIENCE: Duration = Duration::from_secs(25);

/// Why a program can't start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The environment is invalid.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The data key can't be obtained.
    #[error(transparent)]
    DataKey(#[from] DataKeyError),
}

/// Lambda limits a start to ten seconds, of which the program itself needs some.
const FUNCTION_PATIENCE: Patience = Patience {
    failures: Duration::from_secs(8),
    first_key: Duration::from_secs(8),
};
/// A container may start before the admin function has made the first data key.
const CONTAINER_PATIENCE: Patience = Patience {
    first_key: Duration::from_secs(150),
    ..FUNCTION_PATIENCE
};

/// Starts a program that always runs as a Lambda function: logging, and the `World` of its environment.
///
/// # Errors
/// [`StartError`].
pub async fn function(registry: Registry) -> Result<World, StartError> {
    let get = |name: &str| std::env::var(name).ok();
    logging::start(get);
    let deployment = environment::load(get)?;
    let sdk = sdk::of_function(get);
    let store = opened(&deployment, &sdk, FUNCTION_PATIENCE).await?;
    Ok(world(deployment, &sdk, registry, store))
}

/// Builds the `World` of the Lambda function that creates and rotates the data keys.
///
/// # Errors
/// [`StartError`].
pub async fn admin_world(get: impl Fn(&str) -> Option<String>, registry: Registry) -> Result<World, StartError> {
    let deployment = environment::load(&get)?;
    let sdk = sdk::of_function(&get);
    let (dynamo, tables) = tables_of(&deployment, &sdk);
    let store = match &deployment.key {
        KeySource::Given(text) => Store::new(dynamo, tables, Keyring::new(data_key::read(text)?)),
        KeySource::Kms(id) => {
            let maker = Arc::new(KmsKeyMaker(kms_keys(&deployment, &sdk, id)));
            let open = async || {
                let now = Clock::system().now();
                Store::open_or_create(dynamo.clone(), tables.clone(), maker.clone(), now).await
            };
            patiently(FUNCTION_PATIENCE, open).await?
        }
    };
    Ok(world(deployment, &sdk, registry, store))
}

/// Builds the `World` of a container, where the SDK has to search for region and credentials.
///
/// # Errors
/// [`StartError`].
pub async fn container_world(get: impl Fn(&str) -> Option<String>, registry: Registry) -> Result<World, StartError> {
    let deployment = environment::load(&get)?;
    let sdk = aws_config::load_from_env().await;
    let store = opened(&deployment, &sdk, CONTAINER_PATIENCE).await?;
    Ok(world(deployment, &sdk, registry, store))
}

/// Opens the tables with the data keys of a program that uses keys but doesn't create them.
async fn opened(deployment: &Deployment, sdk: &SdkConfig, patience: Patience) -> Result<Store, StartError> {
    let (dynamo, tables) = tables_of(deployment, sdk);
    Ok(match &deployment.key {
        KeySource::Given(text) => Store::new(dynamo, tables, Keyring::new(data_key::read(text)?)),
        KeySource::Kms(id) => {
            let opener = Arc::new(kms_keys(deployment, sdk, id));
            let open = async || {
                let now = Clock::system().now();
                Store::open(dynamo.clone(), tables.clone(), opener.clone(), now).await
            };
            patiently(patience, open).await?
        }
    })
}

fn tables_of(deployment: &Deployment, sdk: &SdkConfig) -> (aws_sdk_dynamodb::Client, Tables) {
    let dynamo = sdk::dynamodb(sdk, deployment.endpoints.dynamodb.clone());
    (dynamo, deployment.tables.clone())
}

fn kms_keys(deployment: &Deployment, sdk: &SdkConfig, id: &str) -> KmsKeys {
    KmsKeys {
        client: sdk::kms(sdk, deployment.endpoints.kms.clone()),
        key: id.to_owned(),
    }
}

fn world(deployment: Deployment, sdk: &SdkConfig, registry: Registry, store: Store) -> World {
    let clock = Clock::system();
    // For work that takes longer than keys may be cached. A function's invocations refresh them too: between invocations its process is
    // frozen.
    tokio::spawn(data_key::keep_fresh(store.clone(), clock));
    // A function's instance has no stable name, so each instance is a node of its own.
    let name = hex(&random::<12>());
    let owner = Owner {
        node: name.clone(),
        life: name,
    };
    let mut settings = Settings::new(deployment.public_url, owner);
    settings.callback_base = deployment.callback_base;
    settings.allow_private = deployment.allow_private;
    settings.slots = deployment.slots;
    settings.relays_run = deployment.runs == Runs::Container;
    settings.root_token = deployment.root_token;
    settings.aws_credentials = sdk.credentials_provider();
    settings.max_file_bytes = MAX_FUNCTION_FILE_BYTES;
    settings.max_passing_bytes = MAX_FUNCTION_PASSING_BYTES;
    settings.file_patience = FUNCTION_FILE_PATIENCE;
    let queues = Queues::new(sdk::sqs(sdk, deployment.endpoints.sqs), deployment.urls);
    let world = World::new(store, queues, registry, clock, settings);
    match deployment.metrics {
        Some(namespace) => world.watched(namespace),
        None => world,
    }
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
