//! The uniqueness claims of an integration, on its name and its bot account, and the meaning of a refused write.
//!
//! `ACCT#{platform}#{account}`/`ORG#{organization}` is the claim within an organization. `ACCT#{platform}#{account}`/`ACCT…` counts for every
//! organization, and is only made once the credentials have worked: naming a bot without its credentials blocks no other organization.

use tieline_core::account::Endpoints;
use tieline_core::ids::{IntegrationId, OrganizationId, digest};
use tieline_core::outbound_url;

use super::{IntegrationError, IntegrationRecord};
use crate::Store;
use crate::config::name::{self, Kind};
use crate::config::transaction::{Cancelled, Transaction, absent, where_equal};
use crate::config::{desired_connections, trigger_item};
use crate::dynamo::{self, Query, Reading, end_of};
use crate::error::StoreError;
use crate::item::{self, Item, get_text, text};
use crate::tables::{PK, SK};
use crate::update::Update;

/// Meaning of a failed condition in a transaction.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    AsRead,
    FreeName,
    FreeAccount,
    Unbound,
}

pub(super) async fn commit(store: &Store, writes: Transaction<Rule>) -> Result<(), IntegrationError> {
    match desired_connections::commit(store, writes).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Store(error)) => Err(error.into()),
        Err(Cancelled::Refused(rule, found)) => Err(refusal(rule, found)?),
    }
}

fn refusal(rule: Rule, found: Option<Item>) -> Result<IntegrationError, StoreError> {
    Ok(match (rule, found) {
        (Rule::FreeName, Some(taken)) => {
            let holder = get_text(&taken, "id").ok_or(StoreError::Unreadable { what: "name" })?;
            IntegrationError::NameTaken(IntegrationId::new(holder))
        }
        (Rule::FreeAccount, Some(claim)) => account_in_use(&claim)?,
        (Rule::Unbound, Some(bound)) => IntegrationError::InUse(Box::new(trigger_item::read(bound)?.trigger)),
        (Rule::AsRead | Rule::FreeName | Rule::FreeAccount | Rule::Unbound, _) => StoreError::Conflict.into(),
    })
}

fn account_in_use(claim: &Item) -> Result<IntegrationError, StoreError> {
    let (organization, integration) = claimant(claim)?;
    Ok(IntegrationError::AccountInUse {
        organization,
        integration,
    })
}

/// The owner of a claim.
pub(super) fn claimant(claim: &Item) -> Result<(OrganizationId, IntegrationId), StoreError> {
    let field = |name| get_text(claim, name).ok_or(UNREADABLE);
    Ok((
        OrganizationId::new(field("organization")?),
        IntegrationId::new(field("integration")?),
    ))
}

pub(super) fn take_name(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
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

pub(super) fn give_back_name(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
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

pub(super) fn account_digest(key: &str) -> String {
    digest(&[key])
}

/// Claims the bot account within the organization, on condition that no other organization has a proved claim on it.
pub(super) fn take_account(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mut claim = claim_of(record, account, &own_sk(&record.organization));
    claim.remove(PROVED);
    writes.put(Rule::FreeAccount, claim, absent());
    check_proved(writes, record);
}

/// Condition: no other organization has a proved claim on the bot account.
pub(super) fn check_proved(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mut free = Update::new();
    let (pk, proved) = (free.path(PK), free.path(PROVED));
    let organization = free.path("organization");
    let ours = free.value(text(record.organization.as_str()));
    // A claim without the mark was made by an earlier version, and counts for every organization.
    free.require(format!(
        "(attribute_not_exists({pk}) OR ({organization} = {ours} AND attribute_exists({proved})))"
    ));
    writes.check(
        Rule::FreeAccount,
        (&account_pk(&record.platform, account), &proved_sk(&record.endpoints)),
        free,
    );
}

/// The claims on its bot account that an integration has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Held {
    own: bool,
    proved: bool,
}

/// The claims that an integration has.
pub(super) async fn held(store: &Store, record: &IntegrationRecord) -> Result<Held, StoreError> {
    let Some(account) = &record.account else {
        return Ok(Held::default());
    };
    let pk = account_pk(&record.platform, account);
    let is_mine = async |sk: String| {
        let key = (&*pk, &*sk);
        let found = dynamo::get(&store.dynamo, &store.tables.config, key, Reading::Strong, &[]).await?;
        let holder = found.as_ref().and_then(|claim| get_text(claim, "integration"));
        Ok::<_, StoreError>(holder == Some(record.id.as_str()))
    };
    Ok(Held {
        own: is_mine(own_sk(&record.organization)).await?,
        proved: is_mine(proved_sk(&record.endpoints)).await?,
    })
}

/// Releases the organization's claim.
pub(super) fn give_back_own(writes: &mut Transaction<Rule>, record: &IntegrationRecord, held: Held) {
    if held.own {
        give_back(writes, record, &own_sk(&record.organization));
    }
}

/// Releases the proved claim.
pub(super) fn give_back_proved(writes: &mut Transaction<Rule>, record: &IntegrationRecord, held: Held) {
    if held.proved {
        give_back(writes, record, &proved_sk(&record.endpoints));
    }
}

fn give_back(writes: &mut Transaction<Rule>, record: &IntegrationRecord, sk: &str) {
    let Some(account) = &record.account else { return };
    let mine = where_equal("integration", text(record.id.as_str()));
    writes.delete(Rule::AsRead, (&account_pk(&record.platform, account), sk), mine);
}

/// Makes the claim count for every organization, because the credentials have worked (a proved claim).
///
/// # Errors
/// [`IntegrationError::AccountInUse`] if another integration has a proved claim; [`StoreError::Conflict`] if the integration no longer
/// claims the account.
pub async fn prove(store: &Store, record: &IntegrationRecord) -> Result<(), IntegrationError> {
    let Some(account) = &record.account else {
        return Ok(());
    };
    if held(store, record).await?.proved {
        return Ok(());
    }
    let (pk, sk) = (account_pk(&record.platform, account), proved_sk(&record.endpoints));
    let mut free = Update::new();
    let (there, holder) = (free.path(PK), free.path("integration"));
    let mine = free.value(text(record.id.as_str()));
    free.require(format!("(attribute_not_exists({there}) OR {holder} = {mine})"));
    let mut writes = Transaction::new();
    let still_mine = where_equal("integration", text(record.id.as_str()));
    writes.check(Rule::AsRead, (&pk, &own_sk(&record.organization)), still_mine);
    writes.put(Rule::FreeAccount, claim_of(record, account, &sk), free);
    commit(store, writes).await
}

/// Integrations of other organizations that claim the same bot account.
///
/// # Errors
/// [`StoreError`].
pub async fn rivals(
    store: &Store,
    organization: &OrganizationId,
    platform: &str,
    account_key: &str,
) -> Result<Vec<IntegrationId>, StoreError> {
    rivals_at(store, organization, &account_pk(platform, &account_digest(account_key))).await
}

/// Integrations of other organizations that claim the same bot account as this integration, which may be deleted.
///
/// # Errors
/// [`StoreError`].
pub async fn rivals_of(store: &Store, record: &IntegrationRecord) -> Result<Vec<IntegrationId>, StoreError> {
    match &record.account {
        Some(account) => rivals_at(store, &record.organization, &account_pk(&record.platform, account)).await,
        None => Ok(Vec::new()),
    }
}

async fn rivals_at(store: &Store, organization: &OrganizationId, pk: &str) -> Result<Vec<IntegrationId>, StoreError> {
    let claims = claims(store, pk, OWN).await?;
    let others = claims.into_iter().filter(|(owner, _)| owner != organization);
    Ok(others.map(|(_, integration)| integration).collect())
}

/// The owners of proved claims on a bot account.
///
/// # Errors
/// [`StoreError`].
pub async fn proved(
    store: &Store,
    platform: &str,
    account_key: &str,
) -> Result<Vec<(OrganizationId, IntegrationId)>, StoreError> {
    claims(store, &account_pk(platform, &account_digest(account_key)), PROVED_SK).await
}

/// Releases every proved claim on a bot account. Returns their owners.
///
/// # Errors
/// [`StoreError::Conflict`] if one changed owners at the same time.
pub async fn release(
    store: &Store,
    platform: &str,
    account_key: &str,
) -> Result<Vec<(OrganizationId, IntegrationId)>, IntegrationError> {
    let pk = account_pk(platform, &account_digest(account_key));
    let mut released = Vec::new();
    for claim in claims_below(store, &pk, PROVED_SK).await? {
        let (owner, integration) = claimant(&claim)?;
        let sk = get_text(&claim, SK).ok_or(UNREADABLE)?;
        let mut writes = Transaction::new();
        let as_read = where_equal("integration", text(integration.as_str()));
        writes.delete(Rule::AsRead, (&pk, sk), as_read);
        commit(store, writes).await?;
        released.push((owner, integration));
    }
    Ok(released)
}

async fn claims(store: &Store, pk: &str, prefix: &str) -> Result<Vec<(OrganizationId, IntegrationId)>, StoreError> {
    let found = claims_below(store, pk, prefix).await?;
    found.iter().map(claimant).collect()
}

async fn claims_below(store: &Store, pk: &str, prefix: &str) -> Result<Vec<Item>, StoreError> {
    let query = Query {
        table: &store.tables.config,
        index: None,
        partition: pk,
        range: (prefix, &end_of(prefix)),
        descending: false,
        reading: Reading::Strong,
        after: None,
        limit: MAX_CLAIMS,
    };
    Ok(dynamo::query(&store.dynamo, query).await?.0)
}

/// Most claims on one bot account that are read.
const MAX_CLAIMS: usize = 100;
/// Mark of a proved claim, which counts for every organization.
const PROVED: &str = "proved";
/// Prefix of the sort key of an organization's own claim.
const OWN: &str = "ORG#";
/// Prefix of the sort key of a proved claim, followed by the digest of the servers where the account works.
const PROVED_SK: &str = "ACCT";
const UNREADABLE: StoreError = StoreError::Unreadable { what: "account claim" };

fn claim_of(record: &IntegrationRecord, account: &str, sk: &str) -> Item {
    let mut claim = item::key(&account_pk(&record.platform, account), sk);
    claim.insert("v".into(), text("1"));
    claim.insert("organization".into(), text(record.organization.as_str()));
    claim.insert("integration".into(), text(record.id.as_str()));
    claim.insert(PROVED.into(), text("1"));
    claim
}

pub(super) fn own_sk(organization: &OrganizationId) -> String {
    format!("{OWN}{organization}")
}

/// A login at an operator's own server proves nothing about the platform's: the claim is for these servers.
pub(super) fn proved_sk(endpoints: &Endpoints) -> String {
    if endpoints.is_empty() {
        return PROVED_SK.to_owned();
    }
    let servers = servers(endpoints);
    let fields: Vec<&str> = servers.iter().map(String::as_str).collect();
    format!("{PROVED_SK}#{}", digest(&fields))
}

/// Names and origins of the servers that replace the platform's own.
pub(super) fn servers(endpoints: &Endpoints) -> Vec<String> {
    let origins = endpoints
        .iter()
        .flat_map(|(name, address)| [name.clone(), outbound_url::origin(address)]);
    origins.collect()
}

pub(super) fn account_pk(platform: &str, account: &str) -> String {
    format!("ACCT#{platform}#{account}")
}
