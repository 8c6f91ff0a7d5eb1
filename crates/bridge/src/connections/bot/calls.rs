//! Calls over a bot's connection: sent at once, kept until there is a connection, or answered as not sent.

use tieline_core::http_types::{ApiAnswer, SocketCall};

use super::BotTask;
use crate::connections::connection::ConnectionEvent;
use crate::connections::socket_registry::{BotCommand, End};

/// Most calls that wait for a connection.
const MOST_WAITING: usize = 200;

impl BotTask {
    pub(super) async fn send_waiting(&mut self) {
        for (call_id, call) in std::mem::take(&mut self.waiting) {
            self.send(call_id, call).await;
        }
    }

    pub(super) async fn obey(&mut self, order: BotCommand) -> Option<End> {
        match order {
            BotCommand::Call {
                call_id,
                account,
                call,
                to,
            } => {
                if self.calls.contains_key(&call_id) {
                    return None;
                }
                self.calls.insert(call_id.clone(), to);
                if self.context.bot.is_other_than(account.as_deref()) {
                    // Its run began before an operator changed the integration to this account, which doesn't know the chat.
                    self.answer(&call_id, ApiAnswer::NotSent);
                    return None;
                }
                self.send(call_id, call).await;
            }
            BotCommand::Trigger(wants) => self.context.wants = wants,
            BotCommand::End(end) => return Some(end),
        }
        None
    }

    /// Sends a call, now or as soon as there is a connection, or says that there will be none in time.
    async fn send(&mut self, call_id: String, call: SocketCall) {
        let now = self.context.now();
        if let (Some(line), true) = (&mut self.current, now < call.expires_at) {
            let signals = line.call(&call_id, call, &self.context).await;
            return self.heed_current(signals).await;
        }
        let soon = self.coming.is_some() || self.link.retry_at().is_some_and(|at| at < call.expires_at);
        if soon && now < call.expires_at && self.waiting.len() < MOST_WAITING {
            self.waiting.push((call_id, call));
        } else {
            self.answer(&call_id, ApiAnswer::NotSent);
        }
    }

    pub(super) fn refuse(&mut self, calls: Vec<(String, SocketCall)>) {
        for (call_id, _) in calls {
            self.answer(&call_id, ApiAnswer::NotSent);
        }
    }

    pub(super) fn answer_all(&mut self, signals: Vec<ConnectionEvent>) {
        for signal in signals {
            if let ConnectionEvent::Answer(call_id, answer) = signal {
                self.answer(&call_id, answer);
            }
        }
    }

    pub(super) fn answer(&mut self, call_id: &str, answer: ApiAnswer) {
        if let Some(to) = self.calls.remove(call_id) {
            to.tell(
                &self.context.shared.world.store,
                &self.context.shared.world.clock,
                call_id,
                answer,
            );
        }
    }
}
