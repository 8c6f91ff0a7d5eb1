//! Converts events of Dify's stream to agent events.

use tieline_core::agent::{AgentEvent, AgentFailure};
use tieline_core::reply::ReplyFile;
use url::Url;

use super::conversation::{Conversation, Form};
use super::wire::{AnswerFile, Data, Event};
use crate::api;
use crate::error_body::ErrorBody;
use crate::failure;
use crate::run::{End, log_usage};

/// State of reading one answer.
#[derive(Debug)]
pub(crate) struct Reading {
    /// Task id, for stopping it.
    task: Option<String>,
    /// Id by which another process follows the run: only workflow-backed apps have one.
    pub(crate) workflow_run: Option<String>,
    pub(crate) conversation: Conversation,
    text: String,
    by_agent: bool,
    is_whole: bool,
    message_ended: bool,
    workflow_runs: bool,
    is_paused: bool,
    is_stopped: bool,
    /// The answer as the workflow's output.
    output: Option<String>,
    /// Whether the app replaced the text: its output must not be shown, because that still has what moderation removed.
    is_replaced: bool,
    /// Whether the workflow is followed: such a stream begins with a snapshot, and text from before it may be missing.
    pub(crate) follows: bool,
    /// The form that was just submitted: a snapshot may still show it as waiting.
    pub(crate) answered: Option<String>,
    /// Addresses of the files that were emitted, without their signatures.
    files: Vec<Url>,
    base: Url,
}

impl Reading {
    /// Starts reading an answer in `conversation`. Relative URLs of files are resolved against `base`.
    pub(crate) fn new(conversation: Conversation, base: Url) -> Self {
        Self {
            task: None,
            workflow_run: None,
            conversation,
            text: String::new(),
            by_agent: false,
            is_whole: false,
            message_ended: false,
            workflow_runs: false,
            is_paused: false,
            is_stopped: false,
            output: None,
            is_replaced: false,
            follows: false,
            answered: None,
            files: Vec::new(),
            base,
        }
    }

    /// Whether the answer is complete. Files, sources, a moderated text and events about the workflow may still follow.
    pub(crate) fn is_whole(&self) -> bool {
        self.is_whole || self.is_paused || self.is_stopped
    }

    /// Whether no events will follow.
    pub(crate) fn is_over(&self) -> bool {
        self.is_paused || self.is_stopped || self.message_ended && !self.workflow_runs
    }

    /// The end of the run, once the answer is complete.
    pub(crate) fn end(&mut self) -> End {
        if self.is_stopped {
            return End::Cancelled;
        }
        // After a form the output repeats the text from before it.
        let misses_text = self.follows && self.answered.is_none();
        let lacks_text = !self.is_replaced && (self.text.is_empty() || misses_text);
        let output = self.output.take().filter(|_| lacks_text);
        End::Completed {
            final_text: output.filter(|text| !text.is_empty()),
        }
    }

    /// Reads one event of the stream.
    pub(crate) fn event(&mut self, json: &[u8]) -> Result<Vec<AgentEvent>, AgentFailure> {
        let event: Event = api::parse(json)?;
        let mut events = self.identify(&event);
        match event.event.as_str() {
            "message" => events.extend(self.message(event.answer)),
            "agent_message" => {
                self.by_agent = true;
                events.extend(self.delta(event.answer.unwrap_or_default()));
            }
            "message_replace" => events.extend(self.message_replace(event.answer.unwrap_or_default())),
            "message_file" => events.extend(self.file(event.file)),
            "agent_thought" => events.extend(tools(&event)),
            "workflow_started" => self.workflow_runs = true,
            "node_started" => events.extend(node(event.data.as_ref(), "started")),
            "node_finished" => events.extend(node(event.data.as_ref(), "finished")),
            "human_input_required" => events.extend(event.data.and_then(|data| self.form(data))),
            "workflow_paused" => self.is_paused = self.answered.is_none() || self.conversation.form.is_some(),
            "workflow_finished" => self.finish(event.data)?,
            "message_end" => events.extend(self.message_end(event)),
            "error" => return Err(error_of(&event, &ErrorBody::read(json))),
            _ => {}
        }
        Ok(events)
    }

    /// Emits the references when they change. `Started` comes last, so that the other references are stored with it.
    fn identify(&mut self, event: &Event) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        if let Some(id) = event.conversation_id.as_deref().filter(|id| !id.is_empty())
            && id != self.conversation.id
        {
            id.clone_into(&mut self.conversation.id);
        }
        if self.workflow_run.is_none()
            && let Some(run) = event.workflow_run_id.clone().filter(|run| !run.is_empty())
        {
            events.push(AgentEvent::Cursor(run.clone()));
            self.workflow_run = Some(run);
        }
        if self.task.is_none()
            && let Some(task) = event.task_id.clone().filter(|task| !task.is_empty())
        {
            self.task = Some(task);
            events.extend(self.started());
        }
        events
    }

    fn started(&self) -> Option<AgentEvent> {
        Some(AgentEvent::Started {
            run_ref: self.task.clone()?,
            conversation_ref: self.conversation.reference(),
        })
    }

    /// Newer agent apps repeat the whole answer in a final `message`.
    fn message(&mut self, answer: Option<String>) -> Option<AgentEvent> {
        let answer = answer.unwrap_or_default();
        if self.by_agent && answer.starts_with(self.text.trim_end()) {
            return Some(self.replace(answer));
        }
        self.delta(answer)
    }

    fn delta(&mut self, text: String) -> Option<AgentEvent> {
        if text.is_empty() {
            return None;
        }
        // Text between the snapshot and this delta may be missing.
        self.is_replaced &= !self.follows;
        self.text.push_str(&text);
        Some(AgentEvent::TextDelta(text))
    }

    /// Moderation replaces the text; a snapshot replaces it by what the app has stored.
    fn message_replace(&mut self, text: String) -> Option<AgentEvent> {
        // The app stores the text when the workflow pauses or ends.
        if self.follows && text.is_empty() {
            return None;
        }
        self.is_replaced = true;
        Some(self.replace(text))
    }

    fn replace(&mut self, text: String) -> AgentEvent {
        self.text.clone_from(&text);
        AgentEvent::TextSnapshot(text)
    }

    /// A file that was not emitted yet: the end of an answer lists earlier ones again, under newly signed addresses.
    fn file(&mut self, file: AnswerFile) -> Option<AgentEvent> {
        if file.belongs_to.as_deref() == Some("user") {
            return None;
        }
        let url = self
            .base
            .join(file.url.as_deref().filter(|url| !url.is_empty())?)
            .ok()?;
        let mut address = url.clone();
        address.set_query(None);
        if self.files.contains(&address) {
            return None;
        }
        self.files.push(address);
        let last = url.path_segments().and_then(|mut path| path.next_back());
        let name = file.filename.or_else(|| last.map(str::to_owned)).unwrap_or_default();
        let mime = file.mime_type.unwrap_or_else(|| match file.kind.as_deref() {
            Some("image") => "image/png".to_owned(),
            _ => "application/octet-stream".to_owned(),
        });
        Some(AgentEvent::File(ReplyFile {
            url: url.into(),
            name,
            mime,
        }))
    }

    /// Asks the form's question, and stores in the conversation what the answer is for.
    fn form(&mut self, data: Data) -> Option<AgentEvent> {
        let prompt = data.form_content.or(data.title).unwrap_or_default();
        let actions = data.actions.unwrap_or_default();
        let token = data.form_token.filter(|token| !token.is_empty());
        if token.is_some() && token == self.answered {
            return None;
        }
        let form = token
            .zip(self.workflow_run.clone())
            .map(|(token, run)| Form::new(token, run, &prompt, actions.clone(), data.inputs.as_ref()));
        let choices = form.as_ref().map(Form::choices).unwrap_or_default();
        let resume_ref = form.as_ref().map(|form| form.token.clone());
        self.conversation.form = form;
        Some(AgentEvent::InputRequired {
            prompt,
            choices,
            resume_ref,
        })
    }

    /// The reference to store at the end, if a form waits.
    pub(crate) fn waiting(&self) -> Option<AgentEvent> {
        self.conversation.form.as_ref()?;
        self.started()
    }

    fn finish(&mut self, data: Option<Data>) -> Result<(), AgentFailure> {
        let data = data.ok_or_else(failure::incomplete)?;
        self.workflow_runs = false;
        match data.status.as_deref() {
            Some("failed") => {
                let cause = data.error.unwrap_or_else(|| "the workflow failed".to_owned());
                return Err(failure::new("workflow_failed", cause, false));
            }
            Some("stopped") => self.is_stopped = true,
            Some("paused") => self.is_paused = true,
            _ => {
                let answer = data.outputs.as_ref().and_then(|outputs| outputs["answer"].as_str());
                self.output = answer.map(str::to_owned);
                self.is_whole |= answer.is_some() || self.answered.is_some();
            }
        }
        Ok(())
    }

    fn message_end(&mut self, event: Event) -> Vec<AgentEvent> {
        self.is_whole = true;
        self.message_ended = true;
        // Without a workflow they are all files of the conversation's turn, also those of the question, and nothing says whose they are.
        let is_asked = |file: &AnswerFile| matches!(file.transfer_method.as_deref(), Some("local_file" | "remote_url"));
        let has_workflow = self.workflow_run.is_some();
        let files = event.files.into_iter().flatten();
        let files = files.filter(|file| has_workflow || !is_asked(file));
        let mut events: Vec<_> = files.filter_map(|file| self.file(file)).collect();
        if let Some(metadata) = event.metadata {
            if let Some(usage) = metadata.usage {
                log_usage(usage.prompt_tokens, usage.completion_tokens);
            }
            let resources = metadata.retriever_resources.into_iter().flatten();
            let mut names: Vec<_> = resources.filter_map(|it| it.document_name).collect();
            names.dedup();
            events.extend(names.into_iter().map(|name| progress(name, "source")));
        }
        events
    }
}

fn progress(label: impl Into<String>, state: &str) -> AgentEvent {
    AgentEvent::Progress {
        label: label.into(),
        state: state.to_owned(),
    }
}

fn tools(event: &Event) -> Vec<AgentEvent> {
    let is_done = event.observation.as_deref().is_some_and(|it| !it.is_empty());
    let state = if is_done { "finished" } else { "started" };
    let tools = event.tool.as_deref().unwrap_or_default().split(';');
    let named = tools.filter(|tool| !tool.is_empty());
    named.map(|tool| progress(tool, state)).collect()
}

/// Structural nodes of a workflow, which are not reported as progress.
const STRUCTURAL_NODES: [&str; 3] = ["start", "answer", "end"];

fn node(data: Option<&Data>, state: &str) -> Option<AgentEvent> {
    let data = data?;
    let kind = data.node_type.as_deref().unwrap_or_default();
    let title = data.title.as_deref().filter(|title| !title.is_empty())?;
    (!STRUCTURAL_NODES.contains(&kind)).then(|| progress(title, state))
}

/// The failure of an app that answered with a JSON document in place of a stream.
pub(crate) fn unexpected_document(json: &[u8]) -> AgentFailure {
    match (ErrorBody::in_document(json), api::parse(json)) {
        (Some(error), Ok(event)) => error_of(&event, &error),
        _ => failure::bad_answer("expected server-sent events, got a JSON document"),
    }
}

fn error_of(event: &Event, error: &ErrorBody) -> AgentFailure {
    let status = event.status.as_ref().and_then(|status| match status.as_str() {
        Some(text) => text.parse().ok(),
        None => status.as_u64(),
    });
    let passing = status.is_none_or(|status| status == 429 || status >= 500);
    let message = format!("the agent sent an error{}", error.describe());
    failure::new(failure::agents_code(error.word()), message, passing)
}
