//! Users: people, each known by one platform account. Created on first contact.

use aws_sdk_dynamodb::types::{AttributeValue, ReturnValue};
use serde::{Deserialize, Serialize};
use tieline_core::agent::KnownPerson;
use tieline_core::ids::{IntegrationId, OrganizationId, ReplyId, SenderId, UserId, digest};
use tieline_core::mapper::{MappedPerson, Mapping};
use tieline_core::timestamp::{Timestamp, millis};

use super::list;
use super::transaction::{Cancelled, Transaction, absent, present};
use crate::Store;
use crate::dynamo::{self, Reading, Written};
use crate::error::StoreError;
use crate::item::{self, Item, number, text, value};
use crate::page::Page;
use crate::update::Update;

const MAPPING_VERSION: &str = "mappingVersion";
const UNANSWERED: &str = "unanswered";
const UNANSWERED_REPLY: &str = "unanswered.reply";

/// A person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// The user.
    pub id: UserId,
    /// The organization of the bot.
    pub organization: OrganizationId,
    /// The platform.
    pub platform: String,
    /// The bot.
    pub integration: IntegrationId,
    /// The platform's own id of the person.
    pub external_id: String,
    /// The name; at first the platform's own id.
    pub name: String,
    /// The mail address; at first a made-up one.
    pub email: String,
    /// Source of the record: the platform.
    pub source: String,
    /// The known person behind the account, if an operator has linked one.
    pub linked: Option<String>,
    /// Whether the person was let in by pairing.
    pub admitted: bool,
    /// What the organization's mapper says of the account.
    pub mapping: Option<Mapping>,
    /// Incremented with every change of `mapping`.
    pub mapping_version: u64,
    /// The newest proactive message to the person, until it is answered.
    pub unanswered: Option<Unanswered>,
    /// When the person's first message was received.
    pub created_at: Timestamp,
}

/// A proactive message that waits for an answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Unanswered {
    /// Its reply, which has the text.
    pub reply: ReplyId,
    /// When it was sent.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

impl User {
    /// A person on first contact, of whom the platform sends nothing but the id.
    #[must_use]
    pub fn first_contact(
        organization: &OrganizationId,
        integration: &IntegrationId,
        platform: &str,
        sender: &SenderId,
        now: Timestamp,
    ) -> Self {
        Self {
            id: id_of(integration, sender),
            organization: organization.clone(),
            platform: platform.to_owned(),
            integration: integration.clone(),
            external_id: sender.as_str().to_owned(),
            name: sender.as_str().to_owned(),
            email: made_up_email(sender.as_str()),
            source: platform.to_owned(),
            linked: None,
            admitted: false,
            mapping: None,
            mapping_version: 0,
            unanswered: None,
            created_at: now,
        }
    }

    /// The id of the known person behind the account: linked by an operator, else named by the mapper.
    #[must_use]
    pub fn linked_to(&self) -> Option<&str> {
        self.linked.as_deref().or(self.mapped().map(|person| &*person.id))
    }

    /// The name: set by an operator, else from the mapper.
    #[must_use]
    pub fn known_name(&self) -> &str {
        match self.mapped() {
            Some(person) if self.name == self.external_id => &person.name,
            _ => &self.name,
        }
    }

    /// The mail address: set by an operator, else from the mapper. `None`: only the made-up one is known.
    #[must_use]
    pub fn known_email(&self) -> Option<&str> {
        if self.email == made_up_email(&self.external_id) {
            return self.mapped()?.email.as_deref();
        }
        Some(&self.email)
    }

    /// The known person behind the account.
    #[must_use]
    pub fn known_person(&self) -> Option<KnownPerson> {
        Some(KnownPerson {
            id: self.linked_to()?.to_owned(),
            name: self.known_name().to_owned(),
            email: self.known_email().map(str::to_owned),
        })
    }

    /// The person named by the mapper, unless an operator has linked one.
    fn mapped(&self) -> Option<&MappedPerson> {
        let mapping = self.mapping.as_ref().filter(|_| self.linked.is_none());
        mapping.and_then(Mapping::person)
    }

    /// Applies a change. If it removes the link, the mapper is asked again.
    #[must_use]
    pub fn with(self, change: UserChange) -> Self {
        let is_unlinked = change.linked == Some(None);
        Self {
            mapping_version: self.mapping_version + u64::from(is_unlinked && self.mapping.is_some()),
            mapping: self.mapping.filter(|_| !is_unlinked),
            name: change.name.unwrap_or(self.name),
            email: change.email.unwrap_or(self.email),
            linked: change.linked.unwrap_or(self.linked),
            admitted: change.admitted.unwrap_or(self.admitted),
            ..self
        }
    }
}

/// The made-up mail address of a person of whom only the platform's own id is known: undeliverable.
#[must_use]
pub fn made_up_email(external_id: &str) -> String {
    format!("{external_id}@im-platform.com")
}

/// The id of a person: deterministic.
#[must_use]
pub fn id_of(integration: &IntegrationId, sender: &SenderId) -> UserId {
    UserId::new(format!("usr_{}", digest(&[integration.as_str(), sender.as_str()])))
}

/// A change of a user record by an operator. `None` leaves a field unchanged.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct UserChange {
    /// Another name.
    pub name: Option<String>,
    /// Another mail address.
    pub email: Option<String>,
    /// The known person; `Some(None)` removes the link.
    pub linked: Option<Option<String>>,
    /// Whether the person is let in by pairing.
    pub admitted: Option<bool>,
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
    id: UserId,
    organization: OrganizationId,
    platform: String,
    integration: IntegrationId,
    external_id: String,
    name: String,
    email: String,
    source: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    linked: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    admitted: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    mapping: Option<Mapping>,
    #[serde(default, skip_serializing_if = "is_zero")]
    mapping_version: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    unanswered: Option<Unanswered>,
    #[serde(with = "millis")]
    created_at: Timestamp,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands over a reference")]
const fn is_zero(version: &u64) -> bool {
    *version == 0
}

/// Returns the stored person, or stores `user`.
///
/// # Errors
/// [`StoreError::Conflict`] if another process is creating or deleting the record just now.
pub async fn ensure(store: &Store, user: &User) -> Result<User, StoreError> {
    // Nearly every sender is known already, and a read is cheaper than a write that fails its condition.
    if let Some(known) = find(store, &user.organization, &user.id, Reading::Eventual).await? {
        return Ok(known);
    }
    // In a transaction: if the client repeats it, a record that was erased meanwhile doesn't come back.
    let created = [(write(user)?, absent())];
    match dynamo::put_together(&store.dynamo, &store.tables.config, created).await {
        Ok(()) => Ok(user.clone()),
        Err(StoreError::Conflict) => get(store, &user.organization, &user.id)
            .await?
            .ok_or(StoreError::Conflict),
        Err(error) => Err(error),
    }
}

/// A person of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, organization: &OrganizationId, id: &UserId) -> Result<Option<User>, StoreError> {
    find(store, organization, id, Reading::Strong).await
}

/// Like [`get`], eventually consistent: for processing messages.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up(store: &Store, organization: &OrganizationId, id: &UserId) -> Result<Option<User>, StoreError> {
    find(store, organization, id, Reading::Eventual).await
}

async fn find(
    store: &Store,
    organization: &OrganizationId,
    id: &UserId,
    reading: Reading,
) -> Result<Option<User>, StoreError> {
    let key = (&*pk(organization), &*sk(id));
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, reading, &[]).await?;
    found.map(read).transpose()
}

/// The people of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<User>, StoreError> {
    let page = list::page(store, &pk(organization), "USR#", cursor, limit).await?;
    let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: page.cursor,
    })
}

/// Changes a person's record.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn change(store: &Store, before: &User, change: UserChange) -> Result<User, StoreError> {
    let after = before.clone().with(change);
    let mut writes = Transaction::new();
    writes.put((), write(&after)?, as_read(before));
    commit(store, writes).await?;
    Ok(after)
}

/// Records the mapper's answer about a person.
///
/// # Errors
/// [`StoreError::Conflict`] if the record was deleted, or another answer was recorded meanwhile.
pub async fn record_mapping(store: &Store, before: &User, mapping: Mapping) -> Result<User, StoreError> {
    let version = before.mapping_version + 1;
    let mut update = present();
    update
        .set("mapping", value("user", &mapping)?)
        .set(MAPPING_VERSION, number(version));
    require_mapping(&mut update, before);
    let key = (&*pk(&before.organization), &*sk(&before.id));
    let written = dynamo::update(&store.dynamo, &store.tables.config, key, update, ReturnValue::None).await?;
    if matches!(written, Written::Refused(_)) {
        return Err(StoreError::Conflict);
    }
    Ok(User {
        mapping: Some(mapping),
        mapping_version: version,
        ..before.clone()
    })
}

/// Records a proactive message to a person, whose answer is to quote it. Creates the person's record if there is none.
///
/// # Errors
/// [`StoreError`].
pub async fn record_unanswered(store: &Store, person: &User, said: &Unanswered) -> Result<(), StoreError> {
    for _ in 0..2 {
        let mut update = present();
        update.set(UNANSWERED, value("user", said)?);
        let key = (&*pk(&person.organization), &*sk(&person.id));
        let written = dynamo::update(&store.dynamo, &store.tables.config, key, update, ReturnValue::None).await?;
        if matches!(written, Written::Done(_)) {
            return Ok(());
        }
        match ensure(store, person).await {
            // Another process creates the record just now.
            Ok(_) | Err(StoreError::Conflict) => {}
            Err(error) => return Err(error),
        }
    }
    // Deleted again just now: nothing is stored of a person who is being erased.
    Ok(())
}

/// Records that the person has answered a proactive message. A newer one still waits for its answer.
///
/// # Errors
/// [`StoreError`].
pub async fn record_answered(
    store: &Store,
    organization: &OrganizationId,
    id: &UserId,
    reply: &ReplyId,
) -> Result<(), StoreError> {
    let mut update = present();
    update
        .remove(UNANSWERED)
        .require_equal(UNANSWERED_REPLY, text(reply.as_str()));
    let key = (&*pk(organization), &*sk(id));
    // The condition fails if another process has recorded it, or there is a newer message.
    dynamo::update(&store.dynamo, &store.tables.config, key, update, ReturnValue::None).await?;
    Ok(())
}

/// Deletes a person's record. It is created again at the next contact.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn delete(store: &Store, before: &User) -> Result<(), StoreError> {
    let mut writes = Transaction::new();
    writes.delete((), (&pk(&before.organization), &sk(&before.id)), as_read(before));
    commit(store, writes).await
}

async fn commit(store: &Store, writes: Transaction<()>) -> Result<(), StoreError> {
    match writes.commit(store).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Refused((), _)) => Err(StoreError::Conflict),
        Err(Cancelled::Store(error)) => Err(error),
    }
}

/// Condition: the changeable parts of the record are unchanged since it was read.
fn as_read(before: &User) -> Update {
    let mut when = present();
    when.require_equal("name", text(&*before.name))
        .require_equal("email", text(&*before.email));
    match &before.linked {
        Some(person) => when.require_equal("linked", text(&**person)),
        None => when.require_absent("linked"),
    };
    if before.admitted {
        when.require_equal("admitted", AttributeValue::Bool(true));
    } else {
        when.require_absent("admitted");
    }
    match &before.unanswered {
        Some(said) => when.require_equal(UNANSWERED_REPLY, text(said.reply.as_str())),
        None => when.require_absent(UNANSWERED),
    };
    require_mapping(&mut when, before);
    when
}

fn require_mapping(when: &mut Update, before: &User) {
    match before.mapping_version {
        0 => when.require_absent(MAPPING_VERSION),
        version => when.require_equal(MAPPING_VERSION, number(version)),
    };
}

fn write(user: &User) -> Result<Item, StoreError> {
    let user = user.clone();
    let (pk, sk) = (pk(&user.organization), sk(&user.id));
    let stored = Stored::V1(StoredV1 {
        id: user.id,
        organization: user.organization,
        platform: user.platform,
        integration: user.integration,
        external_id: user.external_id,
        name: user.name,
        email: user.email,
        source: user.source,
        linked: user.linked,
        admitted: user.admitted,
        mapping: user.mapping,
        mapping_version: user.mapping_version,
        unanswered: user.unanswered,
        created_at: user.created_at,
    });
    item::write("user", &pk, &sk, &stored)
}

fn read(item: Item) -> Result<User, StoreError> {
    let Stored::V1(stored) = item::read("user", item)?;
    Ok(User {
        id: stored.id,
        organization: stored.organization,
        platform: stored.platform,
        integration: stored.integration,
        external_id: stored.external_id,
        name: stored.name,
        email: stored.email,
        source: stored.source,
        linked: stored.linked,
        admitted: stored.admitted,
        mapping: stored.mapping,
        mapping_version: stored.mapping_version,
        unanswered: stored.unanswered,
        created_at: stored.created_at,
    })
}

fn pk(organization: &OrganizationId) -> String {
    format!("ORG#{organization}")
}

fn sk(id: &UserId) -> String {
    format!("USR#{id}")
}
