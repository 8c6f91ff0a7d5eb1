//! `GET /metrics`: metrics of this process, for the root token or for programs on this machine.

use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use axum::Router;
use axum::extract::{ConnectInfo, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use tieline_bridge::connections::Connections;
use tieline_bridge::exposition;
use tieline_bridge::world::World;
use tieline_server::TrustedProxies;

/// The long connections of this process, once they are started.
pub type Held = Arc<OnceLock<Connections>>;

/// What the route needs.
#[derive(Clone)]
struct Scraped {
    world: World,
    held: Held,
    proxies: TrustedProxies,
}

/// The route. `held` is read at each request. `proxies` forward the requests of others, also from this machine.
pub fn router(world: World, held: Held, proxies: TrustedProxies) -> Router {
    let state = Scraped { world, held, proxies };
    Router::new().route("/metrics", get(show)).with_state(state)
}

async fn show(
    State(Scraped { world, held, proxies }): State<Scraped>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
) -> Response {
    let authorization = headers.get(AUTHORIZATION).and_then(|value| value.to_str().ok());
    if !is_local(peer, &headers, &proxies)
        && let Err(refused) = exposition::authorize(&world, authorization, Some(peer.ip())).await
    {
        let status = StatusCode::from_u16(refused.status).unwrap_or(StatusCode::UNAUTHORIZED);
        return (status, [refused.header]).into_response();
    }
    let health = held.get().map(Connections::health);
    let text = exposition::render(&world, health.as_ref()).await;
    ([(CONTENT_TYPE, exposition::CONTENT_TYPE)], text).into_response()
}

/// Whether a program on this machine makes the request itself, rather than a proxy for another client.
///
/// A trusted proxy is none even without a header that names the client: it may be configured to send none for this path.
fn is_local(peer: SocketAddr, headers: &HeaderMap, proxies: &TrustedProxies) -> bool {
    exposition::is_of_this_machine(peer.ip(), |name| headers.contains_key(name)) && !proxies.contains(peer.ip())
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    #[test]
    fn only_direct_loopback_requests_are_local() {
        let peer = |address: &str| address.parse::<SocketAddr>().unwrap();
        let nothing = HeaderMap::new();
        let proxies = TrustedProxies::new(Vec::new());
        let is_local = |peer, headers: &HeaderMap| super::is_local(peer, headers, &proxies);
        assert!(is_local(peer("127.0.0.1:9"), &nothing));
        assert!(is_local(peer("[::1]:9"), &nothing));
        assert!(is_local(peer("[::ffff:127.0.0.1]:9"), &nothing));
        assert!(!is_local(peer("192.0.2.1:9"), &nothing));
        let mut forwarded = HeaderMap::new();
        forwarded.insert("x-forwarded-for", HeaderValue::from_static("192.0.2.1"));
        assert!(!is_local(peer("127.0.0.1:9"), &forwarded));
    }

    #[test]
    fn trusted_proxy_on_this_machine_is_not_local() {
        let proxies = TrustedProxies::new(vec!["127.0.0.1".parse().unwrap(), "::1".parse().unwrap()]);
        for peer in ["127.0.0.1:9", "[::ffff:127.0.0.1]:9", "[::1]:9"] {
            assert!(!is_local(peer.parse().unwrap(), &HeaderMap::new(), &proxies), "{peer}");
        }
        assert!(is_local("127.0.0.2:9".parse().unwrap(), &HeaderMap::new(), &proxies));
    }
}
