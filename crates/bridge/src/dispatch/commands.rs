//! Commands that people type instead of a question: `/new`, `/stop`, and those that only ask for information.

use std::time::Duration;

use tieline_core::command::Command;
use tieline_core::conversation::{ConversationKey, StopCause};
use tieline_core::event::Message;
use tieline_core::message_state::MessageState;
use tieline_core::notice::Notice;
use tieline_store::conversation;

use super::{Arrival, Attempt, DispatchError, Wake};
use crate::conversation::Change;
use crate::notices::NoticeReply;
use crate::wakeups;

impl Arrival<'_> {
    pub(super) async fn run_command(
        &self,
        message: &Message,
        key: &ConversationKey,
        command: &Command,
        turn: Attempt,
    ) -> Result<Option<Wake>, DispatchError> {
        let reply = match command {
            Command::New(_) => return self.start_session(message, key, turn).await,
            Command::Task(command) => return self.task_command(message, key, command).await.map(|()| None),
            Command::Link(code) => NoticeReply::text(self.link(message, code).await?),
            Command::Approve(code) => NoticeReply::text(self.approve(message, code).await?),
            Command::Help => NoticeReply::text(self.help(message)),
            Command::Status => NoticeReply::text(self.status(message, key).await?),
            Command::Agents => NoticeReply::text(self.list_agents(message, key).await?),
            Command::Agent(name) => match self.choose_agent(key, name).await? {
                Some(text) => NoticeReply::text(text),
                None => return Ok(None),
            },
            Command::Stop => match self.stop(key, turn).await? {
                Some(notice) => NoticeReply::commanded(notice),
                None => return Ok(None),
            },
        };
        self.say(message, &key.id(), reply).await?;
        self.end(MessageState::Commanded, None).await?;
        Ok(None)
    }

    /// Ends the running answer and drops the pending messages behind it. `None`: another process has done it.
    async fn stop(&self, key: &ConversationKey, turn: Attempt) -> Result<Option<Notice>, DispatchError> {
        let id = key.id();
        // Read before the run is notified, and may end because of it.
        let before = conversation::load_eventual(&self.world.store, &id, self.world.clock.now()).await?;
        let whole = match before.and_then(|before| before.run) {
            Some(run) if self.is_whole(&run).await? => Some(run.id),
            _ => None,
        };
        let stopping = self.update_for_command(&id, |found| {
            let busy = found.filter(|it| it.run.is_some() || !it.pending.is_empty() || !it.closing.is_empty());
            let Some(mut after) = busy else {
                return Change::Leave(false);
            };
            // A complete answer, and messages that are only closing, are over: perhaps the person has seen the answer.
            let is_running = after.run.as_ref().is_some_and(|run| whole.as_ref() != Some(&run.id));
            let is_any = is_running || !after.pending.is_empty();
            let waiting = std::mem::take(&mut after.pending);
            after.close(waiting, MessageState::Stopped);
            if let Some(run) = &mut after.run {
                run.stop = Some(StopCause::Stopped);
            }
            Change::save(after, is_any)
        });
        let Some((found, is_any)) = Box::pin(stopping).await? else {
            return Ok(None);
        };
        // Also for messages that are only closing: an earlier attempt may have been cut off here.
        if let Some(after) = found.filter(|it| it.run.is_some() || !it.closing.is_empty()) {
            self.world.local_stops.notify(&after);
            wakeups::send_watched_to_relays(self.world, [self.wake(id, Duration::ZERO)]).await?;
            Box::pin(self.end_closing(&after)).await?;
        }
        Ok(Some(match (is_any, turn) {
            (false, Attempt::First) => Notice::NothingToStop,
            // An earlier attempt has most likely stopped the run.
            (true, _) | (false, Attempt::Again) => Notice::Stopped,
        }))
    }

    /// Starts a new session. The message's text, if any, is its first input.
    pub(super) async fn start_session(
        &self,
        message: &Message,
        key: &ConversationKey,
        turn: Attempt,
    ) -> Result<Option<Wake>, DispatchError> {
        if !message.text.is_empty() || !message.parts.is_empty() {
            return self.append(message, key, true, turn).await;
        }
        let id = key.id();
        let Some(trigger) = &self.bound.trigger else {
            return Ok(None);
        };
        let starting = self.update_for_command(&id, |found| {
            let mut after = self.or_new(found, key);
            let routed = trigger.agent_for(&message.target.chat, &message.sender.id, &message.text);
            let dropped = after.begin_chat(routed, self.world.clock.now());
            after.close(dropped, MessageState::Dropped);
            after.forget_left();
            Change::save(after, ())
        });
        let Some((after, ())) = Box::pin(starting).await? else {
            return Ok(None);
        };
        if let Some(after) = after {
            Box::pin(self.end_closing(&after)).await?;
        }
        self.say(message, &id, NoticeReply::commanded(Notice::NewSession))
            .await?;
        self.end(MessageState::Commanded, None).await?;
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use tieline_core::ids::MessageId;

    use super::*;
    use crate::dispatch::fixture::ArrivalFixture;

    /// Carries out `/stop` when a later message is pending. `state` is the command's own state. Returns the notice, and how many messages are
    /// pending then.
    async fn stop_before_later_message(state: MessageState) -> (Option<Notice>, usize) {
        let it = ArrivalFixture::new(state).await;
        it.append(MessageId::new("msg_later")).await;
        let notice = it.arrival().stop(&it.key, Attempt::First).await.unwrap();
        (notice, it.n_pending().await)
    }

    #[tokio::test]
    async fn command_that_another_process_has_carried_out_drops_no_later_message() {
        assert_eq!(stop_before_later_message(MessageState::Commanded).await, (None, 1));
        assert_eq!(
            stop_before_later_message(MessageState::Queued).await,
            (Some(Notice::Stopped), 0)
        );
    }
}
