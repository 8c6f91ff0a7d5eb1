//! A file streamed to its requester in chunks, with a time limit on how long it may occupy the memory budget.

use std::time::Duration;

use bytes::Bytes;
use futures_util::{Stream, stream};
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout_at};
use tracing::warn;

/// Length of a chunk.
const PIECE_BYTES: usize = 64 * 1024;
/// Time limit for the requester to read one chunk: below 6 KiB/s the file is not worth its memory.
const PIECE_PATIENCE: Duration = Duration::from_secs(10);
/// Time limit for all chunks: 100 MiB arrive in that time over a poor line.
const PATIENCE: Duration = Duration::from_secs(10 * 60);

/// The requester didn't read the rest in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the rest of the file was not read in time")]
pub struct TooSlow;

/// Streams a file in chunks. Its memory is freed when the last chunk is read, or when a time limit expires: then the stream ends with an error.
pub fn pieces(file: Bytes) -> impl Stream<Item = Result<Bytes, TooSlow>> + Send + use<> {
    pieces_within(file, PIECE_PATIENCE, PATIENCE)
}

fn pieces_within(
    file: Bytes,
    each: Duration,
    all: Duration,
) -> impl Stream<Item = Result<Bytes, TooSlow>> + Send + use<> {
    let n_left = file.len();
    let (sender, receiver) = mpsc::channel(1);
    // In a task of its own, since a server whose client reads nothing doesn't poll for the next chunk either.
    tokio::spawn(send_chunks(file, sender, each, all));
    stream::unfold((receiver, n_left), |(mut receiver, n_left)| async move {
        match receiver.recv().await {
            Some(piece) => {
                let n_left = n_left - Bytes::len(&piece);
                Some((Ok(piece), (receiver, n_left)))
            }
            None if n_left > 0 => Some((Err(TooSlow), (receiver, 0))),
            None => None,
        }
    })
}

async fn send_chunks(file: Bytes, sender: mpsc::Sender<Bytes>, each: Duration, all: Duration) {
    let end = Instant::now() + all;
    for piece in file.chunks(PIECE_BYTES) {
        // Copied: a slice would keep the whole file in memory for as long as the chunk is in a socket's buffer.
        let piece = Bytes::copy_from_slice(piece);
        let until = end.min(Instant::now() + each);
        match timeout_at(until, sender.send(piece)).await {
            Ok(Ok(())) => {}
            // The requester has disconnected.
            Ok(Err(_)) => return,
            Err(_) => {
                warn!(
                    size_bytes = file.len(),
                    "the requester reads the file too slowly; the rest is not sent"
                );
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use futures_util::StreamExt as _;
    use tieline_core::ids::OrganizationId;

    use super::*;
    use crate::memory_budget::MemoryBudget;

    const SHORT: Duration = Duration::from_millis(50);
    const LONG: Duration = Duration::from_secs(20);
    const N_BYTES: usize = 3 * PIECE_BYTES + 1;

    fn org() -> OrganizationId {
        OrganizationId::new("acme")
    }

    async fn filled(room: &MemoryBudget) -> Bytes {
        let bytes: Vec<u8> = (0..N_BYTES).map(|at| at as u8).collect();
        room.take(&org(), N_BYTES, Duration::ZERO).await.unwrap().fill(bytes)
    }

    #[tokio::test]
    async fn chunks_join_to_the_file_and_free_its_memory_budget() {
        let room = MemoryBudget::of(N_BYTES);
        let file = filled(&room).await;
        let expected = file.to_vec();
        let given: Vec<_> = pieces(file).map(Result::unwrap).collect().await;
        assert_eq!(given.concat(), expected);
        assert!(room.take(&org(), N_BYTES, LONG).await.is_some());
        assert_eq!(pieces(Bytes::new()).count().await, 0);
    }

    #[track_caller]
    fn ends_in_an_error(given: &[Result<Bytes, TooSlow>]) {
        let (last, before) = given.split_last().unwrap();
        assert_eq!(*last, Err(TooSlow));
        assert!(before.iter().all(Result::is_ok) && before.len() < 4);
    }

    #[tokio::test]
    async fn a_requester_that_reads_nothing_frees_the_memory_budget_after_the_chunk_timeout() {
        let room = MemoryBudget::of(N_BYTES);
        let mut given = pin!(pieces_within(filled(&room).await, SHORT, LONG));
        assert!(given.next().await.unwrap().is_ok());
        assert!(room.take(&org(), N_BYTES, LONG).await.is_some());
        ends_in_an_error(&given.collect::<Vec<_>>().await);
    }

    #[tokio::test]
    async fn a_slow_requester_frees_the_memory_budget_after_the_total_timeout() {
        let room = MemoryBudget::of(N_BYTES);
        let given = pieces_within(filled(&room).await, LONG, SHORT);
        let slowly = given.then(|piece| async {
            tokio::time::sleep(2 * SHORT).await;
            piece
        });
        ends_in_an_error(&slowly.collect::<Vec<_>>().await);
        assert!(room.take(&org(), N_BYTES, LONG).await.is_some());
    }

    #[tokio::test]
    async fn a_disconnected_requester_frees_the_memory_budget() {
        let room = MemoryBudget::of(N_BYTES);
        drop(pieces(filled(&room).await));
        assert!(room.take(&org(), N_BYTES, LONG).await.is_some());
    }
}
