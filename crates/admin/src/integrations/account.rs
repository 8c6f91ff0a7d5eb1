//! Claims on bot accounts. A claim takes effect across organizations once its credentials have worked; the root operator can release it.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use tieline_core::account::{ConnectionMode, Credentials};
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_store::StoreError;
use tieline_store::config::integration::{
    self as store_integration, IntegrationError, IntegrationRecord, IntegrationSettings,
};
use tieline_store::status::{self, ConnectionState};
use utoipa::{IntoParams, ToSchema};

use super::impact::{self, Impact};
use crate::audit::{self, Change};
use crate::auth::Root;
use crate::body::{Body, Query};
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;

/// A bot account, identified by credentials.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct BotAccount {
    /// See `/api/v1/platforms`.
    platform: String,
    /// Default: the platform's recommended mode.
    #[schema(value_type = Option<schema::ConnectionMode>)]
    connection_mode: Option<ConnectionMode>,
    /// The fields that identify the account, like `appId` or `botId`. Secret fields aren't needed, except where they contain the identifier
    /// (`botToken` of `telegram`): the rest of the secret can then be any text.
    #[schema(value_type = Object)]
    credentials: Map<String, Value>,
}

/// Options of releasing claims.
#[derive(Debug, Clone, Copy, Default, Deserialize, IntoParams)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct ReleaseQuery {
    /// Dry run: the claims are only shown, with who is affected by their release.
    #[serde(default)]
    #[param(required = false)]
    dry_run: bool,
}

/// The claims that were released, or in a dry run would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Released {
    released: Vec<ReleasedClaim>,
}

/// A claim that was released, or in a dry run would be.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ReleasedClaim {
    organization: String,
    integration_id: String,
    /// With `dryRun`: who is affected when the integration loses the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    impact: Option<Impact>,
}

/// Releases the claims on a bot account that keep other organizations from using it (`account_in_use`). Root token only. The integrations
/// stay as they are; the next one whose credentials work claims the account again, so stop them first.
#[utoipa::path(post, path = "/api/v1/accounts/release", tag = "organizations", params(ReleaseQuery), request_body = BotAccount,
    responses((status = 200, body = Released)))]
pub(crate) async fn release(
    State(state): State<AdminState>,
    Root(author): Root,
    Query(query): Query<ReleaseQuery>,
    Body(account): Body<BotAccount>,
) -> Result<Json<Released>, Problem> {
    let key = account.key(&state)?;
    if query.dry_run {
        return preview(&state, &account.platform, &key).await.map(Json);
    }
    let change = Change::of("account.release", ("account", &account.platform, None));
    audit::note(&state, &author, None, change).await?;
    let released = store_integration::release(&state.world.store, &account.platform, &key)
        .await
        .map_err(plain)?;
    let claims = released.into_iter().map(|(organization, integration)| ReleasedClaim {
        organization: organization.to_string(),
        integration_id: integration.to_string(),
        impact: None,
    });
    Ok(Json(Released {
        released: claims.collect(),
    }))
}

/// The claims that a release would delete.
async fn preview(state: &AdminState, platform: &str, key: &str) -> Result<Released, Problem> {
    let mut released = Vec::new();
    for (organization, integration) in store_integration::proved(&state.world.store, platform, key).await? {
        let impact = impact::of(state, &organization, &integration).await?;
        released.push(ReleasedClaim {
            organization: organization.to_string(),
            integration_id: integration.to_string(),
            impact: Some(impact),
        });
    }
    Ok(Released { released })
}

impl BotAccount {
    fn key(&self, state: &AdminState) -> Result<String, Problem> {
        let unknown = || Problem::invalid("platform", "is unknown");
        let connector = state.world.connector(&self.platform).ok_or_else(unknown)?;
        let recommended = connector.manifest().modes.first().map(|mode| mode.mode);
        let mode = self.connection_mode.or(recommended).ok_or_else(unknown)?;
        let mut credentials = Vec::with_capacity(self.credentials.len());
        for (name, value) in &self.credentials {
            let text = match value {
                Value::String(text) => text.trim().to_owned(),
                Value::Number(number) => number.to_string(),
                _ => return Err(Problem::invalid(format!("credentials.{name}"), "must be a text")),
            };
            credentials.push((name.clone(), text));
        }
        let credentials: Credentials = credentials.into_iter().collect();
        let key = connector.account_key(mode, &credentials);
        key.ok_or_else(|| Problem::invalid("credentials", "don't identify a bot account of this platform"))
    }
}

/// Makes claims of other organizations effective if their credentials are known to work, that is, if their long connection is up. Processes
/// that hold connections may not write the configuration, so this is done when a claim is needed. A stopped integration may lose its
/// account.
pub(crate) async fn settle_rivals(
    state: &AdminState,
    organization: &OrganizationId,
    platform: &str,
    settings: &IntegrationSettings,
) -> Result<(), Problem> {
    let Some(key) = settings.account_key.as_deref() else {
        return Ok(());
    };
    let rivals = store_integration::rivals(&state.world.store, organization, platform, key).await?;
    settle_each(state, &rivals).await
}

/// Like [`settle_rivals`], for an integration as stored.
pub(super) async fn settle_rivals_of(state: &AdminState, record: &IntegrationRecord) -> Result<(), Problem> {
    let rivals = store_integration::rivals_of(&state.world.store, record).await?;
    settle_each(state, &rivals).await
}

async fn settle_each(state: &AdminState, rivals: &[IntegrationId]) -> Result<(), Problem> {
    for rival in rivals {
        settle(state, rival).await?;
    }
    Ok(())
}

async fn settle(state: &AdminState, rival: &IntegrationId) -> Result<(), Problem> {
    let store = &state.world.store;
    let Some(record) = store_integration::get(store, rival).await? else {
        return Ok(());
    };
    let status = status::get(store, rival).await?;
    // A connection opened before the last change may have used other credentials.
    let works = record.enabled
        && record.mode == ConnectionMode::LongConnection
        && status.state == Some(ConnectionState::Connected)
        && status.connected_at.is_some_and(|at| at >= record.updated_at);
    if !works {
        return Ok(());
    }
    match store_integration::prove(store, &record).await {
        // Another claim is effective already, or this integration claims another account now.
        Ok(()) | Err(IntegrationError::AccountInUse { .. } | IntegrationError::Store(StoreError::Conflict)) => Ok(()),
        Err(error) => Err(plain(error)),
    }
}

fn plain(error: IntegrationError) -> Problem {
    match error {
        IntegrationError::Store(error) => error.into(),
        IntegrationError::NameTaken(_)
        | IntegrationError::AccountInUse { .. }
        | IntegrationError::InUse(_)
        | IntegrationError::AgentNotAllowed { .. } => StoreError::Conflict.into(),
    }
}
