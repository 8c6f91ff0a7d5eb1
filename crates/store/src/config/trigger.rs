//! Triggers: at most one enabled one per integration.
//!
//! `ORG#{org}`/`TRG#{id}` is the trigger. While it is enabled, `INT#{integration}`/`BOUND` is a copy of it: the trigger that writes
//! that item first has the integration. An agent counts the enabled triggers that use it, as their own or in a route, so that it can't be deleted.

use std::collections::BTreeMap;

use aws_sdk_dynamodb::types::AttributeValue;
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::Trigger;

use super::integration::{self, IntegrationRecord, as_read};
use super::integration_key::{self, BOUND, INT};
use super::transaction::{Cancelled, Transaction, absent, where_equal};
use super::trash::{self, Deleted};
use super::trigger_item::{self, TriggerItem, pk, read, sk};
use super::{agent, desired_connections, list};
use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Item, number, text};
use crate::page::Page;
use crate::update::Update;

pub use super::trigger_item::TriggerRecord;

/// Why a trigger can't be written.
#[derive(Debug, thiserror::Error)]
pub enum TriggerError {
    /// The organization has no such integration.
    #[error("no such integration")]
    IntegrationNotFound,
    /// The organization has no such agent.
    #[error("no such agent")]
    AgentNotFound,
    /// The integration doesn't allow this agent.
    #[error("the integration doesn't allow the agent {0}")]
    AgentNotAllowed(AgentId),
    /// The integration has another enabled trigger.
    #[error("the integration is bound by another trigger")]
    AlreadyBound(Box<Trigger>),
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// How to handle another enabled trigger of the same integration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rival {
    /// It stays, and the new one is refused.
    Respect,
    /// It is disabled, in the same transaction.
    Displace,
}

/// Creates a trigger.
///
/// # Errors
/// [`TriggerError`]; [`StoreError::Conflict`] if the integration changed meanwhile.
pub async fn create(
    store: &Store,
    trigger: Trigger,
    rival: Rival,
    now: Timestamp,
) -> Result<TriggerRecord, TriggerError> {
    let after = TriggerRecord {
        trigger,
        created_at: now,
        updated_at: now,
        version: 1,
    };
    write(store, None, &after, rival).await?;
    Ok(after)
}

/// Changes a trigger. Id and organization stay.
///
/// # Errors
/// As [`create`]; [`StoreError::Conflict`] if it has changed since it was read.
pub async fn update(
    store: &Store,
    before: &TriggerRecord,
    trigger: Trigger,
    rival: Rival,
    now: Timestamp,
) -> Result<TriggerRecord, TriggerError> {
    let id = before.trigger.id.clone();
    let organization = before.trigger.organization.clone();
    let after = TriggerRecord {
        trigger: Trigger {
            id,
            organization,
            ..trigger
        },
        created_at: before.created_at,
        updated_at: now,
        version: before.version + 1,
    };
    write(store, Some(before), &after, rival).await?;
    Ok(after)
}

/// Deletes a trigger. It can be restored for [`super::trash::LIFETIME`].
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
pub async fn delete(store: &Store, before: &TriggerRecord, now: Timestamp) -> Result<(), TriggerError> {
    let mut writes = deletion(before);
    let item = trigger_item::write(before, TriggerItem::Own)?;
    trash::keep(&mut writes, Rule::AsRead, in_trash(before), item, now);
    commit(store, writes).await
}

/// Deletes a trigger that was just created. It can't be restored.
///
/// # Errors
/// As [`delete`].
pub async fn remove(store: &Store, made: &TriggerRecord) -> Result<(), TriggerError> {
    commit(store, deletion(made)).await
}

fn deletion(before: &TriggerRecord) -> Transaction<Rule> {
    let trigger = &before.trigger;
    let mut writes = Transaction::new();
    let version = where_equal("version", number(before.version));
    writes.delete(Rule::AsRead, (&pk(&trigger.organization), &sk(&trigger.id)), version);
    if trigger.enabled {
        unbind(&mut writes, trigger);
        for agent in trigger.agents() {
            agent::count(&mut writes, Rule::AgentThere, &trigger.organization, agent, -1);
        }
    }
    writes
}

/// Restores a deleted trigger: an enabled one needs its integration to be free, unless it displaces the rival.
///
/// # Errors
/// As [`create`]; [`StoreError::Conflict`] if it was restored or deleted again meanwhile.
pub async fn restore(
    store: &Store,
    deleted: &Deleted<TriggerRecord>,
    rival: Rival,
    now: Timestamp,
) -> Result<TriggerRecord, TriggerError> {
    let after = TriggerRecord {
        updated_at: now,
        version: deleted.record.version + 1,
        ..deleted.record.clone()
    };
    let mut writes = Transaction::new();
    fill(store, &mut writes, None, &after, rival).await?;
    trash::take(&mut writes, Rule::AsRead, in_trash(&after), deleted.at);
    commit(store, writes).await?;
    Ok(after)
}

/// A deleted trigger of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get_deleted(
    store: &Store,
    organization: &OrganizationId,
    id: &TriggerId,
    now: Timestamp,
) -> Result<Option<Deleted<TriggerRecord>>, StoreError> {
    let found = trash::get(store, (trash::Kind::Trigger, organization, id.as_str()), now).await?;
    found.map(|deleted| deleted.read(read)).transpose()
}

/// The deleted triggers of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list_deleted(
    store: &Store,
    organization: &OrganizationId,
    page: (Option<&str>, usize),
    now: Timestamp,
) -> Result<Page<Deleted<TriggerRecord>>, StoreError> {
    let page = trash::list(store, (trash::Kind::Trigger, organization), page, now).await?;
    let items = page.items.into_iter().map(|deleted| deleted.read(read));
    Ok(Page {
        items: items.collect::<Result<_, _>>()?,
        cursor: page.cursor,
    })
}

fn in_trash(record: &TriggerRecord) -> (trash::Kind, &OrganizationId, &str) {
    let trigger = &record.trigger;
    (trash::Kind::Trigger, &trigger.organization, trigger.id.as_str())
}

/// A trigger of the organization.
///
/// # Errors
/// [`StoreError`].
pub async fn get(
    store: &Store,
    organization: &OrganizationId,
    id: &TriggerId,
) -> Result<Option<TriggerRecord>, StoreError> {
    let key = (&*pk(organization), &*sk(id));
    let found = dynamo::get(&store.dynamo, &store.tables.config, key, Reading::Strong, &[]).await?;
    found.map(read).transpose()
}

/// The triggers of an organization, by id.
///
/// # Errors
/// [`StoreError`].
pub async fn list(
    store: &Store,
    organization: &OrganizationId,
    cursor: Option<&str>,
    limit: usize,
) -> Result<Page<TriggerRecord>, StoreError> {
    let page = list::page(store, &pk(organization), "TRG#", cursor, limit).await?;
    let items = page.items.into_iter().map(read).collect::<Result<_, _>>()?;
    Ok(Page {
        items,
        cursor: page.cursor,
    })
}

/// All triggers of an organization that use this integration or this agent, enabled or not.
///
/// # Errors
/// [`StoreError`].
pub async fn naming(
    store: &Store,
    organization: &OrganizationId,
    names: impl Fn(&Trigger) -> bool,
) -> Result<Vec<TriggerRecord>, StoreError> {
    let mut found = Vec::new();
    let mut cursor = None;
    loop {
        let page = list(store, organization, cursor.as_deref(), PAGE).await?;
        found.extend(page.items.into_iter().filter(|record| names(&record.trigger)));
        cursor = page.cursor;
        if cursor.is_none() {
            return Ok(found);
        }
    }
}

/// Whether any trigger of the organization uses this integration, enabled or not.
///
/// # Errors
/// [`StoreError`].
pub async fn any_of(
    store: &Store,
    organization: &OrganizationId,
    integration: &IntegrationId,
) -> Result<bool, StoreError> {
    let found = naming(store, organization, |trigger| trigger.integration == *integration).await?;
    Ok(!found.is_empty())
}

/// Triggers per read when all are searched.
const PAGE: usize = 200;

/// Meaning of a failed condition in a transaction.
#[derive(Debug, Clone, Copy)]
enum Rule {
    AsRead,
    IntegrationThere,
    IntegrationAsRead,
    AgentThere,
    Free,
}

async fn write(
    store: &Store,
    before: Option<&TriggerRecord>,
    after: &TriggerRecord,
    rival: Rival,
) -> Result<(), TriggerError> {
    let mut writes = Transaction::new();
    fill(store, &mut writes, before, after, rival).await?;
    commit(store, writes).await
}

/// Adds the writes for a trigger.
async fn fill(
    store: &Store,
    writes: &mut Transaction<Rule>,
    before: Option<&TriggerRecord>,
    after: &TriggerRecord,
    rival: Rival,
) -> Result<(), TriggerError> {
    let mut agents = Agents::default();
    let held = before.map(|before| &before.trigger).filter(|before| before.enabled);
    if let Some(held) = held {
        agents.count_all(held, -1);
    }
    if after.trigger.enabled {
        agents.count_all(&after.trigger, 1);
    } else {
        let known = before.map_or_else(Vec::new, |before| before.trigger.agents());
        for agent in after.trigger.agents() {
            if !known.contains(&agent) {
                agents.count(agent, 0);
            }
        }
    }
    hold(
        store,
        writes,
        &mut agents,
        before.map(|before| &before.trigger),
        after,
        rival,
    )
    .await?;
    agents.write(writes, &after.trigger.organization);
    let as_read = before.map_or_else(absent, |before| where_equal("version", number(before.version)));
    writes.put(Rule::AsRead, trigger_item::write(after, TriggerItem::Own)?, as_read);
    Ok(())
}

/// Updates the binding of the integrations: releases the old one, binds the new one, or updates the copy beside a bound one.
async fn hold(
    store: &Store,
    writes: &mut Transaction<Rule>,
    agents: &mut Agents,
    before: Option<&Trigger>,
    after: &TriggerRecord,
    rival: Rival,
) -> Result<(), TriggerError> {
    let trigger = &after.trigger;
    let same = before.is_some_and(|before| before.integration == trigger.integration);
    let held = before.filter(|before| before.enabled);
    if let Some(held) = held.filter(|_| same && trigger.enabled) {
        let mine = where_equal("id", text(held.id.as_str()));
        writes.put(Rule::AsRead, trigger_item::write(after, TriggerItem::Bound)?, mine);
        return fit_integration(store, writes, held, trigger).await;
    }
    if let Some(held) = held {
        unbind(writes, held);
    }
    if trigger.enabled {
        bind(store, writes, agents, after, rival).await?;
    } else if !same {
        let owned = where_equal("organization", text(trigger.organization.as_str()));
        writes.check(
            Rule::IntegrationThere,
            (&integration_key::pk(&trigger.integration), INT),
            owned,
        );
    }
    Ok(())
}

/// Checks that the integration allows other agents, and updates the list entry of its connection if the trigger asks for something else of the
/// connector.
async fn fit_integration(
    store: &Store,
    writes: &mut Transaction<Rule>,
    before: &Trigger,
    after: &Trigger,
) -> Result<(), TriggerError> {
    let greets_alike = desired_connections::greeting_of(before) == desired_connections::greeting_of(after);
    if greets_alike && before.agents() == after.agents() {
        return Ok(());
    }
    let record = integration::get(store, &after.integration).await?;
    let record = record.ok_or(TriggerError::IntegrationNotFound)?;
    check_agents(store, &record, after).await?;
    let place = (&*integration_key::pk(&after.integration), INT);
    writes.check(Rule::IntegrationAsRead, place, as_read(&record));
    // An integration that needs no connection is not on the list.
    if let Some(wanted) = record.wanted_connection(Some(after)).filter(|_| !greets_alike) {
        desired_connections::set(writes, Rule::AsRead, &wanted);
    }
    Ok(())
}

/// Checks that the integration allows all agents of an enabled trigger. An agent that doesn't exist is reported as such.
async fn check_agents(store: &Store, integration: &IntegrationRecord, trigger: &Trigger) -> Result<(), TriggerError> {
    let Some(refused) = integration.refused(trigger) else {
        return Ok(());
    };
    let found = agent::get(store, &trigger.organization, refused).await?;
    found.ok_or(TriggerError::AgentNotFound)?;
    Err(TriggerError::AgentNotAllowed(refused.clone()))
}

/// Binds the integration to an enabled trigger.
async fn bind(
    store: &Store,
    writes: &mut Transaction<Rule>,
    agents: &mut Agents,
    after: &TriggerRecord,
    rival: Rival,
) -> Result<(), TriggerError> {
    let trigger = &after.trigger;
    let bound = integration::load_bound(store, &trigger.integration).await?;
    let bound = bound.filter(|bound| bound.integration.organization == trigger.organization);
    let bound = bound.ok_or(TriggerError::IntegrationNotFound)?;
    check_agents(store, &bound.integration, trigger).await?;
    let place = (&*integration_key::pk(&trigger.integration), INT);
    writes.check(Rule::IntegrationAsRead, place, as_read(&bound.integration));
    let free = match (bound.trigger, rival) {
        (None, _) => absent(),
        (Some(holder), Rival::Displace) => {
            displace(writes, &holder, after.updated_at);
            agents.count_all(&holder, -1);
            where_equal("id", text(holder.id.as_str()))
        }
        (Some(holder), Rival::Respect) => {
            for id in trigger.agents() {
                let found = agent::get(store, &trigger.organization, id).await?;
                found.ok_or(TriggerError::AgentNotFound)?;
            }
            return Err(TriggerError::AlreadyBound(Box::new(holder)));
        }
    };
    // The first failed condition is reported: a missing agent before an integration that was bound meanwhile.
    agents.write(writes, &trigger.organization);
    writes.put(Rule::Free, trigger_item::write(after, TriggerItem::Bound)?, free);
    // An integration that needs no connection is not on the list.
    if let Some(wanted) = bound.integration.wanted_connection(Some(trigger)) {
        desired_connections::set(writes, Rule::AsRead, &wanted);
    }
    Ok(())
}

/// Disables the trigger that is bound to the integration.
fn displace(writes: &mut Transaction<Rule>, holder: &Trigger, now: Timestamp) {
    let mut update = Update::new();
    update
        .set("enabled", AttributeValue::Bool(false))
        .set("updatedAt", number(now.as_millis()))
        .add("version", 1)
        .require_equal("enabled", AttributeValue::Bool(true))
        .require_equal("integration", text(holder.integration.as_str()));
    writes.change(Rule::AsRead, (&pk(&holder.organization), &sk(&holder.id)), update);
}

/// Releases the integration of an enabled trigger.
fn unbind(writes: &mut Transaction<Rule>, held: &Trigger) {
    let mine = where_equal("id", text(held.id.as_str()));
    writes.delete(Rule::AsRead, (&integration_key::pk(&held.integration), BOUND), mine);
    desired_connections::remove(writes, Rule::AsRead, &held.integration);
}

async fn commit(store: &Store, writes: Transaction<Rule>) -> Result<(), TriggerError> {
    match desired_connections::commit(store, writes).await {
        Ok(()) => Ok(()),
        Err(Cancelled::Store(error)) => Err(error.into()),
        Err(Cancelled::Refused(rule, found)) => Err(refusal(rule, found)?),
    }
}

fn refusal(rule: Rule, found: Option<Item>) -> Result<TriggerError, StoreError> {
    Ok(match (rule, found) {
        (Rule::IntegrationThere, _) | (Rule::IntegrationAsRead, None) => TriggerError::IntegrationNotFound,
        (Rule::AgentThere, _) => TriggerError::AgentNotFound,
        (Rule::Free, Some(bound)) => TriggerError::AlreadyBound(Box::new(read(bound)?.trigger)),
        (Rule::Free | Rule::AsRead | Rule::IntegrationAsRead, _) => StoreError::Conflict.into(),
    })
}

/// Changes of the number of enabled triggers per agent in one transaction, which may write an item only once.
#[derive(Debug, Default)]
struct Agents(BTreeMap<AgentId, i64>);

impl Agents {
    fn count(&mut self, agent: &AgentId, change: i64) {
        *self.0.entry(agent.clone()).or_default() += change;
    }

    fn count_all(&mut self, trigger: &Trigger, change: i64) {
        for agent in trigger.agents() {
            self.count(agent, change);
        }
    }

    /// Adds the changes that were not added before.
    fn write(&mut self, writes: &mut Transaction<Rule>, organization: &OrganizationId) {
        for (agent, change) in std::mem::take(&mut self.0) {
            agent::count(writes, Rule::AgentThere, organization, &agent, change);
        }
    }
}
