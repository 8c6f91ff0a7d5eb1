//! An integration as the API returns it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::{Map, Value};
use tieline_bridge::world::World;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Manifest;
use tieline_core::notice::Language;
use tieline_core::outbound_url::{self, PrivateEndpoints};
use tieline_core::thinking_display::{ReasoningDetail, ThinkingSign};
use tieline_core::timestamp::Timestamp;
use tieline_store::StoreError;
use tieline_store::config::integration::{IntegrationRecord, IntegrationSettings};
use tieline_store::data_keys::unless_key_is_lost;
use utoipa::ToSchema;

use crate::audit::Shown;
use crate::etag::{self, Versioned};
use crate::mask::MASK;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;

/// A bot account on a platform.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Integration)]
pub(crate) struct IntegrationView {
    id: String,
    name: String,
    platform: String,
    #[schema(value_type = schema::ConnectionMode)]
    connection_mode: ConnectionMode,
    /// What identifies the bot on its platform, such as the id of an app; never secret. Null where nothing does.
    account: Option<String>,
    /// Secret values are `"***"`.
    credentials: BTreeMap<String, String>,
    /// Addresses that replace the platform's own.
    endpoints: BTreeMap<String, String>,
    #[schema(value_type = schema::Language)]
    language: Language,
    /// Whether answers are shown while they are written.
    streaming: bool,
    /// How much of an agent's reasoning is shown before its text begins.
    #[schema(value_type = schema::ReasoningDetail)]
    reasoning: ReasoningDetail,
    /// Whether a sign shows that the agent is working.
    #[schema(value_type = schema::ThinkingSign)]
    thinking_sign: ThinkingSign,
    /// Ids of the agents that may answer. Null: every agent of the organization.
    allowed_agents: Option<Vec<String>>,
    /// Whether it is started.
    enabled: bool,
    /// The address that the platform calls in the mode `webhook`. In the mode `long_connection` it has no effect.
    callback_url: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    updated_at: Timestamp,
    /// The entity tag, for `If-Match`.
    etag: String,
    /// With `deleted=true`: when it was deleted.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    deleted_at: Option<Timestamp>,
}

impl IntegrationView {
    /// Marks it as deleted at this time.
    pub(super) fn deleted(self, at: Timestamp) -> Self {
        Self {
            deleted_at: Some(at),
            ..self
        }
    }
}

impl Versioned for IntegrationView {
    fn etag(&self) -> &str {
        &self.etag
    }
}

pub(super) fn of(state: &AdminState, record: &IntegrationRecord) -> Result<IntegrationView, Problem> {
    let credentials = record.given_credentials(state.world.store.keyring());
    let credentials = readable(state, record, credentials)?.unwrap_or_default();
    let connector = state.world.connector(&record.platform);
    let manifest = connector.map(|connector| connector.manifest());
    let habit = manifest
        .and_then(|manifest| manifest.mode(record.mode))
        .map(|mode| mode.reasoning);
    let show = |(name, value): (&str, &tieline_core::secret::Secret)| {
        let shown = if is_secret(manifest, name) && !value.expose().is_empty() {
            MASK
        } else {
            value.expose()
        };
        (name.to_owned(), shown.to_owned())
    };
    Ok(IntegrationView {
        id: record.id.to_string(),
        name: record.name.clone(),
        platform: record.platform.clone(),
        connection_mode: record.mode,
        account: connector.and_then(|connector| connector.account_key(record.mode, &credentials)),
        credentials: credentials.iter().map(show).collect(),
        endpoints: record.endpoints.clone(),
        language: record.language,
        streaming: record.streaming,
        reasoning: record.thinking.reasoning.or(habit).unwrap_or(ReasoningDetail::Hidden),
        thinking_sign: record.thinking.sign,
        allowed_agents: record
            .allowed_agents
            .as_ref()
            .map(|ids| ids.iter().map(ToString::to_string).collect()),
        enabled: record.enabled,
        callback_url: callback_url(state, record),
        created_at: record.created_at,
        updated_at: record.updated_at,
        etag: etag::of_version(record.version),
        deleted_at: None,
    })
}

/// What was unsealed of an integration. `None` if its data key is lost: it is shown without its credentials.
pub(super) fn readable<T>(
    state: &AdminState,
    record: &IntegrationRecord,
    unsealed: Result<T, StoreError>,
) -> Result<Option<T>, StoreError> {
    unless_key_is_lost(unsealed.map(Some), state.now().since(record.updated_at))
}

/// The changeable fields of an integration, for the audit log.
pub(super) fn shown(state: &AdminState, platform: &str, settings: &IntegrationSettings) -> Shown {
    let manifest = state.world.connector(platform).map(|connector| connector.manifest());
    let (mut masked, mut secrets) = (Map::new(), Map::new());
    for (name, value) in settings.credentials.iter() {
        let plain = Value::from(value.expose());
        if is_secret(manifest, name) {
            masked.insert(name.to_owned(), Value::from(MASK));
            secrets.insert(name.to_owned(), plain);
        } else {
            masked.insert(name.to_owned(), plain);
        }
    }
    let view = serde_json::json!({
        "name": settings.name, "platform": platform, "connectionMode": settings.mode, "credentials": masked,
        "endpoints": settings.endpoints, "language": settings.language, "streaming": settings.streaming,
        "reasoning": settings.thinking.reasoning, "thinkingSign": settings.thinking.sign,
        "allowedAgents": settings.allowed_agents, "enabled": settings.enabled,
    });
    Shown {
        view,
        secrets: Map::from_iter([("credentials".to_owned(), Value::Object(secrets))]),
    }
}

/// Like [`shown`], but for a stored integration.
pub(super) fn shown_record(state: &AdminState, record: &IntegrationRecord) -> Result<Shown, Problem> {
    let settings = record.settings(state.world.store.keyring())?;
    Ok(shown(state, &record.platform, &settings))
}

pub(crate) fn target(record: &IntegrationRecord) -> (&'static str, &str, Option<&str>) {
    ("integration", record.id.as_str(), Some(&record.name))
}

/// The address that the platform calls.
pub(super) fn callback_url(state: &AdminState, record: &IntegrationRecord) -> String {
    callback_url_of(&state.world, record)
}

/// Like [`callback_url`].
pub(super) fn callback_url_of(world: &World, record: &IntegrationRecord) -> String {
    callback_url_at(world.settings.callback_base(), record)
}

/// The callback URL at the public URL, if callbacks have another base. It is still served: platforms that were given it earlier still call it.
pub(super) fn public_callback_url(state: &AdminState, record: &IntegrationRecord) -> Option<String> {
    let settings = &state.world.settings;
    settings.callback_base.as_ref()?;
    Some(callback_url_at(&settings.public_url, record))
}

fn callback_url_at(base: &str, record: &IntegrationRecord) -> String {
    format!("{base}/api/{}/webhook/{}", record.platform, record.id)
}

/// Whether the integration's platform offers a long connection.
pub(super) fn has_long_connection(state: &AdminState, record: &IntegrationRecord) -> bool {
    let connector = state.world.connector(&record.platform);
    connector.is_some_and(|it| it.manifest().mode(ConnectionMode::LongConnection).is_some())
}

/// Whether any platform can call this address. Private addresses that are allowed for tests don't count.
pub(super) fn is_callable(callback_url: &str) -> bool {
    outbound_url::check(callback_url, &PrivateEndpoints::Refused).is_ok()
}

/// Whether a credential is masked. A field that the platform doesn't know (any more) is masked too.
pub(crate) fn is_secret(manifest: Option<&Manifest>, field: &str) -> bool {
    let modes = manifest.into_iter().flat_map(|manifest| manifest.modes);
    let fields = modes.into_iter().flat_map(|mode| mode.credentials);
    let mut known = fields.filter(|known| known.name == field).peekable();
    known.peek().is_none() || known.any(|known| known.secret)
}
