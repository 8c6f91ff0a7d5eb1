//! Test fixture of a case: a table of its own and helpers for items.

use std::collections::HashMap;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, ensure};
use aws_sdk_dynamodb::Client;
use aws_sdk_dynamodb::config::retry::RetryConfig;
use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};
use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_dynamodb::types::{
    AttributeDefinition, AttributeValue, BillingMode, GlobalSecondaryIndex, KeySchemaElement, KeyType, Projection,
    ProjectionType, ScalarAttributeType,
};

use tieline_embedded::{ACCESS_KEY_ID, REGION, SECRET_ACCESS_KEY};

pub(crate) type Item = HashMap<String, AttributeValue>;

/// The index of every table here: by `gk`, on the items that have it.
pub(crate) const INDEX: &str = "by-gk";

pub(crate) fn client(url: &str, http_client: Option<SharedHttpClient>) -> Client {
    let mut config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Credentials::new(
            ACCESS_KEY_ID,
            SECRET_ACCESS_KEY,
            None,
            None,
            "embedded",
        ))
        // Errors must reach the test without retries.
        .retry_config(RetryConfig::disabled())
        .endpoint_url(url);
    config.set_http_client(http_client);
    Client::from_conf(config.build())
}

/// One table, with the keys `pk` and `sk`, both strings.
#[derive(Clone)]
pub(crate) struct Bench {
    pub(crate) client: Client,
    pub(crate) table: String,
}

impl Bench {
    pub(crate) async fn new(client: Client) -> Result<Self> {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let table = format!("table-{}", since.as_nanos());
        let string = |name| {
            let attribute = AttributeDefinition::builder().attribute_name(name);
            attribute.attribute_type(ScalarAttributeType::S).build()
        };
        let key = |name, kind| KeySchemaElement::builder().attribute_name(name).key_type(kind).build();
        let index = GlobalSecondaryIndex::builder()
            .index_name(INDEX)
            .key_schema(key("gk", KeyType::Hash)?)
            .projection(Projection::builder().projection_type(ProjectionType::All).build());
        client
            .create_table()
            .table_name(&table)
            .attribute_definitions(string("pk")?)
            .attribute_definitions(string("sk")?)
            .attribute_definitions(string("gk")?)
            .key_schema(key("pk", KeyType::Hash)?)
            .key_schema(key("sk", KeyType::Range)?)
            .global_secondary_indexes(index.build()?)
            .billing_mode(BillingMode::PayPerRequest)
            .send()
            .await?;
        Ok(Self { client, table })
    }

    pub(crate) async fn put(&self, item: Item) -> Result<()> {
        self.client
            .put_item()
            .table_name(&self.table)
            .set_item(Some(item))
            .send()
            .await?;
        Ok(())
    }

    pub(crate) async fn get(&self, pk: &str, sk: &str) -> Result<Option<Item>> {
        let get = self
            .client
            .get_item()
            .table_name(&self.table)
            .set_key(Some(key(pk, sk)));
        Ok(get.consistent_read(true).send().await?.item)
    }

    pub(crate) async fn expect(&self, pk: &str, sk: &str, attribute: &str, expected: AttributeValue) -> Result<()> {
        let item = self.get(pk, sk).await?.context("the item is there")?;
        let got = item.get(attribute);
        ensure!(got == Some(&expected), "{attribute} is {got:?}, expected {expected:?}");
        Ok(())
    }
}

pub(crate) fn s(text: &str) -> AttributeValue {
    AttributeValue::S(text.into())
}

pub(crate) fn n(number: i64) -> AttributeValue {
    AttributeValue::N(number.to_string())
}

pub(crate) fn key(pk: &str, sk: &str) -> Item {
    HashMap::from([("pk".into(), s(pk)), ("sk".into(), s(sk))])
}

pub(crate) fn item(pk: &str, sk: &str, attributes: &[(&str, AttributeValue)]) -> Item {
    let attributes = attributes.iter().map(|(name, value)| ((*name).into(), value.clone()));
    key(pk, sk).into_iter().chain(attributes).collect()
}

/// Checks that `outcome` is an error with the code `expected`.
pub(crate) fn expect_refusal<T, E, R>(outcome: Result<T, SdkError<E, R>>, expected: &str) -> Result<()>
where
    E: ProvideErrorMetadata,
{
    match outcome {
        Ok(_) => anyhow::bail!("accepted, {expected} is expected"),
        Err(SdkError::ServiceError(error)) => {
            let code = error.err().code().unwrap_or_default();
            ensure!(code == expected, "refused with {code}, {expected} is expected");
            Ok(())
        }
        Err(_) => anyhow::bail!("no answer, {expected} is expected"),
    }
}
