//! Validates an operator's input for an integration.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;
use serde_json::{Map, Value};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting};
use tieline_core::connector::{Connector, Manifest, ModeManifest};
use tieline_core::notice::Language;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::thinking_display::{ReasoningDetail, ThinkingDisplay, ThinkingSign};
use tieline_store::config::integration::{IntegrationRecord, IntegrationSettings};
use utoipa::ToSchema;

use super::allowed_agents;
use super::view::is_secret;
use crate::body::nullable;
use crate::mask;
use crate::problem::{FieldErrors, Problem};
use crate::state::AdminState;
use crate::validation::{self, Protocol};
use crate::{schema, secret_origin};

/// A new integration.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[schema(as = NewIntegration)]
pub(crate) struct NewIntegrationBody {
    /// Unique in the organization.
    name: String,
    /// See `/api/v1/platforms`.
    platform: String,
    /// Default: the platform's recommended mode.
    #[schema(value_type = Option<schema::ConnectionMode>)]
    connection_mode: Option<ConnectionMode>,
    /// By field name; see `/api/v1/platforms`.
    #[schema(value_type = Option<Object>)]
    credentials: Option<Map<String, Value>>,
    /// Addresses that replace the platform's own.
    #[schema(value_type = Option<Object>)]
    endpoints: Option<Map<String, Value>>,
    /// Default: `zh-CN`.
    #[schema(value_type = Option<schema::Language>)]
    language: Option<Language>,
    /// Whether answers are shown while they are written. Default: true.
    streaming: Option<bool>,
    /// How much of an agent's reasoning is shown before its text begins. Default: as usual for the platform.
    #[schema(value_type = Option<schema::ReasoningDetail>)]
    reasoning: Option<ReasoningDetail>,
    /// Whether a sign shows that the agent is working. Default: `on`.
    #[schema(value_type = Option<schema::ThinkingSign>)]
    thinking_sign: Option<ThinkingSign>,
    /// Ids of the agents that may answer; in a file their names. Null: every agent of the organization. Default: null.
    #[schema(max_items = 50)]
    allowed_agents: Option<Vec<String>>,
    /// Whether it is started. Default: true.
    enabled: Option<bool>,
}

/// Changes of an integration.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct IntegrationPatch {
    name: Option<String>,
    #[schema(value_type = Option<schema::ConnectionMode>)]
    connection_mode: Option<ConnectionMode>,
    #[schema(value_type = Option<Object>)]
    credentials: Option<Map<String, Value>>,
    #[schema(value_type = Option<Object>)]
    endpoints: Option<Map<String, Value>>,
    #[schema(value_type = Option<schema::Language>)]
    language: Option<Language>,
    streaming: Option<bool>,
    /// Null: as usual for the platform.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<schema::ReasoningDetail>)]
    reasoning: Option<Option<ReasoningDetail>>,
    #[schema(value_type = Option<schema::ThinkingSign>)]
    thinking_sign: Option<ThinkingSign>,
    /// The complete list: it replaces the old one. Null: every agent of the organization.
    #[serde(default, deserialize_with = "nullable")]
    #[schema(value_type = Option<Vec<String>>, max_items = 50)]
    allowed_agents: Option<Option<Vec<String>>>,
    enabled: Option<bool>,
}

impl IntegrationPatch {
    /// Whether what was obtained from the platform with the old settings may be invalid now.
    pub(super) const fn touches_account(&self) -> bool {
        self.credentials.is_some() || self.endpoints.is_some() || self.connection_mode.is_some()
    }

    /// Whether the patch starts the integration.
    pub(super) fn starts(&self) -> bool {
        self.enabled == Some(true)
    }
}

/// Validates a new integration and returns its platform and settings.
pub(crate) fn read_new(state: &AdminState, body: NewIntegrationBody) -> Result<(String, IntegrationSettings), Problem> {
    let platform = body.platform.clone();
    Ok((platform, new_settings(state, body)?))
}

fn new_settings(state: &AdminState, body: NewIntegrationBody) -> Result<IntegrationSettings, Problem> {
    let unknown = || unknown_platform(state);
    let connector = state.world.connector(&body.platform).ok_or_else(unknown)?;
    let recommended = connector.manifest().modes.first().map(|mode| mode.mode);
    let mode = body.connection_mode.or(recommended).ok_or_else(unknown)?;
    let draft = Draft {
        name: body.name,
        mode,
        credentials: mask::patched("credentials", &Map::new(), body.credentials.unwrap_or_default(), |_| {
            true
        })?,
        endpoints: mask::patched("endpoints", &Map::new(), body.endpoints.unwrap_or_default(), |_| false)?,
        language: body.language.unwrap_or_default(),
        streaming: body.streaming.unwrap_or(true),
        thinking: ThinkingDisplay {
            reasoning: body.reasoning,
            sign: body.thinking_sign.unwrap_or(ThinkingSign::On),
        },
        allowed_agents: body.allowed_agents,
        enabled: body.enabled.unwrap_or(true),
    };
    check(state, connector, draft)
}

/// Validates the changes and returns the settings with them applied.
pub(crate) fn read_patch(
    state: &AdminState,
    before: &IntegrationRecord,
    patch: &IntegrationPatch,
) -> Result<IntegrationSettings, Problem> {
    let unknown = || unknown_platform(state);
    let connector = state.world.connector(&before.platform).ok_or_else(unknown)?;
    let manifest = connector.manifest();
    let kept = before.given_credentials(state.world.store.keyring())?;
    let kept: Map<String, Value> = kept
        .iter()
        .map(|(name, value)| (name.to_owned(), Value::from(value.expose())))
        .collect();
    let allowed = before.allowed_agents.as_ref();
    let allowed = allowed.map(|allowed| allowed.iter().map(ToString::to_string).collect());
    let endpoints = before
        .endpoints
        .iter()
        .map(|(name, value)| (name.clone(), Value::from(value.as_str())))
        .collect();
    let draft = Draft {
        name: patch.name.clone().unwrap_or_else(|| before.name.clone()),
        mode: patch.connection_mode.unwrap_or(before.mode),
        credentials: mask::patched(
            "credentials",
            &kept,
            patch.credentials.clone().unwrap_or_default(),
            |field| is_secret(Some(manifest), field),
        )?,
        endpoints: mask::patched(
            "endpoints",
            &endpoints,
            patch.endpoints.clone().unwrap_or_default(),
            |_| false,
        )?,
        language: patch.language.unwrap_or(before.language),
        streaming: patch.streaming.unwrap_or(before.streaming),
        thinking: ThinkingDisplay {
            reasoning: patch.reasoning.unwrap_or(before.thinking.reasoning),
            sign: patch.thinking_sign.unwrap_or(before.thinking.sign),
        },
        allowed_agents: patch.allowed_agents.clone().unwrap_or(allowed),
        enabled: patch.enabled.unwrap_or(before.enabled),
    };
    let settings = check(state, connector, draft)?;
    secret_origin::check(
        "credentials",
        &kept,
        patch.credentials.as_ref(),
        |field| is_secret(Some(manifest), field),
        named(&before.endpoints),
        named(&settings.endpoints),
    )?;
    Ok(IntegrationSettings {
        account_key: logged_in_account(state, connector, before, &settings)?.or(settings.account_key),
        ..settings
    })
}

fn named(endpoints: &Endpoints) -> impl Iterator<Item = (&str, &str)> {
    endpoints.iter().map(|(name, address)| (&**name, &**address))
}

/// The bot account that a login obtained. It stays valid as long as the settings that the login used are unchanged.
fn logged_in_account(
    state: &AdminState,
    connector: &dyn Connector,
    before: &IntegrationRecord,
    after: &IntegrationSettings,
) -> Result<Option<String>, Problem> {
    let keyring = state.world.store.keyring();
    let stays = before.endpoints == after.endpoints && before.given_credentials(keyring)? == after.credentials;
    if connector.login().is_none() || !stays {
        return Ok(None);
    }
    let (credentials, _) = before.unseal(keyring)?;
    Ok(connector.account_key(after.mode, &credentials))
}

fn unknown_platform(state: &AdminState) -> Problem {
    let known = state
        .world
        .registry
        .iter()
        .map(|connector| connector.manifest().platform);
    Problem::invalid("platform", "is unknown").allowing(known)
}

/// Settings before validation.
struct Draft {
    name: String,
    mode: ConnectionMode,
    credentials: Map<String, Value>,
    endpoints: Map<String, Value>,
    language: Language,
    streaming: bool,
    thinking: ThinkingDisplay,
    allowed_agents: Option<Vec<String>>,
    enabled: bool,
}

fn check(state: &AdminState, connector: &dyn Connector, draft: Draft) -> Result<IntegrationSettings, Problem> {
    let manifest = connector.manifest();
    let mode = manifest.mode(draft.mode).ok_or_else(|| unknown_mode(manifest))?;
    let mut errors = FieldErrors::default();
    let credentials = credentials(manifest, draft.credentials, &mut errors);
    let endpoints = endpoints(manifest, draft.endpoints, state.allow_private(), &mut errors);
    require(mode, &credentials, &mut errors);
    let name = errors.keep(validation::name(&draft.name)).unwrap_or_default();
    let allowed = draft.allowed_agents.as_deref();
    let allowed_agents = allowed.map(|ids| errors.keep(allowed_agents::read(ids)).unwrap_or_default());
    errors.end()?;
    connector
        .prepare(mode.mode, &credentials, &endpoints)
        .map_err(|invalid| blame(manifest, &invalid))?;
    Ok(IntegrationSettings {
        name,
        mode: mode.mode,
        account_key: connector.account_key(mode.mode, &credentials),
        credentials,
        endpoints,
        language: draft.language,
        streaming: draft.streaming,
        thinking: draft.thinking,
        allowed_agents,
        enabled: draft.enabled,
    })
}

fn unknown_mode(manifest: &Manifest) -> Problem {
    let words = manifest
        .modes
        .iter()
        .filter_map(|mode| serde_json::to_value(mode.mode).ok());
    let words = words.filter_map(|word| word.as_str().map(str::to_owned));
    Problem::invalid("connectionMode", "is not a mode of this platform").allowing(words)
}

/// The field names of all modes, without duplicates.
fn each_once(names: impl Iterator<Item = &'static str>) -> BTreeSet<&'static str> {
    names.collect()
}

/// Fields of any mode are kept, so that switching modes back and forth needs no retyping.
fn credentials(manifest: &Manifest, given: Map<String, Value>, errors: &mut FieldErrors) -> Credentials {
    let known = each_once(
        manifest
            .modes
            .iter()
            .flat_map(|mode| mode.credentials)
            .map(|field| field.name),
    );
    let mut checked = Vec::with_capacity(given.len());
    for (name, value) in given {
        let field = format!("credentials.{name}");
        if !known.contains(&*name) {
            errors.add(Problem::unknown(field).allowing(known.iter().copied()));
            continue;
        }
        match value {
            Value::String(text) => checked.push((name, text.trim().to_owned())),
            // Some platforms show an id as a number.
            Value::Number(number) => checked.push((name, number.to_string())),
            _ => errors.add(Problem::invalid(field, "must be a text")),
        }
    }
    checked.into_iter().collect()
}

fn endpoints(
    manifest: &Manifest,
    given: Map<String, Value>,
    allowed: &PrivateEndpoints,
    errors: &mut FieldErrors,
) -> Endpoints {
    let known: BTreeMap<_, _> = manifest
        .modes
        .iter()
        .flat_map(|mode| mode.endpoints)
        .map(|field| (field.name, Protocol::of(field.default)))
        .collect();
    let mut checked = Endpoints::new();
    for (name, value) in given {
        let field = format!("endpoints.{name}");
        let Some(protocol) = known.get(&*name) else {
            errors.add(Problem::unknown(field).allowing(known.keys().copied()));
            continue;
        };
        let Some(address) = value.as_str().map(str::trim) else {
            errors.add(Problem::invalid(field, "must be a text"));
            continue;
        };
        // Empty: back to the platform's own address.
        let is_usable = || validation::address(&field, address, *protocol, allowed);
        if !address.is_empty() && errors.keep(is_usable()).is_some() {
            checked.insert(name, address.to_owned());
        }
    }
    checked
}

fn require(mode: &ModeManifest, credentials: &Credentials, errors: &mut FieldErrors) {
    let required = mode.credentials.iter().filter(|field| field.required);
    for missing in required.filter(|field| credentials.get(field.name).is_none()) {
        let field = format!("credentials.{}", missing.name);
        if !errors.names(&field) {
            errors.add(Problem::invalid(field, "is required"));
        }
    }
}

fn blame(manifest: &Manifest, invalid: &InvalidSetting) -> Problem {
    let mut endpoints = manifest.modes.iter().flat_map(|mode| mode.endpoints);
    let group = if endpoints.any(|endpoint| endpoint.name == invalid.field) {
        "endpoints"
    } else {
        "credentials"
    };
    Problem::invalid(format!("{group}.{}", invalid.field), invalid.reason)
}
