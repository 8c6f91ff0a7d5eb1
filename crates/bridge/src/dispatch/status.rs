//! `/status` and `/help`: the state of a chat, and the commands available in it.

use tieline_core::chat_texts::{self, ChatStatus};
use tieline_core::conversation::{Conversation, ConversationKey, RunState};
use tieline_core::event::Message;
use tieline_store::config::agent;
use tieline_store::{conversation, message, reply};

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
        let running = match &found.run {
            Some(run) if !self.is_whole(run).await? => Some(now.since(run.started_at)),
            _ => None,
        };
        let status = ChatStatus {
            agent: agent.as_ref().map(|record| record.agent.name.clone()),
            task: found.tasks.current().map(|task| task.name.clone()),
            // A session idle for too long has expired, though the next message has yet to start another.
            session: found.session.as_ref().filter(|session| {
                let agent = agent.as_ref().map(|record| &record.agent.id);
                let timeout = agent.zip(trigger.map(|trigger| trigger.settings.session_timeout()));
                let busy = found.run.is_some() || found.tasks.current().is_some();
                busy || timeout.is_some_and(|(agent, timeout)| session.goes_on(agent, timeout, now))
            }),
            running,
            n_waiting: found.pending.len(),
            now,
        };
        Ok(status.text(self.bound.integration.language))
    }

    /// Whether a run's answer is complete and can't be stopped: the chat may show it already, and the run ends within moments.
    pub(super) async fn is_whole(&self, run: &RunState) -> Result<bool, DispatchError> {
        let (store, now) = (&self.world.store, self.world.clock.now());
        let Some(asked) = run.messages.last() else {
            return Ok(false);
        };
        let Some(asked) = message::get(store, asked, now).await? else {
            return Ok(false);
        };
        if asked.state.is_terminal() || !self.is_pulled() {
            return Ok(asked.state.is_terminal());
        }
        let reply = reply::get(store, &asked.reply, now).await?;
        Ok(reply.is_some_and(|reply| reply.outcome.is_some()))
    }
}
