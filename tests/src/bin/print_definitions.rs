//! Prints, as JSON, the tables and queues that the programs create themselves where no template does, and the metrics that they
//! write. tests/aws compares them with the template.

#![expect(clippy::print_stdout, reason = "its output is its result")]

use std::collections::BTreeMap;

use anyhow::{Context as _, Result};
use aws_config::{BehaviorVersion, Region, SdkConfig};
use aws_sdk_dynamodb::config::{Credentials, SharedCredentialsProvider};
use aws_sdk_dynamodb::types::TableDescription;
use aws_sdk_sqs::types::QueueAttributeName;
use serde_json::{Value, json};
use tieline_bridge::metrics::Metric;
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_queue::definitions;
use tieline_store::{DEFINITIONS, Tables, create_missing};

const PREFIX: &str = "x-";

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<()> {
    let embedded = Embedded::in_memory(Options::default())?;
    let sdk = sdk(&embedded);
    let all = json!({
        "tables": tables(&aws_sdk_dynamodb::Client::new(&sdk)).await?,
        "queues": queues(&aws_sdk_sqs::Client::new(&sdk)).await?,
        "metrics": metrics(),
    });
    println!("{all:#}");
    Ok(())
}

fn sdk(embedded: &Embedded) -> SdkConfig {
    let credentials = Credentials::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "embedded");
    SdkConfig::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::from_static(REGION))
        .endpoint_url(ENDPOINT_URL)
        .credentials_provider(SharedCredentialsProvider::new(credentials))
        .http_client(embedded.http_client())
        .build()
}

async fn tables(client: &aws_sdk_dynamodb::Client) -> Result<BTreeMap<String, Value>> {
    create_missing(client, &Tables::with_prefix(PREFIX)).await?;
    let mut made = BTreeMap::new();
    for definition in &DEFINITIONS {
        let name = format!("{PREFIX}{}", definition.name);
        let table = client.describe_table().table_name(&name).send().await?.table;
        let ttl = client.describe_time_to_live().table_name(&name).send().await?;
        let ttl = ttl.time_to_live_description.and_then(|it| it.attribute_name);
        let mut described = describe(&table.context("no such table")?);
        described["ttl"] = json!(ttl);
        described["pointInTimeRecovery"] = json!(definition.point_in_time_recovery);
        made.insert(definition.name.to_owned(), described);
    }
    Ok(made)
}

fn describe(table: &TableDescription) -> Value {
    let keys = |schema: &[aws_sdk_dynamodb::types::KeySchemaElement]| -> Vec<Value> {
        schema
            .iter()
            .map(|key| json!([key.attribute_name(), key.key_type().as_str()]))
            .collect()
    };
    let attributes: BTreeMap<&str, &str> = table
        .attribute_definitions()
        .iter()
        .map(|attribute| (attribute.attribute_name(), attribute.attribute_type().as_str()))
        .collect();
    let indexes: BTreeMap<&str, Value> = table
        .global_secondary_indexes()
        .iter()
        .map(|index| {
            let projection = index.projection().and_then(|it| it.projection_type());
            let index_keys =
                json!({ "keys": keys(index.key_schema()), "projection": projection.map(|it| it.as_str()) });
            (index.index_name().unwrap_or_default(), index_keys)
        })
        .collect();
    json!({ "keys": keys(table.key_schema()), "attributes": attributes, "indexes": indexes })
}

async fn queues(client: &aws_sdk_sqs::Client) -> Result<BTreeMap<String, Value>> {
    let urls = definitions::create_missing(client, PREFIX, 1).await?;
    let mut names: Vec<&str> = definitions::DEFINITIONS.iter().map(|it| it.name).collect();
    let shard = definitions::relay_name(0);
    names.push(&shard);
    let mut made = BTreeMap::new();
    for name in names {
        let name_there = format!("{PREFIX}{name}");
        let url = client.get_queue_url().queue_name(name_there).send().await?.queue_url;
        let call = client.get_queue_attributes().set_queue_url(url);
        let answer = call.attribute_names(QueueAttributeName::All).send().await?;
        let attributes = answer.attributes.context("no attributes")?;
        let attributes: BTreeMap<String, String> = attributes
            .into_iter()
            .map(|(name, value)| (name.as_str().to_owned(), value))
            .collect();
        made.insert(name.to_owned(), json!(attributes));
    }
    assert_eq!(urls.relay.len(), 1, "one shard was asked for");
    Ok(made)
}

fn metrics() -> BTreeMap<&'static str, Value> {
    let one = |metric: Metric| {
        let described = json!({ "unit": metric.unit(), "dimensions": metric.dimensions() });
        (metric.name(), described)
    };
    Metric::ALL.into_iter().map(one).collect()
}
