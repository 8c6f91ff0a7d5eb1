//! Notification settings of an organization: where its operators are notified of incidents.
//!
//! Items `ORG#{organization}`/`NOTIFY` with the settings, and `NOTIFY`/`ORG#{organization}`, the list of organizations that have
//! settings. The webhook's secret is sealed, bound to the organization.

use serde::{Deserialize, Serialize};
use tieline_core::ids::{ChatId, IntegrationId, OrganizationId, SenderId};
use tieline_core::notice::Language;
use tieline_core::secret::Secret;

use super::list;
use super::transaction::{Cancelled, Transaction, absent, where_equal};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{self, get_text, number, text};
use crate::page::Page;
use crate::tables::SK;
use crate::update::Update;

const WHAT: &str = "notification settings";
pub(super) const SORT: &str = "NOTIFY";
const LISTED: &str = "NOTIFY";

/// Notification settings of an organization.
#[derive(Debug, Clone)]
pub struct NotifySettings {
    /// The tenant.
    pub organization: OrganizationId,
    /// The destination of notifications.
    pub channel: NotifyChannel,
    /// The language of their texts.
    pub language: Language,
    /// Incremented with every change.
    pub version: u64,
}

/// The destination of notifications.
#[derive(Debug, Clone)]
pub enum NotifyChannel {
    /// A signed `POST`.
    Webhook {
        /// The address.
        url: String,
        /// The key of the signature.
        secret: Secret,
    },
    /// A message of one of the organization's own bots.
    Chat {
        /// The bot.
        integration: IntegrationId,
        /// The recipient.
        to: NotifyRecipient,
    },
}

/// The recipient of a bot's message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NotifyRecipient {
    /// A chat.
    Chat(ChatId),
    /// A person.
    Person(SenderId),
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct StoredV1 {
    channel: ChannelV1,
    language: Language,
    version: u64,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase", rename_all_fields = "camelCase", tag = "kind")]
enum ChannelV1 {
    Webhook {
        url: String,
        sealed_secret: String,
    },
    Chat {
        integration: IntegrationId,
        chat: ChatId,
    },
    Person {
        integration: IntegrationId,
        person: SenderId,
    },
}

/// The notification settings of an organization, if it has any.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, organization: &OrganizationId) -> Result<Option<NotifySettings>, StoreError> {
    let key = partition(organization);
    let found = dynamo::get(&store.dynamo, &store.tables.config, (&key, SORT), Reading::Strong, &[]).await?;
    found.map(|item| read(store, organization, item)).transpose()
}

/// The organizations that have notification settings, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn organizations(
    store: &Store,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<OrganizationId>, StoreError> {
    let page = list::page(store, LISTED, "ORG#", cursor, limit).await?;
    let ids = page
        .items
        .iter()
        .filter_map(|item| get_text(item, SK)?.strip_prefix("ORG#"));
    Ok(Page {
        items: ids.map(OrganizationId::new).collect(),
        cursor: page.cursor,
    })
}

/// Saves notification settings. `before` is the version that they replace, `None` if there are none yet.
///
/// # Errors
/// [`StoreError::Conflict`] if they have another version by now.
pub async fn save(
    store: &Store,
    before: Option<u64>,
    organization: &OrganizationId,
    channel: NotifyChannel,
    language: Language,
) -> Result<NotifySettings, StoreError> {
    let settings = NotifySettings {
        organization: organization.clone(),
        channel,
        language,
        version: before.unwrap_or_default() + 1,
    };
    let condition = match before {
        Some(version) => where_equal("version", number(version)),
        None => absent(),
    };
    let mut writes = Transaction::new();
    writes.put((), write(store, &settings)?, condition);
    let mut entry = item::key(LISTED, &partition(organization));
    entry.insert("v".into(), text("1"));
    writes.put((), entry, Update::new());
    commit(store, writes).await?;
    Ok(settings)
}

/// Deletes notification settings.
///
/// # Errors
/// [`StoreError::Conflict`] if they have another version by now.
pub async fn remove(store: &Store, settings: &NotifySettings) -> Result<(), StoreError> {
    let key = partition(&settings.organization);
    let mut writes = Transaction::new();
    writes.delete((), (&key, SORT), where_equal("version", number(settings.version)));
    writes.delete((), (LISTED, &key), Update::new());
    commit(store, writes).await
}

async fn commit(store: &Store, writes: Transaction<()>) -> Result<(), StoreError> {
    match writes.commit(store).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

fn write(store: &Store, settings: &NotifySettings) -> Result<item::Item, StoreError> {
    let key = partition(&settings.organization);
    let channel = match &settings.channel {
        NotifyChannel::Webhook { url, secret } => ChannelV1::Webhook {
            url: url.clone(),
            sealed_secret: store.keyring.seal(secret.expose().as_bytes(), &bound_to(&key)),
        },
        NotifyChannel::Chat { integration, to } => match to {
            NotifyRecipient::Chat(chat) => ChannelV1::Chat {
                integration: integration.clone(),
                chat: chat.clone(),
            },
            NotifyRecipient::Person(person) => ChannelV1::Person {
                integration: integration.clone(),
                person: person.clone(),
            },
        },
    };
    let stored = Stored::V1(StoredV1 {
        channel,
        language: settings.language,
        version: settings.version,
    });
    item::write(WHAT, &key, SORT, &stored)
}

fn read(store: &Store, organization: &OrganizationId, item: item::Item) -> Result<NotifySettings, StoreError> {
    let Stored::V1(stored) = item::read(WHAT, item)?;
    let channel = match stored.channel {
        ChannelV1::Webhook { url, sealed_secret } => {
            let secret = store
                .keyring
                .open(&sealed_secret, &bound_to(&partition(organization)))?;
            let secret = String::from_utf8(secret).map_err(|_| StoreError::Unreadable { what: WHAT })?;
            NotifyChannel::Webhook {
                url,
                secret: Secret::new(secret),
            }
        }
        ChannelV1::Chat { integration, chat } => NotifyChannel::Chat {
            integration,
            to: NotifyRecipient::Chat(chat),
        },
        ChannelV1::Person { integration, person } => NotifyChannel::Chat {
            integration,
            to: NotifyRecipient::Person(person),
        },
    };
    Ok(NotifySettings {
        organization: organization.clone(),
        channel,
        language: stored.language,
        version: stored.version,
    })
}

fn partition(organization: &OrganizationId) -> String {
    format!("ORG#{organization}")
}

/// Binds a sealed secret to the settings that it was entered for.
pub(super) fn bound_to(key: &str) -> String {
    format!("{key}/{SORT}/secret")
}
