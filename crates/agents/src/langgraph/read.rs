//! Converts events of a run's stream to agent events.

use std::collections::BTreeSet;

use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure};

use super::refs::Cursor;
use super::review::{self, Review};
use super::texts::{Added, Texts};
use super::wire::{Interrupt, Message, RunError, RunMetadata, State, Usage};
use crate::content::{self, Block};
use crate::failure;
use crate::sse::Event;
use crate::{api, json};

/// Largest number of interrupts that are compared with each other: the ids of more exceed the limit of a stored reference.
const MAX_INTERRUPTS: usize = 100;

/// State of reading one run, across all connections.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Position at which to join the stream again.
    pub(crate) cursor: Cursor,
    /// The run's id, once the stream contained it.
    pub(crate) run: Option<String>,
    /// Questions that the run ended with.
    pub(crate) interrupts: Vec<Interrupt>,
    /// Tokens of all model calls.
    pub(crate) usage: Usage,
    /// Whether the stream said that it is complete.
    pub(crate) has_ended: bool,
    /// Whether the next text replaces everything, because the stream is read from its start again.
    replaces: bool,
    has_text: bool,
    /// Texts of the messages in this process.
    texts: Texts,
    /// Tool calls that were reported.
    tools: Vec<String>,
}

impl Reading {
    /// Continues reading where another process stopped.
    pub(crate) fn resumed(cursor: Option<Cursor>) -> Self {
        let replaces = cursor.is_none();
        let texts = cursor.as_ref().map(|it| Texts::resumed(it.message.as_deref()));
        let cursor = cursor.unwrap_or_default();
        Self {
            has_text: cursor.message.is_some(),
            texts: texts.unwrap_or_default(),
            cursor,
            replaces,
            ..Self::default()
        }
    }

    /// Reads one event.
    pub(crate) fn event(&mut self, event: &Event) -> Result<Vec<AgentEvent>, AgentFailure> {
        // `messages|namespace` comes from a subgraph.
        let name = event.name.split('|').next().unwrap_or_default();
        let mut events = match name {
            "metadata" => self.metadata(&event.data),
            "messages" => self.message(&event.data)?,
            "updates" | "values" => self.update(&event.data),
            "error" => return Err(failed(api::parse(event.data.as_bytes()).ok())),
            "end" => {
                self.has_ended = true;
                Vec::new()
            }
            _ => Vec::new(),
        };
        if let Some(id) = event.id.as_ref().filter(|id| !id.is_empty()) {
            self.cursor.event.clone_from(id);
            if !events.is_empty() {
                events.push(AgentEvent::Cursor(super::refs::write(&self.cursor)));
            }
        }
        Ok(events)
    }

    fn metadata(&mut self, data: &str) -> Vec<AgentEvent> {
        if let Ok(metadata) = json::read::<RunMetadata>(data.as_bytes()) {
            self.run = Some(metadata.run_id);
        }
        Vec::new()
    }

    fn message(&mut self, data: &str) -> Result<Vec<AgentEvent>, AgentFailure> {
        let parts: Vec<Value> = api::parse(data.as_bytes())?;
        let Some(message) = parts.into_iter().next() else {
            return Ok(Vec::new());
        };
        // Graphs put anything into messages: one that isn't a chat message is ignored.
        let message: Message = serde_json::from_value(message).unwrap_or_default();
        Ok(match message.kind.as_str() {
            "AIMessageChunk" | "AIMessage" | "ai" => self.answer(message),
            "tool" | "ToolMessage" => self.tool_result(message),
            _ => Vec::new(),
        })
    }

    fn answer(&mut self, message: Message) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if let Some(usage) = message.usage_metadata {
            self.usage.input_tokens += usage.input_tokens;
            self.usage.output_tokens += usage.output_tokens;
        }
        if let Some(reasoning) = message.additional_kwargs["reasoning_content"].as_str()
            && !reasoning.is_empty()
        {
            events.push(AgentEvent::ReasoningDelta(reasoning.to_owned()));
        }
        let is_chunk = message.kind == "AIMessageChunk";
        for block in content::blocks(&message.content) {
            match block {
                Block::Text(text) => events.extend(self.say(&text, message.id.as_deref(), is_chunk)),
                Block::Reasoning(text) => events.push(AgentEvent::ReasoningDelta(text)),
                Block::File(file) => events.extend(file.into_event()),
            }
        }
        for call in message.tool_calls.into_iter().flatten() {
            let (Some(id), Some(name)) = (call.id, call.name.filter(|name| !name.is_empty())) else {
                continue;
            };
            if !self.tools.contains(&id) {
                self.tools.push(id);
                events.push(progress(name, "started"));
            }
        }
        events
    }

    /// Text of a message: chunks are appended; another message begins a paragraph. Nodes that run at once stream several messages at once.
    fn say(&mut self, text: &str, message: Option<&str>, is_chunk: bool) -> Option<AgentEvent> {
        // A node that wraps a streamed answer in a message of its own repeats the whole text.
        if text.is_empty() || !is_chunk && self.texts.repeats(message, text) {
            return None;
        }
        let is_new = match self.texts.add(message, text) {
            Added::Begun => true,
            Added::Appended => false,
            // The text still ends with the newest message, at which the cursor stays.
            Added::Inserted(whole) => return Some(AgentEvent::TextSnapshot(whole)),
        };
        let said = if is_new && self.has_text && !self.replaces {
            format!("\n\n{text}")
        } else {
            text.to_owned()
        };
        if !self.has_text {
            self.cursor.first_message = message.map(str::to_owned);
        }
        if is_new {
            self.cursor.message = message.map(str::to_owned);
        }
        self.has_text = true;
        Some(match std::mem::take(&mut self.replaces) {
            true => AgentEvent::TextSnapshot(said),
            false => AgentEvent::TextDelta(said),
        })
    }

    fn tool_result(&mut self, message: Message) -> Vec<AgentEvent> {
        let state = message.status.filter(|status| failure::is_word(status));
        let name = message.name.filter(|name| !name.is_empty());
        name.map(|name| progress(name, state.as_deref().unwrap_or("finished")))
            .into_iter()
            .collect()
    }

    /// Interrupts come as updates of their own, one for each node that asks; the output of nodes is in the messages already.
    fn update(&mut self, data: &str) -> Vec<AgentEvent> {
        if let Ok(State {
            interrupts: Some(interrupts),
            ..
        }) = json::read(data.as_bytes())
        {
            self.interrupted(interrupts);
        }
        Vec::new()
    }

    /// Adds interrupts that are not known yet: a stream that is read again and the run's result repeat them.
    pub(crate) fn interrupted(&mut self, interrupts: Vec<Interrupt>) {
        for interrupt in interrupts {
            if self.interrupts.len() < MAX_INTERRUPTS && !self.interrupts.contains(&interrupt) {
                self.interrupts.push(interrupt);
            }
        }
    }
}

fn progress(label: String, state: &str) -> AgentEvent {
    AgentEvent::Progress {
        label,
        state: state.to_owned(),
    }
}

/// The failure of a run whose graph raised an exception.
pub(crate) fn failed(error: Option<RunError>) -> AgentFailure {
    let RunError { error, message } = error.unwrap_or_default();
    let code = failure::agents_code(error.as_deref());
    let message = message.map_or_else(String::new, |message| format!(": {message}"));
    failure::new(code, format!("the run failed{message}"), true)
}

/// Where the answer of a run begins in its thread's state.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Beginning<'a> {
    /// After the person's last message.
    Question,
    /// At this message: a run that answers an interrupt adds no message of the person.
    Message(Option<&'a str>),
}

/// The answer in a thread's state: the assistant's messages from `beginning`. `None` if that is unknown.
pub(crate) fn final_text(state: &State, beginning: Beginning<'_>) -> Option<String> {
    let messages = state.messages.as_ref()?.as_array()?;
    let messages: Vec<Message> = messages
        .iter()
        .map(|message| serde_json::from_value(message.clone()).unwrap_or_default())
        .collect();
    let is_question = |message: &Message| matches!(message.kind.as_str(), "human" | "HumanMessage");
    let first = match beginning {
        Beginning::Question => messages.iter().rposition(is_question).map_or(0, |at| at + 1),
        Beginning::Message(id) => {
            let id = id?;
            messages.iter().position(|message| message.id.as_deref() == Some(id))?
        }
    };
    let texts = messages[first..]
        .iter()
        .filter(|message| matches!(message.kind.as_str(), "ai" | "AIMessage" | "AIMessageChunk"))
        .map(|message| content::text(&message.content))
        .filter(|text| !text.is_empty());
    let text = texts.collect::<Vec<_>>().join("\n\n");
    (!text.is_empty()).then_some(text)
}

/// A question to the person: the prompt and the choices of the interrupts.
pub(crate) fn question(interrupts: &[Interrupt]) -> (String, Vec<String>) {
    let prompts: Vec<String> = interrupts.iter().map(|it| prompt(&it.value)).collect();
    // Interrupts that want a decision each have the same choices.
    let mut seen = BTreeSet::new();
    let choices = interrupts.iter().flat_map(|it| choices(&it.value));
    let choices = choices.filter(|choice| seen.insert(choice.clone())).collect();
    (prompts.join("\n\n"), choices)
}

const PROMPT_FIELDS: &[&str] = &["question", "prompt", "message", "description", "text", "query"];

fn prompt(value: &Value) -> String {
    if let Some(prompt) = review::prompt(value) {
        return prompt;
    }
    let known = PROMPT_FIELDS.iter().find_map(|field| value.get(field)?.as_str());
    match value.as_str().or(known) {
        Some(text) => text.to_owned(),
        None => value.to_string(),
    }
}

fn choices(value: &Value) -> Vec<String> {
    let reviews = review::reviews(value);
    if !reviews.is_empty() && reviews.iter().all(|it| *it == Review::Decide) {
        return review::CHOICES.map(str::to_owned).into();
    }
    let list = value.get("choices").or_else(|| value.get("options"));
    let list = list.and_then(Value::as_array).into_iter().flatten();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn chunk(id: &str, text: &str) -> Event {
        Event {
            name: "messages".into(),
            data: json!([{"type": "AIMessageChunk", "id": id, "content": text}, {}]).to_string(),
            id: Some(format!("{id}{text}")),
        }
    }

    fn read(mut reading: Reading, events: &[Event]) -> (Reading, Vec<AgentEvent>) {
        let read: Vec<_> = events.iter().flat_map(|event| reading.event(event).unwrap()).collect();
        let texts = read.into_iter().filter(|it| !matches!(it, AgentEvent::Cursor(_)));
        (reading, texts.collect())
    }

    #[test]
    fn messages_that_are_streamed_at_once_stay_apart() {
        let delta = |text: &str| AgentEvent::TextDelta(text.into());
        let snapshot = |text: &str| AgentEvent::TextSnapshot(text.into());
        let streamed = [
            chunk("a", "Su"),
            chunk("b", "Ra"),
            chunk("a", "n."),
            chunk("b", "in."),
            chunk("c", "Bye."),
        ];
        let (reading, events) = read(Reading::default(), &streamed);
        let expected = [
            delta("Su"),
            delta("\n\nRa"),
            snapshot("Sun.\n\nRa"),
            delta("in."),
            delta("\n\nBye."),
        ];
        assert_eq!(events, expected);
        // The text ends with the newest message, also for a process that resumes after a chunk of an older one.
        let (reading, _) = read(reading, &[chunk("a", "!")]);
        assert_eq!(reading.cursor.message.as_deref(), Some("c"));
        // That process doesn't know the earlier texts: what belongs to one of them begins a paragraph.
        let resumed = Reading::resumed(Some(reading.cursor));
        let (_, events) = read(resumed, &[chunk("c", " Bye."), chunk("a", "Also."), chunk("c", "!")]);
        assert_eq!(events, [delta(" Bye."), delta("\n\nAlso."), delta("\n\n!")]);
    }
}
