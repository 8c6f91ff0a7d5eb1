//! Conversations: the unit of order, and everything stored about one.

mod choice;
#[cfg(test)]
mod fixture;
pub mod task;

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::event::Chat;
use crate::ids::{AgentId, ConversationId, IntegrationId, MessageId, OrganizationId, RunId, SenderId, digest};
use crate::mailbox::Pending;
use crate::message_state::MessageState;
use crate::session::Session;
use crate::timestamp::Timestamp;
use crate::trigger::SessionScope;

use self::task::TaskBook;

/// Identity of a conversation.
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

/// The message group on the inbound queue: what must stay in order under any scope of the trigger.
///
/// The part before the dot identifies the bot, so that the embedded queue can take turns between bots.
#[must_use]
pub fn inbound_group(integration: &IntegrationId, chat: &Chat) -> String {
    let thread = chat.thread.as_ref().map_or("", |thread| thread.as_str());
    let (bot, chat) = (digest(&[integration.as_str()]), digest(&[chat.id.as_str(), thread]));
    format!("{bot}.{chat}")
}

/// Maximum number of answers that wait for the person to write again.
const MAX_REFUSED_ANSWERS: usize = 5;

/// Everything stored about a conversation.
#[derive(Debug, Clone, PartialEq)]
pub struct Conversation {
    /// Its identity.
    pub key: ConversationKey,
    /// Incremented with every change except a heartbeat. 0: it isn't stored yet.
    pub version: u64,
    /// Differs between conversations of the same identity: an earlier one may have been erased, and agents still know its sessions. `None`
    /// in conversations of older versions.
    pub generation: Option<String>,
    /// The newest session, if there was one.
    pub session: Option<Session>,
    /// Sessions replaced by one with another agent, of which messages are still pending or being answered.
    pub leaving: Vec<Session>,
    /// Tasks of a direct chat, and the open menu.
    pub tasks: TaskBook,
    /// Pending messages, in order.
    pub pending: Vec<Pending>,
    /// Messages that left the mailbox without a run, and whose end is not in the ledger yet.
    pub closing: Vec<Closing>,
    /// The current run, if any.
    pub run: Option<RunState>,
    /// The lease of the process that works on it.
    pub lease: Option<Lease>,
    /// Up to when what others said in the group has been sent with a question, or was left out by a new session.
    pub heard_until: Option<Timestamp>,
    /// Messages whose answers the platform refused until the person writes again, the oldest first.
    pub refused_answers: Vec<MessageId>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Conversation {
    /// A conversation that begins at `now`. Its sessions are none that agents know.
    #[must_use]
    pub fn begin(key: ConversationKey, random: [u8; 12], now: Timestamp) -> Self {
        Self {
            generation: Some(hex::encode(random)),
            ..Self::new(key, now)
        }
    }

    /// A conversation without messages and generation.
    #[must_use]
    pub fn new(key: ConversationKey, now: Timestamp) -> Self {
        Self {
            key,
            version: 0,
            generation: None,
            session: None,
            leaving: Vec::new(),
            tasks: TaskBook::default(),
            pending: Vec::new(),
            closing: Vec::new(),
            run: None,
            lease: None,
            heard_until: None,
            refused_answers: Vec::new(),
            updated_at: now,
        }
    }

    /// The version with which it is stored first, from the time in microseconds, of which the random generation makes up the last three digits: above
    /// those of any earlier conversation of its identity. A process that still works on an erased one would else write under the version and
    /// fencing token of another process's run in this one.
    #[must_use]
    pub fn first_version(&self) -> u64 {
        let Some(generation) = &self.generation else { return 1 };
        let digits = generation
            .bytes()
            .fold(0, |sum, byte| (sum * 31 + u64::from(byte)) % 1000);
        let millis = u64::try_from(self.updated_at.as_millis()).unwrap_or_default();
        (millis * 1000 + digits).max(1)
    }

    /// Remembers that the platform refuses the answer to a message until the person writes again. The oldest are forgotten.
    pub fn keep_refused_answer(&mut self, message: &MessageId) {
        self.refused_answers.retain(|known| known != message);
        self.refused_answers.push(message.clone());
        let n_forgotten = self.refused_answers.len().saturating_sub(MAX_REFUSED_ANSWERS);
        self.refused_answers.drain(..n_forgotten);
    }

    /// Starts a session with another agent and moves pending messages there, except those of other tasks: the new agent answers them.
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

    /// Keeps messages that were removed from the mailbox until their end is in the ledger, so that no crash loses it.
    pub fn close(&mut self, waiting: Vec<Pending>, end: MessageState) {
        let closing = waiting.into_iter().map(|waiting| Closing {
            message: waiting.message,
            behind_run: waiting.behind_run,
            end,
        });
        self.closing.extend(closing);
    }

    /// Whether a message is already in the conversation: pending, running, or about to end.
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
    /// Whether it may show a waiting sign, as in [`Pending`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind_run: bool,
    /// How it ends.
    pub end: MessageState,
}

/// How long a lease lasts without a heartbeat. Also the lease of the process that delivers a reply.
pub const LEASE: Duration = Duration::from_secs(30);

/// How far ahead the clock of a live holder may be. AWS refuses the requests of a machine whose clock is wrong by more.
///
/// See [AWS Docs/AWS Signature Version 4 for API requests](https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv.html).
const HOLDER_AHEAD: Duration = Duration::from_secs(5 * 60);

/// The right of a process to work on a conversation until a time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lease {
    /// The process.
    pub owner: Owner,
    /// Fencing token: grows with every new holder, so that writes of an earlier holder are refused.
    pub fence: u64,
    /// When it expires, unless renewed.
    #[serde(with = "crate::timestamp::millis")]
    pub expires_at: Timestamp,
}

impl Lease {
    /// Whether its last holder released it. Only its fencing token matters then.
    #[must_use]
    pub fn is_given_back(&self) -> bool {
        self.owner.node.is_empty()
    }

    /// Whether `me` may acquire it.
    ///
    /// An earlier life of the same node is certainly dead, so its lease needs no waiting. Neither does a lease that ends later than any live
    /// holder's: the clock of its holder was ahead, and was set back since.
    #[must_use]
    pub fn is_free(&self, me: &Owner, now: Timestamp) -> bool {
        let is_of_earlier_life = self.owner.node == me.node && self.owner.life != me.life;
        self.expires_at <= now || is_of_earlier_life || self.expires_at.since(now) > LEASE + HOLDER_AHEAD
    }
}

/// A process that holds leases.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Owner {
    /// The part that survives a restart: at most one process at a time has this name.
    pub node: String,
    /// The part that changes with every start.
    pub life: String,
}

/// The current run of a conversation.
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
    /// The agent that is called.
    pub agent: AgentId,
    /// How many processes have started to work on it, without those that an outage has ended. While its agent is to call back: since the lease was
    /// last released.
    pub attempt: u32,
    /// When it was started.
    #[serde(with = "crate::timestamp::millis")]
    pub started_at: Timestamp,
    /// Its phase.
    pub phase: RunPhase,
    /// Whether one of its messages waited behind another run, so that the chat may show a sign for it and its reply may have a record.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub may_be_signed: bool,
    /// The agent's id of the run.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub run_ref: Option<String>,
    /// Where to resume reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cursor: Option<String>,
    /// Why it is to be stopped, if it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stop: Option<StopCause>,
    /// Name of the watchdog wake-up in flight for this run: other watchdogs leave the run to it.
    #[serde(
        with = "crate::timestamp::millis::option",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub watch: Option<Timestamp>,
    /// Until when it yields its slot, unless it is to end: others of its tenant had no turn.
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
    /// Period of group messages that are sent along as context.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub heard: Option<Heard>,
    /// The album that its last message is a part of: another part that arrives late doesn't interrupt it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub album: Option<String>,
}

impl RunState {
    /// A run that starts at `now`, not stopped and with nothing to resume.
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

/// A period in which others spoke in a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Heard {
    /// Its beginning, exclusive.
    #[serde(with = "crate::timestamp::millis", rename = "f")]
    pub from: Timestamp,
    /// Its end.
    #[serde(with = "crate::timestamp::millis", rename = "t")]
    pub to: Timestamp,
}

/// Phase of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RunPhase {
    /// The agent is being called.
    Calling,
    /// The agent has accepted it and will call back.
    Deferred,
    /// The agent's result is recorded; its delivery is not finished.
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

    #[test]
    fn lease_of_a_clock_that_was_ahead_is_free() {
        let owner = Owner {
            node: "a".into(),
            life: "1".into(),
        };
        let is_free = |ahead_s: i64| {
            let lease = Lease {
                owner: owner.clone(),
                fence: 1,
                expires_at: Timestamp::from_secs(30 + ahead_s),
            };
            lease.is_free(&owner, Timestamp::from_secs(0))
        };
        assert_eq!([0, 300, 301, 3600].map(is_free), [false, false, true, true]);
    }

    #[test]
    fn oldest_refused_answers_are_forgotten() {
        let mut it = fixture::conversation();
        for n in [0, 1, 2, 3, 4, 5, 3] {
            it.keep_refused_answer(&MessageId::new(format!("m{n}")));
        }
        let kept: Vec<_> = it.refused_answers.iter().map(MessageId::as_str).collect();
        assert_eq!(kept, ["m1", "m2", "m4", "m5", "m3"]);
    }
}
