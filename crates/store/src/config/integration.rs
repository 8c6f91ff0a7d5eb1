//! Integrations: bot accounts.
//!
//! `INT#{id}`/`INT` is the integration, `INT#{id}`/`BOUND` a copy of the one enabled trigger, so that the hot path reads both
//! at once. Claims on the platform's account keep one bot out of two integrations.

use tieline_core::account::{ConnectionMode, Credentials, Endpoints};
use tieline_core::ids::{AgentId, IntegrationId, OrganizationId, TriggerId};
use tieline_core::notice::Language;
use tieline_core::session::Session;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::trigger::Trigger;

use super::desired_connections::{self, Live};
use super::integration_key::{BOUND, INT, pk};
use super::registration_due;
use super::transaction::{Transaction, absent, where_equal};
use super::trigger_item::TriggerRecord;
use crate::error::StoreError;
use crate::item::{self, Item, number, text};
use crate::update::Update;
use crate::{Keyring, Store};

mod claims;
mod deletion;
mod learned;
mod read;
mod stored;

use claims::{Rule, account_digest, commit, give_back_name, held, take_account, take_name};
use stored::Unsealed;

pub use claims::{prove, proved, release, rivals, rivals_of};
pub use deletion::{delete, remove, restore};
pub use learned::{learn, log_in};
pub use read::{account_holder, get, get_deleted, last_known, list, list_deleted, load_bound, look_up};

/// An integration as stored. Its credentials are sealed: see [`IntegrationRecord::unseal`].
#[derive(Debug, Clone, PartialEq)]
pub struct IntegrationRecord {
    /// The integration.
    pub id: IntegrationId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// Its name, unique in its organization.
    pub name: String,
    /// The platform's name in the API.
    pub platform: String,
    /// How it is connected.
    pub mode: ConnectionMode,
    /// Credentials and id key, sealed.
    pub credentials: String,
    /// Addresses that replace the platform's own.
    pub endpoints: Endpoints,
    /// Language of our own notices.
    pub language: Language,
    /// Whether answers are shown while they grow.
    pub streaming: bool,
    /// What is shown before an answer's text begins.
    pub thinking: ThinkingDisplay,
    /// The agents that may answer. `None`: every agent of the organization.
    pub allowed_agents: Option<Vec<AgentId>>,
    /// Whether it is started.
    pub enabled: bool,
    /// Digest of the bot's identity on the platform, if it has one.
    pub account: Option<String>,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last changed.
    pub updated_at: Timestamp,
    /// Incremented with every change.
    pub version: u64,
}

/// Length of [`IntegrationRecord::account_mark`]: 64 bits of the digest, so that a message's record stays small.
const MARK_LENGTH: usize = 16;

/// The settings of an integration that can be changed.
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
    /// Language of our own notices.
    pub language: Language,
    /// Whether answers are shown while they grow.
    pub streaming: bool,
    /// What is shown before an answer's text begins.
    pub thinking: ThinkingDisplay,
    /// The agents that may answer. `None`: every agent of the organization.
    pub allowed_agents: Option<Vec<AgentId>>,
    /// Whether it is started.
    pub enabled: bool,
    /// The bot's identity on the platform, if it has one.
    pub account_key: Option<String>,
}

impl IntegrationSettings {
    /// The first agent of the trigger that may not answer.
    #[must_use]
    pub fn refused<'a>(&self, trigger: &'a Trigger) -> Option<&'a AgentId> {
        refused(self.allowed_agents.as_deref(), trigger)
    }
}

fn allows(allowed: Option<&[AgentId]>, agent: &AgentId) -> bool {
    allowed.is_none_or(|allowed| allowed.contains(agent))
}

fn refused<'a>(allowed: Option<&[AgentId]>, trigger: &'a Trigger) -> Option<&'a AgentId> {
    trigger.agents().into_iter().find(|agent| !allows(allowed, agent))
}

/// The parts of an integration that can't be changed.
#[derive(Debug, Clone)]
pub struct NewIntegration {
    /// Its id.
    pub id: IntegrationId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// The platform.
    pub platform: String,
    /// A fresh random key: the ids that must be the same on any instance are derived with it.
    pub id_key: [u8; 32],
}

/// An integration with its enabled trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct Bound {
    /// The integration.
    pub integration: IntegrationRecord,
    /// Its enabled trigger, if it has one.
    pub trigger: Option<Trigger>,
}

impl Bound {
    /// Whether a session's agent still answers here.
    #[must_use]
    pub fn allows(&self, session: &Session) -> bool {
        let is_of_trigger = self.trigger.as_ref().is_some_and(|trigger| trigger.allows(session));
        is_of_trigger && self.integration.allows(&session.agent)
    }
}

/// Why an integration can't be written.
#[derive(Debug, thiserror::Error)]
pub enum IntegrationError {
    /// Another integration of the organization, with this id, has the name.
    #[error("the name is taken by {0}")]
    NameTaken(IntegrationId),
    /// Another integration has claimed the bot account.
    #[error("the bot account is in another integration")]
    AccountInUse {
        /// The organization that owns it. Only its owner may see more.
        organization: OrganizationId,
        /// The other integration.
        integration: IntegrationId,
    },
    /// An enabled trigger uses it.
    #[error("an enabled trigger names the integration")]
    InUse(Box<Trigger>),
    /// Its enabled trigger uses an agent that it would no longer allow.
    #[error("the enabled trigger uses the agent {agent}, which is not allowed")]
    AgentNotAllowed {
        /// The agent.
        agent: AgentId,
        /// The trigger.
        trigger: TriggerId,
    },
    /// The table failed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl IntegrationRecord {
    /// The credentials, with what was learned from the platform, and the key for deriving its ids.
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

    /// The credentials as entered by the operator.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`].
    pub fn given_credentials(&self, keyring: &Keyring) -> Result<Credentials, StoreError> {
        Ok(self.open(keyring)?.credentials)
    }

    /// The current settings of the integration, with the credentials as entered by the operator.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`].
    pub fn settings(&self, keyring: &Keyring) -> Result<IntegrationSettings, StoreError> {
        Ok(IntegrationSettings {
            name: self.name.clone(),
            mode: self.mode,
            credentials: self.given_credentials(keyring)?,
            endpoints: self.endpoints.clone(),
            language: self.language,
            streaming: self.streaming,
            thinking: self.thinking,
            allowed_agents: self.allowed_agents.clone(),
            enabled: self.enabled,
            account_key: None,
        })
    }

    /// Beginning of the digest of the bot's identity, which is stored with each message. `None` if the identity is unknown.
    #[must_use]
    pub fn account_mark(&self) -> Option<&str> {
        let digest = self.account.as_deref()?;
        Some(digest.get(..MARK_LENGTH).unwrap_or(digest))
    }

    /// Whether this agent may answer.
    #[must_use]
    pub fn allows(&self, agent: &AgentId) -> bool {
        allows(self.allowed_agents.as_deref(), agent)
    }

    /// The first agent of the trigger that may not answer.
    #[must_use]
    pub fn refused<'a>(&self, trigger: &'a Trigger) -> Option<&'a AgentId> {
        refused(self.allowed_agents.as_deref(), trigger)
    }

    fn open(&self, keyring: &Keyring) -> Result<Unsealed, StoreError> {
        stored::unseal(keyring, &self.id, &self.credentials)
    }

    /// Whether it needs a connection as soon as an enabled trigger uses it.
    pub(super) fn wants_connection(&self) -> bool {
        self.enabled && self.mode == ConnectionMode::LongConnection
    }

    /// The connection that it needs while bound by `bound`, if any.
    pub(super) fn wanted_connection(&self, bound: Option<&Trigger>) -> Option<Live> {
        let trigger = bound.filter(|_| self.wants_connection())?;
        Some(Live {
            integration: self.id.clone(),
            organization: self.organization.clone(),
            version: self.version,
            greeting: desired_connections::greeting_of(trigger),
        })
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
        thinking: settings.thinking,
        allowed_agents: settings.allowed_agents,
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
    if record.enabled {
        registration_due::set(&mut writes, Rule::AsRead, (&record.id, record.version), now);
    }
    commit(store, writes).await?;
    Ok(record)
}

/// Changes an integration. An update without changes is not written: its version stays, nothing reconnects.
///
/// # Errors
/// As [`create`]; [`StoreError::Conflict`] if it has changed since it was read.
pub async fn update(
    store: &Store,
    before: &IntegrationRecord,
    settings: IntegrationSettings,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    let kept = before.open(store.keyring())?;
    // Facts learned from the platform are valid for that bot account only.
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
        thinking: settings.thinking,
        allowed_agents: settings.allowed_agents,
        enabled: settings.enabled,
        updated_at: now,
        version: before.version + 1,
        ..before.clone()
    };
    let registers = !same || after.mode != before.mode || !before.enabled;
    replace(store, before, after, registers).await
}

/// Whether everything but credentials and endpoints is unchanged.
fn is_shown_alike(before: &IntegrationRecord, settings: &IntegrationSettings) -> bool {
    let account = settings.account_key.as_deref().map(account_digest);
    (&before.name, before.mode, before.language) == (&settings.name, settings.mode, settings.language)
        && (before.streaming, before.thinking, before.enabled)
            == (settings.streaming, settings.thinking, settings.enabled)
        && before.allowed_agents == settings.allowed_agents
        && before.account == account
}

/// Reverts an update: the integration, which is `after`, becomes `before` again, with its previous credentials and logins.
///
/// # Errors
/// As [`create`]; [`StoreError::Conflict`] if it differs from `after`.
pub async fn revert(
    store: &Store,
    after: &IntegrationRecord,
    before: &IntegrationRecord,
    now: Timestamp,
) -> Result<IntegrationRecord, IntegrationError> {
    if after.version == before.version {
        return Ok(before.clone());
    }
    let restored = IntegrationRecord {
        updated_at: now,
        version: after.version + 1,
        ..before.clone()
    };
    replace(store, after, restored, true).await
}

/// Starts or stops an integration. Starting a started one makes it reconnect, because its version grows.
///
/// # Errors
/// [`StoreError::Conflict`] if it has changed since it was read.
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
    replace(store, before, after, true).await
}

/// `first`, with the fields of `second` that it lacks.
fn beside(first: &Credentials, second: &Credentials) -> Credentials {
    let fields = second.iter().chain(first.iter());
    fields.map(|(name, value)| (name, value.expose())).collect()
}

/// `registers`: whether it has to be registered at its platform if it is started.
async fn replace(
    store: &Store,
    before: &IntegrationRecord,
    after: IntegrationRecord,
    registers: bool,
) -> Result<IntegrationRecord, IntegrationError> {
    let mut writes = Transaction::new();
    writes.put(Rule::AsRead, stored::write(&after)?, as_read(before));
    if after.name != before.name {
        take_name(&mut writes, &after);
        give_back_name(&mut writes, before);
    }
    change_account(&mut writes, before, &after, held(store, before).await?);
    let allows_others = after.allowed_agents != before.allowed_agents;
    if after.wants_connection() || allows_others {
        let bound = read::bound(store, &before.id).await?;
        // Another trigger that was bound meanwhile may have the same version.
        let as_bound = |bound: &TriggerRecord| {
            let mut when = where_equal("id", text(bound.trigger.id.as_str()));
            when.require_equal("version", number(bound.version));
            when
        };
        writes.check(
            Rule::AsRead,
            (&pk(&after.id), BOUND),
            bound.as_ref().map_or_else(absent, as_bound),
        );
        let trigger = bound.as_ref().map(|bound| &bound.trigger);
        if let Some(trigger) = trigger.filter(|_| allows_others)
            && let Some(agent) = after.refused(trigger)
        {
            return Err(IntegrationError::AgentNotAllowed {
                agent: agent.clone(),
                trigger: trigger.id.clone(),
            });
        }
        // An integration without an enabled trigger is not on the list.
        if let Some(wanted) = after.wanted_connection(trigger) {
            desired_connections::set(&mut writes, Rule::AsRead, &wanted);
        }
    }
    if before.wants_connection() && !after.wants_connection() {
        desired_connections::remove(&mut writes, Rule::AsRead, &after.id);
    }
    if !after.enabled {
        registration_due::remove(&mut writes, Rule::AsRead, &after.id);
    } else if registers {
        registration_due::set(&mut writes, Rule::AsRead, (&after.id, after.version), after.updated_at);
    }
    commit(store, writes).await?;
    Ok(after)
}

/// Moves the claims on the bot account. Credentials that worked at other servers have not worked at these.
fn change_account(
    writes: &mut Transaction<Rule>,
    before: &IntegrationRecord,
    after: &IntegrationRecord,
    held: claims::Held,
) {
    let is_other_account = after.account != before.account;
    if is_other_account {
        take_account(writes, after);
        claims::give_back_own(writes, before, held);
    }
    if is_other_account || claims::servers(&after.endpoints) != claims::servers(&before.endpoints) {
        if !is_other_account {
            claims::check_proved(writes, after);
        }
        claims::give_back_proved(writes, before, held);
    }
}

/// Condition: the integration is unchanged since it was read.
pub(super) fn as_read(before: &IntegrationRecord) -> Update {
    where_equal("version", number(before.version))
}

fn entry(record: &IntegrationRecord) -> Item {
    let mut entry = item::key(&format!("ORG#{}", record.organization), &pk(&record.id));
    entry.insert("v".into(), text("1"));
    entry
}
