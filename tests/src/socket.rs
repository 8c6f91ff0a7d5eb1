//! The server side of a WebSocket within an HTTP server, so that one address serves a platform's API and its gateway.

use std::future::Future;

use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use hyper::upgrade::Upgraded;
use hyper_util::rt::TokioIo;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;
use tokio_tungstenite::tungstenite::protocol::Role;

/// An open socket.
pub type Socket = WebSocketStream<TokioIo<Upgraded>>;

/// Answers a handshake and passes the socket to `serve`. An invalid handshake gets a 400.
pub fn upgrade<F, S>(request: Request, serve: F) -> Response
where
    F: FnOnce(Socket) -> S + Send + 'static,
    S: Future<Output = ()> + Send,
{
    let Some(accept) = accept(request.headers()) else {
        return refused(StatusCode::BAD_REQUEST, &[]);
    };
    tokio::spawn(async move {
        if let Ok(upgraded) = hyper::upgrade::on(request).await {
            let socket = WebSocketStream::from_raw_socket(TokioIo::new(upgraded), Role::Server, None);
            serve(socket.await).await;
        }
    });
    Response::builder()
        .status(StatusCode::SWITCHING_PROTOCOLS)
        .header(header::CONNECTION, "Upgrade")
        .header(header::UPGRADE, "websocket")
        .header(header::SEC_WEBSOCKET_ACCEPT, accept)
        .body(Body::empty())
        .expect("these headers are legal")
}

/// Refuses a handshake.
#[must_use]
pub fn refused(status: StatusCode, headers: &[(&str, &str)]) -> Response {
    let response = Response::builder().status(status);
    let response = headers
        .iter()
        .fold(response, |response, (name, value)| response.header(*name, *value));
    response.body(Body::empty()).expect("these headers are legal")
}

fn accept(headers: &HeaderMap) -> Option<String> {
    let is = |name: header::HeaderName, value: &str| {
        let found = headers.get(name).and_then(|it| it.to_str().ok());
        found.is_some_and(|it| it.split(',').any(|word| word.trim().eq_ignore_ascii_case(value)))
    };
    let asked = is(header::CONNECTION, "upgrade")
        && is(header::UPGRADE, "websocket")
        && is(header::SEC_WEBSOCKET_VERSION, "13")
        // None of the platforms has a subprotocol, and a client that asks for one would not get it.
        && !headers.contains_key(header::SEC_WEBSOCKET_PROTOCOL);
    let key = headers.get(header::SEC_WEBSOCKET_KEY).filter(|_| asked)?;
    Some(derive_accept_key(key.as_bytes()))
}
