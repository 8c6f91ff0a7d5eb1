//! A server with small limits, and clients that exceed them.

#![expect(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

use std::net::SocketAddr;
use std::time::Duration;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{ConnectInfo, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use tieline_server::{Limits, TrustedProxies, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{Instant, sleep, timeout};

/// Longer than anything here takes.
const PATIENCE: Duration = Duration::from_secs(20);
const SHORT: Duration = Duration::from_millis(200);
const LONG: Duration = Duration::from_secs(60);

/// Limits that no test reaches.
fn generous() -> Limits {
    Limits {
        head_timeout: LONG,
        idle_timeout: LONG,
        body_idle_timeout: LONG,
        body_timeout: LONG,
        write_timeout: LONG,
        body_patience: LONG,
        ..Limits::default()
    }
}

async fn start(limits: Limits) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let router = Router::new()
        .route("/healthz", get(|| async { "ok" }))
        .route(
            "/client",
            get(|ConnectInfo(client): ConnectInfo<SocketAddr>| async move { client.ip().to_string() }),
        )
        .route("/large", get(|| async { "x".repeat(64 * 1024 * 1024) }))
        .route("/length", post(length));
    tokio::spawn(serve(listener, router, limits));
    address
}

async fn length(request: Request) -> Response {
    match to_bytes(request.into_body(), usize::MAX).await {
        Ok(bytes) => bytes.len().to_string().into_response(),
        Err(_) => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
    }
}

async fn send(address: SocketAddr, text: &str) -> TcpStream {
    let mut socket = TcpStream::connect(address).await.unwrap();
    socket.write_all(text.as_bytes()).await.unwrap();
    socket
}

/// Everything that the server sends until it closes the connection.
async fn rest(mut socket: TcpStream) -> String {
    let mut bytes = Vec::new();
    let read = timeout(PATIENCE, socket.read_to_end(&mut bytes)).await;
    // A reset closes it too.
    let _ = read.unwrap();
    String::from_utf8(bytes).unwrap()
}

async fn ask(address: SocketAddr, request: &str) -> String {
    rest(send(address, request).await).await
}

async fn is_healthy(address: SocketAddr) -> bool {
    let answer = ask(address, "GET /healthz HTTP/1.1\r\nhost: h\r\nconnection: close\r\n\r\n").await;
    answer.starts_with("HTTP/1.1 200")
}

fn post_of(announced: usize, body: &str) -> String {
    format!("POST /length HTTP/1.1\r\nhost: h\r\nconnection: close\r\ncontent-length: {announced}\r\n\r\n{body}")
}

#[tokio::test]
async fn heads_and_idle_connections_time_out() {
    let slow_head = start(Limits {
        head_timeout: SHORT,
        ..generous()
    })
    .await;
    for part in ["", "GET /healthz HT"] {
        assert_eq!(ask(slow_head, part).await, "");
    }
    let idle = start(Limits {
        idle_timeout: SHORT,
        ..generous()
    })
    .await;
    let answer = ask(idle, "GET /healthz HTTP/1.1\r\nhost: h\r\n\r\n").await;
    assert!(answer.ends_with("ok"), "{answer}");
}

#[tokio::test]
async fn bodies_time_out_with_an_answer() {
    let pauses = Limits {
        body_idle_timeout: SHORT,
        ..generous()
    };
    let whole = Limits {
        body_timeout: SHORT,
        ..generous()
    };
    for limits in [pauses, whole] {
        let answer = ask(start(limits).await, &post_of(10, "abc")).await;
        assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
        assert!(answer.contains(r#""code":"body_timeout""#), "{answer}");
    }
}

#[tokio::test]
async fn no_response_lets_browsers_guess_its_type() {
    let address = start(Limits {
        body_idle_timeout: SHORT,
        ..generous()
    })
    .await;
    let close = "host: h\r\nconnection: close\r\n\r\n";
    for (request, status) in [
        (format!("GET /healthz HTTP/1.1\r\n{close}"), 200),
        (format!("GET /nowhere HTTP/1.1\r\n{close}"), 404),
        (format!("GET /length HTTP/1.1\r\n{close}"), 405),
        (post_of(10, "abc"), 408),
    ] {
        let answer = ask(address, &request).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{answer}");
        assert!(answer.contains("\r\nx-content-type-options: nosniff\r\n"), "{answer}");
    }
}

#[tokio::test]
async fn an_unread_response_times_out() {
    let address = start(Limits {
        write_timeout: SHORT,
        ..generous()
    })
    .await;
    let socket = send(address, "GET /large HTTP/1.1\r\nhost: h\r\n\r\n").await;
    // Reads nothing until the server must have given up.
    let begun = Instant::now();
    while begun.elapsed() < PATIENCE && socket.try_write(b"x").is_ok() {
        tokio::time::sleep(SHORT).await;
    }
    assert!(begun.elapsed() < PATIENCE, "the connection is still open");
}

#[tokio::test]
async fn idle_connections_are_evicted_for_new_ones() {
    let address = start(Limits {
        max_connections: 8,
        ..generous()
    })
    .await;
    let mut held = Vec::new();
    for _ in 0..50 {
        held.push(send(address, "GET /healthz HT").await);
        assert!(is_healthy(address).await);
    }
    // The oldest connection was closed long before its timeout.
    assert_eq!(rest(held.swap_remove(0)).await, "");
}

#[tokio::test]
async fn bodies_share_a_memory_budget() {
    const KIB: usize = 1024;
    let address = start(Limits {
        max_large_bodies_bytes: 256 * KIB,
        max_small_bodies_bytes: 64 * KIB,
        body_patience: SHORT,
        ..generous()
    })
    .await;
    // One body uses up the budget of the large ones.
    let mut held = send(address, &post_of(256 * KIB, &"x".repeat(255 * KIB))).await;
    let large = post_of(128 * KIB, &"x".repeat(128 * KIB));
    let begun = Instant::now();
    let refused = loop {
        let answer = ask(address, &large).await;
        if !answer.starts_with("HTTP/1.1 200") || begun.elapsed() > PATIENCE {
            break answer;
        }
    };
    assert!(refused.starts_with("HTTP/1.1 503"), "{refused}");
    assert!(refused.contains("retry-after: 1\r\n"), "{refused}");
    // Small bodies have a budget of their own.
    let small = ask(address, &post_of(10 * KIB, &"x".repeat(10 * KIB))).await;
    assert!(small.ends_with("10240"), "{small}");
    // The slow body is evicted after its grace period, and its memory is free again.
    while !ask(address, &large).await.ends_with("131072") {
        assert!(begun.elapsed() < PATIENCE);
    }
    let mut nothing = [0; 1];
    assert!(matches!(
        timeout(PATIENCE, held.read(&mut nothing)).await.unwrap(),
        Ok(0) | Err(_)
    ));
}

#[tokio::test]
async fn the_route_words_the_error_of_a_too_long_body() {
    let limits = Limits {
        max_body_bytes: 1000,
        ..generous()
    };
    let address = start(limits).await;
    let announced = ask(address, &post_of(1001, "")).await;
    assert!(announced.starts_with("HTTP/1.1 413"), "{announced}");
    let chunked = format!(
        "POST /length HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n3e9\r\n{}\r\n0\r\n\r\n",
        "x".repeat(1001)
    );
    let counted = ask(address, &chunked).await;
    assert!(counted.starts_with("HTTP/1.1 413"), "{counted}");
    let longest = ask(address, &post_of(1000, &"x".repeat(1000))).await;
    assert!(longest.ends_with("\r\n\r\n1000"), "{longest}");
}

#[tokio::test]
async fn client_that_is_still_sending_sees_why_its_body_is_refused() {
    const MIB: usize = 1024 * 1024;
    let limits = Limits {
        max_body_bytes: 1000,
        ..generous()
    };
    let address = start(limits).await;
    let body = "x".repeat(3 * MIB / 2);
    let chunked = format!(
        "POST /length HTTP/1.1\r\nhost: h\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n180000\r\n{body}\r\n0\r\n\r\n"
    );
    for request in [post_of(body.len(), &body), chunked] {
        let (first, second) = request.split_at(request.len() / 2);
        let mut socket = send(address, first).await;
        // Long enough for the server to find out that the body is too long.
        sleep(SHORT).await;
        socket.write_all(second.as_bytes()).await.unwrap();
        let answer = rest(socket).await;
        assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
    }
    let asking = post_of(2 * MIB, "").replace("host: h", "host: h\r\nexpect: 100-continue");
    let answer = ask(address, &asking).await;
    assert!(answer.starts_with("HTTP/1.1 413"), "{answer}");
}

#[tokio::test]
async fn handlers_see_the_client_s_address() {
    let request = "GET /client HTTP/1.1\r\nhost: h\r\nconnection: close\r\nx-forwarded-for: 203.0.113.9\r\n\r\n";
    let direct = ask(start(generous()).await, request).await;
    assert!(direct.ends_with("127.0.0.1"), "{direct}");
    let behind = Limits {
        trusted_proxies: TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]),
        ..generous()
    };
    let forwarded = ask(start(behind).await, request).await;
    assert!(forwarded.ends_with("203.0.113.9"), "{forwarded}");
}
