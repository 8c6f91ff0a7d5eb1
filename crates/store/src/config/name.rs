//! Names: unique per kind and organization.

use tieline_core::ids::OrganizationId;

use super::transaction::{Transaction, absent, where_equal};
use crate::item::{Item, key, text};

/// Kinds of things with a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Agent,
    Integration,
}

impl Kind {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Integration => "integration",
        }
    }
}

/// Claims a name for `id`, on condition that it is free.
pub(super) fn take<L: Copy>(
    writes: &mut Transaction<L>,
    taken: L,
    kind: Kind,
    organization: &OrganizationId,
    name: &str,
    id: &str,
) {
    let (pk, sk) = place(kind, organization, name);
    let mut item: Item = key(&pk, &sk);
    item.insert("v".into(), text("1"));
    item.insert("id".into(), text(id));
    writes.put(taken, item, absent());
}

/// Releases the name of `id`.
pub(super) fn give_back<L: Copy>(
    writes: &mut Transaction<L>,
    changed: L,
    kind: Kind,
    organization: &OrganizationId,
    name: &str,
    id: &str,
) {
    let (pk, sk) = place(kind, organization, name);
    writes.delete(changed, (&pk, &sk), where_equal("id", text(id)));
}

fn place(kind: Kind, organization: &OrganizationId, name: &str) -> (String, String) {
    (format!("ORG#{organization}"), format!("NAME#{}#{name}", kind.as_str()))
}
