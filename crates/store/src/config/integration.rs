//! Integrations: bot accounts.
//!
//! `INT#{id}`/`INT` is the integration, `INT#{id}`/`BOUND` a copy of the one enabled trigger, so that the hot path reads both
//! at once. A claim on the platform's account keeps one bot out of two integrations.

use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::ids::{IntegrationId, OrganizationId, digest};
use tieline_core::notice::Language;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::Trigger;

use super::name::{self, Kind};
use super::transaction::{Cancelled, Transaction, absent, present, where_equal};
use super::{list, live, trigger};
use crate::calls::{self, Query, Reading};
use crate::error::StoreError;
use crate::item::{self, Item, get_text, number, text};
use crate::page::Page;
use crate::tables::SK;
use crate::update::Update;
use crate::{Keyring, Store};

mod stored;

use stored::Unsealed;

/// An integration as it is kept. Its credentials are sealed: see [`IntegrationRecord::unseal`].
#[derive(Debug, Clone, PartialEq)]
pub struct IntegrationRecord {
    /// The integration.
    pub id: IntegrationId,
    /// Who owns it.
    pub organization: OrganizationId,
    /// Its name, unique in its organization.
    pub name: String,
    /// The platform's word in the API.
    pub platform: String,
    /// How it is connected.
    pub mode: ConnectionMode,
    /// Credentials and id key, sealed.
    pub credentials: String,
    /// Addresses that replace the platform's own.
    pub endpoints: Endpoints,
    /// The language of our own sentences.
    pub language: Language,
    /// Whether answers are shown while they grow.
    pub streaming: bool,
    /// Whether it is started.
    pub enabled: bool,
    /// A digest of what identifies the bot on the platform, if anything does.
    pub account: Option<String>,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Grows with every change.
    pub version: u64,
}

/// What can be changed about an integration.
#[derive(Debug, Clone, PartialEq)]
pub struct IntegrationSettings {
    /// Its name.
    pub name: String,
    /// How it is connected.
    pub mode: ConnectionMode,
    /// Its credentials.
    pub credentials: Credentials,
    /// Addresses that replace the platform's own.
    pub endpoints: Endpoints,
    /// The language of our own sentences.
    pub language: Language,
    /// Whether answers are shown while they grow.
    pub streaming: bool,
    /// Whether it is started.
    pub enabled: bool,
    /// What identifies the bot on the platform, if anything does.
    pub account_key: Option<String>,
}

/// What can't be changed about an integration.
#[derive(Debug, Clone)]
pub struct NewIntegration {
    /// Its id.
    pub id: IntegrationId,
    /// Who owns it.
    pub organization: OrganizationId,
    /// The platform.
    pub platform: String,
    /// A fresh random key: the ids that must be the same on any instance are derived with it.
    pub id_key: [u8; 32],
}

/// An integration with the trigger that is in force.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The integration.
    pub integration: IntegrationRecord,
    /// Its enabled trigger, if it has one.
    pub trigger: Option<Trigger>,
}

/// Why an integration is not written.
#[derive(Debug, thiserror::Error)]
pub enum IntegrationError {
    /// Another integration of the organization has the name.
    #[error("the name is taken")]
    NameTaken,
    /// The bot is in another integration.
    #[error("the bot account is in another integration")]
    AccountInUse {
        /// Whose. Only its owner may be told more.
        organization: OrganizationId,
        /// Which.
        integration: IntegrationId,
    },
    /// An enabled trigger names it.
    #[error("an enabled trigger names the integration")]
    InUse(Box<Trigger>),
    /// The table's own reasons.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntegrationRecord {
    /// The credentials, with what was learned beside them, and the key from which its ids are derived.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`].
    pub fn unseal(&self, keyring: &Keyring) -> Result<(Credentials, [u8; 32]), StoreError> {
        let Unsealed {
            credentials,
            learned,
            id_key,
        } = self.open(keyring)?;
        Ok((beside(&credentials, &learned), id_key))
    }

    /// The credentials as the operator gave them.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`].
    pub fn given_credentials(&self, keyring: &Keyring) -> Result<Credentials, StoreError> {
        Ok(self.open(keyring)?.credentials)
    }

    fn open(&self, keyring: &Keyring) -> Result<Unsealed, StoreError> {
        stored::unseal(keyring, &self.id, &self.credentials)
    }

    /// Whether a connection is held open for it as soon as an enabled trigger names it.
    pub(super) fn wants_connection(&self) -> bool {
        self.enabled && self.mode == ConnectionMode::LongConnection
    }
}

/// Creates an integration.
///
/// # Errors
/// [`IntegrationError::NameTaken`], [`IntegrationError::AccountInUse`].
pub async fn create(
    store: &Store,
    new: NewIntegration,
    settings: IntegrationSettings,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let unsealed = Unsealed {
        credentials: settings.credentials,
        learned: Credentials::default(),
        id_key: new.id_key,
    };
    let sealed = stored::seal(store.keyring(), &new.id, unsealed);
    let record = IntegrationRecord {
        account: settings.account_key.as_deref().map(account_digest),
        id: new.id,
        organization: new.organization,
        platform: new.platform,
        name: settings.name,
        mode: settings.mode,
        credentials: sealed,
        endpoints: settings.endpoints,
        language: settings.language,
        streaming: settings.streaming,
        enabled: settings.enabled,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, stored::write(&record)?, absent());
    writes.put(Rule::AsRead, entry(&record), absent());
    take_name(&mut writes, &record);
    take_account(&mut writes, &record);
    commit(store, writes).await?;
    Ok(record)
}

/// Changes an integration as it was read. What is as it was stays untouched: its version doesn't grow, nothing reconnects.
///
/// # Errors
/// As [`create`]; [`StoreError::Conflict`] if it isn't as it was read any more.
pub async fn update(
    store: &Store,
    before: &IntegrationRecord,
    settings: IntegrationSettings,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let kept = before.open(store.keyring())?;
    // What was learned is about the bot account that it was learned of, and about no other.
    let same = kept.credentials == settings.credentials && before.endpoints == settings.endpoints;
    if same && is_shown_alike(before, &settings) {
        return Ok(before.clone());
    }
    let unsealed = Unsealed {
        learned: if same { kept.learned } else { Credentials::default() },
        credentials: settings.credentials,
        id_key: kept.id_key,
    };
    let after = IntegrationRecord {
        credentials: stored::seal(store.keyring(), &before.id, unsealed),
        account: settings.account_key.as_deref().map(account_digest),
        name: settings.name,
        mode: settings.mode,
        endpoints: settings.endpoints,
        language: settings.language,
        streaming: settings.streaming,
        enabled: settings.enabled,
        updated_at: now,
        version: before.version + 1,
        ..before.clone()
    };
    replace(store, before, after).await
}

/// Whether all but credentials and endpoints is as it was.
fn is_shown_alike(before: &IntegrationRecord, settings: &IntegrationSettings) -> bool {
    let account = settings.account_key.as_deref().map(account_digest);
    (&before.name, before.mode, before.language) == (&settings.name, settings.mode, settings.language)
        && (before.streaming, before.enabled) == (settings.streaming, settings.enabled)
        && before.account == account
}

/// Starts or stops an integration as it was read. Starting one that is started makes it connect anew, for its version grows.
///
/// # Errors
/// [`StoreError::Conflict`] if it isn't as it was read any more.
pub async fn set_enabled(
    store: &Store,
    before: &IntegrationRecord,
    enabled: bool,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let after = IntegrationRecord {
        enabled,
        updated_at: now,
        version: before.version + 1,
        ..before.clone()
    };
    replace(store, before, after).await
}

/// Keeps what the platform told of the bot, beside the credentials of the integration as it was read. What is known is no change.
///
/// # Errors
/// [`StoreError::Conflict`] if it isn't as it was read any more.
pub async fn learn(
    store: &Store,
    before: &IntegrationRecord,
    learned: &Credentials,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let kept = before.open(store.keyring())?;
    let all = beside(learned, &kept.learned);
    if all == kept.learned {
        return Ok(before.clone());
    }
    let unsealed = Unsealed { learned: all, ..kept };
    let after = IntegrationRecord {
        credentials: stored::seal(store.keyring(), &before.id, unsealed),
        updated_at: now,
        version: before.version + 1,
        ..before.clone()
    };
    replace(store, before, after).await
}

/// `first`, and of `second` what isn't in it.
fn beside(first: &Credentials, second: &Credentials) -> Credentials {
    let fields = second.iter().chain(first.iter());
    fields.map(|(name, value)| (name, value.expose())).collect()
}

async fn replace(
    store: &Store,
    before: &IntegrationRecord,
    after: IntegrationRecord,
) -> Result<IntegrationRecord, IntegrationError> {
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, stored::write(&after)?, as_read(before));
    if after.name != before.name {
        take_name(&mut writes, &after);
        give_back_name(&mut writes, before);
    }
    if after.account != before.account {
        take_account(&mut writes, &after);
        give_back_account(&mut writes, before);
    }
    if after.wants_connection() {
        let bound = load_bound(store, &before.id).await?.and_then(|bound| bound.trigger);
        let unchanged = if bound.is_some() { present() } else { absent() };
        writes.check(Rule::AsRead, (&pk(&after.id), BOUND), unchanged);
        live::set(&mut writes, Rule::AsRead, &after, bound.as_ref());
    } else {
        live::set(&mut writes, Rule::AsRead, &after, None);
    }
    commit(store, writes).await?;
    Ok(after)
}

/// Deletes an integration as it was read, unless an enabled trigger names it.
///
/// # Errors
/// [`IntegrationError::InUse`]; [`StoreError::Conflict`] if it isn't as it was read any more.
pub async fn delete(store: &Store, before: &IntegrationRecord) -> Result<(), IntegrationError> {
    let pk = pk(&before.id);
    let mut writes = Transaction::new();
    writes.check(Rule::Unbound, (&pk, BOUND), absent());
    writes.delete(Rule::AsRead, (&pk, INT), as_read(before));
    writes.delete(
        Rule::AsRead,
        (&format!("ORG#{}", before.organization), &pk),
        Update::new(),
    );
    give_back_name(&mut writes, before);
    give_back_account(&mut writes, before);
    live::set(&mut writes, Rule::AsRead, before, None);
    commit(store, writes).await
}

/// The integration.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, id: &IntegrationId) -> Result<Option<IntegrationRecord>, StoreError> {
    let pk = pk(id);
    let found = calls::get(&store.dynamo, &store.tables.config, (&pk, INT), Reading::Strong, &[]).await?;
    found.map(stored::read).transpose()
}

/// The integration with its enabled trigger: one query.
///
/// # Errors
/// [`StoreError`].
pub async fn load_bound(store: &Store, id: &IntegrationId) -> Result<Option<Bound>, StoreError> {
    query_bound(store, id, Reading::Strong).await
}

/// The same as it is, or was a second ago, at a fraction of the price: for the road of messages, where no write follows from it. One
/// that was made a moment ago is found.
///
/// # Errors
/// [`StoreError`].
pub async fn look_up(store: &Store, id: &IntegrationId, now: Timestamp) -> Result<Option<Bound>, StoreError> {
    let begun = match store.recent.bound.get(id, now) {
        Ok(bound) => return Ok(Some(bound)),
        Err(begun) => begun,
    };
    let found = query_newest(store, id).await?;
    if let Some(found) = &found {
        store.recent.bound.keep(id.clone(), found.clone(), begun);
    }
    Ok(found)
}

async fn query_newest(store: &Store, id: &IntegrationId) -> Result<Option<Bound>, StoreError> {
    match query_bound(store, id, Reading::Eventual).await? {
        // Stopped or without a trigger it would refuse the message, so that must be so now.
        Some(found) if found.trigger.is_some() && found.integration.enabled => Ok(Some(found)),
        _ => load_bound(store, id).await,
    }
}

async fn query_bound(store: &Store, id: &IntegrationId, reading: Reading) -> Result<Option<Bound>, StoreError> {
    let query = Query {
        table: &store.tables.config,
        index: None,
        partition: &pk(id),
        range: (BOUND, INT),
        descending: false,
        reading,
        after: None,
        limit: 2,
    };
    let (mut integration, mut bound) = (None, None);
    for item in calls::query(&store.dynamo, query).await?.0 {
        match get_text(&item, SK) {
            Some(INT) => integration = Some(stored::read(item)?),
            _ => bound = Some(trigger::read(item)?.trigger),
        }
    }
    Ok(integration.map(|integration| Bound {
        integration,
        trigger: bound,
    }))
}

/// The integrations of an organization, oldest first if their ids grow with time.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<IntegrationRecord>, StoreError> {
    let entries = list::page(store, &format!("ORG#{organization}"), "INT#", cursor, limit).await?;
    let pks = entries.items.iter().filter_map(|entry| get_text(entry, SK));
    let keys = pks.map(|pk| (pk.to_owned(), INT.to_owned())).collect();
    let items = list::in_order(store, keys)
        .await?
        .into_iter()
        .map(stored::read)
        .collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: entries.cursor,
    })
}

pub(super) const INT: &str = "INT";
pub(super) const BOUND: &str = "BOUND";

pub(super) fn pk(id: &IntegrationId) -> String {
    format!("INT#{id}")
}

/// On condition that the integration is as it was read.
pub(super) fn as_read(before: &IntegrationRecord) -> Update {
    where_equal("version", number(before.version))
}

/// What a write of a transaction stands for.
#[derive(Debug, Clone, Copy)]
enum Rule {
    AsRead,
    FreeName,
    FreeAccount,
    Unbound,
}

async fn commit(store: &Store, writes: Transaction<Rule>) -> Result<(), IntegrationError> {
    match writes.commit(store).await {
        Ok(()) => {
            live::count_change(store).await;
            Ok(())
        }
        Err(Cancelled::Store(error)) => Err(error.into()),
        Err(Cancelled::Refused(rule, found)) => Err(refusal(rule, found)?),
    }
}

fn refusal(rule: Rule, found: Option<Item>) -> Result<IntegrationError, StoreError> {
    Ok(match (rule, found) {
        (Rule::FreeName, _) => IntegrationError::NameTaken,
        (Rule::FreeAccount, Some(claim)) => account_in_use(&claim)?,
        (Rule::Unbound, Some(bound)) => IntegrationError::InUse(Box::new(trigger::read(bound)?.trigger)),
        (Rule::AsRead | Rule::FreeAccount | Rule::Unbound, _) => StoreError::Conflict.into(),
    })
}

fn account_in_use(claim: &Item) -> Result<IntegrationError, StoreError> {
    let field = |name| get_text(claim, name).ok_or(StoreError::Unreadable { what: "account claim" });
    Ok(IntegrationError::AccountInUse {
        organization: OrganizationId::new(field("organization")?),
        integration: IntegrationId::new(field("integration")?),
    })
}

fn entry(record: &IntegrationRecord) -> Item {
    let mut entry = item::key(&format!("ORG#{}", record.organization), &pk(&record.id));
    entry.insert("v".into(), text("1"));
    entry
}

fn take_name(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let id = record.id.as_str();
    name::take(
        writes,
        Rule::FreeName,
        Kind::Integration,
        &record.organization,
        &record.name,
        id,
    );
}

fn give_back_name(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let id = record.id.as_str();
    name::give_back(
        writes,
        Rule::AsRead,
        Kind::Integration,
        &record.organization,
        &record.name,
        id,
    );
}

fn account_digest(key: &str) -> String {
    digest(&[key])
}

fn take_account(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mut claim = item::key(&account_pk(record, account), "ACCT");
    claim.insert("v".into(), text("1"));
    claim.insert("organization".into(), text(record.organization.as_str()));
    claim.insert("integration".into(), text(record.id.as_str()));
    writes.put(Rule::FreeAccount, claim, absent());
}

fn give_back_account(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mine = where_equal("integration", text(record.id.as_str()));
    writes.delete(Rule::AsRead, (&account_pk(record, account), "ACCT"), mine);
}

fn account_pk(record: &IntegrationRecord, account: &str) -> String {
    format!("ACCT#{}#{account}", record.platform)
}
