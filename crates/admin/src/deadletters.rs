//! Dead letters: messages that failed, to be looked at and sent again.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use tieline_bridge::redrive::{self, RedriveError};
use tieline_core::timestamp::Timestamp;
use tieline_store::deadletter::{self, DeadLetter};
use tracing::error;
use utoipa::ToSchema;

use crate::auth::Scope;
use crate::body::Query;
use crate::messages::MessageView;
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::{Problem, chain};
use crate::retry::until_settled;
use crate::state::AdminState;

/// A message that failed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterView {
    id: String,
    /// The message in the ledger, which tells its steps.
    message_id: String,
    integration_id: Option<String>,
    conversation_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    failed_at: Timestamp,
    /// Why, in a word of ours or the other side's code.
    reason: String,
}

/// Lists the dead letters of an organization, the newest message first. They are kept for 30 days.
#[utoipa::path(get, path = "/api/v1/orgs/{org}/deadletters", tag = "messages", params(PageQuery),
    responses((status = 200, body = List<DeadLetterView>)))]
pub(crate) async fn list(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<PageQuery>,
) -> Result<Json<List<DeadLetterView>>, Problem> {
    let limit = page::limit(query.limit)?;
    let cursor = page::cursor(query.cursor.as_deref());
    let page = deadletter::list(&state.world.store, &scope.organization, cursor, limit, state.now()).await?;
    Ok(Json(List::of(page, DeadLetterView::of)))
}

/// Sends a message that failed on its road again: the agent is asked anew, and the chat gets another reply. If only the reply could
/// not be delivered, that is sent again.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/deadletters/{id}/redrive", tag = "messages",
    responses((status = 202, body = MessageView),
        (status = 409, body = Problem, description = "`not_failed`: somebody has sent it already; \
            `still_running`: whoever failed with it has not let go of it yet; try again"),
        (status = 410, body = Problem, description = "`message_gone`")))]
pub(crate) async fn redrive(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    until_settled(|| async {
        let found = deadletter::get(&state.world.store, &scope.organization, &id, state.now()).await?;
        let letter = found.ok_or_else(|| Problem::not_found("deadletter_not_found", "dead letter"))?;
        let record = redrive::redrive(&state.world, &letter).await.map_err(explain)?;
        Ok((StatusCode::ACCEPTED, Json(MessageView::of(record))))
    })
    .await
}

fn explain(failure: RedriveError) -> Problem {
    match failure {
        RedriveError::Gone => Problem::new(
            StatusCode::GONE,
            "message_gone",
            "the message is not in the ledger any more, or can't be read",
        ),
        RedriveError::NotFailed(_) => Problem::conflict("not_failed", failure.to_string()),
        RedriveError::InHand => Problem::conflict("still_running", failure.to_string()),
        RedriveError::UnreadableProgress => Problem::conflict("unreadable_progress", failure.to_string()),
        RedriveError::Store(failure) => failure.into(),
        RedriveError::Queue(failure) => {
            error!(error = %chain(&failure), "queue can't be reached");
            Problem::unavailable("the queue can't be reached; try again")
        }
    }
}

impl DeadLetterView {
    fn of(letter: DeadLetter) -> Self {
        Self {
            id: letter.id(),
            message_id: letter.message.to_string(),
            integration_id: letter.integration.map(|id| id.to_string()),
            conversation_id: letter.conversation.map(|id| id.to_string()),
            received_at: letter.received_at,
            failed_at: letter.failed_at,
            reason: letter.reason,
        }
    }
}
