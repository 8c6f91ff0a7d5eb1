//! The world of a single machine: the embedded engines behind the same SDK clients as on AWS.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context as _;
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_sqs::config::StalledStreamProtectionConfig;
use tieline_bridge::clock::Clock;
use tieline_bridge::world::{Registry, Settings, World};
use tieline_embedded::Embedded;
use tieline_queue::{Queues, definitions};
use tieline_store::{Keyring, Store, TableClient, Tables, create_missing};
use tracing::warn;

use crate::direct_tables::EmbeddedTables;
use crate::key_files::KeyFiles;

/// Prefix of the tables and queues in the embedded engines.
const PREFIX: &str = "tieline-";
/// Number of shards for the relay's bots on one machine.
pub const RELAY_SHARDS: usize = 8;

/// Source of the data keys.
#[derive(Debug)]
pub enum Keys {
    /// A fixed key.
    Fixed([u8; 32]),
    /// Files in a data directory, where they can be rotated.
    In(PathBuf),
}

impl From<[u8; 32]> for Keys {
    fn from(key: [u8; 32]) -> Self {
        Self::Fixed(key)
    }
}

/// Opens the world on the embedded engines. Missing tables and queues are created.
///
/// # Errors
/// If they can't be made, or TLS can't be set up.
pub async fn world(
    embedded: &Embedded,
    keys: impl Into<Keys>,
    registry: Registry,
    settings: Settings,
) -> anyhow::Result<World> {
    let (dynamo, sqs) = clients(embedded);
    let tables = Tables::with_prefix(PREFIX);
    create_missing(&dynamo, &tables)
        .await
        .context("can't make the tables")?;
    let urls = definitions::create_missing(&sqs, PREFIX, RELAY_SHARDS)
        .await
        .context("can't make the queues")?;
    match definitions::put_back_dead(&sqs, PREFIX).await {
        Ok(0) => {}
        Ok(n) => warn!("{n} dead letters (events and wake-ups) are moved back to their queues"),
        // They stay there until the next start.
        Err(error) => warn!(error = %error, "dead letters can't be moved back to their queues"),
    }
    let mut client = TableClient::from(dynamo);
    if let Some(tables) = embedded.direct_tables() {
        client = client.directly(Arc::new(EmbeddedTables(tables)));
    }
    let clock = Clock::system();
    let store = match keys.into() {
        Keys::Fixed(key) => Store::new(client, tables, Keyring::new(key)),
        Keys::In(dir) => Store::open_or_create(client, tables, Arc::new(KeyFiles::new(dir)), clock.now())
            .await
            .context("can't open the data keys")?,
    };
    let world = World::new(store, Queues::new(sqs, urls), registry, clock, settings);
    world.http.warm().context("can't set up TLS")?;
    Ok(world.exposed())
}

/// SDK clients for the embedded engines.
///
/// Requests are not signed: the engines don't check signatures.
#[must_use]
pub fn clients(embedded: &Embedded) -> (aws_sdk_dynamodb::Client, aws_sdk_sqs::Client) {
    // The SDK needs an explicit setting to send requests without credentials. Calls stay in the process, so no stream can stall.
    let sdk = SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(tieline_embedded::REGION))
        .endpoint_url(tieline_embedded::ENDPOINT_URL)
        .stalled_stream_protection(StalledStreamProtectionConfig::disabled())
        .http_client(embedded.http_client())
        .build();
    let dynamo = aws_sdk_dynamodb::config::Builder::from(&sdk).allow_no_auth();
    let sqs = aws_sdk_sqs::config::Builder::from(&sdk).allow_no_auth();
    (
        aws_sdk_dynamodb::Client::from_conf(dynamo.build()),
        aws_sdk_sqs::Client::from_conf(sqs.build()),
    )
}
