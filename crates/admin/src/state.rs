//! State shared by all handlers of the management API.

use tieline_bridge::world::World;
use tieline_core::outbound_url::PrivateEndpoints;
use tieline_core::timestamp::Timestamp;

/// State shared by all handlers: tables, queues, platforms, settings, clock. Cheap to clone.
#[derive(Clone)]
pub(crate) struct AdminState {
    pub(crate) world: World,
}

impl AdminState {
    pub(crate) fn now(&self) -> Timestamp {
        self.world.clock.now()
    }

    /// Which private addresses are allowed in settings, and whether plain HTTP.
    pub(crate) fn allow_private(&self) -> &PrivateEndpoints {
        &self.world.settings.allow_private
    }
}
