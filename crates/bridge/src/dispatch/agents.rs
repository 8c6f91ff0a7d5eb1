//! `/agents` and `/agent NAME`: list the agents behind a bot, and choose one.

use tieline_core::agent_texts::{self, AgentReply};
use tieline_core::conversation::{Conversation, ConversationKey};
use tieline_core::event::Message;
use tieline_core::ids::AgentId;
use tieline_core::trigger::Trigger;
use tieline_store::StoreError;
use tieline_store::config::agent;
use tieline_store::conversation;

use super::{Arrival, DispatchError};
use crate::conversation::Change;

/// Most agents that are offered where people may choose among all of the organization's.
const MAX_OFFERED: usize = 50;

impl Arrival<'_> {
    /// The agent that answers the message in this conversation: the one that was chosen for its session, else the one that the routes name.
    pub(super) fn agent_for(&self, conversation: &Conversation, trigger: &Trigger, message: &Message) -> AgentId {
        let routed = trigger.agent_for(&message.target.chat, &message.sender.id, &message.text);
        let now = self.world.clock.now();
        let chosen = conversation.answering_agent(trigger, routed, now);
        let is_allowed = self.bound.integration.allows(chosen);
        if is_allowed { chosen } else { routed }.clone()
    }

    /// `/agents`, and `/agent` without a name.
    pub(super) async fn list_agents(&self, message: &Message, key: &ConversationKey) -> Result<String, DispatchError> {
        let Some(trigger) = &self.bound.trigger else {
            return Ok(String::new());
        };
        let offered = self.offered(trigger).await?;
        let now = self.world.clock.now();
        let found = conversation::load(&self.world.store, &key.id(), now).await?;
        let current = self.agent_for(&self.or_new(found, key), trigger, message);
        let reply = AgentReply::List {
            current: offered.iter().position(|(id, _)| *id == current),
            names: offered.into_iter().map(|(_, name)| name).collect(),
        };
        Ok(reply.text(self.bound.integration.language))
    }

    /// `/agent NAME`. Pending messages stay with the agent to which they were addressed. `None`: another process has carried it out.
    pub(super) async fn choose_agent(
        &self,
        key: &ConversationKey,
        wanted: &str,
    ) -> Result<Option<String>, DispatchError> {
        let Some(trigger) = &self.bound.trigger else {
            return Ok(Some(String::new()));
        };
        let offered = self.offered(trigger).await?;
        let names: Vec<String> = offered.iter().map(|(_, name)| name.clone()).collect();
        let language = self.bound.integration.language;
        let Some((agent, name)) = agent_texts::find(&names, wanted).map(|at| &offered[at]) else {
            return Ok(Some(AgentReply::NoSuchAgent(names).text(language)));
        };
        let timeout = trigger.settings.session_timeout();
        let id = key.id();
        let moved_session = match self.may_have_moved(key) {
            true => self.moved_session(key).await?,
            false => None,
        };
        let choosing = self.update_for_command(&id, |found| {
            let mut after = self.or_new(found, key);
            if after.version == 0 {
                after.session.clone_from(&moved_session);
            }
            let now = self.world.clock.now();
            after.choose_agent(agent, timeout, now);
            after.updated_at = now;
            Change::save(after, ())
        });
        let is_chosen = Box::pin(choosing).await?.is_some();
        Ok(is_chosen.then(|| AgentReply::Chosen(name.clone()).text(language)))
    }

    /// The agents among which people may choose, with their names: those of the trigger and its routes, or all of the organization's that the
    /// integration allows.
    async fn offered(&self, trigger: &Trigger) -> Result<Vec<(AgentId, String)>, StoreError> {
        let (store, now) = (&self.world.store, self.world.clock.now());
        let mut offered: Vec<(AgentId, String)> = Vec::new();
        let mut named = trigger.agents();
        let allowed = self.bound.integration.allowed_agents.as_ref();
        let more = allowed.filter(|_| trigger.settings.agent_choice);
        for agent in more.into_iter().flatten().take(MAX_OFFERED) {
            if !named.contains(&agent) {
                named.push(agent);
            }
        }
        for id in named {
            let found = agent::look_up(store, &trigger.organization, id, now).await?;
            offered.extend(found.map(|record| (record.agent.id, record.agent.name)));
        }
        if trigger.settings.agent_choice && allowed.is_none() {
            let all = agent::list(store, &trigger.organization, None, MAX_OFFERED).await?;
            for record in all.items {
                if offered.iter().all(|(id, _)| *id != record.agent.id) {
                    offered.push((record.agent.id, record.agent.name));
                }
            }
        }
        Ok(offered)
    }
}
