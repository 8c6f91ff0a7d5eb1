//! Accept loop, and the serving of one connection.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::ConnectInfo;
use http::header::{EXPECT, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Request, Response};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tower::ServiceExt as _;
use tracing::{debug, warn};

use crate::body::BodyBudget;
use crate::connection::{AnswerBody, Watched, overdue};
use crate::limits::Limits;
use crate::registry::{Connection, Phase, Registry, Slot};

/// Longest head of a request, and most unread bytes of a connection.
const MAX_HEAD_BYTES: usize = 32 * 1024;
/// Pause after a failed accept, for example when file descriptors have run out.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// State shared by all connections.
struct Server {
    router: Router,
    limits: Limits,
    registry: Arc<Registry>,
    bodies: BodyBudget,
}

/// Serves until dropped. Each request carries [`ConnectInfo<SocketAddr>`] with the client's address.
pub async fn serve(listener: TcpListener, router: Router, limits: Limits) {
    let server = Arc::new(Server {
        registry: Registry::new(&limits),
        bodies: BodyBudget::new(&limits),
        router,
        limits,
    });
    loop {
        match listener.accept().await {
            Ok((socket, peer)) => server.admit(socket, peer).await,
            Err(error) if is_of_connection(&error) => {}
            Err(error) => {
                warn!(%error, "connection can't be accepted");
                sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Whether the error concerns only the connection that was being accepted.
fn is_of_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset};
    matches!(error.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset)
}

impl Server {
    async fn admit(self: &Arc<Self>, socket: TcpStream, peer: SocketAddr) {
        let ip = peer.ip().to_canonical();
        let is_shared = ip.is_loopback() || self.limits.trusted_proxies.contains(ip);
        match self.registry.admit(ip, is_shared).await {
            Some(slot) => {
                // Responses are small, and clients wait for them.
                let _ = socket.set_nodelay(true);
                tokio::spawn(Arc::clone(self).hold(socket, peer, slot));
            }
            None => debug!(%peer, "connection closed: every slot is busy"),
        }
    }

    /// Serves one connection until it ends, exceeds a timeout or is evicted.
    async fn hold(self: Arc<Self>, socket: TcpStream, peer: SocketAddr, slot: Slot) {
        let connection = Arc::clone(&slot.connection);
        let watched = Watched {
            socket,
            connection: Arc::clone(&connection),
        };
        let service = service_fn(|request| self.answer(request, peer, &connection));
        let serving = http1::Builder::new()
            .max_buf_size(MAX_HEAD_BYTES)
            .half_close(false)
            .serve_connection(TokioIo::new(watched), service);
        tokio::select! {
            // A broken connection isn't logged: its client knows.
            _ = serving => {}
            () = overdue(&connection, &self.limits) => debug!(%peer, "connection closed: timeout"),
            () = connection.evicted() => debug!(%peer, "connection evicted: its slot was needed"),
        }
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        connection: &Arc<Connection>,
    ) -> Result<Response<AnswerBody>, Infallible> {
        let response = self.respond(request, peer, connection).await;
        let (mut head, inner) = response.into_parts();
        // Whatever the route: browsers must not guess another content type.
        head.headers
            .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        let body = AnswerBody {
            inner,
            connection: Arc::clone(connection),
        };
        Ok(Response::from_parts(head, body))
    }

    async fn respond(
        &self,
        request: Request<Incoming>,
        peer: SocketAddr,
        connection: &Connection,
    ) -> axum::response::Response {
        connection.enter(Phase::Working);
        let (mut head, body) = request.into_parts();
        let is_asking = head.headers.contains_key(EXPECT);
        let reading = self
            .bodies
            .read(body, is_asking, &self.limits, &self.registry, connection);
        let held = match reading.await {
            Ok(held) => held,
            Err(refusal) => {
                connection.enter(Phase::Working);
                return refusal.answer(self.limits.body_patience);
            }
        };
        let client = self.limits.trusted_proxies.client(peer.ip(), &head.headers);
        let port = if client == peer.ip().to_canonical() {
            peer.port()
        } else {
            0
        };
        head.extensions.insert(ConnectInfo(SocketAddr::new(client, port)));
        let request = Request::from_parts(head, held.body);
        match self.router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
