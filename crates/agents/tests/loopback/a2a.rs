//! Simulated A2A agents that refuse what the official SDK refuses, in both versions.

use std::sync::{Arc, Mutex};

use serde_json::{Value, json};
use tieline_agents::env::Env;
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentRequest, Resume};
use tieline_core::outbound_url::PrivateEndpoints;

use crate::ask::{adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, Call, JSON, SSE, Server, answer, cut_document, head};

/// Behaviour of the simulated agent.
#[derive(Clone)]
struct Plan {
    version: &'static str,
    streams: bool,
    /// Events of the stream; after it the task contains all of them.
    events: Vec<Value>,
    /// How many of the events each stream gets before its connection is cut.
    cuts: Vec<usize>,
    /// The state after the last event.
    state: &'static str,
    subscribes: bool,
    /// Number of answers to polls that break off, before one arrives.
    n_cut_polls: usize,
}

impl Plan {
    fn new(events: Vec<Value>) -> Self {
        Self {
            version: "1.0",
            streams: true,
            events,
            cuts: vec![],
            state: "TASK_STATE_COMPLETED",
            subscribes: true,
            n_cut_polls: 0,
        }
    }
}

struct State {
    plan: Plan,
    n_streamed: usize,
    forgotten: bool,
    /// The code with which messages to a task are refused.
    refuses_task: Option<i64>,
    canceled: bool,
}

struct Sim {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Sim {
    async fn start(plan: Plan) -> Self {
        let state = Arc::new(Mutex::new(State {
            plan,
            n_streamed: 0,
            forgotten: false,
            refuses_task: None,
            canceled: false,
        }));
        let answering = state.clone();
        let server = Server::answering(move |call| answering.lock().unwrap().answer(call)).await;
        Self { server, state }
    }

    fn adapter(&self) -> Adapter {
        adapter("a2a", json!({"baseUrl": self.server.url, "apiKey": "a2a-secret"}))
    }

    async fn ask(&self, request: &AgentRequest) -> Vec<AgentEvent> {
        ask(&self.adapter(), request, &env()).await
    }

    /// The parameters of every call of a method.
    fn params(&self, method: &str) -> Vec<Value> {
        let calls = self.server.calls();
        let bodies = calls.iter().filter(|call| call.line().0 == "POST").map(Call::json);
        bodies
            .filter(|body| body["method"] == method)
            .map(|body| body["params"].clone())
            .collect()
    }
}

fn rpc(result: &Value) -> Value {
    json!({"jsonrpc": "2.0", "id": 1, "result": result})
}

fn error(code: i64) -> Vec<Act> {
    let body = json!({"jsonrpc": "2.0", "id": 1, "error": {"code": code, "message": "no"}});
    answer(200, JSON, &body.to_string())
}

impl State {
    fn answer(&mut self, call: &Call) -> Vec<Act> {
        let (method, path, _) = call.line();
        let host = call.header("host").unwrap();
        let url = format!("http://{host}/rpc/");
        let is_new = self.plan.version == "1.0";
        match (method, path) {
            ("GET", "/.well-known/agent-card.json") => {
                let streaming = self.plan.streams;
                let card = match is_new {
                    true => json!({"name": "a", "capabilities": {"streaming": streaming},
                        "supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0", "tenant": "t1"}]}),
                    false => {
                        json!({"name": "a", "url": url, "protocolVersion": "0.3.0", "capabilities": {"streaming": streaming}})
                    }
                };
                answer(200, JSON, &card.to_string())
            }
            ("POST", "/rpc/") if call.header("authorization") != Some("Bearer a2a-secret") => {
                answer(401, "www-authenticate: Bearer\r\n", "")
            }
            ("POST", "/rpc/") if is_new && call.header("a2a-version") != Some("1.0") => error(-32009),
            ("POST", "/rpc/") => self.call(&call.json()),
            _ => answer(404, "", ""),
        }
    }

    fn call(&mut self, body: &Value) -> Vec<Act> {
        let params = &body["params"];
        let (send, stream, get, subscribe, cancel) = match self.plan.version {
            "1.0" => (
                "SendMessage",
                "SendStreamingMessage",
                "GetTask",
                "SubscribeToTask",
                "CancelTask",
            ),
            _ => (
                "message/send",
                "message/stream",
                "tasks/get",
                "tasks/resubscribe",
                "tasks/cancel",
            ),
        };
        assert_eq!(
            params["tenant"],
            if self.plan.version == "1.0" {
                json!("t1")
            } else {
                Value::Null
            }
        );
        let method = body["method"].as_str().unwrap();
        if method == send || method == stream {
            let message = &params["message"];
            if !message["messageId"].is_string() || message["parts"].as_array().is_none_or(Vec::is_empty) {
                return error(-32602);
            }
            let is_known = ["contextId", "taskId"]
                .iter()
                .all(|id| message[id].is_null() || message[id] == id[..1]);
            if self.forgotten && !message["contextId"].is_null() || !is_known {
                return error(-32001);
            }
            if let Some(code) = self.refuses_task.filter(|_| !message["taskId"].is_null()) {
                return error(code);
            }
            if method == stream && self.plan.streams {
                return self.stream(0);
            }
            self.n_streamed = 1;
            return answer(200, JSON, &rpc(&self.wrapped()).to_string());
        }
        if params["id"] != "t" {
            return error(-32001);
        }
        if method == get && self.plan.n_cut_polls > 0 {
            self.plan.n_cut_polls -= 1;
            return cut_document(&rpc(&self.task()).to_string());
        }
        if method == get {
            self.n_streamed = (self.n_streamed + 1).min(self.plan.events.len());
            return answer(200, JSON, &rpc(&self.task()).to_string());
        }
        if method == subscribe && self.plan.subscribes {
            return if self.is_over() {
                error(-32004)
            } else {
                self.stream(self.n_streamed)
            };
        }
        if method == cancel {
            if self.canceled || self.is_over() {
                return error(-32002);
            }
            self.canceled = true;
            return answer(200, JSON, &rpc(&self.task()).to_string());
        }
        error(-32601)
    }

    fn is_over(&self) -> bool {
        self.n_streamed >= self.plan.events.len()
    }

    fn stream(&mut self, from: usize) -> Vec<Act> {
        let cut = (!self.plan.cuts.is_empty()).then(|| self.plan.cuts.remove(0));
        let mut script = vec![Act::Say(head(200, &format!("{SSE}transfer-encoding: chunked\r\n")))];
        let mut say = |text: String| script.push(Act::Say(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()));
        say(": ping\r\n\r\n".into());
        let until = cut.unwrap_or(usize::MAX).min(self.plan.events.len());
        for event in self.plan.events.iter().take(until).skip(from) {
            say(format!("data: {}\r\n\r\n", rpc(event)));
        }
        self.n_streamed = until;
        if cut.is_none() {
            script.push(Act::Say(b"0\r\n\r\n".to_vec()));
        }
        script
    }

    fn wrapped(&self) -> Value {
        match self.plan.version {
            "1.0" => json!({ "task": self.task() }),
            _ => self.task(),
        }
    }

    /// A snapshot of everything so far, as a task.
    fn task(&self) -> Value {
        let seen = self.plan.events.iter().take(self.n_streamed);
        let parts: Vec<Value> = seen
            .filter_map(|event| {
                event["artifactUpdate"]["artifact"]["parts"]
                    .as_array()
                    .or_else(|| event["artifact"]["parts"].as_array())
            })
            .flatten()
            .cloned()
            .collect();
        let state = match (self.canceled, self.is_over()) {
            (true, _) => "TASK_STATE_CANCELED",
            (_, true) => self.plan.state,
            _ => "TASK_STATE_WORKING",
        };
        let old = state.trim_start_matches("TASK_STATE_").to_lowercase().replace('_', "-");
        let state = if self.plan.version == "1.0" { state } else { &old };
        let mut task = json!({"id": "t", "contextId": "c", "status": {"state": state}, "artifacts": [{"artifactId": "a", "parts": parts}]});
        if self.plan.version != "1.0" {
            task["kind"] = "task".into();
        }
        task
    }
}

fn submitted() -> Value {
    json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_SUBMITTED"}}})
}

fn said(text: &str, append: bool) -> Value {
    let artifact = json!({"artifactId": "a", "parts": [{ "text": text }]});
    json!({"artifactUpdate": {"taskId": "t", "contextId": "c", "artifact": artifact, "append": append}})
}

fn status(state: &str, words: &str) -> Value {
    let message = json!({"messageId": "m", "role": "ROLE_AGENT", "parts": [{ "text": words }]});
    json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": state, "message": message}}})
}

fn done() -> Value {
    json!({"statusUpdate": {"taskId": "t", "contextId": "c", "status": {"state": "TASK_STATE_COMPLETED"}}})
}

fn told(events: &[AgentEvent]) -> Vec<AgentEvent> {
    let is_told = |event: &&AgentEvent| !matches!(event, AgentEvent::Started { .. });
    events.iter().filter(is_told).cloned().collect()
}

fn started(events: &[AgentEvent]) -> (String, Option<String>) {
    let last = events.iter().rev().find_map(|event| match event {
        AgentEvent::Started {
            run_ref,
            conversation_ref,
        } => Some((run_ref.clone(), conversation_ref.clone())),
        _ => None,
    });
    last.expect("a reference to the task")
}

fn after(events: &[AgentEvent], said: &str) -> AgentRequest {
    let mut next = request(said);
    next.session.conversation_ref = started(events).1;
    next
}

fn snapshot(text: &str) -> AgentEvent {
    AgentEvent::TextSnapshot(text.into())
}

#[tokio::test]
async fn stream_becomes_events_and_the_context_is_kept() {
    let sim = Sim::start(Plan::new(vec![
        submitted(),
        status("TASK_STATE_WORKING", "thinking"),
        said("a", false),
        said("b", true),
        done(),
    ]))
    .await;
    let events = sim.ask(&request("hello")).await;
    assert!(matches!(events[0], AgentEvent::Started { .. }));
    let thinking = AgentEvent::Progress {
        label: "thinking".into(),
        state: "working".into(),
    };
    assert_eq!(told(&events), [thinking, text("a"), text("b"), completed()]);
    sim.ask(&after(&events, "again")).await;
    let sent = sim.params("SendStreamingMessage");
    let (first, second) = (&sent[0]["message"], &sent[1]["message"]);
    assert_eq!(
        (&first["role"], &first["parts"]),
        (&json!("ROLE_USER"), &json!([{"text": "hello"}]))
    );
    assert_eq!(
        (&first["contextId"], &second["contextId"], &second["taskId"]),
        (&Value::Null, &json!("c"), &Value::Null)
    );
    assert_ne!(first["metadata"]["userId"], "usr_1");
}

#[tokio::test]
async fn version_0_3_peers_get_version_0_3_requests() {
    let artifact = json!({"kind": "artifact-update", "taskId": "t", "contextId": "c", "append": false, "artifact": {"artifactId": "a", "parts": [{"kind": "text", "text": "hi"}]}});
    let end = json!({"kind": "status-update", "taskId": "t", "contextId": "c", "status": {"state": "completed"}, "final": true});
    let sim = Sim::start(Plan {
        version: "0.3",
        ..Plan::new(vec![artifact.clone(), end.clone()])
    })
    .await;
    assert_eq!(told(&sim.ask(&request("hello")).await), [text("hi"), completed()]);
    let message = &sim.params("message/stream")[0]["message"];
    assert_eq!(
        (&message["kind"], &message["role"], &message["parts"]),
        (
            &json!("message"),
            &json!("user"),
            &json!([{"kind": "text", "text": "hello"}])
        )
    );
    let polled = Sim::start(Plan {
        version: "0.3",
        streams: false,
        ..Plan::new(vec![artifact, end])
    })
    .await;
    assert_eq!(told(&polled.ask(&request("hello")).await).last(), Some(&completed()));
    assert_eq!(polled.params("message/send")[0]["configuration"]["blocking"], false);
}

#[tokio::test]
async fn agent_that_does_not_stream_is_polled() {
    let sim = Sim::start(Plan {
        streams: false,
        n_cut_polls: 2,
        ..Plan::new(vec![said("a", false), said("b", true), said("c", true)])
    })
    .await;
    assert_eq!(
        told(&sim.ask(&request("hello")).await),
        [snapshot("a"), snapshot("ab"), snapshot("abc"), completed()]
    );
    assert_eq!(sim.params("SendMessage")[0]["configuration"]["returnImmediately"], true);
    let polls = sim.params("GetTask");
    assert_eq!((polls.len(), &polls[0]["historyLength"]), (4, &json!(0)));
}

#[tokio::test]
async fn broken_stream_is_read_again_and_subscribed_to() {
    let events = vec![submitted(), said("a", false), said("b", true), said("c", true), done()];
    for (cuts, subscribes) in [(vec![2], true), (vec![2, 3], true), (vec![2], false)] {
        let sim = Sim::start(Plan {
            cuts,
            subscribes,
            ..Plan::new(events.clone())
        })
        .await;
        let all = sim.ask(&request("hello")).await;
        let mut draft = tieline_core::agent::Draft::default();
        for event in &all {
            draft.apply(event);
        }
        assert_eq!(
            (draft.text.as_str(), all.last()),
            ("abc", Some(&completed())),
            "{all:?}"
        );
        assert_eq!(sim.params("SendStreamingMessage").len(), 1);
    }
    // The task's id is still unknown, so nothing can be read again.
    let sim = Sim::start(Plan {
        cuts: vec![0],
        ..Plan::new(events)
    })
    .await;
    let events = sim.ask(&request("hello")).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("incomplete", true)
    );
}

#[tokio::test]
async fn another_process_can_read_the_task() {
    let sim = Sim::start(Plan::new(vec![submitted(), said("a", false), said("b", true), done()])).await;
    let run_ref = started(&sim.ask(&request("hello")).await).0;
    let resumed = AgentRequest {
        resume: Some(Resume {
            run_ref: run_ref.clone(),
            cursor: None,
        }),
        ..request("hello")
    };
    assert_eq!(told(&sim.ask(&resumed).await), [snapshot("ab"), completed()]);
    sim.state.lock().unwrap().n_streamed = 1;
    let events = told(&sim.ask(&resumed).await);
    assert_eq!(events[0], snapshot("a"), "{events:?}");
    assert_eq!(sim.params("SendStreamingMessage").len(), 1);
    assert!(!run_ref.contains("secret"));
}

#[tokio::test]
async fn question_is_answered_in_its_task_and_a_lost_context_is_replaced() {
    let asking = vec![submitted(), status("TASK_STATE_INPUT_REQUIRED", "Deploy?")];
    let sim = Sim::start(Plan::new(asking.clone())).await;
    let events = sim.ask(&request("go")).await;
    let asked = AgentEvent::InputRequired {
        prompt: "Deploy?".into(),
        choices: vec![],
        resume_ref: Some("t".into()),
    };
    assert_eq!(told(&events), [asked, completed()]);
    sim.ask(&after(&events, "yes")).await;
    let message = &sim.params("SendStreamingMessage")[1]["message"];
    assert_eq!((&message["taskId"], &message["contextId"]), (&json!("t"), &json!("c")));
    sim.state.lock().unwrap().forgotten = true;
    let events = sim.ask(&after(&events, "yes")).await;
    assert_eq!(told(&events)[0], AgentEvent::ConversationLost);
}

#[tokio::test]
async fn answer_to_a_question_repeats_nothing_also_in_another_process() {
    let asking = vec![
        submitted(),
        said("plan", false),
        status("TASK_STATE_INPUT_REQUIRED", "Deploy?"),
    ];
    let sim = Sim::start(Plan::new(asking)).await;
    let events = sim.ask(&request("go")).await;
    let artifacts = json!([{"artifactId": "a", "parts": [{ "text": "plan" }]}]);
    let snapshot = json!({"task": {"id": "t", "contextId": "c", "status": {"state": "TASK_STATE_WORKING"}, "artifacts": artifacts}});
    sim.state.lock().unwrap().plan.events = vec![snapshot, said(" done", true), done()];
    let answer = sim.ask(&after(&events, "yes")).await;
    assert_eq!(told(&answer), [text(" done"), completed()]);
    // Another process reads the task as a whole.
    sim.state.lock().unwrap().plan.events = vec![said("plan", false), said(" done", true)];
    let mut resumed = request("yes");
    resumed.resume = Some(Resume {
        run_ref: started(&answer).0,
        cursor: None,
    });
    assert_eq!(told(&sim.ask(&resumed).await), [self::snapshot(" done"), completed()]);
}

#[tokio::test]
async fn answer_to_a_task_that_has_ended_is_the_next_question_of_its_context() {
    let asking = vec![submitted(), status("TASK_STATE_INPUT_REQUIRED", "Deploy?")];
    let sim = Sim::start(Plan::new(asking)).await;
    let events = sim.ask(&request("go")).await;
    sim.state.lock().unwrap().plan.events = vec![submitted(), said("a", false), done()];
    for (n, code) in [-32602, -32004, -32001].into_iter().enumerate() {
        sim.state.lock().unwrap().refuses_task = Some(code);
        assert_eq!(told(&sim.ask(&after(&events, "yes")).await), [text("a"), completed()]);
        let sent = &sim.params("SendStreamingMessage")[1 + 2 * n..];
        let ids: Vec<_> = sent
            .iter()
            .map(|params| (&params["message"]["taskId"], &params["message"]["contextId"]))
            .collect();
        assert_eq!(ids, [(&json!("t"), &json!("c")), (&Value::Null, &json!("c"))]);
    }
    let calls = sim.server.calls();
    let mut keys = calls.iter().rev().filter_map(|call| call.header("idempotency-key"));
    assert_ne!(keys.next(), keys.next());
    // An internal error says nothing about the task.
    sim.state.lock().unwrap().refuses_task = Some(-32603);
    let failed = sim.ask(&after(&events, "yes")).await;
    assert_eq!(
        (failure(&failed).code.as_str(), failure(&failed).retryable),
        ("rpc_-32603", true)
    );
}

#[tokio::test]
async fn final_states_end_the_run() {
    for (state, code) in [
        ("TASK_STATE_FAILED", "task_failed"),
        ("TASK_STATE_REJECTED", "task_rejected"),
    ] {
        let events = Sim::start(Plan::new(vec![submitted(), status(state, "because of hello")]))
            .await
            .ask(&request("hello"))
            .await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).message.as_str()),
            (code, "the task's last message: because of ***")
        );
        let shown = AgentEvent::TextSnapshot("because of hello".into());
        assert_eq!(told(&events).first(), Some(&shown), "{state}");
    }
    let events = Sim::start(Plan::new(vec![submitted(), status("TASK_STATE_CANCELED", "")]))
        .await
        .ask(&request("hello"))
        .await;
    assert_eq!(told(&events), [AgentEvent::Cancelled]);
    let message = json!({"message": {"contextId": "c", "parts": [{"text": "hi"}]}});
    let events = Sim::start(Plan::new(vec![message])).await.ask(&request("hello")).await;
    assert_eq!(
        (told(&events), started(&events).1),
        (vec![text("hi"), completed()], Some(r#"{"context":"c"}"#.into()))
    );
}

#[tokio::test]
async fn cancelling_and_probing() {
    let sim = Sim::start(Plan {
        cuts: vec![2],
        ..Plan::new(vec![submitted(), said("a", false), done()])
    })
    .await;
    let asked = request("hello");
    let run_ref = started(&sim.ask(&asked).await).0;
    sim.state.lock().unwrap().n_streamed = 1;
    let cancel = CancelRequest {
        run: asked.run.clone(),
        run_ref: Some(run_ref),
        conversation_ref: None,
        organization: asked.organization.clone(),
        user: asked.user.id.clone(),
        is_stop: true,
    };
    for _ in 0..2 {
        sim.adapter().cancel(&cancel, &env()).await.unwrap();
    }
    assert_eq!(sim.params("CancelTask").len(), 2);
    sim.adapter().probe(&env()).await.unwrap();
    let wrong = adapter("a2a", json!({"baseUrl": sim.server.url, "apiKey": "wrong"}));
    assert_eq!(wrong.probe(&env()).await.unwrap_err().code, "http_401");
}

/// The card comes from the agent, so it may name any URL.
#[tokio::test]
async fn key_is_sent_to_the_card_s_origin_only() {
    let elsewhere = Server::start(vec![answer(
        200,
        JSON,
        &rpc(&json!({"message": {"parts": [{"text": "hi"}]}})).to_string(),
    )])
    .await;
    let card = |url: &str| {
        json!({"supportedInterfaces": [{"url": url, "protocolBinding": "JSONRPC", "protocolVersion": "1.0"}]})
            .to_string()
    };
    let server = Server::start(vec![answer(200, JSON, &card(&elsewhere.url))]).await;
    let config = json!({"baseUrl": server.url, "apiKey": "a2a-secret", "headers": {"x-team": "secret"}});
    let events = ask(&adapter("a2a", config.clone()), &request("hello"), &env()).await;
    assert_eq!(told(&events), [text("hi"), completed()]);
    assert!(
        !elsewhere.calls()[0].head.contains("secret"),
        "{}",
        elsewhere.calls()[0].head
    );

    let private = Server::start(vec![answer(200, JSON, &card("http://10.0.0.1/rpc"))]).await;
    let config = json!({"baseUrl": private.url});
    let events = ask(
        &adapter("a2a", config),
        &request("hello"),
        &Env {
            allow_private: PrivateEndpoints::Refused,
            ..env()
        },
    )
    .await;
    assert_eq!(failure(&events).code, "connect");
}
