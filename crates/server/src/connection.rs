//! One connection: its socket, instrumented, and its timeouts.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep};

use crate::limits::Limits;
use crate::registry::{Connection, Phase, Progress};

/// Longest interval between two checks of a connection: a phase with a shorter timeout may begin at any time.
const LOOK: Duration = Duration::from_millis(2500);

/// Completes when the connection has exceeded one of its timeouts.
pub(crate) async fn overdue(connection: &Connection, limits: &Limits) {
    loop {
        let now = Instant::now();
        let Some(until) = deadline(connection.progress(), limits) else {
            sleep(LOOK).await;
            continue;
        };
        if until <= now {
            return;
        }
        sleep((until - now).min(LOOK)).await;
    }
}

fn deadline(progress: Progress, limits: &Limits) -> Option<Instant> {
    let read = match progress.phase {
        Phase::Fresh | Phase::Head => Some(progress.since + limits.head_timeout),
        Phase::Idle => Some(progress.since + limits.idle_timeout),
        // These phases have time limits of their own, which send a response.
        Phase::Body | Phase::BodyWaits | Phase::Working => None,
    };
    let write = progress.unread_since.map(|since| since + limits.write_timeout);
    read.into_iter().chain(write).min()
}

/// A socket that records when its client sends and reads.
pub(crate) struct Watched {
    pub(crate) socket: TcpStream,
    pub(crate) connection: Arc<Connection>,
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.socket).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.connection.read();
        }
        read
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write(cx, bytes);
        self.connection.wrote(wrote.is_pending());
        wrote
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let wrote = Pin::new(&mut self.socket).poll_write_vectored(cx, slices);
        self.connection.wrote(wrote.is_pending());
        wrote
    }

    fn is_write_vectored(&self) -> bool {
        self.socket.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.socket).poll_shutdown(cx)
    }
}

/// A response body. The connection becomes idle after it.
pub(crate) struct AnswerBody {
    pub(crate) inner: axum::body::Body,
    pub(crate) connection: Arc<Connection>,
}

impl Drop for AnswerBody {
    fn drop(&mut self) {
        self.connection.enter(Phase::Idle);
    }
}

impl HttpBody for AnswerBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.inner).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}
