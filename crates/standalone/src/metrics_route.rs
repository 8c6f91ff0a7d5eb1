//! `GET /metrics`: metrics of this process, for the root token or for programs on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, FORWARDED, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tieline_bridge::connections::Connections;
use tieline_bridge::exposition;
use tieline_bridge::operator;
use tieline_bridge::world::World;

/// The long connections of this process, once they are started.
pub type Held = Arc<OnceLock<Connections>>;

/// The route. `held` is read at each request.
pub fn router(world: World, held: Held) -> Router {
    Router::new().route("/metrics", get(show)).with_state((world, held))
}

async fn show(
    State((world, held)): State<(World, Held)>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !(is_local(peer, &headers) || operator::has_root_token(&world, authorization).await) {
        return (StatusCode::UNAUTHORIZED, [(WWW_AUTHENTICATE, "Bearer")]).into_response();
    }
    let health = held.get().map(Connections::health);
    let text = exposition::render(&world, health.as_ref()).await;
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// Whether a program on this machine makes the request itself, rather than a proxy for another client.
fn is_local(peer: SocketAddr, headers: &HeaderMap) -> bool {
    let is_forwarded = headers.contains_key(FORWARDED)
        || headers.contains_key("x-forwarded-for")
        || headers.contains_key("x-real-ip")
        || headers.contains_key("via");
    peer.ip().to_canonical().is_loopback() && !is_forwarded
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_direct_loopback_requests_are_local() {
        let peer = |address: &str| address.parse::<SocketAddr>().unwrap();
        let nothing = HeaderMap::new();
        assert!(is_local(peer("127.0.0.1:9"), &nothing));
        assert!(is_local(peer("[::1]:9"), &nothing));
        assert!(is_local(peer("[::ffff:127.0.0.1]:9"), &nothing));
        assert!(!is_local(peer("192.0.2.1:9"), &nothing));
        let mut forwarded = HeaderMap::new();
        forwarded.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert!(!is_local(peer("127.0.0.1:9"), &forwarded));
    }
}
