//! The log of an integration.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use tieline_core::timestamp::Timestamp;
use tieline_store::log::{self, Level, LogEntry};
use utoipa::{IntoParams, ToSchema};

use super::find;
use crate::auth::Scope;
use crate::body::Query;
use crate::page::{self, List};
use crate::path::Id;
use crate::problem::Problem;
use crate::schema;
use crate::state::AdminState;

/// An entry of an integration's log.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = LogEntry)]
pub(crate) struct LogView {
    #[schema(value_type = String, format = DateTime)]
    at: Timestamp,
    #[schema(value_type = schema::Level)]
    level: Level,
    /// A stable code.
    code: String,
    message: String,
}

/// Filters of a list.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct LogQuery {
    /// Minimum level. Default: all.
    #[param(value_type = Option<schema::Level>)]
    level: Option<Level>,
    /// `nextCursor` of the page before.
    cursor: Option<String>,
    /// Most items of the page: 1 to 200, 50 if absent.
    limit: Option<usize>,
}

/// Lists the log of an integration, newest entry first. Entries are kept for 7 days.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/integrations/{id}/logs", tag = "integrations", params(LogQuery),
    responses((status = 200, body = List<LogView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<LogQuery>,
) -> Result<Json<List<LogView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let record = find(&state, &scope, &id).await?;
    let level = query.level.unwrap_or(Level::Info);
    let cursor = page::cursor(query.cursor.as_deref());
    let page = log::list(&state.world.store, &record.id, level, cursor, limit, state.now()).await?;
    Ok(Json(List::of(page, LogView::of)))
}

impl LogView {
    fn of(entry: LogEntry) -> Self {
        Self {
            at: entry.at,
            level: entry.level,
            code: entry.code,
            message: entry.message,
        }
    }
}
