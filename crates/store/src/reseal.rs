//! Reseals the sealed values of an item with the newest key.
//!
//! Each value is replaced by a conditional write of its own, on condition that it is unchanged: a writer that changes the item
//! meanwhile seals with the newest key anyway.

use aws_sdk_dynamodb::primitives::Blob as Bytes;
use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use tieline_core::ids::{ConversationId, OrganizationId, ReplyId};
use tracing::warn;

use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{Item, get_text, text};
use crate::tables::{PK, SK};
use crate::update::Update;
use crate::{
    Store, audit, config, conversation, file, notifications, poll_cursor, reply, run, sealed_blob, token_cache,
    transcript,
};

/// A sealed value of an item: its path, the subject that it is bound to, and its form.
struct Place {
    path: String,
    about: String,
    form: Form,
}

/// The form in which a value is stored.
#[derive(Clone, Copy)]
enum Form {
    /// A text or a binary attribute.
    Attribute,
    /// A [`sealed_blob::Body`], whose pieces are items of their own.
    Body,
}

/// The table of an item.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Table {
    Config,
    State,
}

/// Outcome for an item's values.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Resealed {
    /// How many were resealed, or were changed by another writer at the same time: then another pass is needed.
    pub(crate) n_changed: u64,
    /// How many can't be opened with any key.
    pub(crate) n_unreadable: u64,
}

/// Reseals what `item` of `table` has sealed with an older key.
pub(crate) async fn item(store: &Store, table: Table, item: &Item) -> Result<Resealed, StoreError> {
    let (pk, sk) = match (get_text(item, PK), get_text(item, SK)) {
        (Some(pk), Some(sk)) => (pk, sk),
        _ => return Ok(Resealed::default()),
    };
    if let Some(organization) = notifications::organization_of(pk, sk) {
        return outbox(store, &organization, item).await;
    }
    let mut done = Resealed::default();
    for place in places(item, pk, sk) {
        done.add(value(store, (table, pk, sk), item, &place).await, pk)?;
    }
    Ok(done)
}

impl Resealed {
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            n_changed: self.n_changed + other.n_changed,
            n_unreadable: self.n_unreadable + other.n_unreadable,
        }
    }

    /// Counts a value that can't be opened with any key, instead of failing for all others: it can't get worse.
    fn add(&mut self, done: Result<u64, StoreError>, pk: &str) -> Result<(), StoreError> {
        match done {
            Ok(n_changed) => self.n_changed += n_changed,
            Err(error @ (StoreError::Unsealable | StoreError::UnknownKey | StoreError::Unreadable { .. })) => {
                warn!(item = pk, error = %error, "sealed value can't be opened by any key and stays as it is");
                self.n_unreadable += 1;
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// The sealed values of an item.
fn places(item: &Item, pk: &str, sk: &str) -> Vec<Place> {
    let attribute = |path: &str, about: String| vec![Place::new(path, about, Form::Attribute)];
    let body = |path: &str, about: String| vec![Place::new(path, about, Form::Body)];
    let own = |name: &str| get_text(item, name).unwrap_or_default().to_owned();
    let (kind, id) = pk.split_once('#').unwrap_or((pk, ""));
    match kind {
        "ORG" | "INT" => config::sealed(item, pk, sk)
            .map(|(path, about)| attribute(path, about))
            .unwrap_or_default(),
        "TRASH" => trashed(item),
        "CNV" => attribute("tb", conversation::tasks_subject(&ConversationId::new(id))),
        "ATK" => attribute("b", token_cache::bound_to(pk, &own("h"))),
        "CUR" => attribute("b", poll_cursor::bound_to(pk, &own("h"))),
        "CALL" | "PAIR" | "GUESS" | "LINK" => attribute("b", pk.to_owned()),
        "HEARD" | "SCHED" => attribute("b", sk.to_owned()),
        "LOGIN" => attribute("s", pk.to_owned()),
        "AUDIT" => attribute("b", audit::about(&own("id")).to_owned()),
        "IDEM" => {
            let about = format!("{pk} {sk}");
            [attribute("s", about.clone()), body("a", about)].concat_places()
        }
        "MSG" => [attribute("ev", id.to_owned()), body("eb", id.to_owned())].concat_places(),
        "RPL" => [
            body("b", id.to_owned()),
            attribute("end", reply::about_end(&ReplyId::new(id))),
            attribute("pg", reply::about_progress(&ReplyId::new(id))),
        ]
        .concat_places(),
        "RUN" => run::event_subject(id, sk)
            .map(|about| body("b", about))
            .unwrap_or_default(),
        "SES" => transcript::turn_subject(id, sk)
            .map(|about| body("b", about))
            .unwrap_or_default(),
        "DLQ" => body("body", own("m")),
        "FILE" => [
            body("h", file::subject(id, "head")),
            body("b", file::subject(id, "bytes")),
        ]
        .concat_places(),
        _ => Vec::new(),
    }
}

/// The sealed values of a deleted item in the trash.
fn trashed(item: &Item) -> Vec<Place> {
    let Some(inner) = item.get("i").and_then(|inner| inner.as_m().ok()) else {
        return Vec::new();
    };
    let (pk, sk) = (
        get_text(inner, PK).unwrap_or_default(),
        get_text(inner, SK).unwrap_or_default(),
    );
    let mut places = places(inner, pk, sk);
    for place in &mut places {
        place.path.insert_str(0, "i.");
    }
    places
}

trait ConcatPlaces {
    fn concat_places(self) -> Vec<Place>;
}

impl<const N: usize> ConcatPlaces for [Vec<Place>; N] {
    fn concat_places(self) -> Vec<Place> {
        self.into_iter().flatten().collect()
    }
}

impl Place {
    fn new(path: &str, about: String, form: Form) -> Self {
        Self {
            path: path.to_owned(),
            about,
            form,
        }
    }
}

/// Reseals one value. Returns the number of writes.
async fn value(store: &Store, at: (Table, &str, &str), item: &Item, place: &Place) -> Result<u64, StoreError> {
    let Some(found) = get(item, &place.path) else {
        return Ok(0);
    };
    match place.form {
        Form::Attribute => attribute(store, at, (&place.path, &place.about), found).await,
        Form::Body => body(store, at, place, found).await,
    }
}

async fn attribute(
    store: &Store,
    (table, pk, sk): (Table, &str, &str),
    (path, about): (&str, &str),
    found: &AttributeValue,
) -> Result<u64, StoreError> {
    let resealed = match found {
        AttributeValue::S(sealed) => store.keyring.reseal(sealed, about)?.map(text),
        AttributeValue::B(sealed) => {
            let resealed = store.keyring.reseal_bytes(sealed.as_ref(), about)?;
            resealed.map(|bytes| AttributeValue::B(Bytes::new(bytes)))
        }
        _ => None,
    };
    let Some(resealed) = resealed else {
        return Ok(0);
    };
    let table = match table {
        Table::Config => &store.tables.config,
        Table::State => &store.tables.state,
    };
    let mut change = Update::new();
    change.set(path, resealed).require_equal(path, found.clone());
    match dynamo::update(&store.dynamo, table, (pk, sk), change, ReturnValue::None).await? {
        Written::Done(_) | Written::Refused(_) => Ok(1),
    }
}

/// The rest in the item itself, and the pieces.
async fn body(
    store: &Store,
    at: (Table, &str, &str),
    place: &Place,
    found: &AttributeValue,
) -> Result<u64, StoreError> {
    let Ok(body) = found.as_m() else {
        return Ok(0);
    };
    let names = body.get("p").and_then(|names| names.as_l().ok());
    let names: Vec<_> = names
        .into_iter()
        .flatten()
        .filter_map(|name| name.as_s().ok())
        .collect();
    let mut n_changed = 0;
    for (index, name) in names.iter().enumerate() {
        let (pk, sk) = sealed_blob::key_of(name);
        let table = &store.tables.state;
        let piece = dynamo::get(&store.dynamo, table, (&pk, &sk), Reading::Strong, &[]).await?;
        if let Some(sealed) = piece.as_ref().and_then(|piece| piece.get("b")) {
            let about = sealed_blob::subject(&place.about, index);
            n_changed += attribute(store, (Table::State, &pk, &sk), ("b", &about), sealed).await?;
        }
    }
    if let Some(tail) = body.get("t") {
        let about = sealed_blob::subject(&place.about, names.len());
        n_changed += attribute(store, at, (&format!("{}.t", place.path), &about), tail).await?;
    }
    Ok(n_changed)
}

/// The outbox is a list, which is written as a whole under its version.
async fn outbox(store: &Store, organization: &OrganizationId, item: &Item) -> Result<Resealed, StoreError> {
    let waiting = item.get("out").and_then(|waiting| waiting.as_l().ok());
    let sealed = waiting
        .into_iter()
        .flatten()
        .filter_map(|it| it.as_m().ok()?.get("b")?.as_b().ok());
    let current = store.keyring.current();
    let n_old = sealed
        .filter(|sealed| sealed.as_ref().first() != Some(&current))
        .count();
    let mut done = Resealed::default();
    if n_old == 0 {
        return Ok(done);
    }
    let rewritten = async {
        let mut notifications = notifications::get(store, organization).await?;
        match notifications::save(store, organization, &mut notifications).await {
            Ok(()) | Err(StoreError::Conflict) => Ok(n_old as u64),
            Err(error) => Err(error),
        }
    };
    done.add(rewritten.await, organization.as_str())?;
    Ok(done)
}

fn get<'a>(item: &'a Item, path: &str) -> Option<&'a AttributeValue> {
    let mut parts = path.split('.');
    let mut found = item.get(parts.next()?)?;
    for part in parts {
        found = found.as_m().ok()?.get(part)?;
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::{Path, PathBuf};

    /// Files that seal. A new one needs a place above and a value in `tests/state/rotation.rs`, or a rotation misses its values.
    const SEALING: [&str; 24] = [
        "audit.rs",
        "config/agent.rs",
        "config/integration/stored.rs",
        "config/notify.rs",
        "config/organization.rs",
        "conversation.rs",
        "deadletter.rs",
        "file.rs",
        "idempotency.rs",
        "login.rs",
        "message.rs",
        "notifications.rs",
        "overheard.rs",
        "pairing.rs",
        "poll_cursor.rs",
        "relay_answers.rs",
        "reply.rs",
        "reply/stored.rs",
        "reply/tombstone.rs",
        "run.rs",
        "scheduled.rs",
        "sealed_blob.rs",
        "token_cache.rs",
        "transcript.rs",
    ];

    #[test]
    fn every_file_that_seals_is_listed_here() {
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
        let mut sealing: Vec<_> = files(&source)
            .into_iter()
            .filter(|path| {
                let text = fs::read_to_string(path).unwrap();
                [".seal_bytes(", ".seal(", "sealed_blob::put("]
                    .iter()
                    .any(|call| text.contains(call))
            })
            .map(|path| path.strip_prefix(&source).unwrap().to_str().unwrap().to_owned())
            .filter(|name| !["keyring.rs", "reseal.rs"].contains(&&**name))
            .collect();
        sealing.sort();
        assert_eq!(sealing, SEALING);
    }

    fn files(folder: &Path) -> Vec<PathBuf> {
        let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path());
        let each = entries.flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] });
        each.collect()
    }
}
