//! The lists of bots that want a connection, by virtual shard.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::time::Duration;

use futures_util::stream::{self, StreamExt as _};
use tieline_core::ids::IntegrationId;
use tieline_core::virtual_shard::{VirtualShard, shard_of};
use tieline_store::config::desired_connections::{self, Changes, Live};
use tieline_store::{Store, StoreError};
use tokio::time::Instant;

/// How often a list is read although no change of it was counted, and how much more rarely per bot of this process: each list costs a read,
/// even an empty one.
const BACKSTOP: Duration = Duration::from_secs(300);
const BACKSTOP_OF_BOT: Duration = Duration::from_millis(50);
/// Lists that are read concurrently.
const READS_AT_ONCE: usize = 8;

/// Bots that want a connection, of the shards that this process holds, by virtual shard.
#[derive(Debug)]
pub(super) struct DesiredBots {
    n_shards: usize,
    lists: BTreeMap<VirtualShard, List>,
    /// The change counters, as last read.
    changes: Changes,
    /// Shards of which a list was read since the last [`DesiredBots::take_read`].
    read: BTreeSet<usize>,
}

/// Bots of a virtual shard, as last read.
#[derive(Debug)]
struct List {
    bots: HashMap<IntegrationId, Live>,
    state: ListState,
    read_at: Instant,
}

/// The list that was read, and its change counter before that read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ListState {
    /// The virtual shard's own list.
    Own(u64),
    /// The whole list, because the lists of the virtual shards are incomplete.
    Whole(u64),
}

impl ListState {
    fn of(changes: &Changes, shard: VirtualShard) -> Self {
        if changes.are_lists_complete() {
            Self::Own(changes.of(shard))
        } else {
            Self::Whole(changes.total())
        }
    }
}

impl DesiredBots {
    /// No list has been read yet.
    pub(super) fn new(n_shards: usize) -> Self {
        Self {
            n_shards,
            lists: BTreeMap::new(),
            changes: Changes::default(),
            read: BTreeSet::new(),
        }
    }

    /// Whether all lists of a shard were read.
    pub(super) fn is_known(&self, shard: usize) -> bool {
        VirtualShard::of_relay_shard(shard, self.n_shards).all(|one| self.lists.contains_key(&one))
    }

    /// The bots of a shard. `None` until all its lists were read.
    pub(super) fn of(&self, shard: usize) -> Option<HashMap<&IntegrationId, &Live>> {
        let mut bots = HashMap::new();
        for one in VirtualShard::of_relay_shard(shard, self.n_shards) {
            bots.extend(&self.lists.get(&one)?.bots);
        }
        Some(bots)
    }

    /// Shards of which a list was read since the last call.
    pub(super) fn take_read(&mut self) -> BTreeSet<usize> {
        std::mem::take(&mut self.read)
    }

    /// Reads the lists of these shards again that may have changed. If the future is dropped, the lists already read are kept.
    ///
    /// # Errors
    /// [`StoreError`] of the first list that can't be read; that list stays as it was, and the others are still read.
    pub(super) async fn refresh(&mut self, store: &Store, shards: &BTreeSet<usize>) -> Result<(), StoreError> {
        let n_shards = self.n_shards;
        // Lists of other shards are dropped, since they are no longer updated.
        self.lists.retain(|one, _| shards.contains(&one.relay_shard(n_shards)));
        // Read before the lists, so that a change between the two is seen next time.
        if desired_connections::totals(store).await? != self.changes.totals() {
            self.changes = desired_connections::changes(store).await?;
        }
        let old = self.outdated(shards);
        if old.is_empty() {
            return Ok(());
        }
        if self.changes.are_lists_complete() {
            self.read_own(store, old).await
        } else {
            self.read_whole(store, shards).await
        }
    }

    /// Virtual shards whose list may have changed since it was read.
    fn outdated(&self, shards: &BTreeSet<usize>) -> Vec<VirtualShard> {
        let n_bots: usize = self.lists.values().map(|list| list.bots.len()).sum();
        let backstop = BACKSTOP.max(BACKSTOP_OF_BOT.saturating_mul(u32::try_from(n_bots).unwrap_or(u32::MAX)));
        let is_current = |one: &VirtualShard| {
            let list = self.lists.get(one);
            list.is_some_and(|list| {
                list.state == ListState::of(&self.changes, *one) && list.read_at.elapsed() < backstop
            })
        };
        let of_shards = shards
            .iter()
            .flat_map(|shard| VirtualShard::of_relay_shard(*shard, self.n_shards));
        of_shards.filter(|one| !is_current(one)).collect()
    }

    async fn read_own(&mut self, store: &Store, old: Vec<VirtualShard>) -> Result<(), StoreError> {
        let reads = old
            .into_iter()
            .map(async |one| (one, desired_connections::of_shard(store, one).await));
        let mut reads = stream::iter(reads).buffer_unordered(READS_AT_ONCE);
        let mut failed = None;
        while let Some((one, found)) = reads.next().await {
            match found {
                Ok(bots) => self.keep(one, bots),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    async fn read_whole(&mut self, store: &Store, shards: &BTreeSet<usize>) -> Result<(), StoreError> {
        let mut found: BTreeMap<VirtualShard, Vec<Live>> = BTreeMap::new();
        for live in desired_connections::whole(store).await? {
            if shards.contains(&shard_of(&live.integration, self.n_shards)) {
                found.entry(VirtualShard::of(&live.integration)).or_default().push(live);
            }
        }
        for shard in shards {
            for one in VirtualShard::of_relay_shard(*shard, self.n_shards) {
                let bots = found.remove(&one).unwrap_or_default();
                self.keep(one, bots);
            }
        }
        Ok(())
    }

    fn keep(&mut self, one: VirtualShard, bots: Vec<Live>) {
        let state = ListState::of(&self.changes, one);
        let bots = bots.into_iter().map(|live| (live.integration.clone(), live)).collect();
        let read_at = Instant::now();
        self.lists.insert(one, List { bots, state, read_at });
        self.read.insert(one.relay_shard(self.n_shards));
    }
}
