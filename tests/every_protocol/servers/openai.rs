//! Chat Completions and the Responses API.

use serde_json::{Value, json};

use super::{Asked, data, number_in, picture_of, text_of};
use crate::runs::{Frame, Run, RunStep, Runs, TOOL};
use crate::server::{Act, Call, JSON, answer};

pub(super) fn chat(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let body = call.json();
    let messages = body["messages"].as_array().unwrap();
    let turn = messages.iter().filter(|message| message["role"] == "user").count();
    let text = text_of(&messages[messages.len() - 1]["content"]);
    let run = runs.begin_turn("", &text, false, turn);
    let delta =
        |delta: Value, end: Value| data(&json!({"choices": [{"index": 0, "delta": delta, "finish_reason": end}]}));
    let frames = run.frames(
        &[],
        |run_step| match run_step {
            RunStep::Say(text) => vec![delta(json!({ "content": text }), Value::Null)],
            _ => vec![],
        },
        &[delta(json!({}), json!("stop")), "data: [DONE]\n\n".to_owned()],
    );
    run.stream(&frames, "")
}

/// Responses that run in the background.
pub(super) fn responses(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, query) = call.line();
    let path: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (method, path.as_slice()) {
        ("POST", ["responses"]) => {
            let body = call.json();
            let previous = body["previous_response_id"].as_str().and_then(|id| runs.get(id));
            let conversation = match previous {
                Some(run) => run.conversation.clone(),
                None => format!("conversation {}", runs.len()),
            };
            let run = runs.begin(&conversation, &text_of(&body["input"]), false);
            run.stream(&events(run), "")
        }
        ("GET", ["responses", id]) => match runs.get(id) {
            Some(run) if query.contains("stream=true") => {
                let after = number_in(query, "starting_after").map_or(0, |after| after + 1);
                run.stream(&events(run)[after..], "")
            }
            Some(run) => answer(200, JSON, &response(run).to_string()),
            None => answer(404, JSON, r#"{"error":{"message":"no such response"}}"#),
        },
        ("POST", ["responses", id, "cancel"]) if runs.cancel(id) => {
            answer(200, JSON, &response(runs.get(id).unwrap()).to_string())
        }
        _ => answer(404, JSON, r#"{"error":{"message":"no such call"}}"#),
    }
}

fn response(run: &Run) -> Value {
    let status = match run.cancelled {
        true => "cancelled",
        false if run.is_over() => "completed",
        false => "in_progress",
    };
    let content = json!([{"type": "output_text", "text": run.text_so_far(), "annotations": []}]);
    json!({"id": run.id, "status": status,
        "output": [{"type": "message", "id": "m", "role": "assistant", "content": content}]})
}

/// Each event has a sequence number, after which a stream can be resumed.
fn events(run: &Run) -> Vec<Frame> {
    let running = json!({"id": run.id, "status": "in_progress", "output": []});
    let content = json!([{"type": "output_text", "text": run.whole_text(), "annotations": []}]);
    let whole = json!({"id": run.id, "status": "completed",
        "output": [{"type": "message", "id": "m", "role": "assistant", "content": content}]});
    let word = |event: Value| event.to_string();
    let frames = run.frames(
        &[word(json!({"type": "response.created", "response": running}))],
        |run_step| match run_step {
            RunStep::Say(text) => vec![word(
                json!({"type": "response.output_text.delta", "item_id": "m", "delta": text}),
            )],
            RunStep::UseTool => ["response.output_item.added", "response.output_item.done"]
                .map(|kind| word(json!({"type": kind, "item": {"type": "mcp_call", "id": "c", "name": TOOL}})))
                .to_vec(),
            RunStep::SendPicture => {
                let item =
                    json!({"type": "image_generation_call", "id": "picture", "result": picture_of(Asked::Base64)});
                vec![word(json!({"type": "response.output_item.done", "item": item}))]
            }
            RunStep::Ask | RunStep::Hang => vec![],
        },
        &[word(json!({"type": "response.completed", "response": whole}))],
    );
    let numbered = frames.into_iter().enumerate().map(|(number, (at, event))| {
        let Ok(mut event) = serde_json::from_str::<Value>(&event) else {
            return (at, event);
        };
        event["sequence_number"] = number.into();
        (at, data(&event))
    });
    numbered.collect()
}
