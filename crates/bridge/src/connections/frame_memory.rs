//! Memory of a socket's unfinished messages, counted against the memory budget for frames.
//!
//! A server may send a message without ever ending it, and the address of the server is a setting of the tenant: without the budget, the sockets of
//! one organization could fill the memory of a relay.

use std::io;
use std::sync::Arc;

use tieline_core::ids::OrganizationId;
use tokio::io::ReadBuf;
use tokio_tungstenite::tungstenite::Message;

use super::read_filter::ReadFilter;
use crate::memory_budget::{MemoryBudget, MemoryPermit};

/// Bytes of each socket that are not counted. Most frames are shorter, and take nothing of the budget.
const UNCOUNTED_BYTES: usize = 16 * 1024;
/// Taken of the budget in steps, so that a long message doesn't ask for each read.
const STEP_BYTES: usize = 64 * 1024;
/// Length of the header of a server's control frame.
const CONTROL_HEADER: usize = 2;

/// An organization's share of the memory budget for frames.
#[derive(Debug, Clone)]
pub(super) struct FrameShare {
    pub(super) budget: Arc<MemoryBudget>,
    pub(super) organization: OrganizationId,
}

/// Memory of a socket's unfinished messages. Reading fails with [`io::ErrorKind::OutOfMemory`] if none is left.
#[derive(Debug)]
pub(super) struct FrameMemory {
    share: FrameShare,
    /// Bytes read of messages that are not complete yet.
    n_unfinished: usize,
    n_taken: usize,
    permits: Vec<MemoryPermit>,
}

impl FrameMemory {
    pub(super) const fn new(share: FrameShare) -> Self {
        Self {
            share,
            n_unfinished: 0,
            n_taken: 0,
            permits: Vec::new(),
        }
    }

    /// Frees what `message` took, which is complete.
    pub(super) fn finished(&mut self, message: &Message) {
        match message {
            // May stand between the frames of a message.
            Message::Ping(content) | Message::Pong(content) => {
                self.n_unfinished = self.n_unfinished.saturating_sub(CONTROL_HEADER + content.len());
            }
            // What was read beyond it is less than a read buffer.
            _ => {
                self.n_unfinished = 0;
                self.n_taken = 0;
                self.permits = Vec::new();
            }
        }
    }

    fn count(&mut self, n_read: usize) -> io::Result<()> {
        self.n_unfinished += n_read;
        let missing = self.n_unfinished.saturating_sub(UNCOUNTED_BYTES + self.n_taken);
        if missing > 0 {
            let more = missing.next_multiple_of(STEP_BYTES);
            let permit = self.share.budget.try_take(&self.share.organization, more);
            self.permits.push(permit.ok_or(io::ErrorKind::OutOfMemory)?);
            self.n_taken += more;
        }
        Ok(())
    }
}

impl ReadFilter for FrameMemory {
    fn after_read(&mut self, buf: &mut ReadBuf<'_>, n_before: usize) -> io::Result<()> {
        self.count(buf.filled().len() - n_before)
    }
}

#[cfg(test)]
mod tests {
    use futures_util::{FutureExt as _, StreamExt as _};
    use tokio::io::{AsyncWriteExt as _, DuplexStream, duplex};
    use tokio::task::unconstrained;
    use tokio_tungstenite::WebSocketStream;
    use tokio_tungstenite::tungstenite;
    use tokio_tungstenite::tungstenite::protocol::Role;

    use super::*;
    use crate::connections::read_filter::Filtered;

    const MIB: usize = 1024 * 1024;

    type Socket = WebSocketStream<Filtered<DuplexStream, FrameMemory>>;

    fn budget(n_bytes: usize) -> Arc<MemoryBudget> {
        Arc::new(MemoryBudget::of(n_bytes))
    }

    async fn socket(budget: &Arc<MemoryBudget>, organization: &str) -> (Socket, DuplexStream) {
        let (ours, theirs) = duplex(16 * MIB);
        let filter = FrameMemory::new(FrameShare {
            budget: Arc::clone(budget),
            organization: OrganizationId::new(organization),
        });
        let stream = Filtered { stream: ours, filter };
        (
            WebSocketStream::from_raw_socket(stream, Role::Client, None).await,
            theirs,
        )
    }

    /// The first `n_sent` bytes of a server's message of `n_bytes`.
    fn beginning(first_byte: u8, n_bytes: usize, n_sent: usize) -> Vec<u8> {
        let mut frame = vec![first_byte, 127];
        frame.extend((n_bytes as u64).to_be_bytes());
        frame.resize(frame.len() + n_sent, b'x');
        frame
    }

    /// Reads what is there. `None` while the message is unfinished.
    fn read(socket: &mut Socket) -> Option<Result<Message, tungstenite::Error>> {
        let message = unconstrained(socket.next()).now_or_never()?.unwrap();
        if let Ok(message) = &message {
            socket.get_mut().filter.finished(message);
        }
        Some(message)
    }

    #[track_caller]
    fn is_refused(read: Option<Result<Message, tungstenite::Error>>) {
        let Some(Err(tungstenite::Error::Io(error))) = read else {
            panic!("{read:?}")
        };
        assert_eq!(error.kind(), io::ErrorKind::OutOfMemory);
    }

    #[tokio::test]
    async fn unfinished_messages_of_an_organization_take_no_more_than_its_share() {
        let budget = budget(8 * MIB);
        let mut held = Vec::new();
        for _ in 0..3 {
            let (mut socket, mut server) = socket(&budget, "greedy").await;
            server.write_all(&beginning(0x82, 4 * MIB, MIB)).await.unwrap();
            assert!(read(&mut socket).is_none());
            held.push((socket, server));
        }
        let (mut greedy, mut server) = socket(&budget, "greedy").await;
        server.write_all(&beginning(0x82, 4 * MIB, 3 * MIB)).await.unwrap();
        is_refused(read(&mut greedy));
        let (mut modest, mut server) = socket(&budget, "modest").await;
        server.write_all(&beginning(0x82, 3 * MIB, 3 * MIB)).await.unwrap();
        assert_eq!(read(&mut modest).unwrap().unwrap().len(), 3 * MIB);
        // A message that is complete, and a socket that is closed, give their memory back.
        server.write_all(&beginning(0x82, 3 * MIB, 3 * MIB)).await.unwrap();
        assert_eq!(read(&mut modest).unwrap().unwrap().len(), 3 * MIB);
        drop((held, greedy));
        let (mut again, mut server) = socket(&budget, "greedy").await;
        server.write_all(&beginning(0x82, 3 * MIB, 3 * MIB)).await.unwrap();
        assert_eq!(read(&mut again).unwrap().unwrap().len(), 3 * MIB);
    }

    #[tokio::test]
    async fn control_frames_hide_no_part_of_a_message_and_take_nothing() {
        let budget = budget(2 * MIB);
        let (mut socket, mut server) = socket(&budget, "acme").await;
        let ping = [0x89, 4, b'p', b'i', b'n', b'g'];
        for _ in 0..100_000 {
            server.write_all(&ping).await.unwrap();
            assert!(read(&mut socket).unwrap().unwrap().is_ping());
        }
        // Fragments of a message that never ends.
        let piece = 200 * 1024;
        for n in 0_u8..4 {
            let first_byte = if n == 0 { 0x02 } else { 0x00 };
            server.write_all(&beginning(first_byte, piece, piece)).await.unwrap();
            server.write_all(&ping).await.unwrap();
            assert!(read(&mut socket).unwrap().unwrap().is_ping());
        }
        server.write_all(&beginning(0x00, 2 * piece, 2 * piece)).await.unwrap();
        is_refused(read(&mut socket));
    }
}
