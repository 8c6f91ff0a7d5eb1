//! Task mode in direct chats: the commands and the menus of `tieline_core::conversation::task`, each in one conditional write.

use tieline_core::command::{Abilities, TaskCommand};
use tieline_core::conversation::ConversationKey;
use tieline_core::conversation::task::{TaskChange, TaskOrigin};
use tieline_core::event::{ChatKind, Message};
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_core::task_reply::TaskReply;
use tieline_core::trigger::Trigger;

use super::{Arrival, DispatchError};
use crate::conversation::Change;
use crate::notices::NoticeReply;

impl Arrival<'_> {
    /// The commands available in the message's chat.
    pub(super) fn abilities(&self, message: &Message) -> Abilities {
        let direct = message.target.chat.kind == ChatKind::Direct;
        let trigger = self.bound.trigger.as_ref();
        Abilities {
            direct,
            tasks: direct && trigger.is_some_and(|trigger| trigger.settings.task_mode),
            pairing: trigger.is_some_and(|trigger| trigger.settings.access.pairing),
            agents: trigger.is_some_and(Trigger::offers_agents),
        }
    }

    /// Carries out a command of task mode, once, and answers it.
    pub(super) async fn task_command(
        &self,
        message: &Message,
        key: &ConversationKey,
        command: &TaskCommand,
    ) -> Result<(), DispatchError> {
        let apply = |change: &mut TaskChange<'_>| Some(change.command(command));
        self.change_tasks(message, key, apply).await.map(drop)
    }

    /// Whether the message was a choice in an open menu. If so it is carried out and answered.
    pub(super) async fn made_choice(&self, message: &Message, key: &ConversationKey) -> Result<bool, DispatchError> {
        if !self.abilities(message).tasks || !message.parts.is_empty() {
            return Ok(false);
        }
        self.change_tasks(message, key, |change| change.choose(&message.text))
            .await
    }

    /// One compare-and-swap on the conversation's tasks. A message that was applied before is only answered again, or not at all if another
    /// process has answered it. `false`: the message changes nothing.
    async fn change_tasks(
        &self,
        message: &Message,
        key: &ConversationKey,
        apply: impl Fn(&mut TaskChange<'_>) -> Option<TaskReply>,
    ) -> Result<bool, DispatchError> {
        let id = key.id();
        let Some(trigger) = &self.bound.trigger else {
            return Ok(false);
        };
        let routed = trigger.agent_for(&message.target.chat, &message.sender.id, "");
        let changing = self.update_for_command(&id, |found| {
            let mut after = self.or_new(found, key);
            if let Some(reply) = after.tasks.applied_to(&self.envelope.message) {
                return Change::Leave(Some(reply.clone()));
            }
            let mut change = TaskChange {
                now: self.world.clock.now(),
                conversation: &mut after,
                message: &self.envelope.message,
                agent: routed,
                origin: self.task_origin(),
                dropped: Vec::new(),
            };
            let Some(reply) = apply(&mut change) else {
                return Change::Leave(None);
            };
            let dropped = change.dropped;
            after.close(dropped, MessageState::Dropped);
            after.forget_left();
            Change::save(after, Some(reply))
        });
        let Some((found, reply)) = Box::pin(changing).await? else {
            return Ok(true);
        };
        // Also those of an earlier attempt, which may have died before it ended them.
        if let Some(found) = found.filter(|_| reply.is_some()) {
            Box::pin(self.end_closing(&found)).await?;
        }
        match reply {
            Some(reply) => self.answer_task(message, key, &reply).await.map(|()| true),
            None => Ok(false),
        }
    }

    fn task_origin(&self) -> TaskOrigin {
        let connector = self.world.connector(&self.bound.integration.platform);
        match connector.is_some_and(|connector| connector.manifest().tasks_from_outside) {
            true => TaskOrigin::Outside,
            false => TaskOrigin::Chat,
        }
    }

    async fn answer_task(
        &self,
        message: &Message,
        key: &ConversationKey,
        reply: &TaskReply,
    ) -> Result<(), DispatchError> {
        let reply = match reply {
            TaskReply::NewChat => NoticeReply::commanded(Notice::NewSession),
            other => NoticeReply::text(other.text(self.bound.integration.language)),
        };
        self.say(message, &key.id(), reply).await?;
        self.end(MessageState::Commanded, None).await
    }
}
