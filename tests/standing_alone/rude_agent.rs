//! Misbehaving agents: each violates the protocol in its own way.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;

/// Size of an oversized answer or header.
const TOO_MUCH: usize = 100 * 1024 * 1024;

/// What the agent does to its caller, selected by the first segment of the path.
pub(crate) const WAYS: &[&str] = &[
    "reset", "hang", "silent", "garbage", "empty", "broken", "cut", "one_line", "endless", "json", "error", "teapot",
];

/// Starts it and returns its address.
pub(crate) async fn start() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move {
        while let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(behave(socket));
        }
    });
    url
}

async fn behave(mut socket: TcpStream) {
    let Some(way) = read_request(&mut socket).await else {
        return;
    };
    let stream = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\nconnection: close\r\n\r\n";
    let json = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
    // The writes fail when the caller hangs up, which is expected.
    let _ = match way.as_str() {
        "reset" => {
            // With unread data the system resets the connection.
            socket.set_zero_linger().ok();
            Ok(())
        }
        "hang" => {
            sleep(Duration::from_secs(600)).await;
            Ok(())
        }
        "silent" => {
            let begun = socket
                .write_all(format!("{stream}{}", piece("so far")).as_bytes())
                .await;
            sleep(Duration::from_secs(600)).await;
            begun
        }
        "garbage" => {
            socket
                .write_all(&[b"\x00\xff\xfe\x01nonsense\r\n".as_slice(); 64].concat())
                .await
        }
        "empty" => socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").await,
        "broken" => {
            socket
                .write_all(format!("{stream}data: {{\"choices\":[{{\"del\n\n").as_bytes())
                .await
        }
        "cut" => {
            socket
                .write_all(format!("{stream}{}", piece("so far")).as_bytes())
                .await
        }
        "one_line" => pour(&mut socket, &format!("{stream}data: "), &"x".repeat(65_536)).await,
        "endless" => pour(&mut socket, stream, &piece(&"x".repeat(65_536))).await,
        "json" => {
            pour(
                &mut socket,
                &format!("{json}{{\"choices\":[{{\"message\":{{\"content\":\""),
                &"x".repeat(65_536),
            )
            .await
        }
        "error" => {
            socket
                .write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
        }
        _ => {
            socket
                .write_all(b"HTTP/1.1 418 Teapot\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")
                .await
        }
    };
}

/// The first path segment of a request that was read to its end.
async fn read_request(socket: &mut TcpStream) -> Option<String> {
    let mut request = Vec::new();
    let mut chunk = [0; 16_384];
    loop {
        let n_read = socket.read(&mut chunk).await.ok().filter(|n| *n > 0)?;
        request.extend_from_slice(&chunk[..n_read]);
        let text = String::from_utf8_lossy(&request).into_owned();
        let Some((head, body)) = text.split_once("\r\n\r\n") else {
            continue;
        };
        let length = head.lines().find_map(|line| {
            line.to_lowercase()
                .strip_prefix("content-length:")
                .map(|it| it.trim().to_owned())
        });
        if body.len() < length.and_then(|it| it.parse().ok()).unwrap_or(0) {
            continue;
        }
        let path = head.split(' ').nth(1)?;
        return path.split('/').nth(1).map(str::to_owned);
    }
}

fn piece(text: &str) -> String {
    format!("data: {{\"choices\":[{{\"index\":0,\"delta\":{{\"content\":\"{text}\"}},\"finish_reason\":null}}]}}\n\n")
}

async fn pour(socket: &mut TcpStream, head: &str, again: &str) -> std::io::Result<()> {
    socket.write_all(head.as_bytes()).await?;
    for _ in 0..TOO_MUCH / again.len() {
        socket.write_all(again.as_bytes()).await?;
    }
    Ok(())
}
