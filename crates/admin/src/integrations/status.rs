//! The status of an integration.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use tieline_bridge::accounts::{self, AccountError};
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Proof;
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_store::config::integration::{self as store_integration, Bound, IntegrationRecord};
use tieline_store::config::{agent, callback_base};
use tieline_store::message::Troubles;
use tieline_store::status::{self, ConnectionState, Status};
use utoipa::ToSchema;

use super::effective_status::{self, Condition};
use super::facts::Facts;
use super::registration::Registration;
use super::{find, last_error, view};
use crate::auth::Scope;
use crate::path::Id;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;
use crate::texts::InLanguage;

/// The status of an integration.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IntegrationStatus)]
pub(crate) struct StatusView {
    #[schema(value_type = schema::ConnectionState)]
    state: ConnectionState,
    /// Why it has this state: `stopped`, `unbound`, `config_invalid`, `kicked`, `login_expired`, `silent`; for a webhook `not_public`,
    /// `not_called`, `signature`; if degraded `agent_failed`, `delivery_failed`, `platform_unavailable`, `empty_answer`; if connected but
    /// in need of attention `rate_limited`, `not_allowed`, `message_refused`, `not_registered`, `slow`.
    reason: Option<String>,
    /// Since when it is connected; for a webhook, when a request was last authenticated.
    #[schema(value_type = Option<String>, format = DateTime)]
    connected_at: Option<Timestamp>,
    uptime_seconds: Option<u64>,
    /// When its connection last came up.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_connected_at: Option<Timestamp>,
    /// When its connection was last lost or closed.
    #[schema(value_type = Option<String>, format = DateTime)]
    last_disconnected_at: Option<Timestamp>,
    /// When another relay last took its connection over. Null if that never happened, or if the time of the loss is unknown.
    last_hand_over: Option<HandOverView>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_event_at: Option<Timestamp>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_reply_at: Option<Timestamp>,
    last_error: Option<ErrorView>,
    #[schema(value_type = Option<String>, format = DateTime)]
    rate_limited_until: Option<Timestamp>,
    /// Number of consecutive failed attempts to connect.
    reconnect_attempts: u32,
    /// The process that holds the connection.
    owner: Option<String>,
    /// The operator's next step. Null if there is nothing to do.
    next: Option<String>,
}

/// A change of the relay that holds an integration's connection.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = HandOver)]
pub(crate) struct HandOverView {
    /// When the new relay's connection was up.
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// How long there was no connection; 0 if the old and the new one overlapped.
    gap_millis: u64,
}

/// An error of an integration.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = IntegrationStatusError)]
pub(crate) struct ErrorView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    /// The platform's code, or ours.
    code: String,
    message: String,
}

/// Returns the status of an integration, and what to do next.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/status", tag = "integrations",
    responses((status = 200, body = StatusView)))]
pub(crate) async fn get(
    State(state): State<AdminState>,
    scope: Scope,
    InLanguage(language): InLanguage,
    Id(id): Id,
) -> Result<Json<StatusView>, Problem> {
    let record = find(&state, &scope, &id).await?;
    let seen = look(&state, &record).await?;
    Ok(Json(StatusView::of(seen, language, state.now())))
}

/// The current status of an integration.
pub(super) struct Seen {
    pub(super) bound: Bound,
    pub(super) reported: Status,
    pub(super) condition: Condition,
    /// Why its settings can't be used, if they can't.
    pub(super) unusable: Option<String>,
    /// The address that its platform must call.
    pub(super) callback_url: String,
    /// How the platform learns that address.
    pub(super) registration: Registration,
    /// When the platform last called that address, if it is a webhook's.
    pub(super) called_at: Option<Timestamp>,
}

/// Reads everything that the status depends on.
pub(super) async fn look(state: &AdminState, record: &IntegrationRecord) -> Result<Seen, Problem> {
    let bound = store_integration::load_bound(&state.world.store, &record.id)
        .await?
        .ok_or_else(Problem::integration_not_found)?;
    let shard = state.world.shard_of(&record.id);
    let reported = status::seen(&state.world.store, &record.id, shard, state.now()).await?;
    let unusable = unusable(state, &bound.integration);
    let callback_url = view::callback_url(state, record);
    let registration = Registration::of(&state.world, &bound.integration).await?;
    let facts = Facts {
        mode: bound.integration.mode,
        own_channel: is_own_channel(state, record),
        logged_out: is_logged_out(state, &bound.integration)?,
        enabled: bound.integration.enabled,
        bound: bound.trigger.is_some(),
        unusable: unusable.clone(),
        callback_url: &callback_url,
        callback_url_since: callback_url_since(state, record).await?,
        registration: &registration,
        is_callable: view::is_callable(&callback_url),
        has_long_connection: view::has_long_connection(state, record),
        created_at: record.created_at,
        changed_at: record.updated_at,
        agent_changed_at: agent_changed_at(state, &bound, &reported).await?,
        now: state.now(),
        restricts_access: bound
            .trigger
            .as_ref()
            .is_some_and(|it| it.settings.access.is_restricted()),
        reported: &reported,
    };
    let (condition, called_at) = (effective_status::decide(&facts), facts.called_at());
    Ok(Seen {
        bound,
        reported,
        condition,
        unusable,
        callback_url,
        registration,
        called_at,
    })
}

/// When the address that the platform must call replaced another one. `None`: no other one is known, or it calls none.
async fn callback_url_since(state: &AdminState, record: &IntegrationRecord) -> Result<Option<Timestamp>, Problem> {
    if record.mode != ConnectionMode::Webhook {
        return Ok(None);
    }
    let base = callback_base::get(&state.world.store).await?;
    Ok(base.and_then(|base| base.since))
}

/// When the bound agent was last changed. `None` if the status doesn't depend on it.
async fn agent_changed_at(state: &AdminState, bound: &Bound, reported: &Status) -> Result<Option<Timestamp>, Problem> {
    let matters = reported.failed_answer.is_some() || reported.troubles != Troubles::default();
    let Some(trigger) = bound.trigger.as_ref().filter(|_| matters) else {
        return Ok(None);
    };
    let organization = &bound.integration.organization;
    let found = agent::look_up(&state.world.store, organization, &trigger.agent, state.now()).await?;
    Ok(found.map(|record| record.updated_at))
}

fn unusable(state: &AdminState, record: &IntegrationRecord) -> Option<String> {
    let error = accounts::open(&state.world, record).err()?;
    Some(unusable_because(&error))
}

/// Why an integration can't be used, without its values.
pub(super) fn unusable_because(error: &AccountError) -> String {
    match error {
        AccountError::Invalid(invalid) => format!("{} {}", invalid.field, invalid.reason),
        AccountError::UnknownPlatform(platform) => format!("platform {platform} is not known here"),
        AccountError::Store(_) => "its credentials can't be unsealed with the key of this deployment".to_owned(),
    }
}

pub(super) fn is_own_channel(state: &AdminState, record: &IntegrationRecord) -> bool {
    state
        .world
        .connector(&record.platform)
        .is_some_and(|connector| connector.manifest().proof == Proof::Operator)
}

fn is_logged_out(state: &AdminState, record: &IntegrationRecord) -> Result<bool, Problem> {
    let connector = state.world.connector(&record.platform);
    let mode = connector.and_then(|connector| connector.manifest().mode(record.mode));
    if !mode.is_some_and(|mode| mode.login) {
        return Ok(false);
    }
    let unsealed = record.unseal(state.world.store.keyring());
    let credentials = view::readable(state, record, unsealed)?;
    Ok(credentials.is_some_and(|(credentials, _)| credentials.iter().next().is_none()))
}

impl StatusView {
    pub(super) fn of(seen: Seen, language: Language, now: Timestamp) -> Self {
        let Seen {
            condition, reported, ..
        } = seen;
        let up = matches!(condition.state, ConnectionState::Connected | ConnectionState::Degraded);
        Self {
            state: condition.state,
            reason: condition.reason,
            connected_at: condition.connected_at,
            uptime_seconds: condition
                .connected_at
                .filter(|_| up)
                .map(|since| now.since(since).as_secs()),
            last_connected_at: reported.last_connected_at,
            last_disconnected_at: reported.last_disconnected_at,
            last_hand_over: reported.last_hand_over.map(|hand_over| HandOverView {
                at: hand_over.at,
                gap_millis: u64::try_from(hand_over.gap().as_millis()).unwrap_or(u64::MAX),
            }),
            last_event_at: reported.last_event_at,
            last_reply_at: reported.last_reply_at,
            last_error: reported.last_error.map(|error| ErrorView {
                at: error.at,
                message: last_error::words(&error, language),
                code: error.code,
            }),
            rate_limited_until: reported.rate_limited_until.filter(|until| *until > now),
            reconnect_attempts: reported.reconnect_attempts,
            owner: reported.owner,
            next: condition.next.map(|next| next.render(language)),
        }
    }
}
