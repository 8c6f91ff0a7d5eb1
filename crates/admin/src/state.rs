//! What the management API works with.

use tieline_bridge::world::{World, random};
use tieline_core::ids::{AgentId, IntegrationId, TriggerId, fresh};
use tieline_core::timestamp::Timestamp;

/// What the management API works with: tables, queues, platforms, settings, clock. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) world: World,
}

impl AdminState {
    pub(crate) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Whether plain HTTP and private addresses may be saved.
    pub(crate) fn allow_private(&self) -> bool {
        self.world.settings.allow_private
    }

    pub(crate) fn fresh_integration(&self) -> IntegrationId {
        IntegrationId::new(self.fresh("int"))
    }

    pub(crate) fn fresh_agent(&self) -> AgentId {
        AgentId::new(self.fresh("agt"))
    }

    pub(crate) fn fresh_trigger(&self) -> TriggerId {
        TriggerId::new(self.fresh("trg"))
    }

    /// A fresh id. It begins with the time, so that lists, which are in order of ids, are in order of making.
    pub(crate) fn fresh(&self, prefix: &str) -> String {
        let mut bytes: [u8; 12] = random();
        let millis = self.now().as_millis().to_be_bytes();
        bytes[..6].copy_from_slice(&millis[2..]);
        fresh(prefix, bytes)
    }
}
