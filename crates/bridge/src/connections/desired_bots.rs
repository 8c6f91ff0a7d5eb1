//! Which bots want a connection.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use tieline_core::ids::IntegrationId;
use tieline_core::virtual_shard::shard_of;
use tieline_store::config::desired_connections::{self, Live};
use tieline_store::{Store, StoreError};
use tokio::time::Instant;

/// How often the whole list is read although no change was announced, and how much more rarely for each bot of it: reading many is work,
/// and costs what it reads.
const BACKSTOP: Duration = Duration::from_secs(60);
const BACKSTOP_OF_BOT: Duration = Duration::from_millis(50);
/// Entries of one page.
const PAGE: usize = 1000;

/// The bots that want a connection, by shard.
#[derive(Debug, Default)]
pub(super) struct DesiredBots {
    shards: BTreeMap<usize, HashMap<IntegrationId, Live>>,
    changes: Option<u64>,
    read_at: Option<Instant>,
}

impl DesiredBots {
    /// The bots of a shard. `None` while nothing is known yet.
    pub(super) fn of(&self, shard: usize) -> Option<&HashMap<IntegrationId, Live>> {
        static NONE: std::sync::LazyLock<HashMap<IntegrationId, Live>> = std::sync::LazyLock::new(HashMap::new);
        self.read_at?;
        Some(self.shards.get(&shard).unwrap_or(&NONE))
    }

    /// Reads the list again, if it may be another.
    ///
    /// # Errors
    /// [`StoreError`]; the list stays as it was.
    pub(super) async fn refresh(&mut self, store: &Store, n_shards: usize) -> Result<bool, StoreError> {
        // Before the list, so that a change between the two is seen next time.
        let changes = desired_connections::changes(store).await?;
        let n_bots: usize = self.shards.values().map(HashMap::len).sum();
        let backstop = BACKSTOP.max(BACKSTOP_OF_BOT.saturating_mul(u32::try_from(n_bots).unwrap_or(u32::MAX)));
        let recent = self.read_at.is_some_and(|at| at.elapsed() < backstop);
        if recent && self.changes == Some(changes) {
            return Ok(false);
        }
        let mut shards: BTreeMap<usize, HashMap<IntegrationId, Live>> = BTreeMap::new();
        let mut cursor = None;
        loop {
            let page = desired_connections::list(store, cursor.as_deref(), PAGE).await?;
            for live in page.items {
                let shard = shards.entry(shard_of(&live.integration, n_shards)).or_default();
                shard.insert(live.integration.clone(), live);
            }
            cursor = page.cursor;
            if cursor.is_none() {
                break;
            }
        }
        self.shards = shards;
        self.changes = Some(changes);
        self.read_at = Some(Instant::now());
        Ok(true)
    }
}
