//! A bot account as its connector sees it.

use std::any::Any;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use url::Url;

use crate::ids::{IdMint, IntegrationId, OrganizationId};
use crate::notice::Language;
use crate::secret::Secret;
use crate::thinking_display::ThinkingDisplay;

/// How an integration is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConnectionMode {
    /// The platform calls us over HTTP.
    Webhook,
    /// We hold a connection to the platform open.
    LongConnection,
}

impl ConnectionMode {
    /// The name used in the API.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::LongConnection => "long_connection",
        }
    }
}

/// Credentials by field name. Every value is treated as secret here; the manifest says which ones are masked.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "BTreeMap<String, Secret>", into = "BTreeMap<String, Secret>")]
// Sorted by name. A relay holds thousands of these, each of two or three fields, for which a map takes half a kilobyte.
pub struct Credentials(Vec<(String, Secret)>);

impl Credentials {
    /// The value of `field`, if present and not empty.
    #[must_use]
    pub fn get(&self, field: &str) -> Option<&str> {
        let (_, value) = &self.0[self.place(field).ok()?];
        Some(value.expose()).filter(|value| !value.is_empty())
    }

    /// The value of a required field.
    ///
    /// # Errors
    /// [`InvalidSetting`] naming the field.
    pub fn require(&self, field: &'static str) -> Result<&str, InvalidSetting> {
        self.get(field).ok_or(InvalidSetting {
            field,
            reason: "is required",
        })
    }

    /// Sets `field`.
    pub fn set(&mut self, field: impl Into<String>, value: Secret) {
        let field = field.into();
        match self.place(&field) {
            Ok(at) => self.0[at].1 = value,
            Err(at) => self.0.insert(at, (field, value)),
        }
    }

    /// The index of the field, or where it is to be inserted.
    fn place(&self, field: &str) -> Result<usize, usize> {
        self.0.binary_search_by(|(name, _)| name.as_str().cmp(field))
    }

    /// Field names and values, in order of name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Secret)> {
        self.0.iter().map(|(name, value)| (name.as_str(), value))
    }
}

impl From<BTreeMap<String, Secret>> for Credentials {
    fn from(fields: BTreeMap<String, Secret>) -> Self {
        Self(fields.into_iter().collect())
    }
}

impl From<Credentials> for BTreeMap<String, Secret> {
    fn from(credentials: Credentials) -> Self {
        credentials.0.into_iter().collect()
    }
}

impl<N: Into<String>, V: Into<String>> FromIterator<(N, V)> for Credentials {
    fn from_iter<I: IntoIterator<Item = (N, V)>>(fields: I) -> Self {
        let fields = fields
            .into_iter()
            .map(|(name, value)| (name.into(), Secret::new(value)));
        fields.collect::<BTreeMap<_, _>>().into()
    }
}

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{field} {reason}")]
pub struct InvalidSetting {
    /// Which field.
    pub field: &'static str,
    /// What is wrong with it, to follow the field's name in a sentence. Never the value.
    pub reason: &'static str,
}

/// Addresses that replace the platform's own, by name (`apiBase`, `wsUrl`, ...).
pub type Endpoints = BTreeMap<String, String>;

/// What a connector parsed once from the credentials: keys, ciphers. Shared by all requests of the account.
#[derive(Clone)]
pub struct Prepared(Arc<dyn Any + Send + Sync>);

impl Prepared {
    /// Wraps a connector's own type.
    pub fn new<T: Any + Send + Sync>(value: T) -> Self {
        Self(Arc::new(value))
    }

    /// The connector's own type again. `None` if another connector made it.
    #[must_use]
    pub fn get<T: Any + Send + Sync>(&self) -> Option<&T> {
        self.0.downcast_ref()
    }
}

impl fmt::Debug for Prepared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Prepared(..)")
    }
}

/// One bot account with everything its connector needs. Built once per change of the integration.
#[derive(Debug, Clone)]
pub struct Account {
    /// The integration.
    pub integration: IntegrationId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// How it is connected.
    pub mode: ConnectionMode,
    /// Its credentials, unsealed.
    pub credentials: Credentials,
    /// Result of [`crate::connector::Connector::prepare`].
    pub prepared: Prepared,
    /// Addresses that replace the platform's own.
    pub endpoints: Endpoints,
    /// Language of our own notices.
    pub language: Language,
    /// Whether answers are shown while they grow.
    pub streaming: bool,
    /// What is shown before an answer's text begins.
    pub thinking: ThinkingDisplay,
    /// Derives the ids that must be the same on any instance.
    pub ids: IdMint,
    /// Whether plain HTTP and private addresses are allowed (`--allow-private-endpoints`).
    pub allow_private: bool,
}

impl Account {
    /// The address called `name`, without a trailing slash, else the platform's own.
    #[must_use]
    pub fn endpoint<'a>(&'a self, name: &str, default: &'a str) -> &'a str {
        self.endpoints
            .get(name)
            .map_or(default, String::as_str)
            .trim_end_matches('/')
    }

    /// Whether an address that a platform handed us may be called.
    ///
    /// Allowed hosts are the platform's own (`hosts`; an entry starting with a dot also allows every name below it) and the
    /// hosts of the integration's endpoints. HTTPS or WSS only, unless private addresses are allowed.
    #[must_use]
    pub fn may_call(&self, address: &str, hosts: &[&str]) -> bool {
        let Ok(url) = Url::parse(address) else {
            return false;
        };
        let Some(host) = url.host_str() else {
            return false;
        };
        if !crate::outbound_url::may_use_scheme(&url, self.allow_private) {
            return false;
        }
        let ours = self.endpoints.values().filter_map(|own| Url::parse(own).ok());
        hosts.iter().any(|known| is_host(host, known)) || ours.into_iter().any(|own| own.host_str() == Some(host))
    }
}

fn is_host(host: &str, known: &str) -> bool {
    match known.strip_prefix('.') {
        Some(parent) => host == parent || host.ends_with(known),
        None => host == known,
    }
}

/// Whether two marks are those of different bot accounts. Only if both are known.
#[must_use]
pub fn are_different_accounts(one: Option<&str>, other: Option<&str>) -> bool {
    one.zip(other).is_some_and(|(one, other)| one != other)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn credentials_are_found_replaced_and_listed_by_name() {
        let mut credentials = Credentials::from_iter([("secret", "a"), ("botId", "b"), ("token", "")]);
        credentials.set("secret", Secret::new("c"));
        credentials.set("aesKey", Secret::new("d"));
        assert_eq!(credentials.get("secret"), Some("c"));
        assert_eq!(credentials.get("aesKey"), Some("d"));
        assert_eq!((credentials.get("token"), credentials.get("other")), (None, None));
        let names: Vec<_> = credentials.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["aesKey", "botId", "secret", "token"]);
        let text = serde_json::to_string(&credentials).unwrap();
        assert_eq!(text, r#"{"aesKey":"d","botId":"b","secret":"c","token":""}"#);
        assert_eq!(serde_json::from_str::<Credentials>(&text).unwrap(), credentials);
    }
}
