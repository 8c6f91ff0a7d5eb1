//! API Gateway's words into the bridge's, and back.

use lambda_http::http::{HeaderMap, StatusCode, header};
use lambda_http::{Body, Error, Request, RequestExt as _, Response, run, service_fn};
use tieline_bridge::operator::{self, Operator};
use tieline_bridge::world::World;
use tieline_bridge::{newest, receive};
use tieline_core::exchange::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IntegrationId, ReplyId};

/// Serves until the environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let world = &world;
    run(service_fn(|request: Request| async move {
        respond(answer(world, request).await)
    }))
    .await
}

/// Which of our addresses a request is for.
enum Route<'a> {
    Webhook { platform: &'a str, integration: &'a str },
    Reply { reply: &'a str },
    Nowhere,
}

fn route(path: &str) -> Route<'_> {
    let parts: Vec<&str> = path.trim_matches('/').split('/').collect();
    match parts[..] {
        ["api", platform, "webhook", integration] => Route::Webhook { platform, integration },
        ["api", "web", "replies", reply] => Route::Reply { reply },
        _ => Route::Nowhere,
    }
}

async fn answer(world: &World, request: Request) -> WebhookAnswer {
    let path = request.raw_http_path().to_owned();
    let operator = signed_in(world, request.headers()).await;
    match route(&path) {
        Route::Webhook { platform, integration } => {
            let integration = IntegrationId::new(integration);
            receive::receive(world, platform, &integration, &read(request), operator.as_ref()).await
        }
        Route::Reply { reply } => {
            let after = request
                .query_string_parameters()
                .first("after")
                .and_then(|it| it.parse().ok())
                .unwrap_or(0);
            newest::follow(world, &ReplyId::new(reply), after, operator.as_ref()).await
        }
        Route::Nowhere => WebhookAnswer::empty(404),
    }
}

fn read(request: Request) -> WebhookRequest {
    let headers = request.headers().iter();
    let headers = headers.filter_map(|(name, value)| Some((name.as_str().to_owned(), value.to_str().ok()?.to_owned())));
    WebhookRequest {
        method: request.method().as_str().to_owned(),
        query: request.uri().query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: match request.into_body() {
            Body::Text(text) => text.into_bytes(),
            Body::Binary(bytes) => bytes,
            _ => Vec::new(),
        },
    }
}

async fn signed_in(world: &World, headers: &HeaderMap) -> Option<Operator> {
    let token = operator::bearer(headers.get(header::AUTHORIZATION)?.to_str().ok()?)?;
    operator::recognize(world, token).await.ok().flatten()
}

fn respond(answer: WebhookAnswer) -> Result<Response<Body>, Error> {
    let mut response = Response::builder().status(StatusCode::from_u16(answer.status)?);
    if let Some(content_type) = answer.content_type {
        response = response.header(header::CONTENT_TYPE, content_type);
    }
    // What we answer is text; as binary it would be sent in base64.
    let body = String::from_utf8(answer.body).map_or_else(|error| Body::Binary(error.into_bytes()), Body::Text);
    Ok(response.body(body)?)
}
