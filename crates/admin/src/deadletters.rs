//! Handlers of dead letters: list and redrive messages that failed.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use tieline_bridge::error_chain::chain;
use tieline_bridge::redrive::{self, AskAgent, RedriveError};
use tieline_core::ids::{IntegrationId, MessageId};
use tieline_core::timestamp::Timestamp;
use tieline_store::deadletter::{self, DeadLetter};
use tieline_store::message;
use tracing::error;
use utoipa::{IntoParams, ToSchema};

use crate::audit::{self, Change};
use crate::auth::Scope;
use crate::body::{Body, Query};
use crate::messages::MessageView;
use crate::page::{self, List, PageQuery};
use crate::path::Id;
use crate::problem::Problem;
use crate::retry::until_settled;
use crate::state::AdminState;

/// A message that failed.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = DeadLetter)]
pub(crate) struct DeadLetterView {
    id: String,
    /// The message in the ledger, which lists its steps.
    message_id: String,
    integration_id: Option<String>,
    conversation_id: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    received_at: Timestamp,
    #[schema(value_type = String, format = DateTime)]
    failed_at: Timestamp,
    /// Why it failed: our reason code or the other side's error code.
    reason: String,
}

/// Lists the dead letters of an organization, newest message first. They are kept for 30 days.
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

/// Whether a redrive asks the agent again.
#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(crate) struct RedriveQuery {
    /// Ask the agent again, also if its answer is recorded. By default a recorded answer is delivered again.
    #[serde(default)]
    ask: bool,
}

impl RedriveQuery {
    const fn ask(&self) -> AskAgent {
        if self.ask { AskAgent::Always } else { AskAgent::IfNeeded }
    }
}

/// Redrives a dead letter: a recorded answer is delivered again; else the agent is called again, and the chat gets another reply. The id is the
/// dead letter's or the message's.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/deadletters/{id}/redrive", tag = "messages", params(RedriveQuery),
    responses((status = 202, body = MessageView),
        (status = 409, body = Problem, description = "`not_failed`: it has been retried already; \
            `still_running`: the run that failed has not released it yet; try again; \
            `account_changed`: the integration is another bot account now than the one that received it"),
        (status = 410, body = Problem, description = "`message_gone`")))]
pub(crate) async fn redrive(
    State(state): State<AdminState>,
    scope: Scope,
    Id(id): Id,
    Query(query): Query<RedriveQuery>,
) -> Result<(StatusCode, Json<MessageView>), Problem> {
    let ask = query.ask();
    until_settled(|| async {
        let found = find(&state, &scope, &id).await?;
        let letter = found.ok_or_else(|| Problem::not_found("deadletter_not_found", "dead letter"))?;
        scope
            .note(
                &state,
                Change::of("deadletter.redrive", ("message", letter.message.as_str(), None)),
            )
            .await?;
        let record = redrive::redrive(&state.world, &letter, ask).await.map_err(explain)?;
        Ok((StatusCode::ACCEPTED, Json(MessageView::of(record))))
    })
    .await
}

/// The dead letter with this id, or of the message with this id.
async fn find(state: &AdminState, scope: &Scope, id: &str) -> Result<Option<DeadLetter>, Problem> {
    let (store, organization, now) = (&state.world.store, &scope.organization, state.now());
    if let Some(found) = deadletter::get(store, organization, id, now).await? {
        return Ok(Some(found));
    }
    let record = message::get(store, &MessageId::new(id), now).await?;
    let Some(record) = record.filter(|record| record.organization == *organization) else {
        return Ok(None);
    };
    let id = deadletter::id_of(record.received_at, &record.id);
    Ok(deadletter::get(store, organization, &id, now).await?)
}

/// Which dead letters to redrive.
#[derive(Deserialize, ToSchema)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(crate) struct RedriveRequest {
    /// Those that failed at or after this time.
    #[schema(value_type = String, format = DateTime)]
    since: Timestamp,
    /// Only those of this integration.
    integration_id: Option<String>,
    /// `nextCursor` of the request before, whose `since` and `integrationId` are repeated.
    cursor: Option<String>,
}

/// Result of redriving dead letters.
#[derive(Default, Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
#[schema(as = Redriven)]
pub(crate) struct RedrivenView {
    /// How many were redriven.
    redriven: usize,
    /// Those that were not.
    skipped: Vec<SkippedView>,
    /// Whether there may be more than one request redrives: repeat the request with `nextCursor`.
    has_more: bool,
    /// `cursor` of the next request, which continues after those redriven or skipped; null if there are no more.
    next_cursor: Option<String>,
}

/// A dead letter that was not redriven.
#[derive(Serialize, ToSchema)]
#[schema(as = SkippedDeadLetter)]
pub(crate) struct SkippedView {
    id: String,
    /// Why, as a stable code.
    code: &'static str,
}

/// Maximum number of dead letters redriven by one request, and of those skipped.
const MAX_REDRIVEN: usize = 200;
/// Page size of the reads.
const PAGE: usize = 100;
/// Maximum number of pages read by one request: the letters on them may be older, or of other integrations.
const MAX_PAGES: usize = 100;

/// Redrives the dead letters since a time, newest message first. One request redrives at most 200, and skips at most 200 that can't be
/// redriven; `nextCursor` continues after them.
#[utoipa::path(post, path = "/api/v1/orgs/{org}/deadletters/redrive", tag = "messages", params(RedriveQuery),
    request_body = RedriveRequest,
    responses((status = 202, body = RedrivenView)))]
pub(crate) async fn redrive_since(
    State(state): State<AdminState>,
    scope: Scope,
    Query(query): Query<RedriveQuery>,
    Body(asked): Body<RedriveRequest>,
) -> Result<(StatusCode, Json<RedrivenView>), Problem> {
    let what = serde_json::json!({ "since": asked.since, "integrationId": asked.integration_id });
    let change = Change::of(
        "deadletters.redrive",
        ("organization", scope.organization.as_str(), None),
    );
    scope.note(&state, change.to(audit::shown(what))).await?;
    let done = redrive_some(&state, &scope, &asked, query.ask()).await?;
    Ok((StatusCode::ACCEPTED, Json(done)))
}

async fn redrive_some(
    state: &AdminState,
    scope: &Scope,
    asked: &RedriveRequest,
    ask: AskAgent,
) -> Result<RedrivenView, Problem> {
    let mut done = RedrivenView::default();
    let mut cursor = page::cursor(asked.cursor.as_deref()).map(str::to_owned);
    for _ in 0..MAX_PAGES {
        let (store, now) = (&state.world.store, state.now());
        let page = deadletter::list(store, &scope.organization, cursor.as_deref(), PAGE, now).await?;
        for letter in page.items.iter().filter(|letter| asked.names(letter)) {
            if done.is_full() {
                return Ok(done.continued_at(cursor));
            }
            let sent = redrive::redrive(&state.world, letter, ask).await.map_err(explain);
            done.count(letter, sent.map(drop))?;
            cursor = Some(letter.cursor());
        }
        if page.cursor.is_none() {
            return Ok(done);
        }
        cursor = page.cursor;
    }
    Ok(done.continued_at(cursor))
}

impl RedriveRequest {
    fn names(&self, letter: &DeadLetter) -> bool {
        let integration = letter.integration.as_ref().map(IntegrationId::as_str);
        letter.failed_at >= self.since && self.integration_id.as_deref().is_none_or(|id| integration == Some(id))
    }
}

impl RedrivenView {
    const fn is_full(&self) -> bool {
        self.redriven >= MAX_REDRIVEN || self.skipped.len() >= MAX_REDRIVEN
    }

    fn continued_at(self, cursor: Option<String>) -> Self {
        Self {
            has_more: true,
            next_cursor: cursor,
            ..self
        }
    }

    /// Counts the result of one dead letter. An error that isn't specific to this letter ends the request.
    fn count(&mut self, letter: &DeadLetter, sent: Result<(), Problem>) -> Result<(), Problem> {
        match sent {
            Ok(()) => self.redriven += 1,
            Err(problem) if problem.code() == "unavailable" => return Err(problem),
            Err(problem) => self.skipped.push(SkippedView {
                id: letter.id(),
                code: problem.code(),
            }),
        }
        Ok(())
    }
}

fn explain(failure: RedriveError) -> Problem {
    match failure {
        RedriveError::Gone => Problem::new(
            StatusCode::GONE,
            "message_gone",
            "the message is not in the ledger any more, or can't be read",
        ),
        RedriveError::AccountChanged => Problem::conflict("account_changed", failure.to_string()),
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
