//! `/status` and `/help`: what goes on in a chat, and what can be typed in it.

use tieline_core::chat_texts::{self, ChatStatus};
use tieline_core::conversation::{Conversation, ConversationKey};
use tieline_core::event::Message;
use tieline_store::config::agent;
use tieline_store::conversation;

use super::{Arrival, DispatchError};

impl Arrival<'_> {
    pub(super) fn help(&self, message: &Message) -> String {
        chat_texts::help(self.abilities(message), self.bound.integration.language)
    }

    pub(super) async fn status(&self, message: &Message, key: &ConversationKey) -> Result<String, DispatchError> {
        let now = self.world.clock.now();
        let found = conversation::load(&self.world.store, &key.id(), now).await?;
        let found = found.unwrap_or_else(|| Conversation::new(key.clone(), now));
        let trigger = self.bound.trigger.as_ref();
        let agent = match trigger {
            Some(trigger) => {
                let id = self.agent_for(&found, trigger, message);
                agent::get(&self.world.store, &trigger.organization, &id).await?
            }
            None => None,
        };
        let status = ChatStatus {
            agent: agent.as_ref().map(|record| record.agent.name.clone()),
            task: found.tasks.current().map(|task| task.name.clone()),
            // A session that has been idle for too long has ended, though the next message has yet to begin another.
            session: found.session.as_ref().filter(|session| {
                let agent = agent.as_ref().map(|record| &record.agent.id);
                let timeout = agent.zip(trigger.map(|trigger| trigger.settings.session_timeout()));
                let busy = found.run.is_some() || found.tasks.current().is_some();
                busy || timeout.is_some_and(|(agent, timeout)| session.goes_on(agent, timeout, now))
            }),
            running: found.run.as_ref().map(|run| now.since(run.started_at)),
            n_waiting: found.pending.len(),
            now,
        };
        Ok(status.text(self.bound.integration.language))
    }
}
