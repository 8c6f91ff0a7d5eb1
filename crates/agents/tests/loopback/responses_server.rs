//! Simulated server of the Responses API that refuses what the vendor refuses, in both dialects.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use serde_json::{Value, json};

use crate::server::{Act, Call, JSON, SSE, Server, answer, head};

pub const KEY: &str = "sk-secret";

/// Optional behaviour of the server.
#[derive(Debug, Clone, Copy, Default)]
pub struct Habits {
    pub wegent: bool,
    /// Number of events after which the first stream breaks.
    pub cut_after: Option<usize>,
    /// Streams of running responses can't be resumed.
    pub no_resume: bool,
    /// Wegent: the team's shell is not Chat.
    pub no_stream: bool,
    /// Number of polls that report a response as running before it is finished.
    pub n_polls: usize,
    /// Wegent: number of questions that are refused because a task is running.
    pub n_busy: usize,
}

#[derive(Debug)]
struct Made {
    text: String,
    background: bool,
    status: &'static str,
    polls_left: usize,
}

#[derive(Debug, Default)]
struct State {
    habits: Habits,
    made: BTreeMap<String, Made>,
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
    let body = json!({"error": {"message": message, "type": "invalid_request_error", "param": null, "code": code}});
    answer(status, JSON, &body.to_string())
}

fn detail(status: u16, message: &str) -> Vec<Act> {
    answer(status, JSON, &json!({"detail": message}).to_string())
}

impl State {
    fn handle(&mut self, call: &Call) -> Vec<Act> {
        if call.header("authorization") != Some("Bearer sk-secret") {
            return error(401, "invalid_api_key", "Incorrect API key provided: sk-secret");
        }
        let target = call.target().to_owned();
        let (method, address) = target.split_once(' ').unwrap();
        let (path, query) = address.split_once('?').unwrap_or((address, ""));
        let path: Vec<_> = path.trim_start_matches("/v1/").split('/').collect();
        match (method, path.as_slice()) {
            ("POST", ["responses"]) => self.create(&call.json()),
            ("GET", ["responses", id]) => self.get(id, query),
            ("POST", ["responses", id, "cancel"]) => self.cancel(id),
            _ => error(404, "not_found", "Unknown request URL"),
        }
    }

    fn create(&mut self, body: &Value) -> Vec<Act> {
        let habits = self.habits;
        if let Some(refused) = self.check(body) {
            return refused;
        }
        if self.habits.n_busy > 0 {
            self.habits.n_busy -= 1;
            return detail(400, "Task 7 is still running, wait for it to complete");
        }
        let previous = body["previous_response_id"].as_str();
        let id = match previous {
            Some(previous) if habits.wegent => previous.to_owned(),
            _ => format!("resp_{}", self.made.len() + 1),
        };
        if habits.wegent && habits.no_stream && body["stream"] == true {
            let failed = json!({"type": "response.failed", "response":
                {"id": id, "status": "failed", "output": [], "error": {"code": "not_implemented", "message": "no"}}});
            return stream(&[failed], habits.wegent, false);
        }
        let turn = usize::from(previous.is_some()) + 1;
        let made = Made {
            text: format!("turn {turn}: {}", said(&body["input"])),
            background: body["background"] == true,
            status: if body["stream"] == true { "completed" } else { "queued" },
            polls_left: habits.n_polls,
        };
        self.made.insert(id.clone(), made);
        match body["stream"] == true {
            true => self.stream(&id, None),
            false => answer(200, JSON, &self.response(&id).to_string()),
        }
    }

    fn check(&self, body: &Value) -> Option<Vec<Act>> {
        let known: &[&str] = match self.habits.wegent {
            true => &["model", "input", "previous_response_id", "stream"],
            false => &[
                "model",
                "input",
                "previous_response_id",
                "stream",
                "instructions",
                "background",
                "store",
                "max_output_tokens",
                "user",
                "metadata",
            ],
        };
        if let Some(name) = body
            .as_object()
            .unwrap()
            .keys()
            .find(|name| !known.contains(&name.as_str()))
        {
            return Some(error(
                400,
                "unknown_parameter",
                &format!("Unknown parameter: '{name}'."),
            ));
        }
        if self.habits.wegent && !body["model"].as_str().is_some_and(|model| model.contains('#')) {
            return Some(detail(400, "Invalid model format"));
        }
        if body["background"] == true && body["store"] != true {
            return Some(error(400, "invalid_value", "Background requires store"));
        }
        let facts = body["metadata"].as_object().into_iter().flatten();
        if facts.clone().count() > 16 || facts.clone().any(|(_, fact)| !fact.is_string()) {
            return Some(error(400, "invalid_type", "Invalid metadata"));
        }
        let previous = body["previous_response_id"].as_str()?;
        let message = format!("Previous response with id '{previous}' not found.");
        match self.made.get(previous) {
            Some(made) if made.status == "completed" => None,
            _ if self.habits.wegent => Some(detail(404, &format!("Previous response '{previous}' not found"))),
            _ => Some(error(400, "previous_response_not_found", &message)),
        }
    }

    fn get(&mut self, id: &str, query: &str) -> Vec<Act> {
        let habits = self.habits;
        let Some(made) = self.made.get_mut(id) else {
            return match habits.wegent {
                true => detail(404, &format!("Response '{id}' not found")),
                false => error(404, "not_found", &format!("Response with id '{id}' not found.")),
            };
        };
        if query.contains("stream=true") {
            if !made.background || habits.no_resume || habits.wegent {
                return error(400, "invalid_request", "This response can't be streamed.");
            }
            let after = query.split('&').find_map(|pair| pair.strip_prefix("starting_after="));
            return self.stream(id, after.map(|after| after.parse().unwrap()));
        }
        if made.polls_left == 0 && matches!(made.status, "queued" | "in_progress") {
            made.status = "completed";
        }
        made.polls_left = made.polls_left.saturating_sub(1);
        let response = self.response(id);
        answer(200, JSON, &response.to_string())
    }

    fn cancel(&mut self, id: &str) -> Vec<Act> {
        match self.made.get_mut(id) {
            Some(made) if made.background || self.habits.wegent => {
                made.status = "cancelled";
                answer(200, JSON, &self.response(id).to_string())
            }
            Some(_) => error(400, "invalid_request", "Only background responses can be cancelled."),
            None => error(404, "not_found", "not found"),
        }
    }

    fn response(&self, id: &str) -> Value {
        let made = &self.made[id];
        let message = |role: &str, text: &str| {
            json!({"type": "message", "id": format!("msg_{role}"), "role": role,
            "status": "completed", "content": [{"type": "output_text", "text": text, "annotations": []}]})
        };
        let mut output = vec![];
        if self.habits.wegent {
            output.push(message("user", "what the person said"));
        }
        if made.status == "completed" {
            output.push(message("assistant", &made.text));
        }
        json!({"id": id, "object": "response", "status": made.status, "output": output, "error": null,
            "incomplete_details": null, "usage": {"input_tokens": 3, "output_tokens": 2, "total_tokens": 5}})
    }

    fn stream(&mut self, id: &str, after: Option<usize>) -> Vec<Act> {
        let text = self.made[id].text.clone();
        let running = json!({"id": id, "status": "in_progress", "output": []});
        let mut events = vec![
            json!({"type": "response.created", "response": running}),
            json!({"type": "response.in_progress", "response": running}),
            json!({"type": "response.output_item.added", "output_index": 0, "item": {"type": "web_search_call", "id": "ws_1"}}),
            json!({"type": "response.reasoning_summary_text.delta", "item_id": "rs_1", "delta": "hm"}),
        ];
        let letters: Vec<char> = text.chars().collect();
        let deltas = letters.chunks(4).map(|piece| {
            json!({"type": "response.output_text.delta", "item_id": "msg_assistant",
            "content_index": 0, "delta": piece.iter().collect::<String>()})
        });
        events.extend(deltas);
        events.push(json!({"type": "response.output_text.done", "item_id": "msg_assistant", "text": text}));
        events.push(json!({"type": "response.completed", "response": self.response(id)}));
        for (number, event) in events.iter_mut().enumerate() {
            event["sequence_number"] = number.into();
        }
        let mut events = events.split_off(after.map_or(0, |after| after + 1));
        let cut = self
            .habits
            .cut_after
            .filter(|_| !std::mem::replace(&mut self.cut, true));
        if let Some(cut) = cut {
            events.truncate(cut);
        }
        stream(&events, self.habits.wegent, cut.is_some())
    }
}

/// The text of the question, from either form of input. Panics for any other.
fn said(input: &Value) -> String {
    if let Some(text) = input.as_str() {
        return text.to_owned();
    }
    let [message] = input.as_array().unwrap().as_slice() else {
        panic!("{input}")
    };
    assert_eq!(message["role"], "user");
    let parts = message["content"].as_array().unwrap();
    let told = parts.iter().map(|part| match part["type"].as_str().unwrap() {
        "input_text" => part["text"].as_str().unwrap().to_owned(),
        "input_image" => format!("[image {}]", part["image_url"].as_str().unwrap()),
        "input_file" => format!("[file {}]", part["file_url"].as_str().unwrap()),
        other => panic!("{other}"),
    });
    told.collect()
}

fn stream(events: &[Value], wegent: bool, cut: bool) -> Vec<Act> {
    let lines: String = events
        .iter()
        .map(|event| match wegent {
            true => format!("data: {event}\n\n"),
            false => format!("event: {}\ndata: {event}\n\n", event["type"].as_str().unwrap()),
        })
        .collect();
    if !cut {
        return vec![Act::Say(head(200, SSE)), Act::Say(lines.into_bytes())];
    }
    // The last chunk is never sent.
    let headers = format!("{SSE}transfer-encoding: chunked\r\n");
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    vec![Act::Say(head(200, &headers)), Act::Say(chunk.into_bytes())]
}
