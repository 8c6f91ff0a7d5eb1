//! Fresh ids and tokens of a request.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use tieline_bridge::world::random;
use tieline_core::ids::{AgentId, IntegrationId, TriggerId, digest, fresh};
use tieline_core::timestamp::Timestamp;
use tieline_store::idempotency::{Claimed, Seed};

use crate::problem::Problem;
use crate::state::AdminState;

/// What ids and tokens of one request are made of. A request that is repeated under its idempotency key has the same ones again. A seed
/// has room for the id and the token of one thing; ids of many things are derived from it and their names.
#[derive(Clone)]
pub(crate) struct Fresh {
    seed: Seed,
    at: Timestamp,
    is_repeat: bool,
}

impl FromRequestParts<AdminState> for Fresh {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &AdminState) -> Result<Self, Problem> {
        let given = parts.extensions.get::<Self>().cloned();
        Ok(given.unwrap_or_else(|| Self {
            seed: random(),
            at: state.now(),
            is_repeat: false,
        }))
    }
}

impl Fresh {
    pub(crate) const fn of(claimed: &Claimed) -> Self {
        Self {
            seed: claimed.seed,
            at: claimed.at,
            is_repeat: claimed.is_repeat,
        }
    }

    /// Whether the request was begun before, so that what it makes may be there.
    pub(crate) const fn is_repeat(&self) -> bool {
        self.is_repeat
    }

    /// When the request came first.
    pub(crate) const fn at(&self) -> Timestamp {
        self.at
    }

    pub(crate) fn integration(&self) -> IntegrationId {
        IntegrationId::new(self.id("int"))
    }

    pub(crate) fn agent(&self) -> AgentId {
        AgentId::new(self.id("agt"))
    }

    pub(crate) fn trigger(&self) -> TriggerId {
        TriggerId::new(self.id("trg"))
    }

    /// The id of one of many integrations that the request makes.
    pub(crate) fn integration_named(&self, name: &str) -> IntegrationId {
        IntegrationId::new(self.derived("int", name))
    }

    /// The id of one of many agents that the request makes.
    pub(crate) fn agent_named(&self, name: &str) -> AgentId {
        AgentId::new(self.derived("agt", name))
    }

    /// The id of one of many triggers that the request makes.
    pub(crate) fn trigger_named(&self, name: &str) -> TriggerId {
        TriggerId::new(self.derived("trg", name))
    }

    fn derived(&self, prefix: &str, name: &str) -> String {
        let seed = URL_SAFE_NO_PAD.encode(&self.seed[44..]);
        let hash = URL_SAFE_NO_PAD.decode(digest(&[&seed, prefix, name]));
        let hash = hash.expect("a digest is base64url");
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&hash[..12]);
        self.timed(prefix, bytes)
    }

    /// An id. It begins with the time, so that lists, which are in order of ids, are in order of making.
    pub(crate) fn id(&self, prefix: &str) -> String {
        self.timed(prefix, self.bytes())
    }

    fn timed(&self, prefix: &str, mut bytes: [u8; 12]) -> String {
        let millis = self.at.as_millis().to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        fresh(prefix, bytes)
    }

    /// Random bytes of an id.
    pub(crate) fn bytes(&self) -> [u8; 12] {
        let mut bytes = [0; 12];
        bytes.copy_from_slice(&self.seed[32..44]);
        bytes
    }

    /// An operator's token.
    pub(crate) fn token(&self) -> String {
        format!("tl_{}", URL_SAFE_NO_PAD.encode(&self.seed[..32]))
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::is_shaped;

    use super::*;

    #[test]
    fn derived_ids_are_the_same_for_the_same_name_and_seed_only() {
        let of = |seed: u8| Fresh {
            seed: [seed; 64],
            at: Timestamp::from_millis(1),
            is_repeat: false,
        };
        let id = of(1).agent_named("A");
        assert!(is_shaped("agt", id.as_str()), "{id}");
        assert_eq!(of(1).agent_named("A"), id);
        assert_ne!(of(1).agent_named("B"), id);
        assert_ne!(of(2).agent_named("A"), id);
        assert_ne!(of(1).trigger_named("A").as_str()[3..], id.as_str()[3..]);
    }
}
