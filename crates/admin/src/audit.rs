//! Builds entries of the audit log: who changes what, from where, before and after.

use std::net::IpAddr;

use serde_json::{Map, Value};
use tieline_bridge::operator::{Identity, Operator};
use tieline_core::ids::{IntegrationId, OrganizationId};
use tieline_store::Store;
use tieline_store::audit::{self, Actor, AuditEntry, Target, Trail};
use tieline_store::config::token::Role;
use tieline_store::log::{Level, LogEntry};

use crate::problem::Problem;
use crate::state::AdminState;

mod difference;

pub(crate) use difference::{Shown, difference};

/// The author of a request, and the client address.
#[derive(Debug, Clone)]
pub(crate) struct Author {
    actor: Actor,
    address: Option<IpAddr>,
}

impl Author {
    pub(crate) fn of(identity: &Identity, address: Option<IpAddr>) -> Self {
        let role = match &identity.operator {
            Operator::Root => "root",
            Operator::Member { role: Role::Admin, .. } => "admin",
            Operator::Member { role: Role::Viewer, .. } => "viewer",
        };
        let token = identity.token.as_ref();
        let actor = Actor {
            role: role.to_owned(),
            token_id: token.map(|token| token.id.clone()),
            token_name: token.map(|token| token.name.clone()),
        };
        Self { actor, address }
    }

    /// The author, as part of a log line.
    fn sentence(&self) -> String {
        let who = match (&self.actor.token_name, &self.actor.token_id) {
            (Some(name), Some(id)) => format!("the token {name} ({id})"),
            _ => "the root token".to_owned(),
        };
        match self.address {
            Some(address) => format!("{who} from {address}"),
            None => who,
        }
    }
}

/// A change that is about to be made.
pub(crate) struct Change {
    action: &'static str,
    target: Option<Target>,
    before: Option<Value>,
    after: Option<Value>,
    lines: Vec<(IntegrationId, &'static str, String)>,
}

impl Change {
    /// A change of a resource, or an action on it.
    pub(crate) fn of(action: &'static str, (kind, id, name): (&str, &str, Option<&str>)) -> Self {
        let target = Target {
            kind: kind.to_owned(),
            id: id.to_owned(),
            name: name.map(str::to_owned),
        };
        Self {
            target: Some(target),
            ..Self::plain(action)
        }
    }

    /// An action without a target.
    pub(crate) const fn plain(action: &'static str) -> Self {
        Self {
            action,
            target: None,
            before: None,
            after: None,
            lines: Vec::new(),
        }
    }

    /// Sets the whole state before the change.
    pub(crate) fn from(self, before: Shown) -> Self {
        Self {
            before: Some(before.bounded()),
            ..self
        }
    }

    /// Sets the whole state after the change.
    pub(crate) fn to(self, after: Shown) -> Self {
        Self {
            after: Some(after.bounded()),
            ..self
        }
    }

    /// Sets the fields that differ, before and after.
    pub(crate) fn between(self, before: &Shown, after: &Shown) -> Self {
        let (before, after) = difference(before, after);
        Self {
            before: Some(before),
            after: Some(after),
            ..self
        }
    }

    /// Adds a line to the log of an integration: `code`, and the beginning of a sentence that ends with "by" and the author.
    pub(crate) fn line(mut self, integration: &IntegrationId, code: &'static str, what: impl Into<String>) -> Self {
        self.lines.push((integration.clone(), code, what.into()));
        self
    }
}

/// A store whose next transaction also writes the change into the audit log.
pub(crate) fn store(state: &AdminState, author: &Author, owner: Option<&OrganizationId>, change: Change) -> Store {
    state.world.store.audited(trail(state, author, owner, change))
}

/// Writes a change that isn't a database transaction into the audit log, before it is made.
pub(crate) async fn note(
    state: &AdminState,
    author: &Author,
    owner: Option<&OrganizationId>,
    change: Change,
) -> Result<(), Problem> {
    let trail = trail(state, author, owner, change);
    Ok(audit::append(&state.world.store, &trail).await?)
}

fn trail(state: &AdminState, author: &Author, owner: Option<&OrganizationId>, change: Change) -> Trail {
    let at = state.now();
    let line = |(integration, code, what): (IntegrationId, &'static str, String)| {
        let entry = LogEntry {
            at,
            level: Level::Info,
            code: code.to_owned(),
            message: format!("{what} by {}", author.sentence()),
        };
        (integration, entry)
    };
    let entry = AuditEntry {
        id: audit::fresh_id(),
        at,
        organization: owner.cloned(),
        actor: author.actor.clone(),
        address: author.address.map(|address| address.to_string()),
        action: change.action.to_owned(),
        target: change.target,
        before: change.before,
        after: change.after,
    };
    Trail {
        entry,
        lines: change.lines.into_iter().map(line).collect(),
    }
}

/// The state of a resource without secrets.
pub(crate) fn shown(view: Value) -> Shown {
    Shown {
        view,
        secrets: Map::new(),
    }
}
