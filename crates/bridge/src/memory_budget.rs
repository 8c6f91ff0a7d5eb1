//! MemoryBudget in memory for bytes of strangers, so that no number of them at once ends the process.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

/// MemoryBudget is counted in these, as a semaphore counts no further than 32 bits.
const UNIT_BYTES: usize = 4 * 1024;

/// So many bytes may be held at a time. Counted are the bytes themselves, not the copies that sending them makes.
#[derive(Debug)]
pub struct MemoryBudget {
    free: Arc<Semaphore>,
    max_units: u32,
}

impl MemoryBudget {
    /// MemoryBudget for so many bytes.
    #[must_use]
    pub fn of(max_bytes: usize) -> Self {
        let max_units = units(max_bytes);
        Self {
            free: Arc::new(Semaphore::new(max_units as usize)),
            max_units,
        }
    }

    /// Takes room for `n_bytes`, which may be all there is but not more. `None` if there is none within `patience`.
    ///
    /// Permits are given in order of arrival.
    pub async fn take(&self, n_bytes: usize, patience: Duration) -> Option<MemoryPermit> {
        let n_units = units(n_bytes);
        if n_units > self.max_units {
            return None;
        }
        let waiting = Arc::clone(&self.free).acquire_many_owned(n_units);
        let permit = timeout(patience, waiting).await.ok()?.ok()?;
        Some(MemoryPermit { permit })
    }
}

/// MemoryBudget that is taken. It is free again when this, or what it was filled with, is dropped.
#[derive(Debug)]
pub struct MemoryPermit {
    permit: OwnedSemaphorePermit,
}

impl MemoryPermit {
    /// Fills it. What `bytes` don't need is given back at once.
    #[must_use]
    pub fn fill(mut self, bytes: Vec<u8>) -> Bytes {
        let unused = self.permit.num_permits().saturating_sub(units(bytes.len()) as usize);
        drop(self.permit.split(unused));
        Bytes::from_owner(Filled { bytes, _room: self })
    }
}

struct Filled {
    bytes: Vec<u8>,
    _room: MemoryPermit,
}

impl AsRef<[u8]> for Filled {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

fn units(n_bytes: usize) -> u32 {
    u32::try_from(n_bytes.div_ceil(UNIT_BYTES)).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SOON: Duration = Duration::from_millis(10);
    const MIB: usize = 1024 * 1024;

    #[tokio::test]
    async fn bytes_hold_their_room_until_the_last_of_them_is_dropped() {
        let room = MemoryBudget::of(3 * MIB);
        let filled = room.take(3 * MIB, SOON).await.unwrap().fill(vec![1; MIB]);
        assert!(room.take(3 * MIB, SOON).await.is_none());
        let rest = room.take(2 * MIB, SOON).await.unwrap();
        let copy = filled.clone();
        drop((filled, rest));
        assert!(room.take(3 * MIB, SOON).await.is_none());
        drop(copy);
        assert!(room.take(3 * MIB, SOON).await.is_some());
    }

    #[tokio::test]
    async fn more_than_there_is_at_all_is_refused_at_once() {
        let room = MemoryBudget::of(MIB);
        assert!(room.take(MIB + 1, Duration::MAX).await.is_none());
    }
}
