//! What an integration holds beside its own item, its name and its bot account, and what it means if a write of all that is refused.

use tieline_core::ids::{IntegrationId, OrganizationId, digest};

use super::{IntegrationError, IntegrationRecord};
use crate::Store;
use crate::config::name::{self, Kind};
use crate::config::transaction::{Cancelled, Transaction, absent, where_equal};
use crate::config::{desired_connections, trigger};
use crate::error::StoreError;
use crate::item::{self, Item, get_text, text};

/// What a write of a transaction stands for.
#[derive(Debug, Clone, Copy)]
pub(super) enum Rule {
    AsRead,
    FreeName,
    FreeAccount,
    Unbound,
}

pub(super) async fn commit(store: &Store, writes: Transaction<Rule>) -> Result<(), IntegrationError> {
    match writes.commit(store).await {
        Ok(()) => {
            desired_connections::count_change(store).await;
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
    let (organization, integration) = claimant(claim)?;
    Ok(IntegrationError::AccountInUse {
        organization,
        integration,
    })
}

/// Who made a claim.
pub(super) fn claimant(claim: &Item) -> Result<(OrganizationId, IntegrationId), StoreError> {
    let field = |name| get_text(claim, name).ok_or(StoreError::Unreadable { what: "account claim" });
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

pub(super) fn take_account(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mut claim = item::key(&account_pk(&record.platform, account), "ACCT");
    claim.insert("v".into(), text("1"));
    claim.insert("organization".into(), text(record.organization.as_str()));
    claim.insert("integration".into(), text(record.id.as_str()));
    writes.put(Rule::FreeAccount, claim, absent());
}

pub(super) fn give_back_account(writes: &mut Transaction<Rule>, record: &IntegrationRecord) {
    let Some(account) = &record.account else { return };
    let mine = where_equal("integration", text(record.id.as_str()));
    writes.delete(Rule::AsRead, (&account_pk(&record.platform, account), "ACCT"), mine);
}

pub(super) fn account_pk(platform: &str, account: &str) -> String {
    format!("ACCT#{platform}#{account}")
}
