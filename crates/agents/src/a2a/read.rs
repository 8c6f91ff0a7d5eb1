//! Converts tasks and their updates to agent events.

use tieline_core::agent::AgentEvent;

use super::shown::{MAX_SHOWN, Shown, ShownText, short_digest};
use super::wire::{Artifact, ArtifactUpdate, Item, Message, Part, State, Status, Task};
use crate::content::FileBlock;

/// Longest progress message, in characters.
const MAX_PROGRESS_CHARS: usize = 200;

/// State of reading one task, across all connections.
#[derive(Debug, Default)]
pub(crate) struct Reading {
    pub(crate) task: Option<String>,
    pub(crate) context: Option<String>,
    pub(crate) state: State,
    /// Text of the latest status message.
    pub(crate) status_text: String,
    /// Whether the agent answered with a message instead of a task.
    pub(crate) answered: bool,
    artifacts: Vec<Text>,
    files: Vec<String>,
    /// What earlier answers of the same task have shown.
    shown: Shown,
}

/// Text of an artifact.
#[derive(Debug)]
struct Text {
    artifact: String,
    text: String,
    /// How many bytes of it an earlier answer has shown.
    n_shown: usize,
}

impl Text {
    /// What no earlier answer has shown.
    fn rest(&self) -> &str {
        &self.text[self.n_shown..]
    }
}

impl Reading {
    /// Whether no more events will follow unless the person answers.
    pub(crate) fn is_over(&self) -> bool {
        self.answered || !self.state.is_active()
    }

    /// Whether any artifact had text that is new.
    pub(crate) fn has_text(&self) -> bool {
        self.artifacts.iter().any(|it| !it.rest().is_empty())
    }

    /// The next answer of a task that has shown this.
    pub(crate) fn going_on(&mut self, shown: Shown) {
        self.files.clone_from(&shown.files);
        self.shown = shown;
    }

    /// What the answers so far have shown.
    pub(crate) fn shown(&self) -> Shown {
        let texts = self.artifacts.iter().filter(|it| !it.text.is_empty());
        let texts = texts.map(|it| ShownText::of(&it.artifact, &it.text));
        let earlier = self.shown.texts.iter();
        let sent_again: Vec<_> = self.artifacts.iter().map(|it| short_digest(&[&it.artifact])).collect();
        let earlier = earlier.filter(|it| !sent_again.contains(&it.artifact));
        Shown {
            texts: earlier.cloned().chain(texts).take(MAX_SHOWN).collect(),
            files: self.files.iter().take(MAX_SHOWN).cloned().collect(),
        }
    }

    /// What earlier answers have shown.
    pub(crate) fn shown_before(&self) -> &Shown {
        &self.shown
    }

    /// Converts one item to agent events.
    pub(crate) fn item(&mut self, item: Item) -> Vec<AgentEvent> {
        match item {
            Item::Task(task) => self.task(task),
            Item::Message(message) => self.message(message),
            Item::Status(update) => {
                self.identify(update.task_id, update.context_id);
                self.status(update.status)
            }
            Item::Artifact(update) => self.artifact(update),
        }
    }

    fn identify(&mut self, task: Option<String>, context: Option<String>) {
        let filled = |id: Option<String>| id.filter(|id| !id.is_empty());
        self.task = filled(task).or_else(|| self.task.take());
        self.context = filled(context).or_else(|| self.context.take());
    }

    /// Reads a snapshot, which replaces everything so far.
    fn task(&mut self, task: Task) -> Vec<AgentEvent> {
        self.identify(Some(task.id), task.context_id);
        let had_text = self.has_text();
        let before = self.text();
        self.artifacts.clear();
        let mut events = Vec::new();
        for artifact in task.artifacts.into_iter().flatten() {
            events.extend(self.files(&artifact.parts));
            self.append(&artifact, false);
        }
        let text = self.text();
        if text != before && (had_text || !text.is_empty()) {
            events.insert(0, AgentEvent::TextSnapshot(text));
        }
        events.extend(self.status(task.status));
        events
    }

    fn message(&mut self, message: Message) -> Vec<AgentEvent> {
        self.identify(None, message.context_id);
        self.answered = true;
        let text = text_of(&message.parts);
        let mut events = self.files(&message.parts);
        if !text.is_empty() {
            events.insert(0, AgentEvent::TextDelta(text));
        }
        events
    }

    fn status(&mut self, status: Status) -> Vec<AgentEvent> {
        self.state = status.state;
        let Some(message) = status.message else {
            // What came before is progress, and neither a question nor the cause of a failure.
            self.status_text.clear();
            return Vec::new();
        };
        self.status_text = text_of(&message.parts);
        if self.state.is_active() {
            let label: String = self.status_text.chars().take(MAX_PROGRESS_CHARS).collect();
            let state = "working".to_owned();
            let progress = (!label.is_empty()).then_some(AgentEvent::Progress { label, state });
            return progress.into_iter().collect();
        }
        let mut events = self.files(&message.parts);
        // For an agent that makes no artifacts, the status message is the answer: also the reason of a failure, which nothing else tells the
        // person. The text of a question is emitted with the question.
        let is_answer = matches!(self.state, State::Completed | State::Failed | State::Rejected);
        if is_answer && !self.has_text() && !self.status_text.is_empty() {
            events.insert(0, AgentEvent::TextSnapshot(self.status_text.clone()));
        }
        events
    }

    fn artifact(&mut self, update: ArtifactUpdate) -> Vec<AgentEvent> {
        self.identify(update.task_id, update.context_id);
        let mut files = self.files(&update.artifact.parts);
        let last = self
            .artifacts
            .last()
            .is_some_and(|it| it.artifact == update.artifact.artifact_id);
        let known = self
            .artifacts
            .iter()
            .any(|it| it.artifact == update.artifact.artifact_id);
        let append = update.append.unwrap_or_default();
        let id = &update.artifact.artifact_id;
        let is_empty = !self
            .artifacts
            .iter()
            .any(|it| it.artifact == *id && !it.rest().is_empty());
        let begins_paragraph = is_empty && self.has_text();
        if known && !append {
            for it in self.artifacts.iter_mut().filter(|it| it.artifact == *id) {
                it.text.clear();
                it.n_shown = 0;
            }
        }
        let added = self.append(&update.artifact, append);
        let event = match (known, append, last) {
            // Text that grew at its end is a delta; a change further up needs a snapshot.
            (false, ..) | (true, true, true) if added.is_empty() => None,
            (false, ..) | (true, true, true) if begins_paragraph => Some(AgentEvent::TextDelta(format!("\n\n{added}"))),
            (false, ..) | (true, true, true) => Some(AgentEvent::TextDelta(added)),
            _ => Some(AgentEvent::TextSnapshot(self.text())),
        };
        if let Some(event) = event {
            files.insert(0, event);
        }
        files
    }

    /// Appends to an artifact's text. Returns what is new of it: a text that is not a piece may begin with what an earlier answer has shown.
    fn append(&mut self, artifact: &Artifact, is_piece: bool) -> String {
        let text = text_of(&artifact.parts);
        let id = &artifact.artifact_id;
        let at = self.artifacts.iter().position(|it| it.artifact == *id);
        let at = at.unwrap_or_else(|| {
            self.artifacts.push(Text {
                artifact: id.clone(),
                text: String::new(),
                n_shown: 0,
            });
            self.artifacts.len() - 1
        });
        let known = &mut self.artifacts[at];
        let n_shown = match known.text.is_empty() && !is_piece {
            true => self.shown.n_bytes(id, &text),
            false => 0,
        };
        known.n_shown += n_shown;
        known.text.push_str(&text);
        text[n_shown..].to_owned()
    }

    fn text(&self) -> String {
        let texts = self.artifacts.iter().map(Text::rest);
        texts.filter(|text| !text.is_empty()).collect::<Vec<_>>().join("\n\n")
    }

    /// Files that were not emitted yet: snapshots repeat earlier ones.
    fn files(&mut self, parts: &[Part]) -> Vec<AgentEvent> {
        let mut events = Vec::new();
        for file in parts.iter().filter_map(file_of) {
            let key = short_digest(&[&file.name, &file.source]);
            if !self.files.contains(&key) {
                self.files.push(key);
                events.extend(file.into_event());
            }
        }
        events
    }
}

fn text_of(parts: &[Part]) -> String {
    let texts = parts.iter().filter_map(|part| match (&part.text, &part.data) {
        (Some(text), _) => Some(text.clone()),
        // Structured data is shown as a code block; chats have nothing else for it.
        (None, Some(data)) => Some(format!("```json\n{data:#}\n```")),
        (None, None) => None,
    });
    texts.collect()
}

fn file_of(part: &Part) -> Option<FileBlock> {
    let file = part.file.as_ref();
    let name = part.filename.as_deref().or_else(|| file?.name.as_deref());
    let mime = part.media_type.as_deref().or_else(|| file?.mime_type.as_deref());
    let (name, mime) = (name.unwrap_or_default(), mime.unwrap_or_default());
    if let Some(url) = part.url.as_deref().or_else(|| file?.uri.as_deref()) {
        return Some(FileBlock::from_url(url, name, mime));
    }
    let bytes = part.raw.as_deref().or_else(|| file?.bytes.as_deref())?;
    Some(FileBlock {
        source: bytes.to_owned(),
        is_base64: true,
        name: name.to_owned(),
        mime: mime.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn play(results: Vec<Value>) -> (Reading, Vec<AgentEvent>) {
        let mut reading = Reading::default();
        let events = results
            .into_iter()
            .filter_map(Item::read)
            .flat_map(|item| reading.item(item))
            .collect();
        (reading, events)
    }

    fn artifact(id: &str, text: &str, append: bool) -> Value {
        let artifact = json!({"artifactId": id, "parts": [{"text": text}]});
        json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact, "append": append}})
    }

    fn delta(text: &str) -> AgentEvent {
        AgentEvent::TextDelta(text.into())
    }

    fn snapshot(text: &str) -> AgentEvent {
        AgentEvent::TextSnapshot(text.into())
    }

    #[test]
    fn artifacts_are_appended_joined_and_replaced() {
        let (reading, events) = play(vec![
            json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}}),
            artifact("a", "1", false),
            artifact("a", "2", true),
            artifact("b", "x", false),
            artifact("a", "3", true),
            artifact("a", "new", false),
        ]);
        let expected = [
            delta("1"),
            delta("2"),
            delta("\n\nx"),
            snapshot("123\n\nx"),
            snapshot("new\n\nx"),
        ];
        assert_eq!(events, expected);
        assert_eq!(
            (reading.task.as_deref(), reading.context.as_deref()),
            (Some("t"), Some("c"))
        );
        assert!(!reading.is_over());
    }

    #[test]
    fn snapshot_replaces_text_and_repeats_nothing() {
        let task = json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"},
            "artifacts": [{"artifactId": "a", "parts": [{"text": "1"}, {"text": "2"}, {"url": "https://a.example/f", "filename": "f"}]}]}});
        let (_, events) = play(vec![artifact("a", "1", false), task.clone(), task]);
        assert_eq!(events[..2], [delta("1"), snapshot("12")]);
        assert!(matches!(&events[2..], [AgentEvent::File(file)] if file.name == "f"));
    }

    #[test]
    fn status_message_is_progress_a_question_or_the_answer() {
        let status = |state: &str| {
            json!({"statusUpdate": {"taskId": "t", "contextId": "c",
            "status": {"state": state, "message": {"parts": [{"text": "words"}]}}}})
        };
        let (_, events) = play(vec![status("TASK_STATE_WORKING")]);
        assert!(matches!(&events[..], [AgentEvent::Progress { label, .. }] if label == "words"));
        let (reading, events) = play(vec![status("TASK_STATE_INPUT_REQUIRED")]);
        assert_eq!(
            (events, reading.is_over(), reading.status_text.as_str()),
            (vec![], true, "words")
        );
        assert_eq!(play(vec![status("TASK_STATE_COMPLETED")]).1, [snapshot("words")]);
        assert_eq!(
            play(vec![artifact("a", "1", false), status("TASK_STATE_COMPLETED")]).1,
            [delta("1")]
        );
    }

    #[test]
    fn message_of_a_task_that_is_not_active_loses_no_files_and_its_text_is_the_answer_without_artifacts() {
        let status = |state: &str| {
            let parts = json!([{"text": "words"}, {"url": "https://a.example/f", "filename": "f"}]);
            json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state, "message": {"parts": parts}}}})
        };
        let n_files = |events: &[AgentEvent]| events.iter().filter(|it| matches!(it, AgentEvent::File(_))).count();
        for state in [
            "FAILED",
            "REJECTED",
            "COMPLETED",
            "CANCELED",
            "INPUT_REQUIRED",
            "AUTH_REQUIRED",
        ] {
            let ended = || status(&format!("TASK_STATE_{state}"));
            let (_, events) = play(vec![ended(), ended()]);
            let is_answer = matches!(state, "FAILED" | "REJECTED" | "COMPLETED");
            assert_eq!(
                events.first() == Some(&snapshot("words")),
                is_answer,
                "{state}: {events:?}"
            );
            assert_eq!(n_files(&events), 1, "{state}: {events:?}");
            let (_, events) = play(vec![artifact("a", "1", false), ended()]);
            assert_eq!((&events[0], events.len()), (&delta("1"), 2), "{state}: {events:?}");
        }
        let (_, events) = play(vec![status("TASK_STATE_WORKING")]);
        assert_eq!(n_files(&events), 0);
    }

    #[test]
    fn artifact_that_begins_without_text_begins_a_paragraph() {
        let (reading, events) = play(vec![
            artifact("a", "hello", false),
            artifact("b", "", false),
            artifact("b", "world", true),
            artifact("b", "!", true),
        ]);
        assert_eq!(events, [delta("hello"), delta("\n\nworld"), delta("!")]);
        assert_eq!(reading.text(), "hello\n\nworld!");
    }

    #[test]
    fn answer_after_a_question_repeats_no_artifact() {
        let file = json!({"url": "https://a.example/f", "filename": "f"});
        let task = |artifacts: Value| json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}, "artifacts": artifacts}});
        let plan = json!({"artifactId": "a", "parts": [{"text": "Plan."}, file]});
        let (asked, _) = play(vec![
            artifact("a", "Pl", false),
            artifact("a", "an.", true),
            task(json!([plan])),
        ]);
        let go_on = |results: Vec<Value>| {
            let mut reading = Reading::default();
            reading.going_on(asked.shown());
            let items = results.into_iter().filter_map(Item::read);
            let events: Vec<_> = items.flat_map(|item| reading.item(item)).collect();
            (reading, events)
        };
        let longer = json!({"artifactId": "a", "parts": [{"text": "Plan. Done"}, file]});
        let (reading, events) = go_on(vec![
            task(json!([plan])),
            artifact("a", " Done", true),
            task(json!([longer])),
            artifact("b", "Bye", false),
        ]);
        assert_eq!(events, [delta(" Done"), delta("\n\nBye")]);
        // Of the second question, too.
        let (mut third, all) = (
            Reading::default(),
            json!([longer, {"artifactId": "b", "parts": [{"text": "Bye"}]}]),
        );
        third.going_on(reading.shown());
        assert_eq!(third.item(Item::read(task(all)).unwrap()), []);
        // Another text of the same artifact is new.
        assert_eq!(go_on(vec![artifact("a", "Other", false)]).1, [delta("Other")]);
        assert_eq!(go_on(vec![artifact("a", "Plan. More", false)]).1, [delta(" More")]);
    }

    #[test]
    fn progress_is_no_question() {
        let status = |state: &str, message: Value| json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state, "message": message}}});
        let (reading, _) = play(vec![
            status("TASK_STATE_WORKING", json!({"parts": [{"text": "Searching"}]})),
            status("TASK_STATE_INPUT_REQUIRED", Value::Null),
        ]);
        assert_eq!((reading.is_over(), reading.status_text.as_str()), (true, ""));
    }

    #[test]
    fn version_0_3_gives_the_same_events() {
        let (reading, events) = play(vec![
            json!({"kind": "task", "id": "t", "contextId": "c", "status": {"state": "submitted"}}),
            json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "append": false, "lastChunk": true,
                "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": "hi"},
                    {"kind": "file", "file": {"bytes": "aGk=", "name": "a.txt", "mimeType": "text/plain"}}]}}),
            json!({"kind": "status-update", "taskId": "t", "contextId": "c", "status": {"state": "completed"}, "final": true}),
            json!({"kind": "made-up"}),
        ]);
        let (bytes, name, mime) = (b"hi".to_vec(), "a.txt".to_owned(), "text/plain".to_owned());
        assert_eq!(events, [delta("hi"), AgentEvent::FileBytes { bytes, name, mime }]);
        assert_eq!(reading.state, State::Completed);
        let (reading, events) = play(vec![
            json!({"kind": "message", "contextId": "c", "parts": [{"kind": "text", "text": "hi"}]}),
        ]);
        assert_eq!((events, reading.is_over()), (vec![delta("hi")], true));
    }

    #[test]
    fn data_is_shown_as_json() {
        let (_, events) = play(vec![json!({"message": {"parts": [{"data": {"a": 1}}]}})]);
        assert_eq!(events, [delta("```json\n{\n  \"a\": 1\n}\n```")]);
    }
}
