//! Converts events of a run's stream to agent events.

use serde_json::Value;
use tieline_core::agent::{AgentEvent, AgentFailure};

use super::wire::{Ending, Operation, Payload, Task};
use crate::content::{self, Block};
use crate::failure;
use crate::json;
use crate::langgraph::refs::{self, Cursor};
use crate::sse::Event;

/// State of reading one run, across all connections.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    /// Position at which to join the stream again.
    pub(crate) cursor: Cursor,
    /// Whether the run is complete.
    pub(crate) is_complete: bool,
    /// The operation that the run wants confirmed.
    pub(crate) operation: Option<Operation>,
    /// Id of the assistant's message.
    pub(crate) message: Option<String>,
    /// Token usage of the run, input and output.
    pub(crate) tokens: (u64, u64),
    error: Option<String>,
    replaces: bool,
    /// Whether the text of another stream must begin on a new line.
    ends_line: bool,
}

impl Reading {
    /// Continues reading at a cursor. Without one it reads everything, and its first text replaces what was shown.
    pub(crate) fn resumed(cursor: Option<Cursor>) -> Self {
        Self {
            replaces: cursor.is_none(),
            cursor: cursor.unwrap_or_default(),
            ..Self::default()
        }
    }

    /// The failure of the run, when it is complete.
    pub(crate) fn failure(&self) -> Option<AgentFailure> {
        let error = self.error.as_ref()?;
        Some(failure::new(
            failure::AGENT_ERROR,
            format!("the run failed: {error}"),
            true,
        ))
    }

    /// Reads one event. `None` if it isn't one of the run but says that the server can't read on: its id counts the messages of this
    /// connection, and joining the stream after it would repeat what was shown.
    pub(crate) fn event(&mut self, event: &Event) -> Option<Vec<AgentEvent>> {
        let payload: Payload = json::read(event.data.as_bytes()).ok()?;
        if event.name == "error" {
            return None;
        }
        let mut events = match payload.kind.as_str() {
            "message" => self.piece(&payload.data),
            "event" => self.happened(&payload.event, payload.data),
            "complete" => {
                self.is_complete = true;
                Vec::new()
            }
            _ => Vec::new(),
        };
        self.is_complete |= event.name == "complete";
        if let Some(id) = event.id.as_ref().filter(|id| !id.is_empty()) {
            self.cursor.event.clone_from(id);
            if !events.is_empty() {
                events.push(AgentEvent::Cursor(refs::write(&self.cursor)));
            }
        }
        Some(events)
    }

    fn piece(&mut self, data: &Value) -> Vec<AgentEvent> {
        let stream = data.get("id").and_then(Value::as_str);
        let mut events = Vec::new();
        for block in content::blocks(data) {
            match block {
                Block::Text(text) => events.extend(self.say(&text, stream)),
                Block::Reasoning(text) => events.push(AgentEvent::ReasoningDelta(text)),
                Block::File(file) => events.extend(file.into_event()),
            }
        }
        events
    }

    /// Text of one stream is joined; another stream begins on a new line.
    fn say(&mut self, text: &str, stream: Option<&str>) -> Option<AgentEvent> {
        if text.is_empty() {
            return None;
        }
        let known = self.cursor.message.as_deref();
        let is_other = stream.is_some() && known.is_some() && known != stream;
        let breaks = is_other && !self.ends_line && !text.starts_with(char::is_whitespace);
        self.cursor.message = stream.map(str::to_owned).or_else(|| self.cursor.message.take());
        self.ends_line = text.ends_with(char::is_whitespace);
        let text = format!("{}{text}", if breaks { "\n" } else { "" });
        Some(match std::mem::take(&mut self.replaces) {
            true => AgentEvent::TextSnapshot(text),
            false => AgentEvent::TextDelta(text),
        })
    }

    fn happened(&mut self, event: &str, data: Value) -> Vec<AgentEvent> {
        match event {
            "on_message_start" => {
                self.message = data.get("id").and_then(Value::as_str).map(str::to_owned);
            }
            "on_message_end" | "on_conversation_end" | "on_agent_end" => self.ended(data),
            "on_error" => self.error = Some(error_text(&data)),
            "on_interrupt" => self.operation = serde_json::from_value(data).ok(),
            "on_tool_start" | "on_retriever_start" | "on_tool_message" => return progress(&data, "started"),
            "on_tool_end" | "on_retriever_end" => return progress(&data, "finished"),
            "on_tool_error" | "on_retriever_error" => return progress(&data, "failed"),
            _ => {}
        }
        Vec::new()
    }

    fn ended(&mut self, data: Value) {
        let ending: Ending = serde_json::from_value(data).unwrap_or_default();
        self.tokens.0 += ending.input_tokens.unwrap_or_default();
        self.tokens.1 += ending.output_tokens.unwrap_or_default();
        if ending.status.as_deref() == Some("error") {
            let error = ending.error.as_ref().map(error_text);
            self.error = error.or_else(|| self.error.take()).or_else(|| Some(String::new()));
        }
    }
}

fn error_text(data: &Value) -> String {
    let known = data
        .as_str()
        .or_else(|| data.get("error")?.as_str())
        .or_else(|| data.get("message")?.as_str());
    known.unwrap_or_default().to_owned()
}

fn progress(data: &Value, state: &str) -> Vec<AgentEvent> {
    let label = ["title", "name", "tool", "toolset"]
        .iter()
        .find_map(|field| data.get(field)?.as_str());
    let event = label
        .filter(|label| !label.is_empty())
        .map(|label| AgentEvent::Progress {
            label: label.to_owned(),
            state: state.to_owned(),
        });
    event.into_iter().collect()
}

/// A question to the person: what the agent wants to do.
pub(crate) fn question(operation: &Operation) -> String {
    let lines: Vec<String> = operation.tasks.iter().map(task).collect();
    lines.join("\n")
}

fn task(task: &Task) -> String {
    let info = task.info.as_ref();
    let title = info
        .and_then(|info| info.title.clone())
        .filter(|title| !title.is_empty());
    let title = title.or_else(|| Some(task.call.as_ref()?.name.clone()));
    let mut line = title
        .filter(|title| !title.is_empty())
        .unwrap_or_else(|| task.name.clone());
    if let Some(description) = info
        .and_then(|info| info.description.as_deref())
        .filter(|text| !text.is_empty())
    {
        line.push_str(&format!(": {description}"));
    }
    if let Some(args) = task.call.as_ref().map(|call| &call.args).filter(|args| !args.is_null()) {
        line.push_str(&format!("\n```json\n{args:#}\n```"));
    }
    line
}
