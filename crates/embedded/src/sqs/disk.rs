//! The queues on disk: SQLite tables and every statement on them.
//!
//! `message` holds sent messages; each row is written once. `slot` holds each message's state, a short row that changes with each
//! delivery and from which the ready queues are rebuilt. This module makes no decisions.

use std::path::Path;
use std::time::Duration;

use rusqlite::{Connection, OptionalExtension as _, Row, params};

use super::dedup;
use super::new_message::{Draft, MAX_DELAY_S};
use super::ready_queue::{Entry, Seq, Visibility};
use crate::Durability;

const SCHEMA_VERSION: i64 = 1;
const SCHEMA: &str = "
    CREATE TABLE queue (
        id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, attributes TEXT NOT NULL,
        created_ms INTEGER NOT NULL, modified_ms INTEGER NOT NULL);
    CREATE TABLE slot (
        seq INTEGER PRIMARY KEY, queue INTEGER NOT NULL, grp TEXT, source INTEGER, sent_ms INTEGER NOT NULL,
        visible_ms INTEGER NOT NULL, since_ms INTEGER NOT NULL, count INTEGER NOT NULL, nonce INTEGER NOT NULL,
        first_ms INTEGER NOT NULL);
    CREATE TABLE message (
        seq INTEGER PRIMARY KEY, id BLOB NOT NULL, dedup_id TEXT, attributes TEXT, system TEXT, body TEXT NOT NULL);
    CREATE TABLE dedup (seq INTEGER PRIMARY KEY, key BLOB NOT NULL, message BLOB NOT NULL, expires_ms INTEGER NOT NULL);
    CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;";

/// How long opening waits for another engine to close the file: one that was just dropped may still be closing.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// WAL pages (4 KiB each) between two checkpoints. Few, large checkpoints: each costs a sync.
const CHECKPOINT_PAGES: i64 = 4_000;

pub(super) struct Disk {
    conn: Connection,
    writing: bool,
}

pub(super) struct QueueRow {
    pub(super) id: i64,
    pub(super) name: String,
    pub(super) attributes: String,
    pub(super) created_ms: i64,
    pub(super) modified_ms: i64,
}

pub(super) struct SlotRow {
    pub(super) seq: Seq,
    pub(super) queue: i64,
    pub(super) entry: Entry,
}

/// A message as it was sent.
#[derive(Debug)]
pub(super) struct MessageRow {
    pub(super) id: [u8; 16],
    pub(super) dedup_id: Option<String>,
    pub(super) attributes: Option<String>,
    pub(super) system: Option<String>,
    pub(super) body: String,
    /// The queue it was dead-lettered from.
    pub(super) source: Option<i64>,
}

impl Disk {
    /// Opens the file exclusively; `None` keeps everything in memory.
    pub(super) fn open(path: Option<&Path>, durability: Durability) -> rusqlite::Result<Self> {
        let conn = match path {
            Some(path) => Connection::open(path)?,
            None => Connection::open_in_memory()?,
        };
        conn.busy_timeout(OPEN_PATIENCE)?;
        conn.set_prepared_statement_cache_capacity(64);
        // The in-memory queues are correct only while there is no other writer.
        conn.pragma_update(None, "locking_mode", "EXCLUSIVE")?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        let synchronous = match durability {
            Durability::ProcessCrash => "NORMAL",
            Durability::PowerLoss => "FULL",
        };
        conn.pragma_update(None, "synchronous", synchronous)?;
        conn.pragma_update(None, "wal_autocheckpoint", CHECKPOINT_PAGES)?;
        let mut disk = Self { conn, writing: false };
        disk.prepare_schema()?;
        Ok(disk)
    }

    fn prepare_schema(&mut self) -> rusqlite::Result<()> {
        // Locks the file even if there are no tables to create.
        self.conn.execute_batch("BEGIN EXCLUSIVE")?;
        self.writing = true;
        let version: i64 = self.conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        if version == 0 {
            self.conn.execute_batch(SCHEMA)?;
            self.conn.pragma_update(None, "user_version", SCHEMA_VERSION)?;
        }
        self.commit()
    }

    /// The schema version of the file, and the one that this code reads and writes.
    pub(super) fn versions(&self) -> rusqlite::Result<(i64, i64)> {
        let found = self.conn.query_row("PRAGMA user_version", [], |r| r.get(0))?;
        Ok((found, SCHEMA_VERSION))
    }

    /// Makes everything since the last commit durable.
    pub(super) fn commit(&mut self) -> rusqlite::Result<()> {
        if self.writing {
            self.conn.prepare_cached("COMMIT")?.execute([])?;
            self.writing = false;
        }
        Ok(())
    }

    /// Discards everything since the last commit.
    pub(super) fn roll_back(&mut self) -> rusqlite::Result<()> {
        self.writing = false;
        // SQLite rolls back by itself on some errors; then there is nothing left to do.
        if self.conn.is_autocommit() {
            return Ok(());
        }
        self.conn.execute_batch("ROLLBACK")
    }

    /// Limits the file's growth to `n_pages` from now on, until the next call: simulates a full disk.
    #[cfg(test)]
    pub(super) fn leave_room(&self, n_pages: i64) {
        let count = |sql: &str| self.conn.query_row(sql, [], |row| row.get::<_, i64>(0));
        let n_used = count("PRAGMA page_count").expect("the file is open");
        let limit = format!("PRAGMA max_page_count = {}", n_used + n_pages);
        count(&limit).expect("the file is open");
    }

    fn write(&mut self, sql: &str, params: impl rusqlite::Params) -> rusqlite::Result<usize> {
        if !self.writing {
            self.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            self.writing = true;
        }
        self.conn.prepare_cached(sql)?.execute(params)
    }

    fn all<T>(&self, sql: &str, read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>) -> rusqlite::Result<Vec<T>> {
        self.conn.prepare(sql)?.query_map([], read)?.collect()
    }

    pub(super) fn queues(&self) -> rusqlite::Result<Vec<QueueRow>> {
        let sql = "SELECT id, name, attributes, created_ms, modified_ms FROM queue";
        self.all(sql, |row| {
            Ok(QueueRow {
                id: row.get(0)?,
                name: row.get(1)?,
                attributes: row.get(2)?,
                created_ms: row.get(3)?,
                modified_ms: row.get(4)?,
            })
        })
    }

    /// Makes every received message visible again. Their receive counts stay.
    pub(super) fn end_deliveries(&mut self) -> rusqlite::Result<()> {
        self.write("UPDATE slot SET visible_ms = 0, since_ms = 0 WHERE since_ms > 0", [])?;
        self.commit()
    }

    /// Shortens the delays that end later than is possible at `now_ms`: the clock of the process that wrote them was ahead.
    pub(super) fn shorten_delays(&mut self, now_ms: i64) -> rusqlite::Result<()> {
        let latest_ms = now_ms.saturating_add(1000 * MAX_DELAY_S);
        self.write(
            "UPDATE slot SET visible_ms = ?1 WHERE since_ms = 0 AND visible_ms > ?2",
            [now_ms, latest_ms],
        )?;
        self.commit()
    }

    /// The state of every message, oldest first.
    pub(super) fn slots(&self) -> rusqlite::Result<Vec<SlotRow>> {
        let sql =
            "SELECT seq, queue, grp, sent_ms, visible_ms, since_ms, count, nonce, first_ms FROM slot ORDER BY seq";
        self.all(sql, |row| {
            let (until_ms, since_ms) = (row.get(4)?, row.get(5)?);
            let visibility = match (until_ms, since_ms) {
                (0, _) => Visibility::Ready,
                (until_ms, 0) => Visibility::Delayed { until_ms },
                (until_ms, since_ms) => Visibility::InFlight { since_ms, until_ms },
            };
            let entry = Entry {
                group: row.get::<_, Option<String>>(2)?.map(Into::into),
                sent_ms: row.get(3)?,
                count: row.get(6)?,
                nonce: row.get(7)?,
                first_ms: row.get(8)?,
                visibility,
            };
            Ok(SlotRow {
                seq: row.get(0)?,
                queue: row.get(1)?,
                entry,
            })
        })
    }

    pub(super) fn originals(&self) -> rusqlite::Result<Vec<(dedup::Key, dedup::Original)>> {
        let sql = "SELECT key, message, seq, expires_ms FROM dedup ORDER BY seq";
        self.all(sql, |row| {
            let original = dedup::Original {
                message: row.get(1)?,
                seq: row.get(2)?,
                expires_ms: row.get(3)?,
            };
            Ok((dedup::Key(row.get(0)?), original))
        })
    }

    pub(super) fn counter(&self, name: &str) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT value FROM counter WHERE name = ?1";
        self.conn.query_row(sql, [name], |row| row.get(0)).optional()
    }

    pub(super) fn set_counter(&mut self, name: &str, value: i64) -> rusqlite::Result<()> {
        let sql = "INSERT INTO counter VALUES (?1, ?2) ON CONFLICT DO UPDATE SET value = excluded.value";
        self.write(sql, params![name, value]).map(drop)
    }

    pub(super) fn add_queue(&mut self, name: &str, attributes: &str, now_ms: i64) -> rusqlite::Result<i64> {
        let sql = "INSERT INTO queue (name, attributes, created_ms, modified_ms) VALUES (?1, ?2, ?3, ?3)";
        self.write(sql, params![name, attributes, now_ms])?;
        Ok(self.conn.last_insert_rowid())
    }

    pub(super) fn set_queue(&mut self, id: i64, attributes: &str, now_ms: i64) -> rusqlite::Result<()> {
        let sql = "UPDATE queue SET attributes = ?2, modified_ms = ?3 WHERE id = ?1";
        self.write(sql, params![id, attributes, now_ms]).map(drop)
    }

    pub(super) fn remove_queue(&mut self, id: i64) -> rusqlite::Result<()> {
        self.clear_queue(id)?;
        self.write("DELETE FROM queue WHERE id = ?1", [id]).map(drop)
    }

    /// Removes every message of a queue. Scans all slots, since a purge is rare.
    pub(super) fn clear_queue(&mut self, id: i64) -> rusqlite::Result<()> {
        let sql = "DELETE FROM message WHERE seq IN (SELECT seq FROM slot WHERE queue = ?1)";
        self.write(sql, [id])?;
        self.write("DELETE FROM slot WHERE queue = ?1", [id]).map(drop)
    }

    pub(super) fn add_message(&mut self, seq: Seq, id: [u8; 16], draft: &Draft) -> rusqlite::Result<()> {
        let sql = "INSERT INTO message (seq, id, dedup_id, attributes, system, body) VALUES (?1, ?2, ?3, ?4, ?5, ?6)";
        let Draft {
            dedup_id,
            attributes,
            system,
            body,
            ..
        } = draft;
        self.write(sql, params![seq, id, dedup_id, attributes, system, body])
            .map(drop)
    }

    /// Writes a message's state, new or changed.
    pub(super) fn put_slot(
        &mut self,
        seq: Seq,
        queue: i64,
        source: Option<i64>,
        entry: &Entry,
    ) -> rusqlite::Result<()> {
        let sql = "INSERT OR REPLACE INTO slot
            (seq, queue, grp, source, sent_ms, visible_ms, since_ms, count, nonce, first_ms)
            VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)";
        let (until_ms, since_ms) = times(entry.visibility);
        let group = entry.group.as_deref();
        let Entry {
            sent_ms,
            count,
            nonce,
            first_ms,
            ..
        } = entry;
        self.write(
            sql,
            params![
                seq, queue, group, source, sent_ms, until_ms, since_ms, count, nonce, first_ms
            ],
        )
        .map(drop)
    }

    /// Updates the columns of a slot that a delivery changes, and no others.
    pub(super) fn set_delivery(&mut self, seq: Seq, entry: &Entry) -> rusqlite::Result<()> {
        let sql =
            "UPDATE slot SET visible_ms = ?2, since_ms = ?3, count = ?4, nonce = ?5, first_ms = ?6 WHERE seq = ?1";
        let (until_ms, since_ms) = times(entry.visibility);
        self.write(
            sql,
            params![seq, until_ms, since_ms, entry.count, entry.nonce, entry.first_ms],
        )
        .map(drop)
    }

    pub(super) fn message(&self, seq: Seq) -> rusqlite::Result<MessageRow> {
        let sql =
            "SELECT id, dedup_id, attributes, system, body, source FROM message JOIN slot USING (seq) WHERE seq = ?1";
        self.conn.prepare_cached(sql)?.query_row([seq], |row| {
            Ok(MessageRow {
                id: row.get(0)?,
                dedup_id: row.get(1)?,
                attributes: row.get(2)?,
                system: row.get(3)?,
                body: row.get(4)?,
                source: row.get(5)?,
            })
        })
    }

    pub(super) fn source(&self, seq: Seq) -> rusqlite::Result<Option<i64>> {
        let sql = "SELECT source FROM slot WHERE seq = ?1";
        self.conn.prepare_cached(sql)?.query_row([seq], |row| row.get(0))
    }

    pub(super) fn remove_message(&mut self, seq: Seq) -> rusqlite::Result<()> {
        self.write("DELETE FROM slot WHERE seq = ?1", [seq])?;
        self.write("DELETE FROM message WHERE seq = ?1", [seq]).map(drop)
    }

    /// Gives a message a new number and id: to SQS, a redriven message is a new one.
    pub(super) fn renumber(&mut self, from: Seq, to: Seq, id: [u8; 16]) -> rusqlite::Result<()> {
        self.write(
            "UPDATE message SET seq = ?2, id = ?3 WHERE seq = ?1",
            params![from, to, id],
        )?;
        self.write("DELETE FROM slot WHERE seq = ?1", [from]).map(drop)
    }

    pub(super) fn remember(&mut self, key: dedup::Key, original: dedup::Original) -> rusqlite::Result<()> {
        let sql = "INSERT INTO dedup (key, message, seq, expires_ms) VALUES (?1, ?2, ?3, ?4)";
        let dedup::Original {
            message,
            seq,
            expires_ms,
        } = original;
        self.write(sql, params![key.0, message, seq, expires_ms]).map(drop)
    }

    pub(super) fn forget(&mut self, last: Seq) -> rusqlite::Result<()> {
        self.write("DELETE FROM dedup WHERE seq <= ?1", [last]).map(drop)
    }
}

/// The columns `visible_ms` and `since_ms`.
fn times(visibility: Visibility) -> (i64, i64) {
    match visibility {
        Visibility::Ready => (0, 0),
        Visibility::Delayed { until_ms } => (until_ms, 0),
        Visibility::InFlight { since_ms, until_ms } => (until_ms, since_ms),
    }
}
