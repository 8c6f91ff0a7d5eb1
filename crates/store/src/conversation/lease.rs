//! How a save changes the lease.

use serde::{Deserialize, Serialize};
use tieline_core::conversation::{Lease, Owner};
use tieline_core::timestamp::Timestamp;

use super::WHAT;
use crate::error::StoreError;
use crate::item::{number, value};
use crate::update::Update;

/// A lease as stored. Without owner and expiry it was released, and only its fencing token counts.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct StoredLease {
    #[serde(default, skip_serializing_if = "String::is_empty")]
    o: String,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    l: String,
    f: u64,
    #[serde(with = "tieline_core::timestamp::millis")]
    x: Timestamp,
}

/// How a save changes the lease, by its state before and after.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum LeaseWrite<'a> {
    /// Not written, and no condition: acquiring a lease changes the version.
    Keep,
    /// A new holder. No heartbeat may have touched the lease since it was `seen`.
    Take { seen: Option<&'a Lease>, lease: &'a Lease },
    /// Renewed by its holder.
    Prolong { fence: u64, expires_at: Timestamp },
    /// Released by its holder. Heartbeats still in flight are refused.
    GiveBack { fence: u64 },
}

impl<'a> LeaseWrite<'a> {
    /// The write for the change from `before` to `after`.
    pub(super) fn between(before: Option<&'a Lease>, after: Option<&'a Lease>) -> Result<Self, StoreError> {
        match (before, after) {
            (None, None) => Ok(Self::Keep),
            (Some(before), None) => Ok(Self::GiveBack { fence: before.fence }),
            (Some(before), Some(after)) if before.owner == after.owner && before.fence == after.fence => {
                Ok(Self::of_same_holder(before, after))
            }
            // With a fencing token that doesn't grow, an old holder's writes would be accepted as the new one's.
            (Some(before), Some(after)) if after.fence <= before.fence => Err(StoreError::Conflict),
            (seen, Some(lease)) => Ok(Self::Take { seen, lease }),
        }
    }

    fn of_same_holder(before: &Lease, after: &Lease) -> Self {
        if after.expires_at > before.expires_at {
            Self::Prolong {
                fence: after.fence,
                expires_at: after.expires_at,
            }
        } else {
            Self::Keep
        }
    }

    /// Adds it to a save, with its conditions.
    pub(super) fn apply(self, change: &mut Update) -> Result<(), StoreError> {
        match self {
            Self::Keep => {}
            Self::Take { seen, lease } => {
                match seen {
                    Some(seen) => change
                        .require_equal("lease.f", number(seen.fence))
                        .require_equal("lease.x", number(seen.expires_at.as_millis())),
                    None => change.require_absent("lease"),
                };
                change.set("lease", value(WHAT, &StoredLease::held(lease))?);
            }
            Self::Prolong { fence, expires_at } => {
                change.require_equal("lease.f", number(fence));
                let (path, new) = (change.path("lease.x"), number(expires_at.as_millis()));
                let new = change.value(new);
                change.require(format!("{path} <= {new}"));
                change.set("lease.x", number(expires_at.as_millis()));
            }
            Self::GiveBack { fence } => {
                change.require_equal("lease.f", number(fence));
                change.set("lease", value(WHAT, &StoredLease::given_back(fence))?);
            }
        }
        Ok(())
    }

    /// The lease after a successful save.
    pub(super) fn result(self, before: Option<&Lease>, after: Option<&Lease>) -> Option<Lease> {
        match self {
            Self::Keep => before.cloned(),
            Self::Take { .. } | Self::Prolong { .. } => after.cloned(),
            Self::GiveBack { fence } => Some(StoredLease::given_back(fence).into()),
        }
    }

    /// Whether this would renew a lease that its holder's own heartbeat has already renewed further.
    pub(super) fn is_exceeded_by(self, found: Option<&Lease>) -> bool {
        let Self::Prolong { fence, expires_at } = self else {
            return false;
        };
        found.is_some_and(|found| found.fence == fence && found.expires_at > expires_at)
    }
}

impl StoredLease {
    pub(super) fn held(lease: &Lease) -> Self {
        Self {
            o: lease.owner.node.clone(),
            l: lease.owner.life.clone(),
            f: lease.fence,
            x: lease.expires_at,
        }
    }

    fn given_back(fence: u64) -> Self {
        Self {
            o: String::new(),
            l: String::new(),
            f: fence,
            x: Timestamp::from_millis(0),
        }
    }
}

impl From<StoredLease> for Lease {
    fn from(stored: StoredLease) -> Self {
        Self {
            owner: Owner {
                node: stored.o,
                life: stored.l,
            },
            fence: stored.f,
            expires_at: stored.x,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lease(life: &str, fence: u64, expires_s: i64) -> Lease {
        Lease {
            owner: Owner {
                node: "n".into(),
                life: life.into(),
            },
            fence,
            expires_at: Timestamp::from_secs(expires_s),
        }
    }

    #[test]
    fn each_change_of_a_lease_has_its_own_write() {
        let (held, later, taken) = (lease("a", 1, 30), lease("a", 1, 40), lease("b", 2, 60));
        let between = |before, after| LeaseWrite::between(before, after).unwrap();
        assert_eq!(between(None, None), LeaseWrite::Keep);
        assert_eq!(between(Some(&held), Some(&held)), LeaseWrite::Keep);
        assert_eq!(between(Some(&later), Some(&held)), LeaseWrite::Keep);
        let (fence, expires_at) = (1, later.expires_at);
        assert_eq!(
            between(Some(&held), Some(&later)),
            LeaseWrite::Prolong { fence, expires_at }
        );
        assert_eq!(between(Some(&held), None), LeaseWrite::GiveBack { fence: 1 });
        let (seen, lease) = (Some(&held), &taken);
        assert_eq!(between(Some(&held), Some(&taken)), LeaseWrite::Take { seen, lease });
    }

    #[test]
    fn fence_must_grow() {
        let (held, same, older) = (lease("a", 2, 30), lease("b", 2, 60), lease("b", 1, 60));
        for taken in [&same, &older] {
            assert!(matches!(
                LeaseWrite::between(Some(&held), Some(taken)),
                Err(StoreError::Conflict)
            ));
        }
    }
}
