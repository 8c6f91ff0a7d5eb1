//! Data keys as files in the data directory: a wrapped key is the name of its file.

use std::path::PathBuf;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tieline_store::data_keys::{DataKeyError, KeyMaker, KeyOpener};
use tracing::error;

use crate::data;

/// Data keys in the files of a directory.
#[derive(Debug)]
pub(crate) struct KeyFiles {
    dir: PathBuf,
}

impl KeyFiles {
    pub(crate) const fn new(dir: PathBuf) -> Self {
        Self { dir }
    }
}

impl KeyOpener for KeyFiles {
    fn unwrap<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<[u8; 32], DataKeyError>> {
        let key = data::read_key(&self.dir, &String::from_utf8_lossy(wrapped));
        async { key.map_err(|error| failure(&error)) }.boxed()
    }
}

impl KeyMaker for KeyFiles {
    fn make(&self, is_first: bool) -> BoxFuture<'_, Result<Vec<u8>, DataKeyError>> {
        let made = match is_first {
            true => data::master_key(&self.dir).map(|_| data::MASTER_KEY.to_owned()),
            false => data::make_key(&self.dir),
        };
        async { made.map(String::into_bytes).map_err(|error| failure(&error)) }.boxed()
    }

    fn destroy<'a>(&'a self, wrapped: &'a [u8]) -> BoxFuture<'a, Result<(), DataKeyError>> {
        let deleted = data::delete_key(&self.dir, &String::from_utf8_lossy(wrapped));
        async { deleted.map_err(|error| failure(&error)) }.boxed()
    }

    /// No delay: there is no other process that must learn of the key first.
    fn delay(&self) -> Duration {
        Duration::ZERO
    }
}

fn failure(error: &anyhow::Error) -> DataKeyError {
    error!(error = format!("{error:#}"), "a data key's file can't be used");
    DataKeyError::Wrapper {
        code: format!("{error:#}"),
        may_pass: false,
    }
}
