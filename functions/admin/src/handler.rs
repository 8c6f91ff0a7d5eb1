//! Translates between API Gateway and the management API; runs the scheduled checks of all bots.

use std::convert::Infallible;
use std::net::IpAddr;
use std::pin::Pin;

use axum::Router;
use axum::body::to_bytes;
use lambda_http::http::StatusCode;
use lambda_http::request::{LambdaRequest, RequestContext};
use lambda_http::tower::ServiceExt as _;
use lambda_http::{
    Adapter, Body, Error, IntoResponse, LambdaEvent, Request, RequestExt as _, Response, Service, lambda_runtime,
    service_fn,
};
use serde::Deserialize;
use serde_json::value::RawValue;
use tieline_admin::client_address::ClientAddress;
use tieline_bridge::world::World;

/// Path of files of other programs.
const FILES: &str = "/api/media/";

/// Serves until the execution environment ends.
pub(crate) async fn serve(world: World) -> Result<(), Error> {
    let router = tieline_admin::router(world.clone());
    let answer = move |event: LambdaEvent<Box<RawValue>>| {
        let (world, requests) = (world.clone(), Adapter::from(service(router.clone())));
        async move {
            // This process was frozen while no request was served.
            world.store.refresh_keys(world.clock.now()).await?;
            if let Some(scheduled) = scheduled(event.payload.get()) {
                match scheduled {
                    // At once: a long pass must not keep a compromised key in use.
                    Work::Look => {
                        tokio::join!(
                            Box::pin(tieline_admin::periodic::look(&world)),
                            Box::pin(tieline_admin::keys::advance(&world))
                        );
                    }
                    Work::Check => tieline_admin::synthetic_check::run(&world).await,
                }
                world.metrics.write(world.clock.now());
                return Ok(None);
            }
            let request: LambdaRequest = serde_json::from_str(event.payload.get())?;
            let answer = requests.oneshot(LambdaEvent::new(request, event.context)).await?;
            Ok::<_, Error>(Some(answer))
        }
    };
    lambda_runtime::run(service_fn(answer)).await
}

/// The event that EventBridge sends on a schedule, or that the template configures. A request from API Gateway has none of these fields, whatever its
/// sender writes into it.
///
/// See [EventBridge Docs/Creating a rule that runs on a schedule](https://docs.aws.amazon.com/eventbridge/latest/userguide/eb-create-rule-schedule.html).
#[derive(Deserialize)]
struct Scheduled {
    source: String,
    #[serde(rename = "detail-type")]
    detail_type: String,
}

/// Scheduled work.
#[derive(Debug, PartialEq, Eq)]
enum Work {
    /// What is due every minute.
    Look,
    /// The synthetic check.
    Check,
}

fn scheduled(event: &str) -> Option<Work> {
    let event: Scheduled = serde_json::from_str(event).ok()?;
    match (event.source.as_str(), event.detail_type.as_str()) {
        ("aws.events", "Scheduled Event") => Some(Work::Look),
        ("tieline", "Synthetic Check") => Some(Work::Check),
        _ => None,
    }
}

fn service(router: Router) -> impl Service<Request, Response = Answer, Error = Infallible, Future: Send> {
    service_fn(move |mut request: Request| {
        if let Some(address) = client_address(&request) {
            request.extensions_mut().insert(ClientAddress(address));
        }
        let is_file = request.uri().path().starts_with(FILES);
        let answering = router.clone().oneshot(request);
        async move {
            let answer = answering.await?;
            Ok(match is_file {
                true => Answer::File(answer),
                false => Answer::Ours(answer),
            })
        }
    })
}

/// The client address as seen by API Gateway.
fn client_address(request: &Request) -> Option<IpAddr> {
    let context = request.request_context_ref()?;
    let RequestContext::ApiGatewayV2(context) = context else {
        return None;
    };
    context.http.source_ip.as_deref()?.parse().ok()
}

/// An answer, by the origin of its content type.
enum Answer {
    /// Our own: content declared as text is text.
    Ours(Response<axum::body::Body>),
    /// Another program's, whose content type may be wrong. Sent as the text that it claims to be, it would lose its byte order mark
    /// and everything that is not UTF-8.
    File(Response<axum::body::Body>),
}

impl IntoResponse for Answer {
    fn into_response(self) -> Pin<Box<dyn Future<Output = Response<Body>> + Send>> {
        match self {
            Self::Ours(answer) => answer.into_response(),
            Self::File(answer) => Box::pin(as_it_is(answer)),
        }
    }
}

async fn as_it_is(answer: Response<axum::body::Body>) -> Response<Body> {
    let (head, body) = answer.into_parts();
    match to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(head, Body::Binary(bytes.into())),
        Err(_) => {
            let mut broken = Response::new(Body::Empty);
            *broken.status_mut() = StatusCode::BAD_GATEWAY;
            broken
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::http::header::CONTENT_TYPE;
    use axum::routing::get;

    use super::*;

    const FILE: &[u8] = b"\xef\xbb\xbfa,b\r\n\xff";

    async fn ask(path: &str) -> Response<Body> {
        let typed = |mime| get(move || async move { ([(CONTENT_TYPE, mime)], FILE) });
        let router = Router::new()
            .route("/api/media/csv", typed("text/csv"))
            .route("/api/media/json", typed("application/json"))
            .route("/api/media/svg", typed("image/svg+xml"))
            .route("/api/replies/text", typed("text/plain; charset=utf-8"));
        let mut request = Request::new(Body::Empty);
        *request.uri_mut() = path.parse().unwrap();
        service(router).oneshot(request).await.unwrap().into_response().await
    }

    #[tokio::test]
    async fn files_are_sent_byte_for_byte_with_any_content_type() {
        for path in ["/api/media/csv", "/api/media/json", "/api/media/svg"] {
            let answer = ask(path).await;
            assert!(
                matches!(answer.body(), Body::Binary(bytes) if bytes == FILE),
                "{answer:?}"
            );
            assert!(!answer.headers().contains_key("content-encoding"), "{answer:?}");
        }
    }

    #[test]
    fn scheduled_events_are_distinguished_from_requests() {
        let scheduled =
            r#"{"version":"0","id":"53dc4d37","detail-type":"Scheduled Event","source":"aws.events","detail":{}}"#;
        assert_eq!(super::scheduled(scheduled), Some(Work::Look));
        let check = r#"{"source":"tieline","detail-type":"Synthetic Check"}"#;
        assert_eq!(super::scheduled(check), Some(Work::Check));
        let body = r#"{\"source\":\"aws.events\",\"detail-type\":\"Scheduled Event\"}"#;
        let request = format!(r#"{{"version":"2.0","rawPath":"/api/v1/orgs","body":"{body}"}}"#);
        assert_eq!(super::scheduled(&request), None);
        let foreign = r#"{"source":"someone.else","detail-type":"Scheduled Event"}"#;
        assert_eq!(super::scheduled(foreign), None);
    }

    #[tokio::test]
    async fn our_own_answers_are_sent_as_text() {
        assert!(matches!(ask("/api/replies/text").await.body(), Body::Text(_)));
    }
}
