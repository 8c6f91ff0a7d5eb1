//! Opens a WebSocket to an address that a user or a platform gave us.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::ServerName;
use rustls_platform_verifier::BuilderVerifierExt as _;
use tieline_core::outbound_url::{self, PrivateEndpoints};
use tieline_core::stream::SocketAddress;
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
use tokio_tungstenite::tungstenite::http::{HeaderName, HeaderValue, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{self, handshake::client::Request};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream};

use super::frame_memory::{FrameMemory, FrameShare};
use super::read_filter::Filtered;
use super::upgrade::upgrade;

/// A WebSocket of ours.
pub(super) type Socket = WebSocketStream<Filtered<MaybeTlsStream<TcpStream>, FrameMemory>>;

/// Connect timeout per address that a name resolves to.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);
/// Most addresses of a name that are tried.
const MOST_ADDRESSES: usize = 4;
/// Timeout of the TLS handshake and the upgrade.
const HANDSHAKE_WITHIN: Duration = Duration::from_secs(10);
/// The library's own buffer is 128 KiB, on every idle connection. Frames are a few hundred bytes; longer ones make it grow.
const READ_BUFFER: usize = 1024;
/// How much may wait to be written before the connection counts as stuck.
const MAX_WRITE_BUFFER: usize = 4 * 1024 * 1024;

/// TLS configuration, shared by all connections of a process.
#[derive(Clone)]
pub(super) struct Tls(Arc<rustls::ClientConfig>);

impl Tls {
    /// Trusts the system's certificate authorities.
    pub(super) fn new() -> Result<Self, rustls::Error> {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_platform_verifier()?
            .with_no_client_auth();
        Ok(Self(Arc::new(config)))
    }
}

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub(super) enum DialError {
    /// The address may not be called.
    #[error("the address may not be called")]
    Forbidden,
    /// It could not be reached, for this reason.
    #[error("unreachable: {0}")]
    Unreachable(&'static str),
    /// The handshake was not answered with an upgrade.
    #[error("handshake answered with status {status}")]
    Answered {
        /// HTTP status.
        status: u16,
        /// Headers, names in lower case.
        headers: Vec<(String, String)>,
    },
}

/// Opens a socket. Private addresses that are not `allowed` are refused, also after DNS resolution (SSRF guard).
pub(super) async fn dial(
    to: &SocketAddress,
    max_message_bytes: usize,
    tls: &Tls,
    allowed: &PrivateEndpoints,
    frames: FrameShare,
) -> Result<Socket, DialError> {
    let url = outbound_url::check(&to.url, allowed).map_err(|_| DialError::Forbidden)?;
    let host = url.host_str().ok_or(DialError::Forbidden)?.trim_matches(['[', ']']);
    let port = url.port_or_known_default().ok_or(DialError::Forbidden)?;
    let is_encrypted = match url.scheme() {
        "wss" => true,
        "ws" => false,
        _ => return Err(DialError::Forbidden),
    };
    let stream = connect(host, port, allowed).await?;
    // Frames are small and latency matters.
    let _ = stream.set_nodelay(true);
    let request = request(to)?;
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER)
        .write_buffer_size(0)
        .max_write_buffer_size(MAX_WRITE_BUFFER)
        .max_message_size(Some(max_message_bytes))
        .max_frame_size(Some(max_message_bytes));
    let shaking = async {
        let stream = match is_encrypted {
            true => MaybeTlsStream::Rustls(encrypt(host, stream, tls).await?),
            false => MaybeTlsStream::Plain(stream),
        };
        let filter = FrameMemory::new(frames);
        let stream = Filtered { stream, filter };
        upgrade(request, stream, config).await.map_err(failed)
    };
    let shaken = timeout(HANDSHAKE_WITHIN, shaking).await;
    shaken.unwrap_or(Err(DialError::Unreachable("handshake_timeout")))
}

/// Negotiates TLS with `host`, whose certificate must be trusted.
async fn encrypt(host: &str, stream: TcpStream, tls: &Tls) -> Result<TlsStream<TcpStream>, DialError> {
    let name = ServerName::try_from(host.to_owned()).map_err(|_| DialError::Unreachable("tls"))?;
    let encrypting = TlsConnector::from(Arc::clone(&tls.0)).connect(name, stream);
    encrypting.await.map_err(|error| failed(error.into()))
}

/// The error of a failed TLS negotiation or WebSocket handshake.
fn failed(error: tungstenite::Error) -> DialError {
    match error {
        tungstenite::Error::Http(response) => answered(&response),
        tungstenite::Error::Io(error) if error.get_ref().is_some_and(|inner| inner.is::<rustls::Error>()) => {
            DialError::Unreachable("tls")
        }
        _ => DialError::Unreachable("handshake"),
    }
}

async fn connect(host: &str, port: u16, allowed: &PrivateEndpoints) -> Result<TcpStream, DialError> {
    let found = timeout(CONNECT_WITHIN, lookup_host((host, port))).await;
    let found = found
        .ok()
        .and_then(Result::ok)
        .ok_or(DialError::Unreachable("name_not_resolved"))?;
    let found = found.filter(|address: &SocketAddr| allowed.may_call(address.ip()));
    let addresses: Vec<SocketAddr> = found.take(MOST_ADDRESSES).collect();
    if addresses.is_empty() {
        return Err(DialError::Forbidden);
    }
    for address in addresses {
        if let Ok(Ok(stream)) = timeout(CONNECT_WITHIN, TcpStream::connect(address)).await {
            return Ok(stream);
        }
    }
    Err(DialError::Unreachable("connect"))
}

fn request(to: &SocketAddress) -> Result<Request, DialError> {
    let mut request = to
        .url
        .as_str()
        .into_client_request()
        .map_err(|_| DialError::Forbidden)?;
    for (name, value) in &to.headers {
        let name = HeaderName::try_from(name).map_err(|_| DialError::Forbidden)?;
        let value = HeaderValue::try_from(value).map_err(|_| DialError::Forbidden)?;
        request.headers_mut().insert(name, value);
    }
    Ok(request)
}

fn answered<B>(response: &Response<B>) -> DialError {
    let headers = response.headers().iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    DialError::Answered {
        status: response.status().as_u16(),
        headers: headers.collect(),
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{SinkExt as _, StreamExt as _};
    use rustls::pki_types::PrivateKeyDer;
    use tieline_core::ids::OrganizationId;
    use tokio::net::TcpListener;
    use tokio_rustls::TlsAcceptor;
    use tokio_tungstenite::tungstenite::Message;

    use super::*;
    use crate::memory_budget::MemoryBudget;

    fn frames() -> FrameShare {
        FrameShare {
            budget: Arc::new(MemoryBudget::of(1024 * 1024)),
            organization: OrganizationId::new("acme"),
        }
    }

    async fn refusal(url: &str) -> String {
        let to = SocketAddress {
            url: url.to_owned(),
            headers: Vec::new(),
            note: String::new(),
        };
        let tls = Tls::new().unwrap();
        dial(&to, 1024, &tls, &PrivateEndpoints::Refused, frames())
            .await
            .unwrap_err()
            .to_string()
    }

    #[tokio::test]
    async fn private_addresses_are_refused_before_and_after_resolving() {
        for url in [
            "wss://127.0.0.1:1/",
            "wss://[::1]:1/",
            "ws://example.com/",
            "wss://localhost:1/",
        ] {
            assert_eq!(refusal(url).await, "the address may not be called", "{url}");
        }
        assert!(matches!(
            connect("localhost", 1, &PrivateEndpoints::Refused).await,
            Err(DialError::Forbidden)
        ));
    }

    /// A TLS server on the loopback address that sends one message to each socket. Returns its port, and the TLS configuration of clients that
    /// trust it.
    async fn encrypted_server() -> (u16, Tls) {
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let trusting = rustls::ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let serving = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(serving));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let Ok(stream) = acceptor.accept(stream).await else {
                    continue;
                };
                let mut socket = tokio_tungstenite::accept_async(stream).await.unwrap();
                socket.send(Message::text("hello")).await.unwrap();
            }
        });
        (port, Tls(Arc::new(trusting)))
    }

    async fn dial_port(scheme: &str, port: u16, tls: &Tls) -> Result<Socket, DialError> {
        let to = SocketAddress {
            url: format!("{scheme}://localhost:{port}/"),
            headers: Vec::new(),
            note: String::new(),
        };
        dial(&to, 1024, tls, &PrivateEndpoints::Allowed, frames()).await
    }

    #[tokio::test]
    async fn encrypted_sockets_need_a_trusted_certificate() {
        let (port, trusting) = encrypted_server().await;
        let mut socket = dial_port("wss", port, &trusting).await.unwrap();
        assert_eq!(socket.next().await.unwrap().unwrap(), Message::text("hello"));

        let refused = dial_port("wss", port, &Tls::new().unwrap()).await;
        assert_eq!(refused.unwrap_err().to_string(), "unreachable: tls");
        let refused = dial_port("https", port, &trusting).await;
        assert_eq!(refused.unwrap_err().to_string(), "the address may not be called");
    }
}
