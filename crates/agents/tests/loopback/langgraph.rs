//! Simulated Agent Server that refuses what the real one refuses (`langgraph-api` 0.16).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::PartKind;

use crate::ask::{adapter, ask, completed, env, failure, request, shown, text};
use crate::server::{Act, Call, JSON, SSE, Server, answer, head};

const KEY: &str = "lsv2_secret";
const RUN: &str = "01a20398-7ee4-72ad-94c1-d650a462a6f9";

/// Behaviour of a run.
#[derive(Default, Clone)]
struct Plan {
    /// `event` and `data`; their ids count from 1.
    events: Vec<(&'static str, Value)>,
    /// How many events a connection gets before it is cut; the last number applies to all further connections.
    cuts: Vec<usize>,
    /// The run's status after the last event.
    status: &'static str,
    /// The run's result.
    result: Value,
    /// Whether joining a run no longer returns its events.
    expired: bool,
}

#[derive(Default)]
struct State {
    threads: BTreeMap<String, usize>,
    plan: Plan,
    n_streams: usize,
}

struct Sim {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Sim {
    async fn start(plan: Plan) -> Self {
        let state = Arc::new(Mutex::new(State {
            plan,
            ..State::default()
        }));
        let answering = state.clone();
        let server = Server::answering(move |call| answering.lock().unwrap().answer(call)).await;
        Self { server, state }
    }

    fn adapter(&self) -> Adapter {
        let config = json!({"baseUrl": self.server.url, "apiKey": KEY, "assistantId": "agent"});
        adapter("langgraph", config)
    }

    async fn ask(&self, request: &AgentRequest) -> Vec<AgentEvent> {
        ask(&self.adapter(), request, &env()).await
    }

    fn calls(&self, method: &str, path: &str) -> Vec<Call> {
        let matches = |call: &Call| call.line().0 == method && call.line().1.ends_with(path);
        self.server.calls().into_iter().filter(matches).collect()
    }
}

fn refusal(status: u16, detail: &str) -> Vec<Act> {
    answer(status, JSON, &json!({ "detail": detail }).to_string())
}

fn is_uuid(id: &str) -> bool {
    id.split('-').map(str::len).eq([8, 4, 4, 4, 12]) && id.chars().all(|c| c == '-' || c.is_ascii_hexdigit())
}

/// Fields of a request, each with the values that the server's schema allows; empty: any value.
const RUN_FIELDS: &[(&str, &[&str])] = &[
    ("assistant_id", &[]),
    ("input", &[]),
    ("command", &[]),
    ("metadata", &[]),
    ("stream_mode", &[]),
    ("stream_subgraphs", &["true", "false"]),
    ("stream_resumable", &["true", "false"]),
    ("multitask_strategy", &["reject", "rollback", "interrupt", "enqueue"]),
    ("if_not_exists", &["create", "reject"]),
    ("on_disconnect", &["cancel", "continue"]),
];
const THREAD_FIELDS: &[(&str, &[&str])] = &[
    ("thread_id", &[]),
    ("if_exists", &["raise", "do_nothing"]),
    ("metadata", &[]),
];

fn fault(body: &Value, fields: &[(&str, &[&str])]) -> Option<String> {
    body.as_object().unwrap().iter().find_map(|(name, value)| {
        let Some((_, allowed)) = fields.iter().find(|(field, _)| field == name) else {
            return Some(format!("{name} is not allowed"));
        };
        let word = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
        (!allowed.is_empty() && !allowed.contains(&word.as_str())).then(|| format!("{name} is {word}"))
    })
}

impl State {
    fn answer(&mut self, call: &Call) -> Vec<Act> {
        if call.header("x-api-key") != Some(KEY) {
            return refusal(403, "Invalid API key");
        }
        let (method, path, query) = call.line();
        let path: Vec<&str> = path.trim_matches('/').split('/').collect();
        match (method, path.as_slice()) {
            ("POST", ["threads"]) => self.create_thread(&call.json()),
            ("POST", ["threads", thread, "runs", "stream"]) => self.create_run(thread, call),
            ("GET", ["threads", thread, "runs", RUN, rest @ ..]) if self.threads.contains_key(*thread) => match rest {
                [] => answer(200, JSON, &json!({"run_id": RUN, "status": self.status()}).to_string()),
                ["join"] => answer(200, JSON, &self.plan.result.to_string()),
                ["stream"] => self.join(call, query),
                _ => refusal(404, "Not Found"),
            },
            ("POST", ["threads", thread, "runs", RUN, "cancel"]) if self.threads.contains_key(*thread) => {
                assert_eq!(query, "action=interrupt");
                match self.status() {
                    "running" => {
                        self.plan.status = "interrupted";
                        self.plan.cuts = vec![];
                        answer(202, "", "")
                    }
                    _ => refusal(404, "No matching runs to cancel."),
                }
            }
            ("POST", ["assistants", "search"]) => {
                let found = call.json()["graph_id"] == "agent";
                answer(200, JSON, if found { r#"[{"assistant_id":"a"}]"# } else { "[]" })
            }
            _ => refusal(404, "Run not found"),
        }
    }

    fn create_thread(&mut self, body: &Value) -> Vec<Act> {
        if let Some(fault) = fault(body, THREAD_FIELDS) {
            return refusal(422, &fault);
        }
        let id = body["thread_id"].as_str().unwrap();
        if !is_uuid(id) {
            return refusal(422, "Invalid thread ID: must be a UUID");
        }
        if self.threads.contains_key(id) && body["if_exists"] != "do_nothing" {
            return refusal(409, "Thread already exists");
        }
        self.threads.entry(id.to_owned()).or_default();
        answer(200, JSON, &json!({"thread_id": id, "status": "idle"}).to_string())
    }

    fn create_run(&mut self, thread: &str, call: &Call) -> Vec<Act> {
        let body = call.json();
        if let Some(fault) = fault(&body, RUN_FIELDS) {
            return refusal(422, &fault);
        }
        let known = [
            "values",
            "updates",
            "messages",
            "messages-tuple",
            "events",
            "debug",
            "custom",
        ];
        let modes = body["stream_mode"].as_array().unwrap();
        if modes.iter().any(|mode| !known.contains(&mode.as_str().unwrap())) {
            return refusal(422, "stream_mode");
        }
        if body["assistant_id"] != "agent" {
            return refusal(422, "Invalid assistant");
        }
        if !self.threads.contains_key(thread) && body["if_not_exists"] != "create" {
            return refusal(404, "Thread or assistant not found.");
        }
        *self.threads.entry(thread.to_owned()).or_default() += 1;
        let location = format!("content-location: /threads/{thread}/runs/{RUN}\r\n");
        self.stream(0, &location)
    }

    fn join(&mut self, call: &Call, query: &str) -> Vec<Act> {
        assert_eq!(query, "stream_mode=messages-tuple&stream_mode=updates");
        let last: i64 = call.header("last-event-id").unwrap().parse().unwrap();
        let from = if self.plan.expired {
            self.plan.events.len()
        } else {
            last.max(0) as usize
        };
        self.stream(from, "")
    }

    fn status(&self) -> &'static str {
        match self.plan.cuts.len() > self.n_streams {
            true => "running",
            false => self.plan.status,
        }
    }

    fn stream(&mut self, from: usize, location: &str) -> Vec<Act> {
        let cut = self.plan.cuts.get(self.n_streams).copied();
        self.n_streams += 1;
        let chunked = format!("{SSE}{location}transfer-encoding: chunked\r\n");
        let until = cut.unwrap_or(usize::MAX).min(self.plan.events.len());
        let mut script = vec![Act::Say(head(200, &chunked))];
        for (n, (event, data)) in self.plan.events.iter().enumerate().take(until).skip(from) {
            let event = format!("event: {event}\r\ndata: {data}\r\nid: {}\r\n\r\n", n + 1);
            script.push(Act::Say(format!("{:x}\r\n{event}\r\n", event.len()).into_bytes()));
        }
        if cut.is_none() {
            script.push(Act::Say(b"0\r\n\r\n".to_vec()));
        }
        script
    }
}

fn chunk(id: &str, content: impl Into<Value>) -> (&'static str, Value) {
    let message = json!({"type": "AIMessageChunk", "id": id, "content": content.into(), "tool_calls": []});
    ("messages", json!([message, {"langgraph_node": "answer"}]))
}

fn message(message: Value) -> (&'static str, Value) {
    ("messages", json!([message, {}]))
}

fn metadata() -> (&'static str, Value) {
    ("metadata", json!({"run_id": RUN, "attempt": 1}))
}

fn success(events: Vec<(&'static str, Value)>) -> Plan {
    Plan {
        events,
        status: "success",
        result: json!({"messages": []}),
        ..Plan::default()
    }
}

/// The events without references and cursors.
fn told(events: &[AgentEvent]) -> Vec<AgentEvent> {
    let is_told = |event: &&AgentEvent| !matches!(event, AgentEvent::Started { .. } | AgentEvent::Cursor(_));
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
    last.expect("a reference to the run")
}

fn cursor(events: &[AgentEvent]) -> Option<String> {
    events.iter().rev().find_map(|event| match event {
        AgentEvent::Cursor(cursor) => Some(cursor.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn stream_becomes_events() {
    let reasoning = json!([{"type": "thinking", "thinking": "hm"}]);
    let sim = Sim::start(success(vec![
        metadata(),
        message(json!({"type": "human", "id": "h", "content": "hello"})),
        chunk("a", reasoning),
        chunk("a", "Let me "),
        chunk("a", json!([{"type": "text", "text": "look."}])),
        message(json!({"type": "AIMessageChunk", "id": "a", "content": "", "tool_calls": [{"id": "c1", "name": "weather"}]})),
        message(json!({"type": "AIMessageChunk", "id": "a", "content": "", "tool_calls": [{"id": "c1", "name": "weather"}]})),
        ("updates", json!({"answer": {"messages": []}})),
        message(json!({"type": "tool", "id": "t", "name": "weather", "content": "sunny", "status": "success"})),
        ("made-up", json!(5)),
        chunk("b", "Sunny"),
        message(json!({"type": "ai", "id": "wrapped", "content": "Sunny"})),
        message(json!({"type": "ai", "id": "c", "content": [{"type": "text", "text": "!"}, {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}}]})),
    ]))
    .await;
    let events = sim.ask(&request("hello")).await;
    assert!(matches!(events[0], AgentEvent::Started { .. }), "{events:?}");
    let progress = |state: &str| AgentEvent::Progress {
        label: "weather".into(),
        state: state.into(),
    };
    let picture = AgentEvent::FileBytes {
        bytes: b"hi".to_vec(),
        name: "image.png".into(),
        mime: "image/png".into(),
    };
    let expected = [
        AgentEvent::ReasoningDelta("hm".into()),
        text("Let me "),
        text("look."),
        progress("started"),
        progress("success"),
        text("\n\nSunny"),
        text("\n\n!"),
        picture,
        completed(),
    ];
    assert_eq!(told(&events), expected);
    let run = &sim.calls("POST", "/runs/stream")[0];
    assert!(run.header("idempotency-key").is_some());
    let body = run.json();
    assert_eq!(body["input"]["messages"], json!([{"role": "user", "content": "hello"}]));
    assert_eq!(
        (
            &body["on_disconnect"],
            &body["stream_resumable"],
            &body["multitask_strategy"]
        ),
        (&json!("continue"), &json!(true), &json!("enqueue"))
    );
    assert_ne!(body["metadata"]["userId"], "usr_1");
}

#[tokio::test]
async fn session_is_a_thread_that_is_created_once() {
    let sim = Sim::start(success(vec![chunk("a", "hi")])).await;
    // A process that crashed before it stored the reference creates the same thread.
    sim.ask(&request("one")).await;
    let events = sim.ask(&request("one")).await;
    let mut next = request("two");
    next.session.conversation_ref = started(&events).1;
    sim.ask(&next).await;
    assert_eq!(sim.state.lock().unwrap().threads.values().collect::<Vec<_>>(), [&3]);
    assert_eq!(sim.calls("POST", "/threads").len(), 2);
    let mut other = request("one");
    other.session.id = tieline_core::ids::SessionId::new("ses_2");
    sim.ask(&other).await;
    assert_eq!(sim.state.lock().unwrap().threads.len(), 2);
}

#[tokio::test]
async fn deleted_thread_is_replaced_and_reported() {
    let sim = Sim::start(success(vec![chunk("a", "hi")])).await;
    let events = sim.ask(&request("one")).await;
    sim.state.lock().unwrap().threads.clear();
    let mut next = request("two");
    next.session.conversation_ref = started(&events).1;
    let events = sim.ask(&next).await;
    assert_eq!(told(&events), [AgentEvent::ConversationLost, text("hi"), completed()]);
    // The body differs, and a server may refuse a key that it saw with another body.
    let runs = sim.calls("POST", "/runs/stream");
    assert_eq!(runs.len(), 3);
    assert_ne!(runs[1].header("idempotency-key"), runs[2].header("idempotency-key"));
}

#[tokio::test]
async fn broken_stream_is_joined_again_without_loss_or_duplicates() {
    let words: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .map(|word| chunk("m", word))
        .collect();
    let expected: Vec<_> = ["a", "b", "c", "d", "e"]
        .into_iter()
        .map(text)
        .chain([completed()])
        .collect();
    for cuts in [vec![0], vec![2], vec![1, 1, 3], vec![5]] {
        let n = cuts.len();
        let plan = Plan {
            cuts,
            ..success(words.clone())
        };
        let sim = Sim::start(plan).await;
        assert_eq!(told(&sim.ask(&request("hello")).await), expected);
        assert_eq!(
            (
                sim.calls("POST", "/runs/stream").len(),
                sim.calls("GET", "/stream").len()
            ),
            (1, n)
        );
    }
    // A stream that never brings an event is given up.
    let sim = Sim::start(Plan {
        cuts: vec![1; 50],
        ..success(words)
    })
    .await;
    let events = sim.ask(&request("hello")).await;
    assert_eq!(
        (told(&events)[0].clone(), failure(&events).code.as_str()),
        (text("a"), "incomplete")
    );
    assert_eq!(sim.calls("GET", "/stream").len(), 5);
}

/// Reads a run until its second text, as a process does that shuts down.
async fn leave(sim: &Sim) -> (Vec<AgentEvent>, Resume) {
    let (adapter, asked, env) = (sim.adapter(), request("hello"), env());
    let mut run = adapter.run(&asked, Duration::ZERO, &env);
    let mut events = Vec::new();
    while events
        .iter()
        .filter(|event| matches!(event, AgentEvent::Cursor(_)))
        .count()
        < 2
    {
        events.push(run.next().await.unwrap());
    }
    let resume = Resume {
        run_ref: started(&events).0,
        cursor: cursor(&events),
    };
    (events, resume)
}

fn resumed(resume: Resume) -> AgentRequest {
    AgentRequest {
        resume: Some(resume),
        ..request("hello")
    }
}

#[tokio::test]
async fn another_process_continues_at_the_cursor() {
    let plan = Plan {
        result: json!({"messages": [{"type": "human", "content": "hello"}, {"type": "ai", "id": "x", "content": "ab"}, {"type": "ai", "id": "y", "content": "cd"}]}),
        ..success(vec![
            metadata(),
            chunk("x", "a"),
            chunk("x", "b"),
            chunk("y", "c"),
            chunk("y", "d"),
        ])
    };
    let sim = Sim::start(plan.clone()).await;
    let (events, resume) = leave(&sim).await;
    assert_eq!(told(&events), [text("a"), text("b")]);
    let events = sim.ask(&resumed(resume.clone())).await;
    let end = AgentEvent::Completed {
        final_text: Some("ab\n\ncd".into()),
    };
    assert_eq!(told(&events), [text("\n\nc"), text("d"), end.clone()]);
    assert_eq!(sim.calls("GET", "/stream")[0].header("last-event-id"), Some("3"));
    assert_eq!(sim.calls("POST", "/runs/stream").len(), 1);
    assert_eq!(started(&events).0, resume.run_ref);

    // A process that crashed before it stored a cursor reads everything again: the first text replaces what was shown.
    let events = sim
        .ask(&resumed(Resume {
            cursor: None,
            ..resume.clone()
        }))
        .await;
    let first = AgentEvent::TextSnapshot("a".into());
    assert_eq!(told(&events), [first, text("b"), text("\n\nc"), text("d"), end.clone()]);
    assert_eq!(sim.calls("GET", "/stream")[1].header("last-event-id"), Some("-1"));

    // The server stores a stream for a limited time only; the result stays.
    sim.state.lock().unwrap().plan.expired = true;
    assert_eq!(told(&sim.ask(&resumed(resume)).await), [end]);
}

#[tokio::test]
async fn interrupt_is_asked_and_the_next_message_answers_it() {
    let interrupt = |id: &str, value: Value| json!({"id": id, "value": value});
    let question = json!({"question": "Deploy?", "choices": ["yes", "no"]});
    let sim = Sim::start(success(vec![
        chunk("a", "Ready."),
        ("updates", json!({"__interrupt__": [interrupt("i1", question)]})),
    ]))
    .await;
    let events = sim.ask(&request("go")).await;
    let asked = AgentEvent::InputRequired {
        prompt: "Deploy?".into(),
        choices: vec!["yes".into(), "no".into()],
        resume_ref: Some("i1".into()),
    };
    assert_eq!(told(&events), [text("Ready."), asked, completed()]);
    let mut next = request("yes");
    next.session.conversation_ref = started(&events).1;
    sim.state.lock().unwrap().plan = success(vec![chunk("b", "Done.")]);
    let events = sim.ask(&next).await;
    let body = sim.calls("POST", "/runs/stream")[1].json();
    assert_eq!(
        (&body["command"], &body["input"]),
        (&json!({"resume": "yes"}), &Value::Null)
    );
    // A file of the answer is a link; the quoted question is no part of it.
    next.message.quoted = Some(("Deploy?".into(), vec![]));
    next.message.parts = vec![AgentPart {
        kind: PartKind::File,
        url: "https://files.example/plan".into(),
        name: Some("plan.pdf".into()),
        mime: None,
        inline: None,
        unavailable: false,
    }];
    sim.ask(&next).await;
    let body = sim.calls("POST", "/runs/stream")[2].json();
    let answer = "yes\n[file: plan.pdf](https://files.example/plan)";
    assert_eq!(body["command"], json!({ "resume": answer }));
    (next.message.quoted, next.message.parts) = (None, vec![]);
    // The interrupt is answered: the next message is an ordinary question.
    next.session.conversation_ref = started(&events).1;
    sim.ask(&next).await;
    assert!(sim.calls("POST", "/runs/stream")[3].json()["input"].is_object());

    // Several interrupts are answered by their ids. Those of an abandoned stream are in the result.
    let both = json!([interrupt("i1", json!("One?")), interrupt("i2", json!({"a": 1}))]);
    let plan = Plan {
        result: json!({ "__interrupt__": both }),
        cuts: vec![0],
        ..success(vec![])
    };
    let sim = Sim::start(plan).await;
    let events = sim.ask(&request("go")).await;
    assert!(
        matches!(&told(&events)[0], AgentEvent::InputRequired { prompt, .. } if prompt == "One?\n\n{\"a\":1}"),
        "{events:?}"
    );
    next.session.conversation_ref = started(&events).1;
    sim.ask(&next).await;
    let body = sim.calls("POST", "/runs/stream")[1].json();
    assert_eq!(body["command"], json!({"resume": {"i1": "yes", "i2": "yes"}}));
}

/// Nodes that run at the same time send an update each. The server refuses an answer without ids while several interrupts wait.
#[tokio::test]
async fn interrupts_of_parallel_nodes_are_all_asked_and_answered() {
    let update = |id: &str, value: &str| ("updates", json!({"__interrupt__": [{"id": id, "value": value}]}));
    let events = vec![update("i1", "Book the flight?"), update("i2", "Book the room?")];
    // The second time the stream is read from its start again after a cut.
    for cuts in [vec![], vec![1]] {
        let plan = Plan {
            cuts,
            ..success(events.clone())
        };
        let sim = Sim::start(plan).await;
        let events = sim.ask(&request("go")).await;
        let asked = AgentEvent::InputRequired {
            prompt: "Book the flight?\n\nBook the room?".into(),
            choices: vec![],
            resume_ref: Some("i1".into()),
        };
        assert_eq!(told(&events), [asked, completed()]);
        let mut next = request("yes");
        next.session.conversation_ref = started(&events).1;
        sim.ask(&next).await;
        let body = sim.calls("POST", "/runs/stream")[1].json();
        assert_eq!(body["command"], json!({"resume": {"i1": "yes", "i2": "yes"}}));
    }
}

/// The result of a run whose stream was cut replaces its text, but not the question.
#[tokio::test]
async fn question_of_a_rejoined_run_is_shown_below_its_text() {
    let asked = json!([{"id": "i1", "value": "Send it?"}]);
    let messages = json!([{"type": "human", "content": "write"}, {"type": "ai", "id": "a", "content": "Draft."}]);
    let plan = Plan {
        cuts: vec![1, 9],
        result: json!({"messages": messages, "__interrupt__": asked}),
        ..success(vec![
            chunk("a", "Dra"),
            chunk("a", "ft."),
            ("updates", json!({ "__interrupt__": asked })),
        ])
    };
    let sim = Sim::start(plan).await;
    let events = sim.ask(&request("write")).await;
    assert_eq!(shown(&events), "Draft.\n\nSend it?", "{events:?}");
}

/// The middleware for human review fails at any answer but a list with one decision for each call.
#[tokio::test]
async fn calls_of_tools_are_approved_or_rejected_one_by_one() {
    let python = json!({
        "action_requests": [
            {"name": "mail", "args": {"to": "ann"}, "description": "Send a mail to Ann?"},
            {"name": "pay", "args": {"sum": 5}},
        ],
        "review_configs": [
            {"action_name": "mail", "allowed_decisions": ["approve", "edit", "reject"]},
            {"action_name": "pay", "allowed_decisions": ["approve", "reject"]},
        ],
    });
    let javascript = json!({
        "actionRequests": [{"name": "ask", "args": {}, "description": "Which city?"}],
        "reviewConfigs": [{"actionName": "ask", "allowedDecisions": ["respond"]}],
    });
    let approve = json!({"type": "approve"});
    let reject = json!({"type": "reject", "message": "not today"});
    let respond = json!({"type": "respond", "message": "Yes."});
    let both = "Send a mail to Ann?\n\npay\n```json\n{\n  \"sum\": 5\n}\n```";
    for (value, prompt, choices, answer, decisions) in [
        (
            &python,
            both,
            vec!["approve", "reject"],
            "Yes.",
            json!([approve, approve]),
        ),
        (
            &python,
            both,
            vec!["approve", "reject"],
            "not today",
            json!([reject, reject]),
        ),
        (&javascript, "Which city?", vec![], "Yes.", json!([respond])),
    ] {
        let interrupt = json!({"__interrupt__": [{"id": "i1", "value": value}]});
        let sim = Sim::start(success(vec![("updates", interrupt)])).await;
        let events = sim.ask(&request("go")).await;
        let asked = AgentEvent::InputRequired {
            prompt: prompt.into(),
            choices: choices.into_iter().map(str::to_owned).collect(),
            resume_ref: Some("i1".into()),
        };
        assert_eq!(told(&events), [asked, completed()]);
        let mut next = request(answer);
        // In a group the text names the speaker; the decision is made by the words alone.
        next.message.text = format!("Li Si: {answer}");
        next.session.conversation_ref = started(&events).1;
        sim.ask(&next).await;
        let body = sim.calls("POST", "/runs/stream")[1].json();
        assert_eq!(body["command"], json!({"resume": {"decisions": decisions}}));
    }
}

#[tokio::test]
async fn rejoined_run_after_an_interrupt_does_not_repeat_the_text_before_it() {
    let interrupt = json!({"__interrupt__": [{"id": "i1", "value": "Send it?"}]});
    let sim = Sim::start(success(vec![chunk("a", "Draft."), ("updates", interrupt)])).await;
    let events = sim.ask(&request("write")).await;
    let mut next = request("yes");
    next.session.conversation_ref = started(&events).1;
    let messages = json!([{"type": "human", "id": "h", "content": "write"}, {"type": "ai", "id": "a", "content": "Draft."},
        {"type": "ai", "id": "b", "content": "Sent."}, {"type": "ai", "id": "c", "content": "Bye."}]);
    let resumed_run = Plan {
        cuts: vec![0, 1],
        result: json!({ "messages": messages }),
        ..success(vec![chunk("b", "Se"), chunk("b", "nt."), chunk("c", "Bye.")])
    };
    let end = |text: &str| AgentEvent::Completed {
        final_text: Some(text.into()),
    };
    let run = |plan: Plan| {
        let mut state = sim.state.lock().unwrap();
        (state.plan, state.n_streams) = (plan, 0);
    };
    run(resumed_run.clone());
    let events = sim.ask(&next).await;
    let streamed = [text("Se"), text("nt."), text("\n\nBye.")];
    assert_eq!(told(&events), [&streamed[..], &[end("Sent.\n\nBye.")]].concat());
    let run_ref = started(&events).0;

    // Another process continues behind the first message.
    next.resume = Some(Resume {
        run_ref: run_ref.clone(),
        cursor: cursor(&events),
    });
    let expired = Plan {
        expired: true,
        cuts: vec![],
        ..resumed_run.clone()
    };
    run(expired.clone());
    assert_eq!(told(&sim.ask(&next).await), [end("Sent.\n\nBye.")]);

    // Where the run's answer begins is unknown if nothing of it was read, or if its messages have other ids in the result.
    next.resume = Some(Resume { run_ref, cursor: None });
    run(expired);
    assert_eq!(told(&sim.ask(&next).await), [completed()]);
    run(Plan {
        cuts: vec![],
        ..success(vec![chunk("other", "Sent.")])
    });
    let first = AgentEvent::TextSnapshot("Sent.".into());
    assert_eq!(told(&sim.ask(&next).await), [first, completed()]);
}

#[tokio::test]
async fn cancelling_interrupts_the_run() {
    let sim = Sim::start(Plan {
        cuts: vec![1, 1, 1, 1, 1, 1, 1, 1],
        ..success(vec![chunk("a", "hi")])
    })
    .await;
    let events = sim.ask(&request("hello")).await;
    let (run_ref, conversation_ref) = started(&events);
    sim.state.lock().unwrap().plan.cuts = vec![1; 50];
    let asked = request("hello");
    let cancel = CancelRequest {
        run: asked.run.clone(),
        run_ref: Some(run_ref.clone()),
        conversation_ref,
        organization: asked.organization.clone(),
        user: asked.user.id.clone(),
        is_stop: true,
    };
    let (adapter, env) = (sim.adapter(), env());
    adapter.cancel(&cancel, &env).await.unwrap();
    // Ended, unknown or never started: nothing is left to cancel.
    adapter.cancel(&cancel, &env).await.unwrap();
    adapter
        .cancel(
            &CancelRequest {
                run_ref: None,
                ..cancel
            },
            &env,
        )
        .await
        .unwrap();
    assert_eq!(sim.calls("POST", "/cancel").len(), 2);
    let events = sim.ask(&resumed(Resume { run_ref, cursor: None })).await;
    assert_eq!(events.last(), Some(&AgentEvent::Cancelled));
}

#[tokio::test]
async fn failures_contain_the_exception_s_name() {
    let error = json!({"error": "ValueError", "message": "you said hello"});
    let sim = Sim::start(success(vec![("error", error.clone())])).await;
    let events = sim.ask(&request("hello")).await;
    let failed = failure(&events);
    assert_eq!((failed.code.as_str(), failed.retryable), ("ValueError", true));
    assert_eq!(failed.message, "the run failed: you said ***");
    for (status, code) in [("error", "ValueError"), ("timeout", "timeout")] {
        let plan = Plan {
            status,
            result: json!({ "__error__": error }),
            ..success(vec![chunk("a", "hi")])
        };
        let events = Sim::start(plan).await.ask(&request("x")).await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).retryable),
            (code, false)
        );
    }
    // A gateway reports its errors with status 200: in place of the thread, and in place of the stream.
    let refused = || answer(200, JSON, r#"{"code":401,"message":"no such key"}"#);
    let thread = || answer(200, JSON, r#"{"thread_id":"t"}"#);
    for script in [vec![refused()], vec![thread(), refused()]] {
        let server = Server::start(script).await;
        let config = json!({"baseUrl": server.url, "assistantId": "agent"});
        let events = ask(&adapter("langgraph", config), &request("hello"), &env()).await;
        let failed = failure(&events);
        let expected = ("401", "the agent sent an error, code 401, message no such key");
        assert_eq!((failed.code.as_str(), failed.message.as_str()), expected);
    }
    let garbled = Sim::start(success(vec![("messages", json!("x"))])).await;
    assert_eq!(failure(&garbled.ask(&request("hello")).await).code, "bad_answer");
}

#[tokio::test]
async fn older_servers_end_the_stream_and_name_the_run_in_it() {
    let events = [
        ("metadata", json!({"run_id": RUN})),
        chunk("a", "hi"),
        ("end", Value::Null),
    ];
    let body: String = events
        .iter()
        .map(|(event, data)| format!("event: {event}\ndata: {data}\n\n"))
        .collect();
    let thread = answer(200, JSON, r#"{"thread_id":"t"}"#);
    let server = Server::start(vec![thread, answer(200, SSE, &body)]).await;
    let adapter = adapter("langgraph", json!({"baseUrl": server.url, "assistantId": "agent"}));
    let events = ask(&adapter, &request("hello"), &env()).await;
    assert_eq!(told(&events), [text("hi"), completed()]);
    assert!(started(&events).0.contains(RUN));
    assert_eq!(server.n_calls(), 2);
}

#[tokio::test]
async fn pictures_go_inline_and_other_files_by_link() {
    let sim = Sim::start(success(vec![chunk("a", "hi")])).await;
    let part = |kind, inline: Option<&'static [u8]>, name: &str| AgentPart {
        kind,
        url: format!("https://tieline.example/{name}"),
        mime: Some("image/png".into()),
        name: Some(name.into()),
        inline: inline.map(Bytes::from_static),
        unavailable: false,
    };
    let mut asked = request("look");
    asked.message.parts = vec![
        part(PartKind::Image, Some(b"hi"), "a.png"),
        part(PartKind::File, None, "b.pdf"),
    ];
    sim.ask(&asked).await;
    let expected = json!([
        {"type": "text", "text": "look\n[file: b.pdf](https://tieline.example/b.pdf)"},
        {"type": "image_url", "image_url": {"url": "data:image/png;base64,aGk="}},
    ]);
    assert_eq!(
        sim.calls("POST", "/runs/stream")[0].json()["input"]["messages"][0]["content"],
        expected
    );
}

#[tokio::test]
async fn probe_tries_key_and_assistant() {
    let sim = Sim::start(Plan::default()).await;
    let probe = async |key: &str, assistant: &str| {
        let config = json!({"baseUrl": sim.server.url, "apiKey": key, "assistantId": assistant});
        adapter("langgraph", config)
            .probe(&env())
            .await
            .map_err(|failure| failure.code)
    };
    assert_eq!(probe(KEY, "agent").await, Ok(()));
    assert_eq!(probe("wrong", "agent").await, Err("http_403".into()));
    assert_eq!(probe(KEY, "other").await, Err("agent_error".into()));
    assert_eq!(
        probe(KEY, "fe096781-5601-53d2-b2f6-0d3403f7e9ca").await,
        Err("http_404".into())
    );
    assert!(sim.calls("POST", "/threads").is_empty());
}
