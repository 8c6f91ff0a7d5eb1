//! Simulated Dify app that refuses what the vendor refuses: another user's conversation, a question without text, a form submitted twice.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Act, Call, JSON, SSE, Server, answer, head};

pub const KEY: &str = "app-secret";

/// Kind of app.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum App {
    #[default]
    Chatbot,
    Agent,
    Chatflow,
    /// A chatflow that asks a question before it answers.
    Form,
}

/// Optional behaviour of the app.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    pub app: App,
    /// Number of events after which the first stream breaks.
    pub cut_after: Option<usize>,
    /// The stream hangs there instead.
    pub hangs: bool,
    /// Status with which uploads are refused.
    pub refuses_uploads: Option<u16>,
}

#[derive(Debug, Default)]
struct State {
    habits: Habits,
    /// Conversations and their users.
    conversations: BTreeMap<String, String>,
    /// The user and the name of each uploaded file.
    uploads: BTreeMap<String, (String, String)>,
    /// The user and the answer of each workflow run.
    runs: BTreeMap<String, (String, String)>,
    forms: BTreeMap<String, Option<Value>>,
    /// The user of the newest task.
    asker: String,
    cut: bool,
}

pub async fn start(habits: Habits) -> Server {
    let state = Arc::new(Mutex::new(State {
        habits,
        ..State::default()
    }));
    Server::answering(move |call| state.lock().unwrap().handle(call)).await
}

fn error(status: u16, code: &str, message: &str) -> Vec<Act> {
    let body = json!({"code": code, "message": message, "status": status});
    answer(status, JSON, &body.to_string())
}

fn ok(body: &Value) -> Vec<Act> {
    answer(200, JSON, &body.to_string())
}

impl State {
    fn handle(&mut self, call: &Call) -> Vec<Act> {
        if call.header("authorization") != Some("Bearer app-secret") {
            return error(401, "unauthorized", "Access token is invalid");
        }
        let target = call.target().to_owned();
        let (method, address) = target.split_once(' ').unwrap();
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let path: Vec<_> = path.trim_start_matches("/v1/").split('/').collect();
        match (method, path.as_slice()) {
            ("POST", ["chat-messages"]) => self.ask(&call.json()),
            ("POST", ["chat-messages", task, "stop"]) => self.stop(task, &call.json()),
            ("POST", ["files", "upload"]) => self.upload(call),
            ("GET", ["workflow", run, "events"]) => self.events(run, query),
            ("POST", ["form", "human_input", token]) => self.decide(token, &call.json()),
            ("GET", ["parameters"]) => ok(&json!({"opening_statement": ""})),
            _ => error(404, "not_found", "The requested URL was not found on the server."),
        }
    }

    fn ask(&mut self, body: &Value) -> Vec<Act> {
        let known = ["inputs", "query", "user", "response_mode", "conversation_id", "files"];
        for name in body.as_object().unwrap().keys() {
            assert!(known.contains(&name.as_str()), "{name}");
        }
        let Some(user) = body["user"].as_str().filter(|user| !user.is_empty()) else {
            return error(400, "invalid_param", "Arg user must be provided.");
        };
        if !body["inputs"].is_object() || body["query"].as_str().is_none_or(|query| query.trim().is_empty()) {
            return error(400, "invalid_param", "query is required in input form");
        }
        if body["response_mode"] != "streaming" {
            return error(400, "invalid_param", "Agent Chat App does not support blocking mode");
        }
        let conversation = match body["conversation_id"].as_str().unwrap_or_default() {
            "" => format!("c-{}", self.conversations.len() + 1),
            known if self.conversations.get(known).is_some_and(|owner| owner == user) => known.to_owned(),
            _ => return error(404, "not_found", "Conversation Not Exists."),
        };
        let turn = if self.conversations.contains_key(&conversation) {
            2
        } else {
            1
        };
        self.conversations.insert(conversation.clone(), user.to_owned());
        user.clone_into(&mut self.asker);
        let files = body["files"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|file| self.file(file, user));
        let files: Vec<String> = files.collect();
        let text = format!("turn {turn}: {}{}", body["query"].as_str().unwrap(), files.concat());
        self.stream(&text, &conversation, user)
    }

    fn file(&self, file: &Value, user: &str) -> String {
        let kind = file["type"].as_str().unwrap();
        assert!(
            ["document", "image", "audio", "video", "custom"].contains(&kind),
            "{kind}"
        );
        match file["transfer_method"].as_str().unwrap() {
            "remote_url" => format!("[{kind} {}]", file["url"].as_str().unwrap()),
            "local_file" => {
                let (owner, name) = &self.uploads[file["upload_file_id"].as_str().unwrap()];
                assert_eq!(owner, user, "the file of another user");
                format!("[{kind} {name}]")
            }
            other => panic!("{other}"),
        }
    }

    fn upload(&mut self, call: &Call) -> Vec<Act> {
        if let Some(status) = self.habits.refuses_uploads {
            return error(status, "unsupported_file_type", "File type not allowed.");
        }
        assert!(
            call.header("content-type")
                .unwrap()
                .starts_with("multipart/form-data; boundary=")
        );
        let form = String::from_utf8_lossy(&call.body).into_owned();
        let user = form.split("name=\"user\"\r\n\r\n").nth(1).unwrap();
        let user = user.split('\r').next().unwrap().to_owned();
        let name = form
            .split("name=\"file\"; filename=\"")
            .nth(1)
            .unwrap()
            .split('"')
            .next()
            .unwrap();
        let id = format!("f-{}", self.uploads.len() + 1);
        self.uploads.insert(id.clone(), (user, name.to_owned()));
        answer(201, JSON, &json!({"id": id, "name": name}).to_string())
    }

    fn stop(&self, task: &str, body: &Value) -> Vec<Act> {
        let user = body["user"].as_str().unwrap();
        match task.starts_with("t-") && self.asker == user {
            true => ok(&json!({"result": "success"})),
            false => error(404, "not_found", "no such task"),
        }
    }

    fn events(&mut self, run: &str, query: &str) -> Vec<Act> {
        let Some((user, text)) = self.runs.get(run).cloned() else {
            return error(404, "not_found", "Workflow run not found");
        };
        if !query.contains(&format!("user={user}&")) || !query.contains("include_state_snapshot=true") {
            return error(404, "not_found", "Workflow run not found");
        }
        let waits = self.forms.values().any(Option::is_none);
        let said = match self.forms.values().flatten().next() {
            Some(decision) => format!(
                "{text} ({} {})",
                decision["action"].as_str().unwrap(),
                decision["inputs"]
            ),
            None => text,
        };
        // The snapshot doesn't contain the text.
        let mut events = vec![event("workflow_started", json!({"workflow_run_id": run}))];
        if waits {
            events.push(event("workflow_paused", json!({})));
        } else {
            events.extend(flow_end(run, &said));
        }
        self.send(events)
    }

    fn decide(&mut self, token: &str, body: &Value) -> Vec<Act> {
        assert!(body["inputs"].is_object() && body["user"].is_string());
        match self.forms.get_mut(token) {
            None => error(404, "not_found", "Form not found"),
            Some(Some(_)) => error(412, "human_input_form_submitted", "Form already submitted"),
            Some(_) if !["approve", "reject"].contains(&body["action"].as_str().unwrap()) => {
                error(400, "invalid_param", "Invalid action")
            }
            Some(decided) => {
                *decided = Some(body.clone());
                ok(&json!({}))
            }
        }
    }

    fn stream(&mut self, text: &str, conversation: &str, user: &str) -> Vec<Act> {
        let run = format!("w-{}", self.runs.len() + 1);
        let letters: Vec<char> = text.chars().collect();
        let pieces: Vec<String> = letters.chunks(4).map(|piece| piece.iter().collect()).collect();
        let deltas = |name: &'static str| pieces.iter().map(move |piece| event(name, json!({"answer": piece})));
        let end = event(
            "message_end",
            json!({"metadata": {"usage": {"prompt_tokens": 3, "completion_tokens": 2},
            "retriever_resources": [{"document_name": "handbook.pdf"}]}}),
        );
        let mut events = vec![];
        match self.habits.app {
            App::Chatbot => {
                events.extend(deltas("message"));
                events.push(end);
            }
            App::Agent => {
                events.push(event("agent_thought", json!({"tool": "search", "observation": ""})));
                events.extend(deltas("agent_message"));
                events.push(event(
                    "message_file",
                    json!({"type": "image", "belongs_to": "assistant", "url": "/files/a.png?sign=1"}),
                ));
                events.push(event("message", json!({"answer": text})));
                events.push(end);
            }
            App::Chatflow => {
                events.push(event("workflow_started", json!({"workflow_run_id": run})));
                events.push(event(
                    "node_started",
                    json!({"data": {"title": "Start", "node_type": "start"}}),
                ));
                events.push(event(
                    "node_started",
                    json!({"data": {"title": "Look up", "node_type": "tool"}}),
                ));
                events.extend(deltas("message"));
                events.extend(flow_end(&run, text));
            }
            App::Form => {
                let token = format!("form-{}", self.forms.len() + 1);
                events.push(event("workflow_started", json!({"workflow_run_id": run})));
                events.push(event(
                    "human_input_required",
                    json!({"data": {"form_content": "Is it right?", "form_token": token,
                    "inputs": [{"type": "paragraph", "output_variable_name": "comment"}],
                    "actions": [{"id": "approve", "title": "Approve"}, {"id": "reject", "title": "Reject"}]}}),
                ));
                events.push(event("workflow_paused", json!({"data": {"reasons": []}})));
                self.forms.insert(token, None);
            }
        }
        if matches!(self.habits.app, App::Chatflow | App::Form) {
            self.runs.insert(run, (user.to_owned(), text.to_owned()));
        }
        for event in &mut events {
            event["conversation_id"] = conversation.into();
        }
        self.send(events)
    }

    fn send(&mut self, mut events: Vec<Value>) -> Vec<Act> {
        let cut = self
            .habits
            .cut_after
            .filter(|_| !std::mem::replace(&mut self.cut, true));
        events.truncate(cut.unwrap_or(events.len()));
        let lines = events.iter().map(|event| format!("data: {event}\n\n"));
        let lines = format!("event: ping\n\n{}", lines.collect::<String>());
        if cut.is_none() {
            return vec![Act::Say(head(200, SSE)), Act::Say(lines.into_bytes())];
        }
        let headers = format!("{SSE}transfer-encoding: chunked\r\n");
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        let mut script = vec![Act::Say(head(200, &headers)), Act::Say(chunk.into_bytes())];
        script.extend(self.habits.hangs.then_some(Act::Hang));
        script
    }
}

fn event(name: &str, mut more: Value) -> Value {
    let mut event = json!({"event": name, "task_id": "t-1", "message_id": "m-1", "created_at": 1});
    event.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    event
}

fn flow_end(run: &str, text: &str) -> [Value; 3] {
    [
        event(
            "node_finished",
            json!({"data": {"title": "Look up", "node_type": "tool", "status": "succeeded"}}),
        ),
        event("message_end", json!({"metadata": {}})),
        event(
            "workflow_finished",
            json!({"workflow_run_id": run,
            "data": {"status": "succeeded", "outputs": {"answer": text}}}),
        ),
    ]
}
