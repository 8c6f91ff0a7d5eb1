//! Definitions of the three tables. A test compares the deployment template with them.

use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::client::Waiters as _;
use aws_sdk_dynamodb::types::{
    AttributeDefinition, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection, ProjectionType,
    ScalarAttributeType, TimeToLiveSpecification, TimeToLiveStatus,
};
use std::time::Duration;

use crate::error::StoreError;

/// The names of the tables.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tables {
    /// Configuration by operators.
    pub config: String,
    /// Messages, conversations and everything else that is processed.
    pub state: String,
    /// Leases of long connections.
    pub leases: String,
}

impl Tables {
    /// The names with a common prefix: `{prefix}config`, and so on.
    #[must_use]
    pub fn with_prefix(prefix: &str) -> Self {
        let name = |definition: &TableDefinition| format!("{prefix}{}", definition.name);
        let [config, state, leases] = &DEFINITIONS;
        Self {
            config: name(config),
            state: name(state),
            leases: name(leases),
        }
    }
}

/// Definition of a table. All have the string keys `pk` and `sk` and are billed per request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TableDefinition {
    /// Its name without a prefix.
    pub name: &'static str,
    /// Its index, if it has one. It holds keys only.
    pub index: Option<IndexDefinition>,
    /// The TTL attribute: when an item may be deleted, in seconds of Unix time.
    pub ttl: Option<&'static str>,
    /// Whether point-in-time recovery is enabled.
    pub point_in_time_recovery: bool,
}

/// A global secondary index of string keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IndexDefinition {
    /// Its name.
    pub name: &'static str,
    /// Its partition key.
    pub partition: &'static str,
    /// Its sort key.
    pub sort: &'static str,
}

/// The partition key of every table.
pub(crate) const PK: &str = "pk";
/// The sort key of every table.
pub(crate) const SK: &str = "sk";
/// The TTL attribute.
pub(crate) const TTL: &str = "ttl";

/// Index of an integration's messages by time, and of its conversations.
pub(crate) const BY_INTEGRATION: IndexDefinition = IndexDefinition {
    name: "byIntegration",
    partition: "gsi1pk",
    sort: "gsi1sk",
};

/// The tables `config`, `state` and `leases`, in this order.
pub static DEFINITIONS: [TableDefinition; 3] = [
    TableDefinition {
        name: "config",
        index: None,
        ttl: None,
        point_in_time_recovery: true,
    },
    TableDefinition {
        name: "state",
        index: Some(BY_INTEGRATION),
        ttl: Some(TTL),
        point_in_time_recovery: false,
    },
    TableDefinition {
        name: "leases",
        index: None,
        ttl: None,
        point_in_time_recovery: false,
    },
];

/// Timeout for a table to become usable.
const CREATION_LIMIT: Duration = Duration::from_secs(60);

/// Creates missing tables, for the standalone program and for tests. On AWS the template does it, and enables recovery.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn create_missing(client: &Client, tables: &Tables) -> Result<(), StoreError> {
    let names = [&tables.config, &tables.state, &tables.leases];
    for (definition, name) in DEFINITIONS.iter().zip(names) {
        create_table(client, definition, name).await?;
    }
    Ok(())
}

async fn create_table(client: &Client, definition: &TableDefinition, name: &str) -> Result<(), StoreError> {
    let mut keys = vec![PK, SK];
    keys.extend(definition.index.iter().flat_map(|index| [index.partition, index.sort]));
    let created = client
        .create_table()
        .table_name(name)
        .billing_mode(BillingMode::PayPerRequest)
        .set_attribute_definitions(Some(keys.into_iter().map(attribute).collect()))
        .set_key_schema(Some(schema(PK, SK)))
        .set_global_secondary_indexes(definition.index.map(|index| vec![secondary_index(index)]))
        .send()
        .await;
    match created.map_err(aws_sdk_dynamodb::Error::from) {
        Ok(_) | Err(aws_sdk_dynamodb::Error::ResourceInUseException(_)) => {}
        Err(error) => return Err(error.into()),
    }
    wait_until_usable(client, name).await?;
    match definition.ttl {
        Some(attribute) => enable_ttl(client, name, attribute).await,
        None => Ok(()),
    }
}

async fn wait_until_usable(client: &Client, name: &str) -> Result<(), StoreError> {
    let waited = client
        .wait_until_table_exists()
        .table_name(name)
        .wait(CREATION_LIMIT)
        .await;
    match waited {
        Ok(_) => Ok(()),
        Err(_) => Err(StoreError::throttled()),
    }
}

async fn enable_ttl(client: &Client, name: &str, attribute: &str) -> Result<(), StoreError> {
    let now = client.describe_time_to_live().table_name(name).send().await?;
    let status = now.time_to_live_description().and_then(|ttl| ttl.time_to_live_status());
    if matches!(status, Some(TimeToLiveStatus::Enabled | TimeToLiveStatus::Enabling)) {
        return Ok(());
    }
    let specification = TimeToLiveSpecification::builder()
        .attribute_name(attribute)
        .enabled(true)
        .build()
        .expect("both fields are set");
    client
        .update_time_to_live()
        .table_name(name)
        .time_to_live_specification(specification)
        .send()
        .await?;
    Ok(())
}

fn attribute(name: &str) -> AttributeDefinition {
    AttributeDefinition::builder()
        .attribute_name(name)
        .attribute_type(ScalarAttributeType::S)
        .build()
        .expect("both fields are set")
}

fn schema(partition: &str, sort: &str) -> Vec<KeySchemaElement> {
    let key = |name, kind| {
        KeySchemaElement::builder()
            .attribute_name(name)
            .key_type(kind)
            .build()
            .expect("both fields are set")
    };
    vec![key(partition, KeyType::Hash), key(sort, KeyType::Range)]
}

fn secondary_index(index: IndexDefinition) -> GlobalSecondaryIndex {
    GlobalSecondaryIndex::builder()
        .index_name(index.name)
        .set_key_schema(Some(schema(index.partition, index.sort)))
        .projection(Projection::builder().projection_type(ProjectionType::KeysOnly).build())
        .build()
        .expect("name and keys are set")
}
