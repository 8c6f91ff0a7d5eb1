//! An Agent2Agent 1.0 agent.

use std::time::Duration;

use serde_json::{Value, json};

use super::data;
use crate::runs::{Frame, PICTURE, QUESTION, Run, RunStep, Runs, TOOL};
use crate::server::{Act, Call, JSON, answer};

pub(super) fn handle(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let (method, path, _) = call.line();
    if method == "GET" && path == "/.well-known/agent-card.json" {
        let url = format!("http://{}/rpc", call.header("host").unwrap());
        let interface = json!({"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"});
        let card = json!({"name": "a", "capabilities": {"streaming": true}, "supportedInterfaces": [interface]});
        return answer(200, JSON, &card.to_string());
    }
    let body = call.json();
    let params = &body["params"];
    let task = params["id"].as_str().unwrap_or_default().to_owned();
    match body["method"].as_str().unwrap() {
        "SendStreamingMessage" => {
            let message = &params["message"];
            let context = message["contextId"].as_str().map(str::to_owned);
            let context = context.unwrap_or_else(|| format!("context {}", runs.len()));
            let is_answer = message["taskId"].is_string();
            let run = runs.begin(&context, message["parts"][0]["text"].as_str().unwrap(), is_answer);
            run.stream(&of_a2a(run), "")
        }
        "SubscribeToTask" => match runs.get(&task) {
            Some(run) if run.is_over() => rpc_error(-32004),
            Some(run) => {
                let frames = of_a2a(run);
                let mut rest = frames[run.n_due(&frames)..].to_vec();
                rest.insert(0, (Duration::ZERO, rpc(&json!({ "task": task_of(run) }))));
                run.stream(&rest, "")
            }
            None => rpc_error(-32001),
        },
        "GetTask" => runs
            .get(&task)
            .map_or_else(|| rpc_error(-32001), |run| rpc_answer(&task_of(run))),
        "CancelTask" if runs.cancel(&task) => rpc_answer(&task_of(runs.get(&task).unwrap())),
        _ => rpc_error(-32601),
    }
}

fn rpc(result: &Value) -> String {
    data(&json!({"jsonrpc": "2.0", "id": 1, "result": result}))
}

fn rpc_answer(result: &Value) -> Vec<Act> {
    answer(
        200,
        JSON,
        &json!({"jsonrpc": "2.0", "id": 1, "result": result}).to_string(),
    )
}

fn rpc_error(code: i64) -> Vec<Act> {
    let error = json!({"code": code, "message": "no"});
    answer(
        200,
        JSON,
        &json!({"jsonrpc": "2.0", "id": 1, "error": error}).to_string(),
    )
}

fn task_of(run: &Run) -> Value {
    let state = match run.cancelled {
        true => "TASK_STATE_CANCELED",
        false if run.is_over() => "TASK_STATE_COMPLETED",
        false => "TASK_STATE_WORKING",
    };
    let parts = json!([{"text": run.text_so_far()}]);
    json!({"id": run.id, "contextId": run.conversation, "status": {"state": state},
        "artifacts": [{"artifactId": "a", "parts": parts}]})
}

fn of_a2a(run: &Run) -> Vec<Frame> {
    let status = |state: &str, words: &str| {
        let message = json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": words }]});
        let status = json!({"state": state, "message": message});
        rpc(&json!({"statusUpdate": {"taskId": run.id, "contextId": run.conversation, "status": status}}))
    };
    let artifact = |id: &str, part: Value, append: bool| {
        let artifact = json!({"artifactId": id, "parts": [part]});
        rpc(
            &json!({"artifactUpdate": {"taskId": run.id, "contextId": run.conversation, "artifact": artifact, "append": append}}),
        )
    };
    let submitted = json!({"id": run.id, "contextId": run.conversation, "status": {"state": "TASK_STATE_SUBMITTED"}});
    let end = json!({"taskId": run.id, "contextId": run.conversation, "status": {"state": "TASK_STATE_COMPLETED"}});
    let end = match run.asks() {
        true => vec![],
        false => vec![rpc(&json!({ "statusUpdate": end }))],
    };
    run.frames(
        &[rpc(&json!({ "task": submitted }))],
        |run_step| match run_step {
            RunStep::Say(text) => vec![artifact("a", json!({ "text": text }), true)],
            RunStep::UseTool => vec![status("TASK_STATE_WORKING", TOOL)],
            RunStep::SendPicture => {
                let part = json!({"raw": PICTURE, "filename": "picture.png", "mediaType": "image/png"});
                vec![artifact("b", part, false)]
            }
            RunStep::Ask => vec![status("TASK_STATE_INPUT_REQUIRED", QUESTION)],
            RunStep::Hang => vec![],
        },
        &end,
    )
}
