//! The health endpoint.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Json, Router};
use serde_json::{Value, json};
use tieline_bridge::connections::{Connections, Health};
use tieline_bridge::exposition;
use tieline_bridge::world::World;

/// `GET /healthz`: 200 as long as the heartbeat is valid, with the state of the connections.
///
/// `GET /metrics`: the metrics of this process. Like the other it is reachable from inside the deployment only, or from this machine alone,
/// depending on the endpoint's configured address; on any address other than a loopback one it requires the root token.
pub(crate) fn router(world: World, connections: Arc<Connections>) -> Router {
    let metrics = get(measure).with_state((world, Arc::clone(&connections)));
    Router::new()
        .route("/healthz", get(tell))
        .with_state(connections)
        .route("/metrics", metrics)
}

async fn measure(
    State((world, connections)): State<(World, Arc<Connections>)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !is_local(peer, &headers)
        && let Err(refused) = exposition::authorize(&world, authorization, Some(peer.ip())).await
    {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::UNAUTHORIZED);
        return (status, [refused.header]).into_response();
    }
    let text = exposition::render(&world, Some(&connections.health())).await;
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    exposition::is_of_this_machine(peer.ip(), |name| headers.contains_key(name))
}

async fn tell(State(connections): State<Arc<Connections>>) -> (StatusCode, Json<Value>) {
    let health = connections.health();
    let status = if health.alive {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    };
    (status, Json(view(&health)))
}

fn view(health: &Health) -> Value {
    json!({
        "ok": health.alive,
        "heartbeatAgeMs": health.heartbeat_age.map(|age| age.as_millis()),
        "shards": health.shards,
        "bots": health.bots,
        "connected": health.connected,
        "eventsWaiting": health.events_waiting,
        "leaving": health.leaving,
    })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_direct_loopback_requests_need_no_token() {
        let is_local = |peer: &str, headers: &HeaderMap| super::is_local(peer.parse().unwrap(), headers);
        for (peer, expected) in [
            ("127.0.0.1:9", true),
            ("[::1]:9", true),
            ("[::ffff:127.0.0.1]:9", true),
            ("10.0.0.7:9", false),
            ("192.0.2.1:9", false),
            ("[fe80::1]:9", false),
        ] {
            assert_eq!(is_local(peer, &HeaderMap::new()), expected, "{peer}");
        }
        for header in ["forwarded", "x-forwarded-for", "x-real-ip", "via"] {
            let forwarded = HeaderMap::from_iter([(header.parse().unwrap(), HeaderValue::from_static("192.0.2.1"))]);
            assert!(!is_local("127.0.0.1:9", &forwarded), "{header}");
        }
    }
}
