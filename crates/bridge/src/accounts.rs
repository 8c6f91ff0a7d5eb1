//! Bot accounts: credentials unsealed and settings parsed, cached until the integration changes.

use std::sync::Arc;

use tieline_core::account::{Account, Credentials, InvalidSetting, are_different_accounts};
use tieline_core::connector::{Connector, Context};
use tieline_core::ids::IdMint;
use tieline_store::StoreError;
use tieline_store::config::integration::{self, Bound, IntegrationRecord};
use tieline_store::message::MessageRecord;
use tracing::warn;

use crate::world::{World, nonce};

/// Why an account can't be used.
#[derive(Debug, thiserror::Error)]
pub enum AccountError {
    /// No connector speaks its platform.
    #[error("no connector for platform {0}")]
    UnknownPlatform(String),
    /// Its settings can't be used.
    #[error("integration can't be used")]
    Invalid(#[source] InvalidSetting),
    /// It can't be unsealed.
    #[error("integration can't be read")]
    Store(#[from] StoreError),
}

/// An account with its connector.
#[derive(Clone)]
pub struct Bot {
    /// The platform.
    pub connector: &'static dyn Connector,
    /// The account.
    pub account: Arc<Account>,
    /// See [`IntegrationRecord::account_mark`]: stored with what it receives and sends, which no other bot account may answer.
    pub account_mark: Option<String>,
}

impl Bot {
    /// The connector's context: this account, the current time, random bytes and the trigger's welcome text.
    #[must_use]
    pub fn context<'a>(&'a self, world: &World, welcome: Option<&'a str>) -> Context<'a> {
        Context {
            account: &self.account,
            now: world.clock.now(),
            random: nonce(),
            welcome,
            unaddressed: tieline_core::connector::Unaddressed::Ignored,
        }
    }

    /// Whether this is the mark of another bot account. Only if both are known.
    #[must_use]
    pub(crate) fn is_other_than(&self, mark: Option<&str>) -> bool {
        are_different_accounts(self.account_mark.as_deref(), mark)
    }

    /// The part of the agent's reasoning that the bot's chats show before the answer's text begins.
    #[must_use]
    pub fn shown_reasoning<'r>(&self, reasoning: &'r str) -> &'r str {
        let account = &self.account;
        let mode = self.connector.manifest().mode(account.mode);
        let detail = account.thinking.reasoning.or(mode.map(|mode| mode.reasoning));
        match detail {
            Some(detail) if account.streaming => detail.of(reasoning),
            _ => "",
        }
    }
}

/// Opens the account of an integration as stored in the table.
///
/// # Errors
/// [`AccountError`] if it can't be used.
pub fn open(world: &World, record: &IntegrationRecord) -> Result<Bot, AccountError> {
    let connector = connector_of(world, record)?;
    if let Some(account) = world.accounts.get(&record.id, record.version) {
        return Ok(bot_of(connector, account, record));
    }
    make(world, connector, record, &Credentials::default())
}

/// Like [`open`]. `None` if the account can't be used, which is logged.
///
/// # Errors
/// [`StoreError::UnknownKey`] if another process has sealed it with a data key that this process may read soon.
pub fn open_if_usable(world: &World, record: &IntegrationRecord) -> Result<Option<Bot>, StoreError> {
    match open(world, record) {
        Ok(bot) => Ok(Some(bot)),
        Err(AccountError::Store(StoreError::UnknownKey)) => Err(StoreError::UnknownKey),
        Err(error) => {
            warn!(account.id = %record.id, error = %error, "account can't be opened");
            Ok(None)
        }
    }
}

/// The integration for answering these messages: as stored now if another bot account than that of `bound` received one of them, since `bound`
/// may be older than the message. `None` if it is deleted.
///
/// # Errors
/// [`StoreError`].
pub(crate) async fn for_answering(
    world: &World,
    bound: Bound,
    records: &[MessageRecord],
) -> Result<Option<Bound>, StoreError> {
    let mark = bound.integration.account_mark();
    match records.iter().any(|record| record.is_of_other_account(mark)) {
        true => integration::load_bound(&world.store, &bound.integration.id).await,
        false => Ok(Some(bound)),
    }
}

/// Like [`open`], with `learned` credentials that the platform has reported since. This process caches the result until the integration changes.
///
/// # Errors
/// [`AccountError`] if it can't be used.
pub(crate) fn open_with(world: &World, record: &IntegrationRecord, learned: &Credentials) -> Result<Bot, AccountError> {
    let connector = connector_of(world, record)?;
    make(world, connector, record, learned)
}

fn connector_of(world: &World, record: &IntegrationRecord) -> Result<&'static dyn Connector, AccountError> {
    let connector = world.connector(&record.platform);
    connector.ok_or_else(|| AccountError::UnknownPlatform(record.platform.clone()))
}

fn make(
    world: &World,
    connector: &'static dyn Connector,
    record: &IntegrationRecord,
    learned: &Credentials,
) -> Result<Bot, AccountError> {
    let account = Arc::new(build(world, connector, record, learned)?);
    world.accounts.keep(record.version, Arc::clone(&account));
    Ok(bot_of(connector, account, record))
}

fn bot_of(connector: &'static dyn Connector, account: Arc<Account>, record: &IntegrationRecord) -> Bot {
    Bot {
        connector,
        account,
        account_mark: record.account_mark().map(str::to_owned),
    }
}

fn build(
    world: &World,
    connector: &'static dyn Connector,
    record: &IntegrationRecord,
    learned: &Credentials,
) -> Result<Account, AccountError> {
    let (credentials, id_key) = record.unseal(world.store.keyring())?;
    let fields = credentials.iter().chain(learned.iter());
    let credentials: Credentials = fields.map(|(name, value)| (name, value.expose())).collect();
    let prepared = connector
        .prepare(record.mode, &credentials, &record.endpoints)
        .map_err(AccountError::Invalid)?;
    Ok(Account {
        integration: record.id.clone(),
        organization: record.organization.clone(),
        mode: record.mode,
        credentials,
        prepared,
        endpoints: record.endpoints.clone(),
        language: record.language,
        streaming: record.streaming,
        thinking: record.thinking,
        ids: IdMint::new(&id_key),
        allow_private: world.settings.allow_private.allows_plain(),
    })
}
