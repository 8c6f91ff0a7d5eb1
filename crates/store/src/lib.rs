//! The tables: typed items and the conditional writes that keep the guarantees, over the DynamoDB API.
//!
//! One module for each kind of item. Every write that could undo another writer's is conditional, nearly every one is a single
//! item, and a failed condition is [`StoreError::Conflict`]: read and decide again. Every read compares the expiry with `now`,
//! for the table deletes expired items at any later time.

mod batch;
mod client;
mod dynamo;
mod error;
mod item;
mod keyring;
mod page;
mod reseal;
mod sealed_blob;
mod tables;
mod update;

pub mod audit;
pub mod config;

pub mod conversation;
pub mod data_keys;
pub mod deadletter;
pub mod ended_session;
pub mod erase;
pub mod file;
pub mod first_poll;
pub mod idempotency;
pub mod leases;
pub mod log;
pub mod login;
pub mod message;
pub mod message_rate;
pub mod moved_chat;
pub mod notifications;
pub mod overheard;
pub mod pairing;
pub mod poll_cursor;
pub mod quota;
pub mod relay_answers;
pub mod reply;
pub mod rotation;
pub mod run;
pub mod run_slots;
pub mod scheduled;
pub mod status;
pub mod token_cache;
pub mod transcript;

pub use client::{DirectCall, DirectTables, TableClient};
pub use error::{StoreError, unavailable_count};
pub use keyring::Keyring;
pub use page::Page;
pub use tables::{DEFINITIONS, IndexDefinition, TableDefinition, Tables, create_missing};

use std::sync::Arc;

/// The tables, and the keys for sealed values. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Store {
    pub(crate) dynamo: TableClient,
    pub(crate) tables: Arc<Tables>,
    pub(crate) keyring: Keyring,
    /// The source of the keys. `None`: they were configured.
    pub(crate) key_source: Option<Arc<data_keys::Source>>,
    pub(crate) recent: Arc<config::Recent>,
    /// The audit trail that the next transaction writes.
    pub(crate) trail: Option<Arc<audit::Trail>>,
}

impl Store {
    /// A store over these tables, with keys that can't be rotated.
    #[must_use]
    pub fn new(client: impl Into<TableClient>, tables: Tables, keyring: Keyring) -> Self {
        Self::with(client.into(), tables, keyring, None)
    }

    fn with(client: TableClient, tables: Tables, keyring: Keyring, key_source: Option<data_keys::Source>) -> Self {
        Self {
            dynamo: client,
            tables: Arc::new(tables),
            keyring,
            key_source: key_source.map(Arc::new),
            recent: Arc::default(),
            trail: None,
        }
    }

    /// The keys, for values sealed outside the tables.
    #[must_use]
    pub const fn keyring(&self) -> &Keyring {
        &self.keyring
    }
}
