//! Lookups of quotes and of parts, on a platform that fails at first.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::json;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Connector;
use tieline_core::event::{Part, PartKind};
use tieline_core::ids::PlatformMessageId;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;

use crate::test_support::{self, FakeConnector};
use crate::{media, quotes};

const CONNECTOR: &dyn Connector = &FakeConnector::LASTING;

/// Starts a platform that answers its first requests with these status lines and headers, and each later one with "found".
async fn platform(troubles: &'static [&'static str]) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let n_asked = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&n_asked);
    tokio::spawn(async move {
        while let Ok((mut socket, _)) = listener.accept().await {
            let at = counter.fetch_add(1, Ordering::Relaxed);
            let head = troubles.get(at).unwrap_or(&"200 OK");
            let _ = socket.read(&mut [0; 4096]).await;
            let answer = format!("HTTP/1.1 {head}\r\ncontent-length: 5\r\nconnection: close\r\n\r\nfound");
            let _ = socket.write_all(answer.as_bytes()).await;
        }
    });
    (address, n_asked)
}

/// What the agent is told of a message's quote, and how often the platform was asked.
async fn quote(troubles: &'static [&'static str]) -> (String, usize) {
    let (_engine, world) = test_support::world(&[CONNECTOR]).await;
    let bot = test_support::bot(CONNECTOR, ConnectionMode::Webhook, true);
    let (address, n_asked) = platform(troubles).await;
    let id = PlatformMessageId::new(format!("http://{address}/"));
    let quoted = quotes::read(&world, &bot, &id).await.unwrap();
    (quoted.text, n_asked.load(Ordering::Relaxed))
}

#[tokio::test]
async fn quote_is_read_after_a_transient_failure() {
    let (throttled, plain) = tokio::join!(
        quote(&["429 Too Many Requests\r\nretry-after: 2"]),
        quote(&["502 Bad Gateway"])
    );
    assert_eq!(throttled, ("found".to_owned(), 2));
    assert_eq!(plain, ("found".to_owned(), 2));
}

#[tokio::test]
async fn quote_is_not_waited_for_longer_than_a_person_waits() {
    let (refused, slow) = tokio::join!(
        quote(&["404 Not Found"]),
        quote(&["503 Unavailable\r\nretry-after: 3600"])
    );
    for (text, n_asked) in [refused, slow] {
        assert_eq!((text.contains("can't be read"), n_asked), (true, 1));
    }
}

#[tokio::test]
async fn part_is_located_after_a_transient_failure() {
    let (_engine, world) = test_support::world(&[CONNECTOR]).await;
    let bot = test_support::bot(CONNECTOR, ConnectionMode::Webhook, true);
    let (address, n_asked) = platform(&["503 Unavailable"]).await;
    let part = Part {
        kind: PartKind::File,
        name: None,
        mime: None,
        size: None,
        locator: json!({ "lookup": format!("http://{address}/") }),
    };
    let fetched = media::fetch_for_link(&world, &bot, &part).await.unwrap();
    assert_eq!(fetched.bytes.as_ref(), b"found");
    assert_eq!(
        n_asked.load(Ordering::Relaxed),
        3,
        "located at the second attempt, then downloaded"
    );
}
