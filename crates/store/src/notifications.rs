//! Notifications of an organization: the known incidents, and the outbox.
//!
//! Item `NOTIFY#{organization}`/`NOTIFY` of `state`. It is read, changed and written as a whole, on condition that its version is
//! unchanged. So an incident and the notification of it are recorded together, and of two concurrent processes
//! one starts over. A notification gets its id when it is recorded: sent again after a crash, it is the same one.

use serde::{Deserialize, Serialize};
use tieline_core::ids::{IntegrationId, MessageId, OrganizationId};
use tieline_core::incident::{Incident, IncidentBook, IncidentKind, UntoldLetters};
use tieline_core::timestamp::{Timestamp, millis};

use crate::Store;
use crate::dynamo::{self, Reading};
use crate::error::StoreError;
use crate::item::{Blob, number, read, write};
use crate::update::Update;

const WHAT: &str = "notifications";
const SORT: &str = "NOTIFY";

/// The notifications of an organization.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Notifications {
    /// The known incidents.
    pub book: IncidentBook,
    /// Dead letters up to this time are counted. `None` before the first check.
    pub letters_until: Option<Timestamp>,
    /// Notifications to be sent, the oldest first.
    pub outbox: Vec<Outgoing>,
    /// The latest messages in which a bot sent notifications: a failure of one of them must not cause another notification.
    pub own_messages: Vec<MessageId>,
    /// Outcome of the latest attempt.
    pub last_attempt: Option<Attempt>,
    version: u64,
}

/// A notification to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// Its id: the same in every attempt.
    pub id: String,
    /// When it was created.
    pub at: Timestamp,
    /// How often it was sent.
    pub attempts: u32,
    /// When it is sent next. An attempt sets this before it sends, so that a process that dies during it only delays the notification.
    pub next_at: Timestamp,
    /// Its content.
    pub body: String,
}

/// Outcome of an attempt to send.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attempt {
    /// When it was made.
    #[serde(with = "millis")]
    pub at: Timestamp,
    /// Why it failed. `None`: it was delivered, or `message` is being delivered.
    pub error: Option<String>,
    /// The bot's message, until its outcome in the ledger is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<MessageId>,
}

#[derive(Serialize, Deserialize)]
#[serde(tag = "v")]
enum Stored {
    #[serde(rename = "1")]
    V1(StoredV1),
}

#[derive(Serialize, Deserialize)]
struct StoredV1 {
    ver: u64,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inc: Vec<IncidentV1>,
    #[serde(default)]
    letters: u32,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    letters_told: Option<Timestamp>,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    letters_until: Option<Timestamp>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    out: Vec<OutgoingV1>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    own: Vec<MessageId>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    last: Option<Attempt>,
}

#[derive(Serialize, Deserialize)]
struct IncidentV1 {
    i: IntegrationId,
    k: KindV1,
    why: String,
    #[serde(with = "millis")]
    since: Timestamp,
    told: bool,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    at: Option<Timestamp>,
    over: bool,
    #[serde(default, with = "millis::option", skip_serializing_if = "Option::is_none")]
    quiet: Option<Timestamp>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum KindV1 {
    Down,
    AnswersFail,
}

#[derive(Serialize, Deserialize)]
struct OutgoingV1 {
    id: String,
    #[serde(with = "millis")]
    at: Timestamp,
    n: u32,
    #[serde(with = "millis")]
    next: Timestamp,
    /// Sealed: it may contain an agent's own message.
    b: Blob,
}

/// Reads the notifications of an organization; empty before the first check.
///
/// # Errors
/// [`StoreError`].
pub async fn get(store: &Store, organization: &OrganizationId) -> Result<Notifications, StoreError> {
    let key = partition(organization);
    let found = dynamo::get(&store.dynamo, &store.tables.state, (&key, SORT), Reading::Strong, &[]).await?;
    let Some(item) = found else {
        return Ok(Notifications::default());
    };
    let Stored::V1(stored) = read(WHAT, item)?;
    stored.open(store, &key)
}

/// Writes the notifications of an organization after a change.
///
/// # Errors
/// [`StoreError::Conflict`] if another process has written meanwhile.
pub async fn save(
    store: &Store,
    organization: &OrganizationId,
    notifications: &mut Notifications,
) -> Result<(), StoreError> {
    let key = partition(organization);
    let before = notifications.version;
    let stored = Stored::V1(StoredV1::seal(store, &key, notifications, before + 1));
    let item = write(WHAT, &key, SORT, &stored)?;
    let mut condition = Update::new();
    match before {
        0 => condition.require_absent("ver"),
        _ => condition.require_equal("ver", number(before)),
    };
    let written = dynamo::put(&store.dynamo, &store.tables.state, item, condition).await?;
    written.or_conflict()?;
    notifications.version = before + 1;
    Ok(())
}

impl StoredV1 {
    fn seal(store: &Store, key: &str, of: &Notifications, version: u64) -> Self {
        let outgoing = |it: &Outgoing| OutgoingV1 {
            id: it.id.clone(),
            at: it.at,
            n: it.attempts,
            next: it.next_at,
            b: Blob(store.keyring.seal_bytes(it.body.as_bytes(), &bound_to(key, &it.id))),
        };
        Self {
            ver: version,
            inc: of.book.incidents.iter().map(IncidentV1::of).collect(),
            letters: of.book.letters.n,
            letters_told: of.book.letters.told_at,
            letters_until: of.letters_until,
            out: of.outbox.iter().map(outgoing).collect(),
            own: of.own_messages.clone(),
            last: of.last_attempt.clone(),
        }
    }

    fn open(self, store: &Store, key: &str) -> Result<Notifications, StoreError> {
        let open = |it: OutgoingV1| {
            let body = store.keyring.open_bytes(&it.b.0, &bound_to(key, &it.id))?;
            Ok(Outgoing {
                body: String::from_utf8(body).map_err(|_| StoreError::Unreadable { what: WHAT })?,
                id: it.id,
                at: it.at,
                attempts: it.n,
                next_at: it.next,
            })
        };
        Ok(Notifications {
            book: IncidentBook {
                incidents: self.inc.into_iter().map(IncidentV1::into_incident).collect(),
                letters: UntoldLetters {
                    n: self.letters,
                    told_at: self.letters_told,
                },
            },
            letters_until: self.letters_until,
            outbox: self.out.into_iter().map(open).collect::<Result<_, StoreError>>()?,
            own_messages: self.own,
            last_attempt: self.last,
            version: self.ver,
        })
    }
}

impl IncidentV1 {
    fn of(incident: &Incident) -> Self {
        Self {
            i: incident.integration.clone(),
            k: match incident.kind {
                IncidentKind::Down => KindV1::Down,
                IncidentKind::AnswersFail => KindV1::AnswersFail,
            },
            why: incident.reason.clone(),
            since: incident.since,
            told: incident.is_told,
            at: incident.told_at,
            over: incident.is_over,
            quiet: incident.unproven_since,
        }
    }

    fn into_incident(self) -> Incident {
        Incident {
            integration: self.i,
            kind: match self.k {
                KindV1::Down => IncidentKind::Down,
                KindV1::AnswersFail => IncidentKind::AnswersFail,
            },
            reason: self.why,
            since: self.since,
            is_told: self.told,
            told_at: self.at,
            is_over: self.over,
            unproven_since: self.quiet,
        }
    }
}

/// The organization of the notifications at this key. `None`: it is not such a key.
pub(crate) fn organization_of(pk: &str, sk: &str) -> Option<OrganizationId> {
    let id = pk.strip_prefix("NOTIFY#").filter(|_| sk == SORT)?;
    Some(OrganizationId::new(id))
}

fn partition(organization: &OrganizationId) -> String {
    format!("NOTIFY#{organization}")
}

/// Binds a sealed body to the notification that it belongs to.
fn bound_to(key: &str, id: &str) -> String {
    format!("{key}/{id}")
}
