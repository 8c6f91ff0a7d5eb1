//! An integration as an item of the table.

use serde::{Deserialize, Serialize};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::{ReasoningDetail, ThinkingDisplay, ThinkingSign};
use tieline_core::timestamp::{Timestamp, millis};

use super::{INT, IntegrationRecord, pk};
use crate::Keyring;
use crate::error::StoreError;
use crate::item::{self, Item};

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredV1 {
    id: IntegrationId,
    organization: OrganizationId,
    name: String,
    platform: String,
    mode: ConnectionMode,
    credentials: String,
    #[serde(default)]
    endpoints: Endpoints,
    language: Language,
    streaming: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    reasoning: Option<ReasoningDetail>,
    #[serde(default = "shown")]
    thinking_sign: ThinkingSign,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    allowed_agents: Option<Vec<AgentId>>,
    enabled: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    account: Option<String>,
    #[serde(with = "millis")]
    created_at: Timestamp,
    #[serde(with = "millis")]
    updated_at: Timestamp,
    version: u64,
}

const fn shown() -> ThinkingSign {
    ThinkingSign::On
}

/// The sealed parts, in one value.
#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Secrets {
    #[serde(rename = "1")]
    V1(SecretsV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct SecretsV1 {
    credentials: Credentials,
    #[serde(default)]
    learned: Credentials,
    id_key: [u8; 32],
}

/// The unsealed secrets of an integration.
#[derive(Debug, Clone)]
pub(super) struct Unsealed {
    /// The credentials as entered by the operator.
    pub(super) credentials: Credentials,
    /// Facts that the platform reported of the bot.
    pub(super) learned: Credentials,
    pub(super) id_key: [u8; 32],
}

/// Seals the secrets, bound to this integration.
pub(super) fn seal(keyring: &Keyring, id: &IntegrationId, unsealed: Unsealed) -> String {
    let secrets = Secrets::V1(SecretsV1 {
        credentials: unsealed.credentials,
        learned: unsealed.learned,
        id_key: unsealed.id_key,
    });
    let plain = zeroize::Zeroizing::new(serde_json::to_vec(&secrets).expect("secrets serialize as JSON"));
    keyring.seal(&plain, id.as_str())
}

/// Opens the result of [`seal`].
pub(super) fn unseal(keyring: &Keyring, id: &IntegrationId, sealed: &str) -> Result<Unsealed, StoreError> {
    let plain = zeroize::Zeroizing::new(keyring.open(sealed, id.as_str())?);
    let Secrets::V1(secrets) =
        serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: "credentials" })?;
    Ok(Unsealed {
        credentials: secrets.credentials,
        learned: secrets.learned,
        id_key: secrets.id_key,
    })
}

pub(super) fn write(record: &IntegrationRecord) -> Result<Item, StoreError> {
    let record = record.clone();
    let pk = pk(&record.id);
    let stored = Stored::V1(StoredV1 {
        id: record.id,
        organization: record.organization,
        name: record.name,
        platform: record.platform,
        mode: record.mode,
        credentials: record.credentials,
        endpoints: record.endpoints,
        language: record.language,
        streaming: record.streaming,
        reasoning: record.thinking.reasoning,
        thinking_sign: record.thinking.sign,
        allowed_agents: record.allowed_agents,
        enabled: record.enabled,
        account: record.account,
        created_at: record.created_at,
        updated_at: record.updated_at,
        version: record.version,
    });
    item::write("integration", &pk, INT, &stored)
}

pub(super) fn read(item: Item) -> Result<IntegrationRecord, StoreError> {
    let Stored::V1(stored) = item::read("integration", item)?;
    Ok(IntegrationRecord {
        id: stored.id,
        organization: stored.organization,
        name: stored.name,
        platform: stored.platform,
        mode: stored.mode,
        credentials: stored.credentials,
        endpoints: stored.endpoints,
        language: stored.language,
        streaming: stored.streaming,
        thinking: ThinkingDisplay {
            reasoning: stored.reasoning,
            sign: stored.thinking_sign,
        },
        allowed_agents: stored.allowed_agents,
        enabled: stored.enabled,
        account: stored.account,
        created_at: stored.created_at,
        updated_at: stored.updated_at,
        version: stored.version,
    })
}
