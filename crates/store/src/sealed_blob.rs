//! Sealed content of any length: what doesn't fit into one item continues in others.
//!
//! An item can have 400 KB, an answer 16 MiB. A body is cut at fixed lengths: whole pieces go into items of their own, the
//! rest stays in the item that it belongs to. Pieces have random names and never change, so a reader of the item finds exactly
//! the pieces that it was written with. Pieces are in partitions of their own, so that a long answer doesn't overload one. When a
//! text grows, its earlier pieces are kept and not written again. Pieces without a reference expire.

use serde::{Deserialize, Serialize};
use tieline_core::ids::fresh;
use tieline_core::timestamp::Timestamp;

use crate::dynamo::Reading;
use crate::error::StoreError;
use crate::item::{Blob, Item, expire, read, write};
use crate::{Store, batch};

/// Length of a piece. Small, because a growing text rewrites what stays in its item with every change.
const PIECE_BYTES: usize = 64 * 1024;

/// From this length on, a rest that is final is stored separately: the item that it belongs to is written more than once, and each
/// write is charged by the item's whole size.
const APART_BYTES: usize = 1536;

/// How many pieces are processed at a time: sealed copies of a whole body would take too much memory. The limit of one batch write.
const AT_ONCE: usize = 25;

const SORT: &str = "PIECE";

/// A body as stored in its item.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub(crate) struct Body {
    /// The names of the whole pieces, in order.
    #[serde(rename = "p", default, skip_serializing_if = "Vec::is_empty")]
    pieces: Vec<String>,
    /// The rest, sealed.
    #[serde(rename = "t")]
    tail: Blob,
    /// Whether the last piece is shorter than the others: then the rest is stored separately.
    #[serde(rename = "s", default, skip_serializing_if = "std::ops::Not::not")]
    has_short_piece: bool,
}

impl Body {
    /// Its least length: the sum of its whole pieces.
    pub(crate) const fn least_bytes(&self) -> usize {
        let n_whole = self.pieces.len() - self.has_short_piece as usize;
        n_whole * PIECE_BYTES
    }
}

/// An earlier version of a body that is about to be replaced: pieces with the same content are kept.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Earlier<'a> {
    /// The stored body.
    pub(crate) body: &'a Body,
    /// Length of the common prefix with the new one: [`n_same_bytes`].
    pub(crate) n_same_bytes: usize,
}

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Piece {
    #[serde(rename = "1")]
    V1 { b: Blob },
}

/// Whether a body of this length needs items of its own.
pub(crate) const fn is_long(n_bytes: usize) -> bool {
    n_bytes >= PIECE_BYTES
}

/// Length of the common prefix, in whole pieces.
pub(crate) fn n_same_bytes(one: &[u8], other: &[u8]) -> usize {
    let pieces = one.chunks_exact(PIECE_BYTES).zip(other.chunks_exact(PIECE_BYTES));
    pieces.take_while(|(one, other)| one == other).count() * PIECE_BYTES
}

/// Serializes a value as JSON; its texts have `n_bytes` together.
pub(crate) fn json(what: &'static str, value: &impl Serialize, n_bytes: usize) -> Result<Vec<u8>, StoreError> {
    // A little more than the texts. Without it a long buffer is copied each time its capacity doubles.
    let mut plain = Vec::with_capacity(n_bytes + n_bytes / 16 + 256);
    serde_json::to_writer(&mut plain, value).map_err(|_| StoreError::Unreadable { what })?;
    Ok(plain)
}

/// Seals a body and writes its whole pieces, which expire at `expires_at`. `about` is needed to open it.
pub(crate) async fn put(
    store: &Store,
    about: &str,
    plain: &[u8],
    earlier: Option<Earlier<'_>>,
    expires_at: Timestamp,
) -> Result<Body, StoreError> {
    put_cut(store, about, plain, earlier, expires_at, None).await
}

/// Like [`put`], for a final body: a long rest is a piece too, which expires at `rest_expires_at`.
pub(crate) async fn put_apart(
    store: &Store,
    about: &str,
    plain: &[u8],
    earlier: Option<Earlier<'_>>,
    (expires_at, rest_expires_at): (Timestamp, Timestamp),
) -> Result<Body, StoreError> {
    put_cut(store, about, plain, earlier, expires_at, Some(rest_expires_at)).await
}

async fn put_cut(
    store: &Store,
    about: &str,
    plain: &[u8],
    earlier: Option<Earlier<'_>>,
    expires_at: Timestamp,
    rest_expires_at: Option<Timestamp>,
) -> Result<Body, StoreError> {
    let mut chunks = plain.chunks_exact(PIECE_BYTES);
    let mut pieces = Vec::new();
    let mut items = Vec::new();
    for (at, chunk) in chunks.by_ref().enumerate() {
        if let Some(kept) = earlier.and_then(|earlier| earlier.piece(at)) {
            pieces.push(kept.to_owned());
            continue;
        }
        let (name, item) = piece(store, about, at, chunk, expires_at)?;
        pieces.push(name);
        items.push(item);
        if items.len() == AT_ONCE {
            batch::put(&store.dynamo, &store.tables.state, std::mem::take(&mut items)).await?;
        }
    }
    let mut rest = chunks.remainder();
    let apart = rest_expires_at.filter(|_| rest.len() >= APART_BYTES);
    if let Some(expires_at) = apart {
        let (name, item) = piece(store, about, pieces.len(), std::mem::take(&mut rest), expires_at)?;
        pieces.push(name);
        items.push(item);
    }
    batch::put(&store.dynamo, &store.tables.state, items).await?;
    let tail = Blob(store.keyring.seal_bytes(rest, &subject(about, pieces.len())));
    Ok(Body {
        pieces,
        tail,
        has_short_piece: apart.is_some(),
    })
}

/// Reads a body.
pub(crate) async fn get(store: &Store, about: &str, body: &Body) -> Result<Vec<u8>, StoreError> {
    let mut plain = Vec::with_capacity(body.least_bytes() + body.tail.0.len());
    let names: Vec<_> = body.pieces.iter().enumerate().collect();
    for names in names.chunks(AT_ONCE) {
        let keys = names.iter().map(|(_, name)| key_of(name)).collect();
        let mut found = batch::get(&store.dynamo, &store.tables.state, keys, Reading::Strong).await?;
        for (at, name) in names {
            let item = found.remove(&key_of(name));
            let Piece::V1 { b } = read("piece", item.ok_or(StoreError::Unreadable { what: "piece" })?)?;
            plain.extend(store.keyring.open_bytes(&b.0, &subject(about, *at))?);
        }
    }
    plain.extend(
        store
            .keyring
            .open_bytes(&body.tail.0, &subject(about, body.pieces.len()))?,
    );
    Ok(plain)
}

impl<'a> Earlier<'a> {
    /// The name of the piece at this index, if its content is the same.
    fn piece(self, at: usize) -> Option<&'a str> {
        let is_same = (at + 1) * PIECE_BYTES <= self.n_same_bytes;
        is_same.then(|| self.body.pieces.get(at)).flatten().map(String::as_str)
    }
}

fn piece(
    store: &Store,
    about: &str,
    at: usize,
    chunk: &[u8],
    expires_at: Timestamp,
) -> Result<(String, Item), StoreError> {
    let mut random = [0; 12];
    getrandom::fill(&mut random).expect("the system has random bytes");
    let name = fresh("pc", random);
    let sealed = Piece::V1 {
        b: Blob(store.keyring.seal_bytes(chunk, &subject(about, at))),
    };
    let mut item = write("piece", &partition(&name), SORT, &sealed)?;
    expire(&mut item, expires_at);
    Ok((name, item))
}

pub(crate) fn key_of(name: &str) -> (String, String) {
    (partition(name), SORT.to_owned())
}

fn partition(name: &str) -> String {
    format!("PIECE#{name}")
}

// The index is part of it, so that pieces can't be swapped.
pub(crate) fn subject(about: &str, at: usize) -> String {
    format!("{about} {at}")
}
