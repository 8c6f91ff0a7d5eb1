//! The client's IP address of each request, for the rate limits and the audit log of the management API.

use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Request};
use axum::middleware::{self, Next};
use axum::response::Response;
use tieline_admin::client_address::ClientAddress;

/// Adds a layer that stores the address determined by the server: the peer's, or the one that a trusted proxy forwards.
pub fn noted(router: Router) -> Router {
    router.layer(middleware::from_fn(note))
}

async fn note(ConnectInfo(client): ConnectInfo<SocketAddr>, mut request: Request, next: Next) -> Response {
    request.extensions_mut().insert(ClientAddress(client.ip()));
    next.run(request).await
}
