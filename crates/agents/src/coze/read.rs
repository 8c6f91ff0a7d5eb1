//! Converts events of a chat to agent events.

use std::collections::BTreeSet;

use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure};

use super::wire::{Chat, LastError, Said};
use crate::api;
use crate::failure;
use crate::json;
use crate::run::{End, log_usage};
use crate::sse::Event;

/// How a chat ended.
#[derive(Debug)]
pub(crate) enum Ended {
    /// As the run's end.
    Run(End),
    /// It failed. Whether the conversation was occupied decides what happens next.
    Failed(LastError),
}

/// State of reading one chat.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) chat: String,
    pub(crate) conversation: String,
    /// Ids of the answers that arrived.
    answers: BTreeSet<String>,
    newest: Option<String>,
    /// Text of the newest answer.
    newest_text: String,
    has_text: bool,
    /// Whether a workflow waits for the person.
    has_asked: bool,
}

impl Reading {
    /// Whether some text was read.
    pub(crate) fn has_text(&self) -> bool {
        self.has_text
    }

    /// Sets the text of the newest answer, as read from the list of messages.
    pub(crate) fn set_newest(&mut self, text: &str) {
        text.clone_into(&mut self.newest_text);
    }

    /// Reads one event of the stream; also returns the end if it is the last.
    pub(crate) fn event(&mut self, event: &Event) -> Result<(Vec<AgentEvent>, Option<Ended>), AgentFailure> {
        let data = event.data.as_bytes();
        match event.name.as_str() {
            "conversation.chat.created" | "conversation.chat.in_progress" => {
                let chat: Chat = api::parse(data)?;
                Ok((self.start(&chat), None))
            }
            "conversation.message.delta" => {
                let said: Said = api::parse(data)?;
                Ok((self.delta(&said), None))
            }
            "conversation.message.completed" => {
                let said: Said = api::parse(data)?;
                Ok((self.message(&said), None))
            }
            "conversation.chat.completed"
            | "conversation.chat.failed"
            | "conversation.chat.requires_action"
            | "conversation.chat.canceled"
            | "conversation.chat.cancelled" => {
                let chat: Chat = api::parse(data)?;
                let status = event.name.trim_start_matches("conversation.chat.");
                let mut events = self.start(&chat);
                let (more, ended) = self.end(&chat, status)?;
                events.extend(more);
                Ok((events, Some(ended)))
            }
            "error" => {
                let error: LastError = api::parse(data)?;
                Ok((Vec::new(), Some(Ended::Failed(error))))
            }
            // `done` only closes the stream, and has two spellings.
            _ => Ok((Vec::new(), None)),
        }
    }

    /// Emits the chat's references once.
    pub(crate) fn start(&mut self, chat: &Chat) -> Vec<AgentEvent> {
        if !self.chat.is_empty() || chat.id.is_empty() {
            return Vec::new();
        }
        self.chat.clone_from(&chat.id);
        self.conversation.clone_from(&chat.conversation_id);
        vec![AgentEvent::Started {
            run_ref: self.chat.clone(),
            conversation_ref: Some(self.conversation.clone()).filter(|it| !it.is_empty()),
        }]
    }

    fn delta(&mut self, said: &Said) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if let Some(reasoning) = said.reasoning_content.as_ref().filter(|it| !it.is_empty()) {
            events.push(AgentEvent::ReasoningDelta(reasoning.clone()));
        }
        if said.is_answer() {
            events.extend(self.text(said));
        }
        events
    }

    /// Each message of an answer is a paragraph of its own.
    fn text(&mut self, said: &Said) -> Option<AgentEvent> {
        let text = said.text();
        if text.is_empty() {
            return None;
        }
        let is_next = self.has_text && self.newest.as_deref() != Some(&said.id);
        if self.newest.as_ref() != Some(&said.id) {
            self.newest_text.clear();
        }
        self.newest_text.push_str(text);
        self.newest = Some(said.id.clone());
        self.answers.insert(said.id.clone());
        self.has_text = true;
        let paragraph = if is_next { "\n\n" } else { "" };
        Some(AgentEvent::TextDelta(format!("{paragraph}{text}")))
    }

    fn message(&mut self, said: &Said) -> Vec<AgentEvent> {
        match said.kind.as_str() {
            // It repeats the text of its deltas.
            "answer" if self.answers.contains(&said.id) => Vec::new(),
            "answer" => self.text(said).into_iter().collect(),
            "function_call" => progress(named(&said.content, "name").as_deref().unwrap_or("tool"), "started"),
            "tool_response" | "tool_output" => progress("tool", "finished"),
            "knowledge" => progress("knowledge", "source"),
            "verbose" => {
                self.has_asked |= named(&said.content, "msg_type").as_deref() == Some("interrupt");
                Vec::new()
            }
            _ => Vec::new(),
        }
    }

    /// Converts the end of a chat to the run's end.
    pub(crate) fn end(&mut self, chat: &Chat, status: &str) -> Result<(Vec<AgentEvent>, Ended), AgentFailure> {
        if let Some(usage) = chat.usage {
            log_usage(usage.input_count, usage.output_count);
        }
        let completed = Ended::Run(End::Completed { final_text: None });
        match status {
            "completed" => Ok((Vec::new(), completed)),
            "failed" => Ok((Vec::new(), Ended::Failed(chat.error()))),
            "canceled" | "cancelled" => Ok((Vec::new(), Ended::Run(End::Cancelled))),
            "requires_action" => self.required(chat).map(|events| (events, completed)),
            _ => Err(failure::bad_answer("expected a known status of a chat, got another")),
        }
    }

    /// A workflow's question is asked in the chat; the next message answers it. A plug-in that the caller should run is not supported.
    fn required(&mut self, chat: &Chat) -> Result<Vec<AgentEvent>, AgentFailure> {
        let outputs = chat
            .required_action
            .as_ref()
            .and_then(|it| it.submit_tool_outputs.as_ref());
        let calls = outputs.map(|outputs| outputs.tool_calls.as_slice()).unwrap_or_default();
        if self.has_asked || calls.iter().any(|call| call.kind == "reply_message") {
            let asked = calls.iter().find_map(|call| call.function.as_ref());
            let prompt = asked.and_then(|asked| named(&asked.arguments, "question"));
            // Usually the question was the answer's last message.
            let question = prompt.filter(|prompt| prompt.trim() != self.newest_text.trim());
            let question = question.map(|prompt| AgentEvent::InputRequired {
                prompt,
                choices: Vec::new(),
                resume_ref: None,
            });
            return Ok(question.into_iter().collect());
        }
        let name = calls
            .iter()
            .find_map(|call| call.function.as_ref())
            .map(|it| it.name.as_str());
        let message = format!(
            "the bot asks its caller to run the plug-in {}, which is not supported",
            name.unwrap_or("?")
        );
        Err(failure::new("plugin_call", message, false))
    }
}

/// The answer in a list of messages.
pub(crate) fn answer_of(messages: &[Said]) -> String {
    let answers = messages.iter().filter(|message| message.is_answer()).map(Said::text);
    let answers: Vec<_> = answers.filter(|text| !text.is_empty()).collect();
    answers.join("\n\n")
}

fn progress(label: &str, state: &str) -> Vec<AgentEvent> {
    vec![AgentEvent::Progress {
        label: label.to_owned(),
        state: state.to_owned(),
    }]
}

/// A text field of JSON that is encoded in a text.
fn named(content: &str, field: &str) -> Option<String> {
    let content: Value = json::read(content.as_bytes()).ok()?;
    content[field]
        .as_str()
        .filter(|text| !text.is_empty())
        .map(str::to_owned)
}
