//! Routes of platforms' webhooks: converts axum's requests and responses to the bridge's types and back.

use std::net::SocketAddr;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::rejection::PathRejection;
use axum::extract::{ConnectInfo, Path, RawQuery, Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, COOKIE, RETRY_AFTER};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Uri};
use axum::response::Response;
use axum::routing::get;
use tieline_bridge::operator::session::GUARD_HEADER;
use tieline_bridge::operator::{self, Proofs};
use tieline_bridge::receive::{self, MAX_BODY_BYTES};
use tieline_bridge::reply_poll;
use tieline_bridge::world::World;
use tieline_connectors::registry;
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IntegrationId, ReplyId};
use tracing::{Instrument as _, Span, info_span};

/// The routes for platforms and for our own channel.
pub fn router(world: World) -> Router {
    let replies = format!("/api/{}/replies/{{reply}}", registry::own_channel().platform);
    Router::new()
        .route("/api/{platform}/webhook/{integration}", get(webhook).post(webhook))
        .route(&replies, get(follow))
        .with_state(world)
}

async fn webhook(
    State(world): State<World>,
    path: Result<Path<(String, String)>, PathRejection>,
    request: Request,
) -> Response {
    let span = span_of(&request);
    let address = match path {
        Ok(Path(address)) => address,
        Err(_) => (segment(request.uri(), 2), segment(request.uri(), 4)),
    };
    answer(world, address, request).instrument(span).await
}

/// A segment of a path that isn't valid UTF-8, as it was sent: no id looks like that, so it gets the answer of an unknown one.
fn segment(uri: &Uri, n: usize) -> String {
    uri.path().split('/').nth(n).unwrap_or_default().to_owned()
}

/// The span of a request, which adds the client's address to its log lines: for a rejected request the source matters.
fn span_of(request: &Request) -> Span {
    let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
    match client {
        Some(ConnectInfo(client)) => info_span!("callback", client.address = %client.ip()),
        None => Span::none(),
    }
}

async fn answer(world: World, (platform, integration): (String, String), request: Request) -> Response {
    let (head, body) = request.into_parts();
    let Ok(body) = to_bytes(body, MAX_BODY_BYTES).await else {
        return respond(WebhookAnswer::empty(StatusCode::PAYLOAD_TOO_LARGE.as_u16()));
    };
    let operator = match operator::signed_in(&world, &platform, &proofs(&head)).await {
        Ok(operator) => operator,
        Err(unavailable) => return respond(unavailable),
    };
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
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    head: Parts,
) -> Response {
    let operator = match operator::reader(&world, &proofs(&head)).await {
        Ok(operator) => operator,
        Err(unavailable) => return respond(unavailable),
    };
    let reply = path.map_or_else(|_| segment(&head.uri, 4), |Path(reply)| reply);
    respond(
        reply_poll::long_poll(
            &world,
            &ReplyId::new(reply),
            query.as_deref().unwrap_or_default(),
            operator.as_ref(),
        )
        .await,
    )
}

/// The credentials that the request carries.
fn proofs(head: &Parts) -> Proofs<'_> {
    let header = |name: HeaderName| head.headers.get(name).and_then(|header| header.to_str().ok());
    Proofs {
        authorization: header(AUTHORIZATION),
        cookie: header(COOKIE),
        is_guarded: head.headers.contains_key(GUARD_HEADER),
        changes: head.method != Method::GET,
        address: head
            .extensions
            .get::<ConnectInfo<SocketAddr>>()
            .map(|client| client.0.ip()),
    }
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
    if answer.status == StatusCode::TOO_MANY_REQUESTS.as_u16() {
        response
            .headers_mut()
            .insert(RETRY_AFTER, HeaderValue::from_static("60"));
    }
    if let Some(content_type) = answer.content_type {
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}

#[cfg(test)]
mod tests {
    use serde_json::Value;
    use tieline_bridge::clock::Clock;
    use tieline_bridge::world::Settings;
    use tieline_connectors::registry;
    use tieline_core::conversation::Owner;
    use tieline_embedded::{Embedded, Options};
    use tieline_queue::{Queues, definitions};
    use tieline_store::{Keyring, Store, Tables};

    use super::*;
    use crate::local;

    /// A world whose queues exist and whose tables don't.
    async fn without_tables(embedded: &Embedded) -> World {
        let (dynamo, sqs) = local::clients(embedded);
        let urls = definitions::create_missing(&sqs, "test-", 1).await.unwrap();
        let owner = Owner {
            node: "test".to_owned(),
            life: "1".to_owned(),
        };
        World::new(
            Store::new(dynamo, Tables::with_prefix("test-"), Keyring::new([7; 32])),
            Queues::new(sqs, urls),
            registry::ALL,
            Clock::system(),
            Settings::new("https://bridge.example".to_owned(), owner),
        )
    }

    async fn check(response: Response, status: StatusCode, code: &str) {
        assert_eq!(response.status(), status);
        assert_eq!(response.headers()[CONTENT_TYPE], "application/problem+json");
        let body = to_bytes(response.into_body(), MAX_BODY_BYTES).await.unwrap();
        let problem: Value = serde_json::from_slice(&body).unwrap();
        assert_eq!(problem["code"], code);
    }

    #[tokio::test]
    async fn table_failure_is_not_reported_as_a_wrong_token() {
        let embedded = Embedded::in_memory(Options::default()).unwrap();
        let world = without_tables(&embedded).await;
        let token = HeaderValue::from_static("Bearer tl_somebodys");
        let request = || {
            let request = Request::post("/").header(AUTHORIZATION, &token);
            request.body(Body::from("{}")).unwrap()
        };
        let address = ("web".to_owned(), "int_a7a7a7a7a7a7a7a7a7a7a7a7".to_owned());
        let said = webhook(State(world.clone()), Ok(Path(address)), request()).await;
        check(said, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
        let follow = async |headers| {
            let reply = Ok(Path("rpl_1".to_owned()));
            let (mut head, ()) = axum::http::Request::new(()).into_parts();
            head.headers = headers;
            follow(State(world.clone()), reply, RawQuery(None), head).await
        };
        let known = HeaderMap::from_iter([(AUTHORIZATION, token.clone())]);
        check(follow(known).await, StatusCode::SERVICE_UNAVAILABLE, "unavailable").await;
        check(follow(HeaderMap::new()).await, StatusCode::UNAUTHORIZED, "unauthorized").await;
    }
}
