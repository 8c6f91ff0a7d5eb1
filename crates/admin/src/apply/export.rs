//! Exports an organization as a file that can be applied.

use std::fmt::Write as _;

use axum::extract::State;
use axum::http::header::{ACCEPT, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Map;
use serde_yaml_ng::Value;
use tracing::error;
use utoipa::{IntoParams, ToSchema};

use super::current::Current;
use super::expand::escaped;
use super::forms::{AgentForm, IntegrationForm, TriggerForm};
use crate::auth::{Scope, no_organization};
use crate::body::Query;
use crate::notify::form::NotifyForm;
use crate::problem::Problem;
use crate::state::AdminState;
use crate::{mapper, organizations};

/// Format of the exported file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = FileFormat)]
pub(crate) enum Format {
    Yaml,
    Json,
}

/// Options of an export.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ExportQuery {
    /// If absent, the `Accept` header decides; without one, YAML.
    #[param(inline)]
    format: Option<Format>,
}

/// The file, with its fields in reading order.
#[derive(Serialize)]
struct ExportedFile {
    organizations: [ExportedOrganization; 1],
}

#[derive(Serialize)]
struct ExportedOrganization {
    id: String,
    #[serde(flatten)]
    settings: Map<String, serde_json::Value>,
    agents: Vec<AgentForm>,
    integrations: Vec<IntegrationForm>,
    triggers: Vec<TriggerForm>,
    #[serde(skip_serializing_if = "Option::is_none")]
    notify: Option<NotifyForm>,
}

/// Exports an organization as a file that `apply` accepts, with `***` in place of secrets: applied here, it changes nothing.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/export", tag = "organizations", params(ExportQuery),
    responses((status = 200, description = "the file", content((Object = "application/yaml"), (Object = "application/json")))))]
pub(crate) async fn export(
    State(state): State<AdminState>,
    scope: Scope,
    headers: HeaderMap,
    Query(query): Query<ExportQuery>,
) -> Result<Response, Problem> {
    let file = file(&state, &scope).await?;
    let format = query.format.unwrap_or_else(|| accepted(&headers));
    let (kind, text) = match format {
        Format::Json => ("application/json", json_text(&file).ok()),
        Format::Yaml => ("application/yaml", serde_yaml_ng::to_string(&file).ok()),
    };
    let text = text.ok_or_else(unwritable)?;
    Ok(([(CONTENT_TYPE, kind)], text).into_response())
}

/// JSON that is YAML too, as `apply` reads it: escapes the characters that YAML forbids, or reads as the end of a line or of the file.
///
/// # Errors
/// If the value can't be written as JSON.
pub fn json_text(file: &impl Serialize) -> serde_json::Result<String> {
    let text = serde_json::to_string_pretty(file)?;
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\n' => escaped.push(c),
            // Outside of texts JSON is ASCII, and none of these has more than four hexadecimal digits.
            _ if c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{FEFF}' | '\u{FFFE}' | '\u{FFFF}') => {
                let _ = write!(escaped, "\\u{:04x}", u32::from(c));
            }
            _ => escaped.push(c),
        }
    }
    Ok(escaped)
}

fn unwritable() -> Problem {
    error!("organization can't be serialized as a file");
    Problem::new(
        StatusCode::INTERNAL_SERVER_ERROR,
        "internal",
        "the organization can't be written as a file; see the log",
    )
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept = headers
        .get(ACCEPT)
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    if accept.contains("json") && !accept.contains("yaml") {
        Format::Json
    } else {
        Format::Yaml
    }
}

async fn file(state: &AdminState, scope: &Scope) -> Result<Value, Problem> {
    let current = Current::read(state, &scope.organization).await?;
    let organization = current.organization.as_ref().ok_or_else(no_organization)?;
    let mut integrations = Vec::new();
    for record in &current.integrations {
        let manifest = state.world.connector(&record.platform).map(|it| it.manifest());
        let settings = record.settings(state.world.store.keyring())?;
        let name_of = |id: &_| current.agent_name(id);
        integrations.push(IntegrationForm::masked(&record.platform, manifest, &settings, name_of));
    }
    let mut settings = organizations::form(organization, &organization.name, organization.limits);
    settings.extend(mapper::masked(organization.mapper.as_ref()));
    let exported = ExportedOrganization {
        id: organization.id.to_string(),
        settings,
        agents: current.agents.iter().map(|it| AgentForm::masked(&it.agent)).collect(),
        integrations,
        triggers: triggers(&current),
        notify: notify(&current),
    };
    let file = ExportedFile {
        organizations: [exported],
    };
    let mut file = serde_yaml_ng::to_value(file).map_err(|_| unwritable())?;
    escape(&mut file);
    Ok(file)
}

/// `None` if the bot of the notification chat is deleted: the file can't name it.
fn notify(current: &Current) -> Option<NotifyForm> {
    let settings = current.notify.as_ref()?;
    let form = NotifyForm::of(&settings.channel, settings.language, |id| current.integration_name(id));
    form.map(NotifyForm::masked)
}

/// A file can name one trigger per integration and agent: if there are several, the enabled one is exported.
fn triggers(current: &Current) -> Vec<TriggerForm> {
    let mut forms: Vec<TriggerForm> = Vec::new();
    for record in &current.triggers {
        let trigger = &record.trigger;
        let integration = current.integrations.iter().find(|it| it.id == trigger.integration);
        let agent = current.agents.iter().find(|it| it.agent.id == trigger.agent);
        // A trigger whose integration or agent is deleted has no effect, and can't be named.
        let (Some(integration), Some(agent)) = (integration, agent) else {
            continue;
        };
        let form = TriggerForm::of(trigger, &integration.name, &agent.agent.name, |id| {
            current.agent_name(id)
        });
        match forms
            .iter_mut()
            .find(|it| it.integration == form.integration && it.agent == form.agent)
        {
            Some(known) if form.enabled => *known = form,
            Some(_) => {}
            None => forms.push(form),
        }
    }
    forms
}

/// Escapes `${` in texts so that it isn't read as a variable.
fn escape(value: &mut Value) {
    match value {
        Value::String(text) => *text = escaped(text),
        Value::Sequence(values) => values.iter_mut().for_each(escape),
        Value::Mapping(fields) => fields.values_mut().for_each(escape),
        _ => {}
    }
}
