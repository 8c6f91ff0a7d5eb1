//! A stream whose reads pass a filter. Writes are passed through.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// What happens with the bytes that are read of a stream.
pub(super) trait ReadFilter: Unpin {
    /// Whether more may be read.
    ///
    /// # Errors
    /// Ends the stream.
    fn before_read(&self) -> io::Result<()> {
        Ok(())
    }

    /// Handles what a read has added to `buf` after its first `n_before` bytes.
    ///
    /// # Errors
    /// Ends the stream.
    fn after_read(&mut self, buf: &mut ReadBuf<'_>, n_before: usize) -> io::Result<()>;
}

/// A stream with a filter.
#[derive(Debug)]
pub(super) struct Filtered<S, F> {
    pub(super) stream: S,
    pub(super) filter: F,
}

impl<S: AsyncRead + Unpin, F: ReadFilter> AsyncRead for Filtered<S, F> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        self.filter.before_read()?;
        let n_before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        Poll::Ready(self.filter.after_read(buf, n_before))
    }
}

impl<S: AsyncWrite + Unpin, F: Unpin> AsyncWrite for Filtered<S, F> {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
