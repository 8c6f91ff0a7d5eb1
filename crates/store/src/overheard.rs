//! Group messages that didn't mention the bot, kept as context for later questions: see
//! [`tieline_core::trigger::TriggerSettings::group_context`].
//!
//! Items `HEARD#{integration}`/`{chat}#{received at}#{message}#{user}` of `state`, for a day at most: sender and text, sealed. One item per
//! message, so that writers of a busy group don't contend.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use tieline_core::conversation::Heard;
use tieline_core::event::{Chat, Sender};
use tieline_core::ids::{IntegrationId, MessageId, UserId, digest};
use tieline_core::timestamp::Timestamp;

use crate::Store;
use crate::dynamo::{self, Query, Reading};
use crate::error::StoreError;
use crate::item::{Blob, alive, expire, get_text, read, sortable, write};
use crate::tables::SK;
use crate::update::Update;

const WHAT: &str = "overheard message";

#[derive(Debug, Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1 { b: Blob },
}

/// One message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Overheard {
    /// The sender.
    pub sender: Sender,
    /// The text.
    pub text: String,
}

/// Where and when a message was received.
#[derive(Debug, Clone, Copy)]
pub struct Place<'a> {
    /// The bot.
    pub integration: &'a IntegrationId,
    /// The group, and the thread in it.
    pub chat: &'a Chat,
    /// When it was received.
    pub received_at: Timestamp,
    /// The message.
    pub message: &'a MessageId,
    /// The sender's record.
    pub user: &'a UserId,
}

impl Place<'_> {
    fn sort(&self) -> String {
        let (time, message, user) = (sortable(self.received_at), self.message, self.user);
        format!("{}#{time}#{message}#{user}", chat_id(self.chat))
    }
}

/// Stores a message until `expires_at`. Idempotent.
///
/// # Errors
/// [`StoreError::Unavailable`].
pub async fn put(store: &Store, place: Place<'_>, said: &Overheard, expires_at: Timestamp) -> Result<(), StoreError> {
    let sort = place.sort();
    let plain = serde_json::to_vec(said).map_err(|_| StoreError::Unreadable { what: WHAT })?;
    let b = Blob(store.keyring().seal_bytes(&plain, &sort));
    let mut item = write(WHAT, &partition(place.integration), &sort, &Stored::V1 { b })?;
    expire(&mut item, expires_at);
    // Unconditional: the key contains the message's id, so no other message can have it.
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, Update::new()).await;
    written.map(drop)
}

/// The latest `limit` messages of a group within a period, the oldest first.
///
/// # Errors
/// [`StoreError::Unavailable`], [`StoreError::Unreadable`], or [`StoreError::Unsealable`].
pub async fn latest(
    store: &Store,
    integration: &IntegrationId,
    chat: &Chat,
    heard: Heard,
    limit: usize,
    now: Timestamp,
) -> Result<Vec<(MessageId, Overheard)>, StoreError> {
    let chat = chat_id(chat);
    // Sort keys continue after the time: `~` sorts after all of that.
    let (from, to) = (
        format!("{chat}#{}~", sortable(heard.from)),
        format!("{chat}#{}~", sortable(heard.to)),
    );
    if from >= to {
        return Ok(Vec::new());
    }
    let asked = Query {
        table: &store.tables.state,
        index: None,
        partition: &partition(integration),
        range: (&from, &to),
        descending: true,
        reading: Reading::Strong,
        after: None,
        limit,
    };
    let (found, _) = dynamo::query(&store.dynamo, asked).await?;
    let mut said = Vec::with_capacity(found.len());
    let mut known = HashSet::new();
    for item in found.into_iter().filter_map(|item| alive(Some(item), now)) {
        let sort = get_text(&item, SK).unwrap_or_default().to_owned();
        // Platforms redeliver messages, which then have another time of receipt.
        let message = MessageId::new(message_of(&sort));
        if !known.insert(message.clone()) {
            continue;
        }
        let Stored::V1 { b } = read(WHAT, item)?;
        let plain = store.keyring().open_bytes(&b.0, &sort)?;
        let one = serde_json::from_slice(&plain).map_err(|_| StoreError::Unreadable { what: WHAT })?;
        said.push((message, one));
    }
    said.reverse();
    Ok(said)
}

pub(crate) fn partition(integration: &IntegrationId) -> String {
    format!("HEARD#{integration}")
}

/// The sort keys of all messages of a group, or of a thread in it.
pub(crate) fn range(chat: &Chat) -> (String, String) {
    let chat = chat_id(chat);
    (format!("{chat}#"), format!("{chat}#~"))
}

/// The id of the message in a sort key.
pub(crate) fn message_of(sort: &str) -> &str {
    sort.split('#').nth(2).unwrap_or_default()
}

fn chat_id(chat: &Chat) -> String {
    let thread = chat.thread.as_ref().map_or("", |thread| thread.as_str());
    digest(&[chat.id.as_str(), thread])
}
