//! What an organization owns before a file is applied.

use tieline_core::ids::{AgentId, IntegrationId, OrganizationId};
use tieline_store::config::agent::{self, AgentRecord};
use tieline_store::config::integration::{self, IntegrationRecord};
use tieline_store::config::notify::{self, NotifySettings};
use tieline_store::config::organization::{self, Organization};
use tieline_store::config::trigger::{self, TriggerRecord};

use crate::problem::Problem;
use crate::state::AdminState;

/// Page size of the reads.
const PAGE: usize = 200;

/// Everything that an organization owns.
pub(super) struct Current {
    /// `None`: the organization doesn't exist.
    pub(super) organization: Option<Organization>,
    pub(super) agents: Vec<AgentRecord>,
    pub(super) integrations: Vec<IntegrationRecord>,
    pub(super) triggers: Vec<TriggerRecord>,
    pub(super) notify: Option<NotifySettings>,
}

/// Reads a whole list, page by page.
macro_rules! all {
    ($cursor:ident => $page:expr) => {{
        let mut items = Vec::new();
        let mut next: Option<String> = None;
        loop {
            let $cursor = next.as_deref();
            let page = $page.await?;
            items.extend(page.items);
            next = page.cursor;
            if next.is_none() {
                break items;
            }
        }
    }};
}

impl Current {
    pub(super) async fn read(state: &AdminState, id: &OrganizationId) -> Result<Self, Problem> {
        let store = &state.world.store;
        let organization = organization::get(store, id, state.now()).await?;
        if organization.is_none() {
            return Ok(Self {
                organization,
                agents: Vec::new(),
                integrations: Vec::new(),
                triggers: Vec::new(),
                notify: None,
            });
        }
        Ok(Self {
            organization,
            agents: all!(cursor => agent::list(store, id, cursor, PAGE)),
            integrations: all!(cursor => integration::list(store, id, cursor, PAGE)),
            triggers: all!(cursor => trigger::list(store, id, cursor, PAGE)),
            notify: notify::get(store, id).await?,
        })
    }

    pub(super) fn agent(&self, name: &str) -> Option<&AgentRecord> {
        self.agents.iter().find(|record| record.agent.name == name)
    }

    /// The name of an agent.
    pub(super) fn agent_name(&self, id: &AgentId) -> Option<String> {
        let mut agents = self.agents.iter();
        let found = agents.find(|record| record.agent.id == *id);
        found.map(|record| record.agent.name.clone())
    }

    /// The name of an integration that isn't deleted.
    pub(super) fn integration_name(&self, id: &IntegrationId) -> Option<String> {
        let record = self.integrations.iter().find(|record| record.id == *id);
        record.map(|record| record.name.clone())
    }

    pub(super) fn integration(&self, name: &str) -> Option<&IntegrationRecord> {
        self.integrations.iter().find(|record| record.name == name)
    }
}
