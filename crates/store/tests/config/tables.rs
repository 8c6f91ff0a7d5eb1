//! Tables of one test, and fixtures for them.

use std::collections::HashMap;

use aws_sdk_dynamodb::config::{BehaviorVersion, Credentials as Keys, Region};
use aws_sdk_dynamodb::types::{AttributeValue, ReturnConsumedCapacity};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::agent::{Agent, AgentConfig};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::{Trigger, TriggerSettings};
use tieline_embedded::{ACCESS_KEY_ID, ENDPOINT_URL, Embedded, Options, REGION, SECRET_ACCESS_KEY};
use tieline_store::config::agent::{self, AgentRecord};
use tieline_store::config::integration::{self, IntegrationRecord, IntegrationSettings, NewIntegration};
use tieline_store::{Keyring, Store, Tables, create_missing};

/// Far in the future: a table deletes by its own clock what has expired.
pub(crate) const NOW: Timestamp = Timestamp::from_secs(4_000_000_000);

/// A store with tables of its own. The engine lives as long as this.
pub(crate) struct Fresh {
    pub(crate) store: Store,
    client: aws_sdk_dynamodb::Client,
    table: String,
    _engine: Option<Embedded>,
}

impl Fresh {
    /// An item of the table `config` as stored, as text.
    pub(crate) async fn item(&self, pk: &str, sk: &str) -> String {
        let asked = self.client.get_item().table_name(&self.table);
        let asked = asked
            .key("pk", AttributeValue::S(pk.into()))
            .key("sk", AttributeValue::S(sk.into()));
        format!("{:?}", asked.send().await.unwrap().item.unwrap())
    }

    /// Writes an item, or deletes it, as another version may do.
    pub(crate) async fn overwrite(&self, (pk, sk): (&str, &str), fields: Option<&[(&str, AttributeValue)]>) {
        let key = [("pk", pk), ("sk", sk)].map(|(name, value)| (name.to_owned(), AttributeValue::S(value.to_owned())));
        match fields {
            Some(fields) => {
                let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone()));
                let put = self.client.put_item().table_name(&self.table);
                let put = put.set_item(Some(fields.chain(key).collect()));
                put.send().await.unwrap();
            }
            None => {
                let delete = self.client.delete_item().table_name(&self.table);
                delete.set_key(Some(HashMap::from(key))).send().await.unwrap();
            }
        }
    }

    /// Adds `n` to numeric attributes of an item.
    pub(crate) async fn add(&self, (pk, sk): (&str, &str), names: &[String], n: u64) {
        let mut change = self.client.update_item().table_name(&self.table);
        change = change
            .key("pk", AttributeValue::S(pk.into()))
            .key("sk", AttributeValue::S(sk.into()));
        let adds: Vec<_> = (0..names.len()).map(|at| format!("#a{at} :n")).collect();
        for (at, name) in names.iter().enumerate() {
            change = change.expression_attribute_names(format!("#a{at}"), name);
        }
        let change = change.update_expression(format!("ADD {}", adds.join(", ")));
        let change = change.expression_attribute_values(":n", AttributeValue::N(n.to_string()));
        change.send().await.unwrap();
    }

    /// Read units of a strong read of an item.
    pub(crate) async fn read_units(&self, (pk, sk): (&str, &str)) -> f64 {
        let asked = self.client.get_item().table_name(&self.table).consistent_read(true);
        let asked = asked
            .key("pk", AttributeValue::S(pk.into()))
            .key("sk", AttributeValue::S(sk.into()))
            .return_consumed_capacity(ReturnConsumedCapacity::Total);
        let consumed = asked.send().await.unwrap().consumed_capacity.unwrap();
        consumed.capacity_units.unwrap()
    }

    /// Removes an attribute of an item, as if an older version had written it.
    pub(crate) async fn remove_attribute(&self, (pk, sk): (&str, &str), name: &str) {
        let change = self.client.update_item().table_name(&self.table);
        let change = change
            .key("pk", AttributeValue::S(pk.into()))
            .key("sk", AttributeValue::S(sk.into()));
        let change = change
            .update_expression("REMOVE #a")
            .expression_attribute_names("#a", name);
        change.send().await.unwrap();
    }
}

pub(crate) async fn fresh() -> Fresh {
    let config = aws_sdk_dynamodb::Config::builder()
        .behavior_version(BehaviorVersion::latest())
        .region(Region::new(REGION))
        .credentials_provider(Keys::new(ACCESS_KEY_ID, SECRET_ACCESS_KEY, None, None, "test"));
    let (config, engine) = match std::env::var("TIELINE_TEST_DYNAMODB_ENDPOINT") {
        Ok(endpoint) => (config.endpoint_url(endpoint), None),
        Err(_) => {
            let engine = Embedded::in_memory(Options::default()).unwrap();
            (
                config.endpoint_url(ENDPOINT_URL).http_client(engine.http_client()),
                Some(engine),
            )
        }
    };
    let client = aws_sdk_dynamodb::Client::from_conf(config.build());
    let mut random = [0; 6];
    getrandom::fill(&mut random).unwrap();
    let tables = Tables::with_prefix(&format!(
        "test-{:x}-",
        u64::from_be_bytes([0, 0, random[0], random[1], random[2], random[3], random[4], random[5]])
    ));
    create_missing(&client, &tables).await.unwrap();
    Fresh {
        client: client.clone(),
        table: tables.config.clone(),
        store: Store::new(client, tables, Keyring::new([7; 32])),
        _engine: engine,
    }
}

pub(crate) fn org(id: &str) -> OrganizationId {
    OrganizationId::new(id)
}

pub(crate) fn settings(name: &str) -> IntegrationSettings {
    IntegrationSettings {
        name: name.to_owned(),
        mode: ConnectionMode::LongConnection,
        credentials: Credentials::from_iter([("secret", "s3cret")]),
        endpoints: Endpoints::from([("apiBase".to_owned(), "https://example.com".to_owned())]),
        language: Language::Chinese,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        allowed_agents: None,
        enabled: true,
        account_key: None,
    }
}

pub(crate) fn new_integration(organization: &str, id: &str) -> NewIntegration {
    NewIntegration {
        id: IntegrationId::new(id),
        organization: org(organization),
        platform: "lark".to_owned(),
        id_key: [9; 32],
    }
}

/// An integration whose name is its id.
pub(crate) async fn integration(store: &Store, organization: &str, id: &str) -> IntegrationRecord {
    integration::create(store, new_integration(organization, id), settings(id), NOW)
        .await
        .unwrap()
}

pub(crate) fn an_agent(organization: &str, id: &str) -> Agent {
    let config = serde_json::json!({"apiKey": "k3y", "pieces": 3});
    Agent {
        id: AgentId::new(id),
        organization: org(organization),
        name: id.to_owned(),
        protocol: "echo".to_owned(),
        config: AgentConfig::new(config.as_object().unwrap().clone()),
    }
}

/// An agent whose name is its id.
pub(crate) async fn agent(store: &Store, organization: &str, id: &str) -> AgentRecord {
    agent::create(store, an_agent(organization, id), NOW).await.unwrap()
}

/// An enabled trigger of the organization `default`.
pub(crate) fn trigger(id: &str, integration: &str, agent: &str) -> Trigger {
    Trigger {
        id: TriggerId::new(id),
        organization: org("default"),
        integration: IntegrationId::new(integration),
        agent: AgentId::new(agent),
        enabled: true,
        settings: TriggerSettings::default(),
    }
}

/// Runs all concurrently and returns the outcome of each.
pub(crate) async fn race<F>(contenders: impl IntoIterator<Item = F>) -> Vec<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let running: Vec<_> = contenders.into_iter().map(tokio::spawn).collect();
    let mut outcomes = Vec::new();
    for task in running {
        outcomes.push(task.await.unwrap());
    }
    outcomes
}
