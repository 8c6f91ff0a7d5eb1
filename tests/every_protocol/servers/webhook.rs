//! Our own webhook protocol: an agent that streams, and one that calls back.

use std::time::Duration;

use reqwest::Client;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep, sleep_until};

use super::data;
use crate::runs::{PICTURE, QUESTION, RunStep, Runs, TOOL};
use crate::server::{Act, Call, JSON, answer};

/// Starts the run that a request asks for. `None`: the request asks for none.
fn begin(body: &Value, runs: &mut Runs) -> Option<String> {
    if body["type"] == "run.cancelled" {
        let id = body["runId"].as_str().unwrap();
        let all: Vec<String> = (1..=runs.len()).map(|n| format!("run-{n}")).collect();
        // A cancelled run is the conversation's newest.
        let newest = all.last().filter(|_| !id.is_empty()).cloned();
        newest.map(|run| runs.cancel(&run));
        return None;
    }
    let session = body["session"]["id"].as_str()?;
    let text = body["message"]["text"].as_str()?;
    let answers = runs.newest(session).is_some_and(crate::runs::Run::asks);
    Some(runs.begin(session, text, answers).id.clone())
}

fn events(run_step: &RunStep) -> Vec<Value> {
    match run_step {
        RunStep::Say(text) => vec![json!({"type": "text.delta", "text": text})],
        RunStep::UseTool => ["started", "finished"]
            .map(|state| json!({"type": "progress", "label": TOOL, "state": state}))
            .to_vec(),
        RunStep::SendPicture => {
            vec![json!({"type": "file", "bytes": PICTURE, "name": "picture.png", "mime": "image/png"})]
        }
        RunStep::Ask => vec![json!({"type": "input.required", "prompt": QUESTION, "choices": ["yes", "no"]})],
        RunStep::Hang => vec![],
    }
}

pub(super) fn streamed(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let Some(id) = begin(&call.json(), runs) else {
        return answer(200, JSON, "{}");
    };
    let run = runs.get(&id).unwrap();
    let frames = run.frames(
        &[],
        |run_step| events(run_step).iter().map(data).collect(),
        &[data(&json!({"type": "completed"}))],
    );
    run.stream(&frames, "")
}

pub(super) fn called_back(call: &Call, runs: &mut Runs) -> Vec<Act> {
    let body = call.json();
    let Some(id) = begin(&body, runs) else {
        return answer(200, JSON, "{}");
    };
    let run = runs.get(&id).unwrap();
    let frames = run.frames(
        &[],
        |run_step| events(run_step).iter().map(Value::to_string).collect(),
        &[json!({"type": "completed"}).to_string()],
    );
    let hangs = run.run_steps.iter().any(|(_, run_step)| *run_step == RunStep::Hang);
    let reply = body["reply"].clone();
    tokio::spawn(call_back(reply, frames, hangs));
    answer(202, "", "")
}

/// Posts each event when it is due.
async fn call_back(reply: Value, frames: Vec<(Duration, String)>, hangs: bool) {
    let (url, token) = (reply["eventsUrl"].as_str().unwrap(), reply["token"].as_str().unwrap());
    let client = Client::builder().no_proxy().build().unwrap();
    let began = Instant::now();
    for (seq, (at, event)) in (1..).zip(frames) {
        if hangs && event.is_empty() {
            return;
        }
        sleep_until(began + at).await;
        let event: Value = serde_json::from_str(&event).unwrap();
        let body = json!({"seq": seq, "event": event});
        for _ in 0..20 {
            let posted = client.post(url).bearer_auth(token).json(&body).send().await;
            // A bridge that is restarting is tried again; a run that has ended accepts no more events.
            if posted.is_ok_and(|posted| !posted.status().is_server_error()) {
                break;
            }
            sleep(Duration::from_millis(500)).await;
        }
    }
}
