//! The platforms' side of the HTTP surface: axum's words into the bridge's, and back.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::Response;
use axum::routing::get;
use tieline_bridge::newest;
use tieline_bridge::operator::{self, Operator};
use tieline_bridge::receive::{self, MAX_BODY_BYTES};
use tieline_bridge::world::World;
use tieline_core::exchange::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IntegrationId, ReplyId};

/// The routes for platforms and for our own channel.
pub fn router(world: World) -> Router {
    Router::new()
        .route("/api/{platform}/webhook/{integration}", get(webhook).post(webhook))
        .route("/api/web/replies/{reply}", get(follow))
        .with_state(world)
}

async fn webhook(
    State(world): State<World>,
    Path((platform, integration)): Path<(String, String)>,
    request: Request,
) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return respond(WebhookAnswer::empty(StatusCode::PAYLOAD_TOO_LARGE.as_u16()));
    };
    let operator = signed_in(&world, &head.headers).await;
    let request = WebhookRequest {
        method: head.method.as_str().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: readable(&head.headers),
        body: body.into(),
    };
    let integration = IntegrationId::new(integration);
    respond(receive::receive(&world, &platform, &integration, &request, operator.as_ref()).await)
}

async fn follow(
    State(world): State<World>,
    Path(reply): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let operator = signed_in(&world, &headers).await;
    respond(
        newest::follow(
            &world,
            &ReplyId::new(reply),
            query.as_deref().unwrap_or_default(),
            operator.as_ref(),
        )
        .await,
    )
}

async fn signed_in(world: &World, headers: &HeaderMap) -> Option<Operator> {
    let token = operator::bearer(headers.get(AUTHORIZATION)?.to_str().ok()?)?;
    operator::recognize(world, token).await.ok().flatten()
}

fn readable(headers: &HeaderMap) -> Vec<(String, String)> {
    let read = |value: &HeaderValue| value.to_str().ok().map(str::to_owned);
    headers
        .iter()
        .filter_map(|(name, value)| Some((name.as_str().to_owned(), read(value)?)))
        .collect()
}

fn respond(answer: WebhookAnswer) -> Response {
    let mut response = Response::new(Body::from(answer.body));
    *response.status_mut() = StatusCode::from_u16(answer.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    if let Some(content_type) = answer.content_type {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}
