//! Lists conversations.

use tieline_core::conversation::Conversation;
use tieline_core::ids::{ConversationId, IntegrationId};
use tieline_core::timestamp::Timestamp;

use super::{SORT, from_item, partition, present};
use crate::dynamo::{Query, Reading, end_of, query};
use crate::error::StoreError;
use crate::item::{Item, get_text, key};
use crate::page::{Page, cursor, position};
use crate::tables::{BY_INTEGRATION, PK};
use crate::{Store, batch};

/// Prefix of every conversation's sort key in the index.
const PREFIX: &str = "CNV#";

/// Conversations per read while a page of a search is filled.
const READ_AT_A_TIME: usize = 200;
/// Most reads for one page: a search that matches almost nothing yields a short page with a cursor.
const MAX_ROUNDS: usize = 20;

/// Lists the conversations of an integration, in no meaningful order. `search` is a part of an id: the chat's, the
/// thread's, the person's, or the conversation's own.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`] for a cursor that isn't one.
pub async fn list(
    store: &Store,
    integration: &IntegrationId,
    search: Option<&str>,
    after: Option<&str>,
    limit: usize,
    now: Timestamp,
) -> Result<Page<Conversation>, StoreError> {
    let mut last = position(after, (PREFIX, &end_of(PREFIX)))?;
    let mut page = Page::<Conversation>::default();
    for _ in 0..MAX_ROUNDS {
        let missing = limit - page.items.len();
        let asked = if search.is_some() { READ_AT_A_TIME } else { missing };
        let (found, more) = keys(store, integration, last.as_deref(), asked).await?;
        last = found.last().cloned().or(last);
        let conversations = read_all(store, &found, now).await?.into_iter();
        let mut matching = conversations.filter(|it| search.is_none_or(|search| matches(it, search)));
        page.items.extend(matching.by_ref().take(missing));
        if matching.next().is_some() {
            // More were read than the page holds: the next one starts with those.
            last = page.items.last().map(|it| partition(&it.key.id()));
        } else if !more {
            return Ok(page);
        }
        if page.items.len() >= limit {
            break;
        }
    }
    page.cursor = last.as_deref().map(cursor);
    Ok(page)
}

/// Reads conversations, eventually consistent. Those that don't exist are left out, and one given twice is read once.
///
/// # Errors
/// [`StoreError::Unavailable`], or [`StoreError::Unreadable`].
pub async fn get_many(store: &Store, ids: &[ConversationId], now: Timestamp) -> Result<Vec<Conversation>, StoreError> {
    let keys: Vec<_> = ids.iter().map(partition).collect();
    read_all(store, &keys, now).await
}

/// The next keys of the index, and whether there may be more.
async fn keys(
    store: &Store,
    integration: &IntegrationId,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<String>, bool), StoreError> {
    let partition = format!("INT#{integration}");
    let asked = Query {
        table: &store.tables.state,
        index: Some(BY_INTEGRATION),
        partition: &partition,
        range: (PREFIX, &end_of(PREFIX)),
        descending: false,
        reading: Reading::Eventual,
        after: after.map(|last| index_key(&partition, last)),
        limit,
    };
    let (items, next) = query(&store.dynamo, asked).await?;
    let keys = items.iter().filter_map(|item| get_text(item, PK)).map(str::to_owned);
    Ok((keys.collect(), next.is_some()))
}

// A conversation's key in the index equals its own key, so that is all the cursor needs to contain.
fn index_key(partition: &str, last: &str) -> Item {
    let mut start = key(last, SORT);
    start.insert(BY_INTEGRATION.partition.to_owned(), crate::item::text(partition));
    start.insert(BY_INTEGRATION.sort.to_owned(), crate::item::text(last));
    start
}

async fn read_all(store: &Store, keys: &[String], now: Timestamp) -> Result<Vec<Conversation>, StoreError> {
    let key = |pk: &String| (pk.clone(), SORT.to_owned());
    let asked = keys.iter().map(key).collect();
    let mut found = batch::get(&store.dynamo, &store.tables.state, asked, Reading::Eventual).await?;
    keys.iter()
        .filter_map(|pk| present(found.remove(&key(pk)), now))
        .map(|item| from_item(store, item, now))
        .collect()
}

fn matches(conversation: &Conversation, search: &str) -> bool {
    let key = &conversation.key;
    let thread = key.chat.thread.as_ref().map(|thread| thread.as_str());
    let sender = key.sender.as_ref().map(|sender| sender.as_str());
    let id = key.id();
    let fields = [Some(key.chat.id.as_str()), thread, sender, Some(id.as_str())];
    let search = search.to_lowercase();
    fields
        .into_iter()
        .flatten()
        .any(|field| field.to_lowercase().contains(&search))
}
