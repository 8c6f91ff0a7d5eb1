//! Agents: the request sent to them, and the event model into which every protocol is translated.

mod question;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::card::Card;
use crate::event::{ChatKind, PartKind};
use crate::ids::{AgentId, IntegrationId, MessageId, OrganizationId, RunId, SessionId, UserId};
use crate::notice::Language;
use crate::redaction::HeldBack;
use crate::reply::ReplyFile;
use crate::secret::Secret;
use crate::timestamp::Timestamp;

pub use question::AskedQuestion;

/// An agent as configured.
#[derive(Debug, Clone, PartialEq)]
pub struct Agent {
    /// The agent.
    pub id: AgentId,
    /// The organization that owns it.
    pub organization: OrganizationId,
    /// Its name.
    pub name: String,
    /// The protocol's name in the API (`echo`, `openai_chat`, ...).
    pub protocol: String,
    /// Its settings, secrets included, as the protocol's adapter reads them.
    pub config: AgentConfig,
}

/// The settings of an agent, secrets included. Prints as `AgentConfig(..)`.
#[derive(Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct AgentConfig(serde_json::Map<String, Value>);

impl AgentConfig {
    /// Wraps the settings.
    #[must_use]
    pub const fn new(settings: serde_json::Map<String, Value>) -> Self {
        Self(settings)
    }

    /// The settings, for the adapter.
    #[must_use]
    pub const fn settings(&self) -> &serde_json::Map<String, Value> {
        &self.0
    }
}

impl std::fmt::Debug for AgentConfig {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("AgentConfig(..)")
    }
}

/// The request of one run to an agent.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentRequest {
    /// The run. The same on every retry.
    pub run: RunId,
    /// The tenant.
    pub organization: OrganizationId,
    /// The agent that is called.
    pub agent: AskedAgent,
    /// The bot through which the question was asked.
    pub integration: AskedIntegration,
    /// The session.
    pub session: AgentSession,
    /// The person who asks.
    pub user: AgentUser,
    /// The chat.
    pub chat: AgentChat,
    /// The question.
    pub message: AgentMessage,
    /// Where the agent may send callbacks.
    pub reply: ReplyAddress,
    /// What the platform can show.
    pub limits: ReplyLimits,
    /// Earlier turns of the session, oldest first. Only for protocols that keep none themselves.
    pub transcript: Vec<Turn>,
    /// Where an earlier process of this run stopped reading, if the run is resumed.
    pub resume: Option<Resume>,
}

/// The agent of a request, for an endpoint that serves several agents.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedAgent {
    /// Its id.
    pub id: AgentId,
    /// Its name.
    pub name: String,
}

/// The bot through which the question was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AskedIntegration {
    /// Its id.
    pub id: IntegrationId,
    /// Its name.
    pub name: String,
}

/// The session of a request.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentSession {
    /// Its id.
    pub id: SessionId,
    /// Its number within the conversation, from 1.
    pub number: u64,
    /// Whether this is its first run.
    pub is_new: bool,
    /// The agent's id of the conversation, from an earlier [`AgentEvent::Started`] of the session.
    pub conversation_ref: Option<String>,
}

/// The person who asks.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentUser {
    /// Our id.
    pub id: UserId,
    /// The platform.
    pub platform: String,
    /// The platform's own id.
    pub external_id: String,
    /// The display name, if known.
    pub display_name: Option<String>,
    /// The known person behind the account, if it is linked to one.
    pub person: Option<KnownPerson>,
    /// The language of the integration.
    pub locale: Language,
}

/// A person whom an operator, a mapper or a code has linked with an account of a platform.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownPerson {
    /// The id in the operator's own system. Unique within the organization.
    pub id: String,
    /// The name.
    pub name: String,
    /// The mail address, if a real one is known.
    pub email: Option<String>,
}

/// The chat in which the question was asked.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentChat {
    /// Direct or group.
    pub kind: ChatKind,
    /// The platform's own id.
    pub id: String,
    /// Its name, if the platform reports it.
    pub name: Option<String>,
    /// The platform's own id of the thread.
    pub thread_id: Option<String>,
}

/// A person's question. Several merged messages are one, their texts joined by newlines.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentMessage {
    /// The (last) message.
    pub id: MessageId,
    /// How often an operator has redriven it: each redrive is a new question to the agent, not a repetition.
    pub redrives: u32,
    /// The text. In a group it may begin with what others said before, and names the speaker of each message where people share a session.
    pub text: String,
    /// The words as the person wrote them, without those additions: agents compare the answer to their question with the words that they
    /// expect.
    pub answer: String,
    /// Attachments of the message.
    pub parts: Vec<AgentPart>,
    /// What is quoted.
    pub quoted: Option<(String, Vec<AgentPart>)>,
}

/// An attachment of a message, with an address from which the agent can fetch it.
#[derive(Debug, Clone, PartialEq)]
pub struct AgentPart {
    /// What it is.
    pub kind: PartKind,
    /// A signed link below our own address, an hour long.
    pub url: String,
    /// MIME type, if known.
    pub mime: Option<String>,
    /// File name, if known.
    pub name: Option<String>,
    /// The bytes themselves, for protocols that send pictures inline and where they were small enough to fetch.
    pub inline: Option<Bytes>,
    /// Whether the platform didn't serve it in time or refuses it: then the link doesn't work.
    pub unavailable: bool,
}

/// Where an agent may send callbacks.
#[derive(Debug, Clone, PartialEq)]
pub struct ReplyAddress {
    /// `…/api/runs/{runId}/events`
    pub events_url: String,
    /// The run's bearer token.
    pub token: Secret,
    /// When the token expires.
    pub expires_at: Timestamp,
}

/// What the platform can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReplyLimits {
    /// Longest text of one message, in bytes of UTF-8.
    pub max_text_bytes: usize,
    /// Whether growing text is shown.
    pub stream: bool,
}

/// One turn of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// The question.
    pub user: String,
    /// The answer.
    pub assistant: String,
}

/// Where a run is resumed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resume {
    /// The agent's id of the run.
    pub run_ref: String,
    /// The newest [`AgentEvent::Cursor`].
    pub cursor: Option<String>,
}

/// An event of an agent's run. Exactly one terminal event ends a run: [`AgentEvent::is_terminal`].
#[derive(Debug, Clone, PartialEq)]
pub enum AgentEvent {
    /// The agent has started. Stored at once: cancelling and resuming need it.
    Started {
        /// The agent's id of the run.
        run_ref: String,
        /// The agent's id of the conversation.
        conversation_ref: Option<String>,
    },
    /// More text.
    TextDelta(String),
    /// The whole text so far; replaces everything.
    TextSnapshot(String),
    /// More reasoning. Never mixed into the text.
    ReasoningDelta(String),
    /// A tool or node started or ended.
    Progress {
        /// The tool or node.
        label: String,
        /// Its state, in the agent's words.
        state: String,
    },
    /// A file to show, by address.
    File(ReplyFile),
    /// A file to show, by content.
    FileBytes {
        /// Its bytes.
        bytes: Vec<u8>,
        /// Its name.
        name: String,
        /// Its MIME type.
        mime: String,
    },
    /// A card to show below the text. The latest one counts.
    Card(Card),
    /// The agent waits for input of a person.
    InputRequired {
        /// The question to the person.
        prompt: String,
        /// The choices offered.
        choices: Vec<String>,
        /// The agent's reference for resuming.
        resume_ref: Option<String>,
    },
    /// Where to resume after a hand-over.
    Cursor(String),
    /// The agent has accepted the run and will send callbacks.
    Deferred,
    /// The earlier conversation no longer exists at the agent; a new one has been started.
    ConversationLost,
    /// Done.
    Completed {
        /// The whole text, if the agent repeats it at the end.
        final_text: Option<String>,
    },
    /// Failed.
    Failed(AgentFailure),
    /// Cancelled at our request.
    Cancelled,
}

impl AgentEvent {
    /// Whether the run is over.
    #[must_use]
    pub const fn is_terminal(&self) -> bool {
        matches!(self, Self::Completed { .. } | Self::Failed(_) | Self::Cancelled)
    }
}

/// Why a run failed. For the operator; the person in the chat gets a notice.
///
/// It displays as its code alone: an agent's own message may quote the person, and what is displayed is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("agent failed: {code}")]
pub struct AgentFailure {
    /// A stable word or the agent's own code: `connect`, `http_500`, `idle_timeout`, `too_long`, `bad_stream`, ...
    pub code: String,
    /// The message, without secrets; at most 500 characters. Sealed where it is stored, and never logged: it may be the agent's own.
    pub message: String,
    /// Whether a retry may help. The adapter has already used up the retries that were safe.
    pub retryable: bool,
}

/// Longest text of one answer, in bytes.
pub const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;

/// The state of an answer so far: the fold of its events.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Draft {
    /// The text so far.
    pub text: String,
    /// The reasoning so far.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reasoning: String,
    /// Files so far.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<ReplyFile>,
    /// The card below the text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub card: Option<Card>,
    /// The latest question to the person: a text that replaces the streamed one doesn't contain it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub question: Option<AskedQuestion>,
    /// The latest tool, node or source named by the agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<String>,
    /// Whether the agent started a new conversation because the old one was lost.
    #[serde(default)]
    pub conversation_lost: bool,
    /// Text held back until it is known whether it is a credential.
    #[serde(default, skip_serializing_if = "HeldBack::is_empty")]
    pub held_back: HeldBack,
}

impl Draft {
    /// Applies an event. Returns whether there is something new to show.
    pub fn apply(&mut self, event: &AgentEvent) -> bool {
        match event {
            AgentEvent::TextDelta(delta) => self.text.push_str(delta),
            AgentEvent::TextSnapshot(text) => self.text.clone_from(text),
            AgentEvent::ReasoningDelta(delta) => self.reasoning.push_str(delta),
            AgentEvent::Progress { label, .. } => return self.work_on(label),
            AgentEvent::File(file) => self.files.push(file.clone()),
            AgentEvent::Card(card) => self.card = Some(card.clone()),
            AgentEvent::InputRequired { prompt, choices, .. } => self.ask(prompt, choices),
            AgentEvent::Completed { final_text } => return self.complete(final_text.as_deref()),
            AgentEvent::ConversationLost => self.conversation_lost = true,
            AgentEvent::Started { .. }
            | AgentEvent::FileBytes { .. }
            | AgentEvent::Cursor(_)
            | AgentEvent::Deferred
            | AgentEvent::Failed(_)
            | AgentEvent::Cancelled => return false,
        }
        true
    }

    /// A tool or node is a line of the reasoning: shown where that is, and never part of the text. Its end adds no line.
    fn work_on(&mut self, label: &str) -> bool {
        if self.progress.as_deref() == Some(label) {
            return false;
        }
        if !self.reasoning.is_empty() && !self.reasoning.ends_with('\n') {
            self.reasoning.push('\n');
        }
        self.reasoning.push_str(&format!("▸ {label}\n"));
        self.progress = Some(label.to_owned());
        true
    }

    fn ask(&mut self, prompt: &str, choices: &[String]) {
        let listed = match Card::of_choices(choices) {
            Some(buttons) if self.card.is_none() => {
                self.card = Some(buttons);
                &[]
            }
            _ => choices,
        };
        let question = AskedQuestion::new(prompt, listed);
        question.append_to(&mut self.text);
        self.question = Some(question);
    }

    /// Ends the answer. An empty final text doesn't replace the streamed one, and none removes a question.
    fn complete(&mut self, final_text: Option<&str>) -> bool {
        let final_text = final_text.filter(|text| !text.trim().is_empty());
        if let Some(text) = final_text {
            text.clone_into(&mut self.text);
        }
        let lost = self.question.take().filter(|question| !question.is_in(&self.text));
        if let Some(question) = &lost {
            question.append_to(&mut self.text);
        }
        final_text.is_some() || lost.is_some()
    }

    /// Whether the draft has nothing to show.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        let has_card = self.card.as_ref().is_some_and(|card| !card.body().is_empty());
        self.text.trim().is_empty() && self.files.is_empty() && !has_card
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deltas_add_and_snapshots_replace() {
        let mut draft = Draft::default();
        assert!(draft.apply(&AgentEvent::TextDelta("a".into())));
        assert!(draft.apply(&AgentEvent::TextDelta("b".into())));
        assert_eq!(draft.text, "ab");
        draft.apply(&AgentEvent::TextSnapshot("c".into()));
        assert_eq!(draft.text, "c");
        assert!(!draft.apply(&AgentEvent::Completed { final_text: None }));
        draft.apply(&AgentEvent::Completed {
            final_text: Some("d".into()),
        });
        assert_eq!(draft.text, "d");
    }

    #[test]
    fn tools_are_lines_of_the_reasoning_and_each_is_named_once() {
        let mut draft = Draft::default();
        let progress = |label: &str, state: &str| AgentEvent::Progress {
            label: label.into(),
            state: state.into(),
        };
        assert!(draft.apply(&progress("search", "started")));
        assert!(!draft.apply(&progress("search", "finished")));
        draft.apply(&AgentEvent::ReasoningDelta("Found it.".into()));
        draft.apply(&progress("deploy", "started"));
        draft.apply(&AgentEvent::ReasoningDelta("Done.".into()));
        assert_eq!(draft.reasoning, "▸ search\nFound it.\n▸ deploy\nDone.");
        assert_eq!(draft.text, "");
    }

    #[test]
    fn choices_become_buttons_or_a_list() {
        let ask = |choices: &[&str]| AgentEvent::InputRequired {
            prompt: "Sure?".into(),
            choices: choices.iter().map(|choice| (*choice).to_owned()).collect(),
            resume_ref: None,
        };
        let mut draft = Draft::default();
        draft.apply(&ask(&["yes", "no"]));
        assert_eq!(
            (draft.text.as_str(), draft.card.as_ref().map(|card| card.buttons.len())),
            ("Sure?", Some(2))
        );
        draft.apply(&ask(&["a", "b"]));
        assert_eq!(draft.text, "Sure?\n\nSure?\n- a\n- b", "there is one card");
    }

    #[test]
    fn empty_final_text_keeps_the_streamed_text() {
        let mut draft = Draft::default();
        draft.apply(&AgentEvent::TextDelta("a".into()));
        for empty in ["", " \n"] {
            let final_text = Some(empty.to_owned());
            assert!(!draft.apply(&AgentEvent::Completed { final_text }));
        }
        assert_eq!(draft.text, "a");
    }
}
