//! A fake LangGraph Agent Server on the loopback address: its runs continue without a listener, and their streams can be joined again.

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::sleep;

/// The server.
#[derive(Clone)]
pub struct FakeLanggraph {
    /// Its address.
    pub url: String,
    /// Time between two pieces of an answer.
    between: Duration,
    answer: fn(&str) -> Vec<String>,
    shared: Arc<Mutex<Shared>>,
}

#[derive(Default)]
struct Shared {
    threads: BTreeMap<String, Vec<String>>,
    runs: BTreeMap<String, Run>,
    asked: Vec<String>,
    n_joins: usize,
}

#[derive(Clone)]
struct Run {
    pieces: Vec<String>,
    /// Number of written pieces, and the run's status.
    progress: Arc<watch::Sender<(usize, &'static str)>>,
}

impl FakeLanggraph {
    /// Starts a server whose agent answers in pieces, with a pause between two.
    ///
    /// # Panics
    /// If the loopback address has no port left.
    pub async fn start(between: Duration, answer: fn(&str) -> Vec<String>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let server = Self {
            url: format!("http://{}", listener.local_addr().expect("it is bound")),
            between,
            answer,
            shared: Arc::default(),
        };
        let router = Router::new()
            .route("/threads", post(create_thread))
            .route("/threads/{thread}/runs/stream", post(create_run))
            .route("/threads/{thread}/runs/{run}", get(run_status))
            .route("/threads/{thread}/runs/{run}/stream", get(join_stream))
            .route("/threads/{thread}/runs/{run}/join", get(run_result))
            .route("/threads/{thread}/runs/{run}/cancel", post(cancel_run))
            .with_state(server.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        server
    }

    /// Settings of an agent that calls it.
    #[must_use]
    pub fn as_agent(&self, name: &str) -> Value {
        let config = json!({ "baseUrl": self.url, "apiKey": "lsv2_k", "assistantId": "agent" });
        json!({ "name": name, "protocol": "langgraph", "config": config })
    }

    /// The text of every run that was started.
    #[must_use]
    pub fn asked(&self) -> Vec<String> {
        self.shared().asked.clone()
    }

    /// Number of threads.
    #[must_use]
    pub fn n_threads(&self) -> usize {
        self.shared().threads.len()
    }

    /// How often a stream was joined again.
    #[must_use]
    pub fn n_joins(&self) -> usize {
        self.shared().n_joins
    }

    /// The status of every run, in the order of their ids.
    #[must_use]
    pub fn statuses(&self) -> Vec<&'static str> {
        self.shared().runs.values().map(|run| run.progress.borrow().1).collect()
    }

    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, thread: &str, run: &str) -> Option<Run> {
        let shared = self.shared();
        let runs = shared.threads.get(thread)?;
        runs.iter()
            .find(|id| *id == run)
            .and_then(|id| shared.runs.get(id))
            .cloned()
    }
}

fn refusal(status: StatusCode, detail: &str) -> Response {
    (status, Json(json!({ "detail": detail }))).into_response()
}

async fn create_thread(State(server): State<FakeLanggraph>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    if !headers.contains_key("x-api-key") {
        return refusal(StatusCode::FORBIDDEN, "Missing authentication headers");
    }
    let id = body["thread_id"].as_str().unwrap_or_default().to_owned();
    if id.len() != 36 || body["if_exists"] != "do_nothing" {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "Invalid thread ID: must be a UUID");
    }
    server.shared().threads.entry(id.clone()).or_default();
    Json(json!({ "thread_id": id })).into_response()
}

async fn create_run(
    State(server): State<FakeLanggraph>,
    Path(thread): Path<String>,
    Json(body): Json<Value>,
) -> Response {
    let text = body["input"]["messages"][0]["content"]
        .as_str()
        .unwrap_or_default()
        .to_owned();
    if body["assistant_id"] != "agent" || body["stream_resumable"] != true || body["on_disconnect"] != "continue" {
        return refusal(StatusCode::UNPROCESSABLE_ENTITY, "not a run that can be resumed");
    }
    let run = Run {
        pieces: (server.answer)(&text),
        progress: Arc::new(watch::Sender::new((0, "running"))),
    };
    let id = {
        let mut shared = server.shared();
        let id = format!("run-{:04}", shared.runs.len());
        let Some(runs) = shared.threads.get_mut(&thread) else {
            return refusal(StatusCode::NOT_FOUND, "Thread or assistant not found.");
        };
        runs.push(id.clone());
        shared.runs.insert(id.clone(), run.clone());
        shared.asked.push(text);
        id
    };
    tokio::spawn(write(run.clone(), server.between));
    let mut response = events(run, 0);
    let location = format!("/threads/{thread}/runs/{id}");
    if let Ok(location) = location.parse() {
        response.headers_mut().insert(header::CONTENT_LOCATION, location);
    }
    response
}

/// Writes the answer, whether a client listens or not.
async fn write(run: Run, between: Duration) {
    for n in 1..=run.pieces.len() {
        sleep(between).await;
        let goes_on = run.progress.send_if_modified(|(written, status)| {
            let runs = *status == "running";
            if runs {
                *written = n;
            }
            runs
        });
        if !goes_on {
            return;
        }
    }
    run.progress.send_modify(|(_, status)| *status = "success");
}

/// The stream of a run, after the event of that number.
fn events(run: Run, after: usize) -> Response {
    let progress = run.progress.subscribe();
    let events = stream::unfold((run.pieces, progress, after), |(pieces, mut progress, at)| async move {
        let ready = |(written, status): &(usize, &str)| *written > at || *status != "running";
        let (written, _) = *progress.wait_for(ready).await.ok()?;
        if written <= at {
            return None;
        }
        let message = json!({ "type": "AIMessageChunk", "id": "answer", "content": pieces.get(at)? });
        let event = format!(
            "event: messages\r\ndata: {}\r\nid: {}\r\n\r\n",
            json!([message, {}]),
            at + 1
        );
        Some((Ok::<_, Infallible>(Bytes::from(event)), (pieces, progress, at + 1)))
    });
    let mut response = Response::new(Body::from_stream(events));
    let value = header::HeaderValue::from_static("text/event-stream");
    response.headers_mut().insert(header::CONTENT_TYPE, value);
    response
}

type RunPath = Path<(String, String)>;

async fn join_stream(
    State(server): State<FakeLanggraph>,
    Path((thread, run)): RunPath,
    headers: HeaderMap,
) -> Response {
    let Some(run) = server.run(&thread, &run) else {
        return refusal(StatusCode::NOT_FOUND, "Run not found");
    };
    let last = headers
        .get("last-event-id")
        .and_then(|last| last.to_str().ok()?.parse::<i64>().ok());
    let Some(last) = last else {
        return refusal(StatusCode::BAD_REQUEST, "no Last-Event-ID");
    };
    server.shared().n_joins += 1;
    events(run, usize::try_from(last).unwrap_or(0))
}

async fn run_status(State(server): State<FakeLanggraph>, Path((thread, run)): RunPath) -> Response {
    match server.run(&thread, &run) {
        Some(run) => Json(json!({ "status": run.progress.borrow().1 })).into_response(),
        None => refusal(StatusCode::NOT_FOUND, "Run not found"),
    }
}

async fn run_result(State(server): State<FakeLanggraph>, Path((thread, run)): RunPath) -> Response {
    let Some(run) = server.run(&thread, &run) else {
        return refusal(StatusCode::NOT_FOUND, "Run not found");
    };
    let written = run.progress.borrow().0;
    let message = json!({ "type": "ai", "content": run.pieces[..written].concat() });
    Json(json!({ "messages": [message] })).into_response()
}

async fn cancel_run(State(server): State<FakeLanggraph>, Path((thread, run)): RunPath) -> Response {
    let Some(run) = server.run(&thread, &run) else {
        return refusal(StatusCode::NOT_FOUND, "Run not found");
    };
    run.progress.send_modify(|(_, status)| *status = "interrupted");
    StatusCode::ACCEPTED.into_response()
}
