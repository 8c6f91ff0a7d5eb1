//! Callbacks of agents that answer asynchronously.

use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use serde::Serialize;
use tieline_bridge::callbacks::{self, CallbackError, Progress};
use tieline_bridge::error_chain::chain;
use tieline_core::agent::MAX_ANSWER_BYTES;
use tieline_core::ids::RunId;
use tieline_store::run::{Excess, MAX_AHEAD, MAX_EVENTS};
use tracing::error;
use utoipa::ToSchema;

use crate::auth::bearer;
use crate::body;
use crate::path::RunInPath;
use crate::problem::Problem;
use crate::state::AdminState;

/// Progress of the events of a run.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
pub(crate) struct RunEvents {
    /// The highest sequence number without a gap before it; 0 if there is none.
    last_seq: u64,
    /// `open`, or `closed` once the run is over.
    state: &'static str,
}

/// Returns the last event of a run that was received. Needs the run's own token.
#[utoipa::path(get, path = "/api/runs/{runId}/events", tag = "agents", responses((status = 200, body = RunEvents)))]
pub(crate) async fn seen(
    State(state): State<AdminState>,
    RunInPath(run): RunInPath,
    request: Request,
) -> Result<Json<RunEvents>, Problem> {
    let (parts, _) = request.into_parts();
    let token = bearer(&parts).ok_or_else(Problem::unauthorized)?;
    let progress = callbacks::progress(&state.world, &RunId::new(run), token).await;
    progress.map(RunEvents::of).map(Json).map_err(explain)
}

/// Accepts events of a run: `{"seq":n,"event":{…}}` or a list of them. Needs the run's own token.
///
/// Events are applied in order of `seq`, from 1. Repeating one changes nothing; a gap waits.
#[utoipa::path(post, path = "/api/runs/{runId}/events", tag = "agents", request_body = Object,
    responses((status = 200, body = RunEvents),
        (status = 409, body = Problem, description = "`run_closed`: its terminal event was seen, or a \
            question to the person that nothing followed, or it was stopped"),
        (status = 413, body = Problem, description = "`too_many_events`, `events_too_large`, `seq_too_far_ahead`: the limits \
            of one run. The events before the rejected one are stored; a terminal event is still accepted")))]
pub(crate) async fn report(
    State(state): State<AdminState>,
    RunInPath(run): RunInPath,
    request: Request,
) -> Result<Json<RunEvents>, Problem> {
    let (parts, rest) = request.into_parts();
    let token = bearer(&parts).ok_or_else(Problem::unauthorized)?.to_owned();
    let bytes = body::read(Request::from_parts(parts, rest)).await?;
    let progress = callbacks::accept(&state.world, &RunId::new(run), &token, &bytes).await;
    progress.map(RunEvents::of).map(Json).map_err(explain)
}

fn explain(failure: CallbackError) -> Problem {
    match failure {
        CallbackError::Unauthorized => Problem::unauthorized(),
        CallbackError::Closed => Problem::conflict("run_closed", "the run is over"),
        CallbackError::Excess(excess) => excessive(excess),
        CallbackError::Invalid(invalid) => {
            let problem = match invalid.field() {
                Some((_, true)) => Problem::new(StatusCode::BAD_REQUEST, "unknown_field", invalid.to_string()),
                Some((_, false)) => Problem::new(StatusCode::BAD_REQUEST, "invalid_field", invalid.to_string()),
                None => Problem::new(StatusCode::BAD_REQUEST, "invalid_body", invalid.to_string()),
            };
            match invalid.field() {
                Some((field, _)) => problem.on(field),
                None => problem,
            }
        }
        CallbackError::Store(failure) => failure.into(),
        CallbackError::Queue(failure) => {
            error!(error = %chain(&failure), "queue can't be reached");
            Problem::unavailable("the queue can't be reached; try again")
        }
    }
}

fn excessive(excess: Excess) -> Problem {
    let (code, detail) = match excess {
        Excess::Events => ("too_many_events", format!("the limit is {MAX_EVENTS} events per run")),
        Excess::Bytes => (
            "events_too_large",
            format!("the limit is {MAX_ANSWER_BYTES} bytes of events per run"),
        ),
        Excess::Gap => (
            "seq_too_far_ahead",
            format!("seq may be at most {MAX_AHEAD} ahead of the first missing event"),
        ),
    };
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, code, detail)
}

impl RunEvents {
    fn of(progress: Progress) -> Self {
        Self {
            last_seq: progress.last_seq,
            state: if progress.closed { "closed" } else { "open" },
        }
    }
}
