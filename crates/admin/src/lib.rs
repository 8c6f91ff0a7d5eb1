//! The management API, the agents' callbacks and the console, as one HTTP service.
//!
//! Every route is listed once, with its description: `/api/openapi.json` is generated from the same list that serves the routes.

mod agents;
pub mod apply;
mod audit;
mod audit_log;
mod auth;
mod body;
pub mod client_address;
mod console;
mod deadletters;
mod etag;
mod force;
mod fresh;
mod idempotency;
mod integrations;
pub mod keys;
mod links;
mod mapper;
mod mask;
mod messages;
pub mod notify;
mod openapi;
mod organizations;
mod page;
mod pairings;
mod path;
pub mod periodic;
mod platforms;
pub mod problem;
mod retry;
mod runs;
mod scheduled;
mod schema;
mod secret_origin;
mod session;
mod signed_endpoint;
mod state;
pub mod synthetic_check;
mod texts;
mod tokens;
mod triggers;
mod undescribed_input;
mod users;
mod validation;

use axum::Router;
use axum::extract::Request;
use axum::http::header::{CACHE_CONTROL, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::get;
use tieline_bridge::world::World;

use crate::problem::Problem;
use crate::state::AdminState;

/// Routes for operators and agents: the console at `/`, `/api/v1`, `/api/runs`, signed links, `/api/openapi.json`, `/healthz`.
///
/// Unknown paths get a problem response, so this must be the router that others are merged into.
pub fn router(world: World) -> Router {
    router_with(world, Router::new())
}

/// Like [`router`], with routes of another crate, whose problems are completed and translated like those of the management API.
pub fn router_with(world: World, others: Router) -> Router {
    let state = AdminState { world };
    openapi::router()
        .merge(console::routes())
        .merge(others.with_state(()))
        .route("/api/openapi.json", get(openapi::describe))
        .route("/healthz", get(|| async { "ok" }))
        .fallback(nowhere)
        .method_not_allowed_fallback(wrong_method)
        .layer(middleware::from_fn_with_state(state.clone(), undescribed_input::refuse))
        .layer(middleware::from_fn_with_state(state.clone(), idempotency::once))
        // Outside `once`: its own problems are translated too, and stored responses are not, because a repetition may ask for another language.
        .layer(middleware::from_fn(texts::localize_problem))
        .layer(middleware::from_fn(guard_answer))
        .with_state(state)
}

/// Responses are private to the caller: no cache may store them. `nosniff` keeps browsers from guessing another content type.
async fn guard_answer(request: Request, next: Next) -> Response {
    let is_api = request.uri().path().starts_with("/api/");
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    headers
        .entry(X_CONTENT_TYPE_OPTIONS)
        .or_insert(HeaderValue::from_static("nosniff"));
    if is_api {
        headers
            .entry(CACHE_CONTROL)
            .or_insert(HeaderValue::from_static("no-store"));
    }
    response
}

async fn nowhere() -> Problem {
    Problem::not_found("not_found", "address")
}

async fn wrong_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "this method is not allowed for this path",
    )
}
