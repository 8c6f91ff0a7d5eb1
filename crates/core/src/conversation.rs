//! Conversations: the unit of order, and all that is kept about one.

mod choice;
#[cfg(test)]
mod fixture;
pub mod task;

use serde::{Deserialize, Serialize};

use crate::event::Chat;
use crate::ids::{AgentId, ConversationId, IntegrationId, MessageId, OrganizationId, RunId, SenderId, digest};
use crate::mailbox::Pending;
use crate::message_state::MessageState;
use crate::session::Session;
use crate::timestamp::Timestamp;
use crate::trigger::SessionScope;

use self::task::TaskBook;

/// What makes a conversation itself and no other.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct ConversationKey {
    /// The tenant.
    pub organization: OrganizationId,
    /// The bot.
    pub integration: IntegrationId,
    /// The chat, and the thread in it.
    pub chat: Chat,
    /// The person, unless the whole chat shares it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sender: Option<SenderId>,
}

impl ConversationKey {
    /// The conversation of a message.
    #[must_use]
    pub fn of(
        organization: &OrganizationId,
        integration: &IntegrationId,
        chat: &Chat,
        sender: &SenderId,
        scope: SessionScope,
    ) -> Self {
        Self {
            organization: organization.clone(),
            integration: integration.clone(),
            chat: chat.clone(),
            sender: (scope == SessionScope::Sender).then(|| sender.clone()),
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> ConversationId {
        let thread = self.chat.thread.as_ref().map_or("", |thread| thread.as_str());
        let (scope, sender) = self
            .sender
            .as_ref()
            .map_or(("chat", ""), |sender| ("sender", sender.as_str()));
        let fields = [self.integration.as_str(), self.chat.id.as_str(), thread, scope, sender];
        ConversationId::new(format!("cnv_{}", digest(&fields)))
    }
}

/// The group of the inbound queue: what must stay in order whatever the trigger's scope is.
///
/// Up to the dot it says whose it is, so that a queue of ours can let bots take turns.
#[must_use]
pub fn inbound_group(integration: &IntegrationId, chat: &Chat) -> String {
    let thread = chat.thread.as_ref().map_or("", |thread| thread.as_str());
    let (bot, chat) = (digest(&[integration.as_str()]), digest(&[chat.id.as_str(), thread]));
    format!("{bot}.{chat}")
}

/// All that is kept about a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// What makes it itself.
    pub key: ConversationKey,
    /// Grows with every change but a heartbeat.
    pub version: u64,
    /// The newest session, if there was one.
    pub session: Option<Session>,
    /// Sessions that gave way to one with another agent while messages of theirs wait or are answered.
    pub leaving: Vec<Session>,
    /// Tasks of a direct chat, and the menu that waits for a choice.
    pub tasks: TaskBook,
    /// Messages that wait, in order.
    pub pending: Vec<Pending>,
    /// Messages that left the mailbox without a run, and whose end is not in the ledger yet.
    pub closing: Vec<Closing>,
    /// The run under way, if any.
    pub run: Option<RunState>,
    /// Who works on it.
    pub lease: Option<Lease>,
    /// Until when what others said in the group went along with a question, or was left out by a new session.
    pub heard_until: Option<Timestamp>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Conversation {
    /// A conversation without messages.
    #[must_use]
    pub fn new(key: ConversationKey, now: Timestamp) -> Self {
        Self {
            key,
            version: 0,
            session: None,
            leaving: Vec::new(),
            tasks: TaskBook::default(),
            pending: Vec::new(),
            closing: Vec::new(),
            run: None,
            lease: None,
            heard_until: None,
            updated_at: now,
        }
    }

    /// A session with another agent begins, and what waits goes there too, but for what waits in other tasks: that agent will answer it.
    pub fn go_over_to(&mut self, session: Session) {
        let parked: Vec<u64> = self.kept_aside().map(|session| session.number).collect();
        for waiting in self
            .pending
            .iter_mut()
            .filter(|waiting| !parked.contains(&waiting.session))
        {
            waiting.session = session.number;
        }
        self.session = Some(session);
    }

    /// Keeps messages that were taken out of the mailbox until the ledger has their end, so that no crash loses it.
    pub fn close(&mut self, waiting: Vec<Pending>, end: MessageState) {
        let closing = waiting.into_iter().map(|waiting| Closing {
            message: waiting.message,
            behind_run: waiting.behind_run,
            end,
        });
        self.closing.extend(closing);
    }

    /// Whether a message is already here: waiting, running, or about to end.
    #[must_use]
    pub fn holds(&self, message: &MessageId) -> bool {
        self.pending.iter().any(|waiting| waiting.message == *message)
            || self.closing.iter().any(|closing| closing.message == *message)
            || self.run.as_ref().is_some_and(|run| run.messages.contains(message))
    }
}

/// A message that left the mailbox without a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Closing {
    /// The message.
    pub message: MessageId,
    /// Whether it may show a sign that it waits, as in [`Pending`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind_run: bool,
    /// How it ends.
    pub end: MessageState,
}

/// Who works on a conversation, and until when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The process.
    pub owner: Owner,
    /// Grows with every new holder: what an old holder writes is refused.
    pub fence: u64,
    /// Until when, unless renewed.
    #[serde(with = "crate::timestamp::millis")]
    pub expires_at: Timestamp,
}

impl Lease {
    /// Whether its last holder gave it back. Only its fence counts then.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.owner.node.is_empty()
    }

    /// Whether `me` may take it.
    ///
    /// An earlier life of the same node is dead for sure, so its lease needs no waiting.
    #[must_use]
    pub fn is_free(&self, me: &Owner, now: Timestamp) -> bool {
        self.expires_at <= now || (self.owner.node == me.node && self.owner.life != me.life)
    }
}

/// A process that holds leases.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// What survives a restart: at most one process at a time has this name.
    pub node: String,
    /// What doesn't: a new value at every start.
    pub life: String,
}

/// A run under way.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunState {
    /// The run.
    pub id: RunId,
    /// The messages that it answers, in order. The last one's reply shows the answer.
    pub messages: Vec<MessageId>,
    /// The number of its session.
    pub session: u64,
    /// Whether it is the session's first.
    pub first: bool,
    /// The agent that is asked.
    pub agent: AgentId,
    /// How many processes have begun to work on it.
    pub attempt: u32,
    /// When it began.
    #[serde(with = "crate::timestamp::millis")]
    pub started_at: Timestamp,
    /// How far it is.
    pub phase: RunPhase,
    /// Whether a message of it waited behind another run, so that the chat may show a sign for it and its reply may have a record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_signed: bool,
    /// What identifies the run at the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ref: Option<String>,
    /// Where to resume reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// It was asked to stop.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopCause>,
    /// Name of the watchdog wake-up in flight for this run: other watchdogs leave the run to it.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub watch: Option<Timestamp>,
    /// Until when it is left alone, unless it is to end: others of its tenant had no turn.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub rests_until: Option<Timestamp>,
    /// Until when its agent may call back. `None`: it doesn't, or an earlier version waits for it.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub deferred_until: Option<Timestamp>,
    /// What others said in the group at that time goes along.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
    /// The album that its last message is a part of: another part that comes late doesn't interrupt it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
}

impl RunState {
    /// A run that begins at `now`, not stopped and with nothing to resume.
    #[must_use]
    pub fn new(id: RunId, messages: Vec<MessageId>, session: u64, agent: AgentId, now: Timestamp) -> Self {
        Self {
            id,
            messages,
            session,
            first: true,
            agent,
            attempt: 1,
            started_at: now,
            phase: RunPhase::Calling,
            may_be_signed: false,
            run_ref: None,
            cursor: None,
            stop: None,
            watch: None,
            rests_until: None,
            deferred_until: None,
            heard: None,
            album: None,
        }
    }
}

/// A time in which others spoke in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Its beginning, which is not part of it.
    #[serde(with = "crate::timestamp::millis", rename = "f")]
    pub from: Timestamp,
    /// Its end.
    #[serde(with = "crate::timestamp::millis", rename = "t")]
    pub to: Timestamp,
}

/// How far a run is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// The agent is being asked.
    Calling,
    /// The agent has taken it and will call back.
    Deferred,
    /// The agent's result is recorded; the chat must be brought to show it.
    Delivering,
}

/// Why a run should end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// A person typed `/stop`.
    Stopped,
    /// A new message interrupts it.
    Interrupted,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::ChatKind;
    use crate::ids::{ChatId, ThreadId};

    fn key(thread: Option<&str>, scope: SessionScope) -> ConversationKey {
        let chat = Chat {
            kind: ChatKind::Group,
            id: ChatId::new("g"),
            thread: thread.map(ThreadId::new),
        };
        let (organization, integration) = (OrganizationId::new("default"), IntegrationId::new("int_1"));
        ConversationKey::of(&organization, &integration, &chat, &SenderId::new("lisi"), scope)
    }

    #[test]
    fn thread_and_scope_make_another_conversation() {
        let ids = [
            key(None, SessionScope::Sender).id(),
            key(None, SessionScope::Chat).id(),
            key(Some("t"), SessionScope::Sender).id(),
            key(Some("t"), SessionScope::Chat).id(),
        ];
        for (at, id) in ids.iter().enumerate() {
            assert!(!ids[at + 1..].contains(id));
        }
    }

    #[test]
    fn lease_of_an_earlier_life_is_free_at_once() {
        let owner = |node: &str, life: &str| Owner {
            node: node.into(),
            life: life.into(),
        };
        let lease = Lease {
            owner: owner("a", "1"),
            fence: 1,
            expires_at: Timestamp::from_secs(30),
        };
        let now = Timestamp::from_secs(1);
        assert!(!lease.is_free(&owner("a", "1"), now));
        assert!(!lease.is_free(&owner("b", "9"), now));
        assert!(lease.is_free(&owner("a", "2"), now));
        assert!(lease.is_free(&owner("b", "9"), Timestamp::from_secs(30)));
    }
}
