//! State of all queues of one engine: ready queues in memory and rows on disk, kept consistent.
//!
//! Owned by the writer's thread. Every change is made to both at once and becomes durable with the next commit; after a disk error
//! both are read again from the last commit.

use std::collections::{BTreeMap, HashMap};

use super::dedup::Memory;
use super::disk::{Disk, QueueRow};
use super::error::Refusal;
use super::move_task::MoveTask;
use super::ready_queue::{ReadyQueue, Seq};
use super::settings::Settings;

/// Sequence numbers are reserved on disk this many at a time; a crash skips at most as many.
const NUMBERS_AHEAD: i64 = 10_000;
const NUMBER_COUNTER: &str = "seq";

pub(super) struct EngineState {
    pub(super) disk: Disk,
    pub(super) queues: BTreeMap<i64, Queue>,
    pub(super) names: HashMap<String, i64>,
    pub(super) memory: Memory,
    pub(super) moves: Vec<MoveTask>,
    next_seq: Seq,
    seq_limit: Seq,
}

pub(super) struct Queue {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) settings: Settings,
    pub(super) ready_queue: ReadyQueue,
    pub(super) created_ms: i64,
    pub(super) modified_ms: i64,
    pub(super) purged_ms: Option<i64>,
}

/// Why a request failed.
#[derive(Debug)]
pub(super) enum Failure {
    /// The request was invalid; nothing changed.
    Refused(Refusal),
    /// The disk failed; every other change since the last commit must be rolled back.
    Disk(rusqlite::Error),
}

impl From<Refusal> for Failure {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<rusqlite::Error> for Failure {
    fn from(error: rusqlite::Error) -> Self {
        Self::Disk(error)
    }
}

pub(super) type Outcome<T> = Result<T, Failure>;

impl EngineState {
    /// Reads the whole state from `disk`.
    pub(super) fn read(disk: Disk) -> rusqlite::Result<Self> {
        let mut state = Self {
            disk,
            queues: BTreeMap::new(),
            names: HashMap::new(),
            memory: Memory::default(),
            moves: Vec::new(),
            next_seq: 0,
            seq_limit: 0,
        };
        state.fill()?;
        Ok(state)
    }

    /// Discards everything since the last commit, after a disk error.
    pub(super) fn start_over(&mut self) -> rusqlite::Result<()> {
        self.disk.roll_back()?;
        self.queues.clear();
        self.names.clear();
        self.memory = Memory::default();
        self.fill()
    }

    fn fill(&mut self) -> rusqlite::Result<()> {
        self.next_seq = self.disk.counter(NUMBER_COUNTER)?.unwrap_or(1);
        self.seq_limit = self.next_seq;
        for row in self.disk.queues()? {
            self.open_queue(row)?;
        }
        for slot in self.disk.slots()? {
            if let Some(queue) = self.queues.get_mut(&slot.queue) {
                queue.ready_queue.add(slot.seq, slot.entry);
            }
        }
        for (key, original) in self.disk.originals()? {
            self.memory.remember(key, original);
        }
        Ok(())
    }

    fn open_queue(&mut self, row: QueueRow) -> rusqlite::Result<()> {
        // Written by this program only, after the same validation.
        let unreadable = || rusqlite::Error::InvalidColumnName(format!("attributes of queue {}", row.name));
        let set = serde_json::from_str(&row.attributes).map_err(|_| unreadable())?;
        let settings = Settings::read(&row.name, set).map_err(|_| unreadable())?;
        self.put_queue(Queue {
            id: row.id,
            name: row.name,
            ready_queue: ReadyQueue::new(settings.order),
            settings,
            created_ms: row.created_ms,
            modified_ms: row.modified_ms,
            purged_ms: None,
        });
        Ok(())
    }

    pub(super) fn put_queue(&mut self, queue: Queue) {
        self.names.insert(queue.name.clone(), queue.id);
        self.queues.insert(queue.id, queue);
    }

    /// The id of the queue called `name`.
    pub(super) fn id(&self, name: &str) -> Result<i64, Refusal> {
        self.names.get(name).copied().ok_or_else(Refusal::no_queue)
    }

    pub(super) fn queue(&mut self, name: &str) -> Result<&mut Queue, Refusal> {
        let id = self.id(name)?;
        self.queues.get_mut(&id).ok_or_else(Refusal::no_queue)
    }

    /// A number greater than all earlier ones, also across restarts.
    pub(super) fn next_seq(&mut self) -> rusqlite::Result<Seq> {
        if self.next_seq == self.seq_limit {
            self.disk.set_counter(NUMBER_COUNTER, self.seq_limit + NUMBERS_AHEAD)?;
            self.seq_limit += NUMBERS_AHEAD;
        }
        self.next_seq += 1;
        Ok(self.next_seq - 1)
    }

    /// Drops what has expired: messages past their retention, deduplication ids past their window.
    pub(super) fn tidy(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        if let Some(last) = self.memory.forget(now_ms) {
            self.disk.forget(last)?;
        }
        for queue in self.queues.values_mut() {
            let cutoff_ms = now_ms - queue.settings.retention_s * 1_000;
            for seq in queue.ready_queue.expire(cutoff_ms) {
                self.disk.remove_message(seq)?;
            }
        }
        Ok(())
    }
}

/// Sixteen random bytes, from a cryptographic source.
pub(super) fn random_bytes() -> [u8; 16] {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).expect("the operating system gives random bytes");
    bytes
}

/// A message id, in the form of a UUID of version 4.
pub(super) fn new_message_id() -> [u8; 16] {
    *uuid::Builder::from_random_bytes(random_bytes()).into_uuid().as_bytes()
}

pub(super) fn spell_message_id(id: [u8; 16]) -> String {
    uuid::Uuid::from_bytes(id).to_string()
}

/// A sequence number in SQS's format, twenty digits.
pub(super) fn spell_seq(seq: Seq) -> String {
    format!("{seq:020}")
}
