//! Apps of agent platforms: a chatflow of Dify, a bot of Coze, a runtime of AgentCore.

use serde_json::{Value, json};

use super::{data, word_in};
use crate::runs::{Frame, QUESTION, Run, RunStep, Runs, TOOL};
use crate::server::{Act, Call, JSON, answer};

pub(super) fn dify(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, _) = call.line();
    let path: Vec<&str> = path.trim_start_matches("/v1/").split('/').collect();
    match (method, path.as_slice()) {
        ("POST", ["chat-messages"]) => {
            let body = call.json();
            let conversation = match body["conversation_id"].as_str().unwrap() {
                "" => format!("c{}", runs.len() + 1),
                known => known.to_owned(),
            };
            let run = runs.begin(&conversation, body["query"].as_str().unwrap(), false);
            run.stream(&of_dify(run), "")
        }
        ("POST", ["chat-messages", task, "stop"]) if runs.cancel(task) => answer(200, JSON, r#"{"result":"success"}"#),
        // The snapshot doesn't contain the text: it is sent whole at the end.
        ("GET", ["workflow", run, "events"]) => match runs.get(run) {
            Some(asked) if asked.asks() => {
                let answered = runs.newest(&asked.conversation).unwrap();
                answered.stream(&ending(answered), "")
            }
            Some(run) => run.stream(&ending(run), ""),
            None => answer(404, JSON, r#"{"code":"not_found","message":"no such run"}"#),
        },
        ("POST", ["form", "human_input", run]) => {
            let conversation = runs.get(run).unwrap().conversation.clone();
            let choice = call.json()["action"].as_str().unwrap().to_owned();
            runs.begin(&conversation, &choice, true);
            answer(200, JSON, "{}")
        }
        _ => answer(404, JSON, r#"{"code":"not_found","message":"no such call"}"#),
    }
}

fn event_of_dify(run: &Run, name: &str, more: &Value) -> String {
    let mut event = json!({"event": name, "task_id": run.id, "message_id": "m", "conversation_id": run.conversation,
        "workflow_run_id": run.id});
    event.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    data(&event)
}

fn of_dify(run: &Run) -> Vec<Frame> {
    let event = |name: &str, more: Value| event_of_dify(run, name, &more);
    let end = match run.asks() {
        true => vec![event("workflow_paused", json!({"data": {}}))],
        false => last_words(run),
    };
    run.frames(
        &[event("workflow_started", json!({}))],
        |run_step| match run_step {
            RunStep::Say(text) => vec![event("message", json!({ "answer": text }))],
            RunStep::UseTool => ["node_started", "node_finished"]
                .map(|name| {
                    event(
                        name,
                        json!({"data": {"title": TOOL, "node_type": "tool", "status": "succeeded"}}),
                    )
                })
                .to_vec(),
            RunStep::SendPicture => {
                let file =
                    json!({"type": "image", "belongs_to": "assistant", "url": "https://files.example/picture.png"});
                vec![event("message_file", file)]
            }
            RunStep::Ask => {
                let actions = json!([{"id": "yes", "title": "yes"}, {"id": "no", "title": "no"}]);
                let form = json!({"form_content": QUESTION, "form_token": run.id, "inputs": [], "actions": actions});
                vec![event("human_input_required", json!({ "data": form }))]
            }
            RunStep::Hang => vec![],
        },
        &end,
    )
}

fn last_words(run: &Run) -> Vec<String> {
    let done = json!({"data": {"status": "succeeded", "outputs": {"answer": run.whole_text()}}});
    vec![
        event_of_dify(run, "message_end", &json!({"metadata": {}})),
        event_of_dify(run, "workflow_finished", &done),
    ]
}

fn ending(run: &Run) -> Vec<Frame> {
    run.frames(
        &[event_of_dify(run, "workflow_started", &json!({}))],
        // While the run is silent, keep-alive events are sent.
        |_| vec!["event: ping\n\n".to_owned()],
        &last_words(run),
    )
}

pub(super) fn coze(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, query) = call.line();
    let known = |runs: &Runs| runs.get(&word_in(query, "chat_id")?).cloned();
    let done = |data: Value| answer(200, JSON, &json!({"code": 0, "msg": "", "data": data}).to_string());
    match (method, path) {
        ("POST", "/v3/chat") => {
            let conversation = word_in(query, "conversation_id").unwrap_or_else(|| format!("7{:018}", runs.len()));
            let text = call.json()["additional_messages"][0]["content"]
                .as_str()
                .unwrap()
                .to_owned();
            let run = runs.begin(&conversation, &text, false);
            run.stream(&of_coze(run), "")
        }
        ("GET", "/v3/chat/retrieve") => match known(runs) {
            Some(run) => done(chat(&run, if run.is_over() { "completed" } else { "in_progress" })),
            None => answer(200, JSON, r#"{"code":4200,"msg":"Chat not found"}"#),
        },
        ("GET", "/v3/chat/message/list") => {
            let text = known(runs).map(|run| run.whole_text());
            done(json!([{"id": "1", "role": "assistant", "type": "answer", "content": text, "content_type": "text"}]))
        }
        ("POST", "/v3/chat/cancel") => {
            let id = call.json()["chat_id"].as_str().unwrap().to_owned();
            runs.cancel(&id);
            done(chat(runs.get(&id).unwrap(), "canceled"))
        }
        _ => answer(404, JSON, r#"{"code":4200,"msg":"no such path"}"#),
    }
}

fn chat(run: &Run, status: &str) -> Value {
    let arguments = json!({ "question": QUESTION }).to_string();
    let calls = json!([{"id": "1", "type": "reply_message", "function": {"name": "ask", "arguments": arguments}}]);
    let mut chat = json!({"id": run.id, "conversation_id": run.conversation, "status": status, "last_error": {"code": 0, "msg": ""}});
    if status == "requires_action" {
        chat["required_action"] = json!({"type": "submit_tool_outputs", "submit_tool_outputs": {"tool_calls": calls}});
    }
    chat
}

fn of_coze(run: &Run) -> Vec<Frame> {
    let event = |name: &str, data: &Value| format!("event:{name}\ndata:{data}\n\n");
    let message = |kind: &str, content: &str| {
        json!({"id": "9", "chat_id": run.id, "conversation_id": run.conversation, "role": "assistant", "type": kind,
            "content": content, "content_type": "text"})
    };
    let status = if run.asks() { "requires_action" } else { "completed" };
    run.frames(
        &[event("conversation.chat.created", &chat(run, "created"))],
        |run_step| match run_step {
            RunStep::Say(text) => vec![event("conversation.message.delta", &message("answer", text))],
            RunStep::UseTool => {
                let named = json!({"name": TOOL, "arguments": {}}).to_string();
                vec![
                    event("conversation.message.completed", &message("function_call", &named)),
                    event("conversation.message.completed", &message("tool_response", "{}")),
                ]
            }
            RunStep::SendPicture | RunStep::Ask | RunStep::Hang => vec![],
        },
        &[
            event(&format!("conversation.chat.{status}"), &chat(run, status)),
            "event:done\ndata:\"[DONE]\"\n\n".to_owned(),
        ],
    )
}

pub(super) fn agentcore(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let session = call
        .header("x-amzn-bedrock-agentcore-runtime-session-id")
        .unwrap_or_default();
    if !call.line().1.ends_with("/invocations") {
        return answer(200, JSON, "{}");
    }
    let run = runs.begin(session, call.json()["prompt"].as_str().unwrap(), false);
    let frames = run.frames(
        &[],
        |run_step| match run_step {
            RunStep::Say(text) => vec![data(&json!({ "text": text }))],
            _ => vec![],
        },
        &[],
    );
    run.stream(&frames, "")
}
