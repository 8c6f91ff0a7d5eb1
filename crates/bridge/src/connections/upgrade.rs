//! The WebSocket handshake, without the buffer that tungstenite keeps of it.
//!
//! tungstenite reads the response into a buffer of 4 KiB, and the connection keeps that buffer for as long as it is open, though most frames have a
//! few hundred bytes. Here the handshake can't read past the response's head, and the connection starts with a read buffer of the configured size.

use std::io;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_tungstenite::tungstenite::handshake::client::Request;
use tokio_tungstenite::tungstenite::protocol::{Role, WebSocketConfig};
use tokio_tungstenite::{WebSocketStream, client_async_with_config, tungstenite};

use super::read_filter::{Filtered, ReadFilter};

/// End of an HTTP response's head.
const END: &[u8; 4] = b"\r\n\r\n";

/// Upgrades a connected stream to a WebSocket.
///
/// # Errors
/// [`tungstenite::Error`] if the stream fails, or the server doesn't answer with an upgrade.
pub(super) async fn upgrade<S>(
    request: Request,
    stream: S,
    config: WebSocketConfig,
) -> Result<WebSocketStream<S>, tungstenite::Error>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let filter = HeadReader::default();
    let stream = Filtered { stream, filter };
    let (socket, _) = client_async_with_config(request, stream, Some(config)).await?;
    let Filtered { stream, filter } = socket.into_inner();
    Ok(WebSocketStream::from_partially_read(stream, filter.rest, Role::Client, Some(config)).await)
}

/// Lets reads end with the response's head.
#[derive(Default)]
struct HeadReader {
    /// Number of bytes of [`END`] that the latest bytes match.
    n_matched: usize,
    /// Bytes after the head that were read with it.
    rest: Vec<u8>,
}

impl HeadReader {
    /// The number of bytes of `read` that belong to the head.
    fn n_of_head(&mut self, read: &[u8]) -> usize {
        for (at, byte) in read.iter().enumerate() {
            self.n_matched = match *byte {
                byte if byte == END[self.n_matched] => self.n_matched + 1,
                b'\r' => 1,
                _ => 0,
            };
            if self.n_matched == END.len() {
                return at + 1;
            }
        }
        read.len()
    }
}

impl ReadFilter for HeadReader {
    fn before_read(&self) -> io::Result<()> {
        match self.n_matched == END.len() {
            true => Err(io::Error::other("the handshake reads past the response's head")),
            false => Ok(()),
        }
    }

    fn after_read(&mut self, buf: &mut ReadBuf<'_>, n_before: usize) -> io::Result<()> {
        let read = &buf.filled()[n_before..];
        let n_of_head = self.n_of_head(read);
        self.rest.extend_from_slice(&read[n_of_head..]);
        buf.set_filled(n_before + n_of_head);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, duplex};
    use tokio_tungstenite::tungstenite::Message;
    use tokio_tungstenite::tungstenite::client::IntoClientRequest as _;
    use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

    use super::*;

    /// A text frame of a server.
    fn frame(text: &str) -> Vec<u8> {
        let length = u8::try_from(text.len()).unwrap();
        [&[0x81, length], text.as_bytes()].concat()
    }

    /// The messages of a server that sends its response and two frames in pieces.
    async fn read_in_pieces(n_bytes_each: usize) -> Vec<String> {
        let (client, mut server) = duplex(64 * 1024);
        let serving = async move {
            let mut asked = Vec::new();
            while !asked.ends_with(END) {
                asked.push(server.read_u8().await.unwrap());
            }
            let asked = String::from_utf8(asked).unwrap();
            let mut headers = asked.lines().filter_map(|line| line.split_once(": "));
            let (_, key) = headers
                .find(|(name, _)| name.eq_ignore_ascii_case("sec-websocket-key"))
                .unwrap();
            let head = format!(
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {}\r\n\r\n",
                derive_accept_key(key.as_bytes())
            );
            let sent = [head.into_bytes(), frame("one\r\n\r\n"), frame("two")].concat();
            for piece in sent.chunks(n_bytes_each) {
                server.write_all(piece).await.unwrap();
                tokio::task::yield_now().await;
            }
        };
        let request = "ws://example.com/".into_client_request().unwrap();
        let config = WebSocketConfig::default().read_buffer_size(1024);
        let (socket, ()) = tokio::join!(upgrade(request, client, config), serving);
        let socket = socket.unwrap();
        let messages = socket.take(2).map(Result::unwrap);
        messages
            .map(|it: Message| it.into_text().unwrap().to_string())
            .collect()
            .await
    }

    #[tokio::test]
    async fn frames_sent_with_the_head_are_read() {
        for n_bytes_each in [5, 7, 100, 130, 133, 135, 10_000] {
            assert_eq!(
                read_in_pieces(n_bytes_each).await,
                ["one\r\n\r\n", "two"],
                "{n_bytes_each}"
            );
        }
    }

    #[test]
    fn head_ends_with_the_first_empty_line() {
        let n_of_head = |pieces: &[&str]| -> Vec<usize> {
            let mut reader = HeadReader::default();
            pieces.iter().map(|piece| reader.n_of_head(piece.as_bytes())).collect()
        };
        assert_eq!(n_of_head(&["a\r\n\r\nb"]), [5]);
        assert_eq!(n_of_head(&["a\r\nb\r\n\r\n\r\n"]), [8]);
        assert_eq!(n_of_head(&["a\r\r\n\r\nb"]), [6]);
        assert_eq!(n_of_head(&["a\r\n\r", "\r\n", "\r\nb"]), [4, 2, 2]);
        assert_eq!(n_of_head(&["a\n\nb"]), [4]);
    }
}
