//! Erasure of items with everything that belongs to them, so that no personal data remains in parts elsewhere.

use std::collections::HashSet;
use std::time::Duration;

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use tieline_core::conversation::Conversation;
use tieline_core::event::Chat;
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId, RunId, SessionId, UserId};
use tieline_core::message_state::MessageState;
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::deadletter;
use crate::dynamo::{self, Query, Reading};
use crate::error::StoreError;
use crate::item::{Item, expire, get_text, key, number, text};
use crate::message::MessageRecord;
use crate::overheard;
use crate::reply;
use crate::tables::{PK, SK};
use crate::update::Update;

/// How long after a message its reply may still be written.
const MAY_BE_WRITTEN: Duration = Duration::from_hours(24);
/// How often a reply that is written meanwhile is erased again.
const MAX_RACES: u32 = 5;
/// Items of a partition per read.
const PAGE: usize = 50;
/// The id of an erased proactive message, in the shape of [`crate::message::OWN_ID`].
const ERASED_OWN_ID: &str = "own_000000000000000000000000";
/// The lowest and the highest sort key of a partition.
const WHOLE: (&str, &str) = (" ", "~");

/// Erases a message: its event, its reply, its run's callbacks, its dead letter and these files of its own.
///
/// A tombstone of the message remains until it expires, without sender, text and the platform's id: if a platform delivers it
/// again, it must not be answered again.
///
/// # Errors
/// [`StoreError::Unavailable`]. Erasing again continues where it ended.
pub async fn message(
    store: &Store,
    organization: &OrganizationId,
    record: &MessageRecord,
    files: &[String],
    now: Timestamp,
) -> Result<(), StoreError> {
    for id in files {
        file(store, id).await?;
    }
    reply(store, organization, record, now).await?;
    if let Some(run) = &record.run {
        partition(store, &format!("RUN#{run}"), |_| true).await?;
    }
    dead_letter(store, organization, record).await?;
    let key = format!("MSG#{}", record.id);
    let table = &store.tables.state;
    if let Some(found) = dynamo::get(&store.dynamo, table, (&key, "MSG"), Reading::Strong, &[]).await? {
        pieces(store, &found).await?;
    }
    let mut change = Update::new();
    // A proactive message, which has no sender, stays recognizable.
    let id = if record.is_proactive() { ERASED_OWN_ID } else { "" };
    change.set("pm", text(id));
    if !record.state.is_terminal() {
        change.set("st", text(MessageState::Dropped.as_str()));
    }
    for attribute in ["by", "ev", "eb", "c", "ses", "sn"] {
        change.remove(attribute);
    }
    let pk = change.path(PK);
    change.require(format!("attribute_exists({pk})"));
    // A missing item counts as erased.
    dynamo::update(&store.dynamo, table, (&key, "MSG"), change, ReturnValue::None).await?;
    // A process that has not seen the tombstone may have written them in between.
    for id in files {
        file(store, id).await?;
    }
    dead_letter(store, organization, record).await
}

/// Erases a file.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn file(store: &Store, id: &str) -> Result<(), StoreError> {
    partition(store, &format!("FILE#{id}"), |_| true).await
}

async fn dead_letter(store: &Store, organization: &OrganizationId, record: &MessageRecord) -> Result<(), StoreError> {
    let place = deadletter::place_of(record.received_at, &record.id);
    item(store, &deadletter::partition(organization), &place).await
}

/// Erases a reply. A process may be about to write it.
async fn reply(
    store: &Store,
    organization: &OrganizationId,
    record: &MessageRecord,
    now: Timestamp,
) -> Result<(), StoreError> {
    let is_old = now.since(record.received_at) > MAY_BE_WRITTEN;
    let (pk, sk) = reply::key_of(&record.reply);
    partition(store, &pk, |sort| is_old || sort != sk).await?;
    if is_old {
        return Ok(());
    }
    for _ in 0..MAX_RACES {
        let found = dynamo::get(&store.dynamo, &store.tables.state, (&pk, sk), Reading::Strong, &[]).await?;
        if let Some(found) = &found {
            pieces(store, found).await?;
        }
        if reply::bury(store, organization, record, found.as_ref(), now).await? {
            return Ok(());
        }
    }
    Err(StoreError::Conflict)
}

/// Erases the turns of a session, or only those of these runs.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn turns(store: &Store, session: &SessionId, only: Option<&HashSet<RunId>>) -> Result<(), StoreError> {
    let is_theirs = |sort: &str| {
        let run = sort.rsplit('#').next().map(RunId::new);
        only.is_none_or(|only| run.is_some_and(|run| only.contains(&run)))
    };
    partition(store, &format!("SES#{session}"), is_theirs).await
}

/// Erases a conversation, with its tasks.
///
/// An expired item remains: a write that created the conversation and takes effect once more, because its client repeated it, is older than that
/// and refused. The person's next message is not.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since.
pub async fn conversation(store: &Store, before: &Conversation, now: Timestamp) -> Result<(), StoreError> {
    let mut condition = Update::new();
    condition.require_equal("n", number(before.version));
    let mut tombstone = key(&format!("CNV#{}", before.key.id()), "CNV");
    expire(&mut tombstone, now);
    let written = dynamo::put(&store.dynamo, &store.tables.state, tombstone, condition).await?;
    written.or_conflict().map(drop)
}

/// Erases group messages of a user that didn't mention the bot.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn overheard(store: &Store, integration: &IntegrationId, user: &UserId) -> Result<(), StoreError> {
    let is_theirs = |sort: &str| sort.rsplit('#').next() == Some(user.as_str());
    partition(store, &overheard::partition(integration), is_theirs).await
}

/// Erases a group message that didn't mention the bot, of the group itself or of this thread in it.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn overheard_message(
    store: &Store,
    integration: &IntegrationId,
    chat: &Chat,
    message: &MessageId,
) -> Result<(), StoreError> {
    let is_it = |sort: &str| overheard::message_of(sort) == message.as_str();
    let (from, to) = overheard::range(chat);
    range(store, &overheard::partition(integration), (&from, &to), is_it).await
}

/// Erases a user's record of wrong guesses.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn guesses(store: &Store, user: &UserId) -> Result<(), StoreError> {
    item(store, &format!("GUESS#{user}"), "GUESS").await
}

/// Erases the items of a partition whose sort keys `accepts` selects, a page at a time.
async fn partition(store: &Store, partition: &str, accepts: impl Fn(&str) -> bool) -> Result<(), StoreError> {
    range(store, partition, WHOLE, accepts).await
}

/// Like [`partition`], of the items in this range of sort keys.
async fn range(
    store: &Store,
    partition: &str,
    range: (&str, &str),
    accepts: impl Fn(&str) -> bool,
) -> Result<(), StoreError> {
    let mut asked = Query {
        table: &store.tables.state,
        index: None,
        partition,
        range,
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: PAGE,
    };
    loop {
        let (found, next) = dynamo::query(&store.dynamo, asked.clone()).await?;
        for found in &found {
            let sort = get_text(found, SK).unwrap_or_default();
            if accepts(sort) {
                pieces(store, found).await?;
                delete(store, partition, sort).await?;
            }
        }
        match next {
            Some(key) => asked.after = Some(key),
            None => return Ok(()),
        }
    }
}

async fn item(store: &Store, pk: &str, sk: &str) -> Result<(), StoreError> {
    let found = dynamo::get(&store.dynamo, &store.tables.state, (pk, sk), Reading::Strong, &[]).await?;
    match found {
        Some(found) => {
            pieces(store, &found).await?;
            delete(store, pk, sk).await
        }
        None => Ok(()),
    }
}

/// Erases the continuation items of an item's long bodies. Before the item itself, which is their only reference.
async fn pieces(store: &Store, item: &Item) -> Result<(), StoreError> {
    let mut names = Vec::new();
    for value in item.values() {
        pieces_in(value, &mut names);
    }
    for name in names {
        delete(store, &format!("PIECE#{name}"), "PIECE").await?;
    }
    Ok(())
}

fn pieces_in(value: &AttributeValue, names: &mut Vec<String>) {
    match value {
        AttributeValue::S(name) if name.starts_with("pc_") => names.push(name.clone()),
        AttributeValue::L(values) => values.iter().for_each(|value| pieces_in(value, names)),
        AttributeValue::M(values) => values.values().for_each(|value| pieces_in(value, names)),
        _ => {}
    }
}

async fn delete(store: &Store, pk: &str, sk: &str) -> Result<(), StoreError> {
    dynamo::delete(&store.dynamo, &store.tables.state, (pk, sk), Update::new()).await
}
