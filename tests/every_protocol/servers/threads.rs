//! Servers with threads and runs whose streams are resumed after the id of an event: LangGraph's, Xpert's.

use serde_json::{Value, json};

use super::{Asked, picture_of, text_of};
use crate::runs::{Frame, QUESTION, Run, RunStep, Runs, TOOL};
use crate::server::{Act, Call, JSON, answer};

fn not_found() -> Vec<Act> {
    answer(404, JSON, r#"{"detail":"Run not found"}"#)
}

pub(super) fn langgraph(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, _) = call.line();
    let path: Vec<&str> = path.trim_matches('/').split('/').collect();
    match (method, path.as_slice()) {
        ("POST", ["threads"]) => {
            let thread = call.json()["thread_id"].clone();
            answer(200, JSON, &json!({ "thread_id": thread }).to_string())
        }
        ("POST", ["threads", thread, "runs", "stream"]) => {
            let body = call.json();
            let run = match body["command"]["resume"].as_str() {
                Some(choice) => runs.begin(thread, choice, true),
                None => runs.begin(thread, &text_of(&body["input"]["messages"][0]["content"]), false),
            };
            let location = format!("content-location: /threads/{thread}/runs/{}\r\n", run.id);
            run.stream(&of_langgraph(run), &location)
        }
        ("GET", ["threads", _, "runs", run, rest @ ..]) => match (runs.get(run), rest) {
            (Some(run), ["stream"]) => {
                let last: i64 = call.header("last-event-id").unwrap().parse().unwrap();
                run.stream(&of_langgraph(run)[usize::try_from(last + 1).unwrap()..], "")
            }
            (Some(run), ["join"]) => {
                let messages =
                    json!([{"type": "human", "content": run.asked}, {"type": "ai", "content": run.whole_text()}]);
                answer(200, JSON, &json!({ "messages": messages }).to_string())
            }
            (Some(run), []) => {
                let status = match run.cancelled {
                    true => "interrupted",
                    false if run.is_over() => "success",
                    false => "running",
                };
                answer(200, JSON, &json!({"run_id": run.id, "status": status}).to_string())
            }
            _ => not_found(),
        },
        ("POST", ["threads", _, "runs", run, "cancel"]) if runs.cancel(run) => answer(202, "", ""),
        _ => not_found(),
    }
}

/// Adds ids to frames: their positions, from 0.
fn with_ids(frames: Vec<Frame>) -> Vec<Frame> {
    let frames = frames.into_iter().enumerate();
    frames
        .map(|(id, (at, text))| (at, text.replace("ID", &id.to_string())))
        .collect()
}

fn of_langgraph(run: &Run) -> Vec<Frame> {
    let event = |name: &str, data: Value| format!("id: ID\nevent: {name}\ndata: {data}\n\n");
    let message = |message: Value| event("messages", json!([message, {"langgraph_node": "n"}]));
    let chunk = |content: Value| message(json!({"type": "AIMessageChunk", "id": "a", "content": content}));
    with_ids(run.frames(
        &[event("metadata", json!({"run_id": run.id}))],
        |run_step| match run_step {
            RunStep::Say(text) => vec![chunk(json!(text))],
            RunStep::UseTool => {
                let calls = json!([{"id": "c", "name": TOOL}]);
                vec![
                    message(json!({"type": "AIMessageChunk", "id": "a", "content": "", "tool_calls": calls})),
                    message(json!({"type": "tool", "id": "t", "name": TOOL, "content": "x", "status": "success"})),
                ]
            }
            RunStep::SendPicture => vec![chunk(json!([picture_of(Asked::Block)]))],
            RunStep::Ask => {
                let question = json!({"question": QUESTION, "choices": ["yes", "no"]});
                vec![event(
                    "updates",
                    json!({"__interrupt__": [{"id": "i", "value": question}]}),
                )]
            }
            RunStep::Hang => vec![],
        },
        &["event: end\ndata: null\n\n".to_owned()],
    ))
}

pub(super) fn xpert(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, _) = call.line();
    let path: Vec<&str> = path.trim_start_matches("/api/ai/").split('/').collect();
    match (method, path.as_slice()) {
        ("POST", ["threads"]) => {
            let thread = call.json()["thread_id"].clone();
            answer(201, JSON, &json!({ "thread_id": thread }).to_string())
        }
        ("POST", ["threads", thread, "runs"]) => {
            let input = call.json()["input"].clone();
            let run = match input["decision"]["payload"].as_str() {
                Some(choice) => runs.begin(thread, choice, true),
                None => runs.begin(thread, &text_of(&input["message"]["input"]["input"]), false),
            };
            answer(201, JSON, &json!({"run_id": run.id, "status": "running"}).to_string())
        }
        ("GET", ["threads", _, "runs", run, rest @ ..]) => match (runs.get(run), rest) {
            (Some(run), ["stream"]) => {
                let last = call.header("last-event-id").map(|last| last.parse::<usize>().unwrap());
                run.stream(&of_xpert(run)[last.map_or(0, |last| last + 1)..], "")
            }
            (Some(run), []) => {
                let status = if run.is_over() { "success" } else { "running" };
                answer(200, JSON, &json!({"run_id": run.id, "status": status}).to_string())
            }
            _ => not_found(),
        },
        ("POST", ["threads", _, "runs", run, "cancel"]) if runs.cancel(run) => answer(201, JSON, "{}"),
        _ => not_found(),
    }
}

fn of_xpert(run: &Run) -> Vec<Frame> {
    let event = |data: Value| format!("id: ID\ndata: {data}\n\n");
    let piece = |data: Value| event(json!({"type": "message", "data": data}));
    let happened = |name: &str, data: Value| event(json!({"type": "event", "event": name, "data": data}));
    with_ids(run.frames(
        &[happened("on_message_start", json!({"id": "m"}))],
        |run_step| {
            match run_step {
                RunStep::Say(text) => vec![piece(json!(text))],
                RunStep::UseTool => ["on_tool_start", "on_tool_end"]
                    .map(|name| happened(name, json!({"name": TOOL})))
                    .to_vec(),
                RunStep::SendPicture => vec![piece(picture_of(Asked::Block))],
                RunStep::Ask => {
                    let tasks = json!([{"name": "t", "info": {"title": QUESTION}}]);
                    vec![happened("on_interrupt", json!({ "tasks": tasks }))]
                }
                RunStep::Hang => vec![],
            }
        },
        &["event: complete\nid: ID\ndata: {\"type\":\"complete\"}\n\n".to_owned()],
    ))
}
