//! Simulated Xpert server, based on the behaviour of its source.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::PartKind;

use crate::ask::{adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, Call, JSON, SSE, Server, answer, head};

#[derive(Default)]
struct State {
    threads: Vec<String>,
    /// Events of each run, stored while the server lives. Their ids are like `17-0`.
    runs: BTreeMap<String, Vec<Value>>,
    /// Events of the runs to come.
    next: Vec<Vec<Value>>,
    /// How many events each connection gets before it is cut.
    cuts: Vec<usize>,
    /// What the server says in place of a cut: it can't read the stored events.
    trouble: &'static str,
    /// How many joins are refused, because a connection that broke still holds the stream.
    n_refused: usize,
    status: &'static str,
    inputs: Vec<Value>,
}

struct Sim {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl Sim {
    async fn start(next: Vec<Vec<Value>>, cuts: Vec<usize>) -> Self {
        let state = Arc::new(Mutex::new(State {
            next,
            cuts,
            status: "success",
            ..State::default()
        }));
        let answering = state.clone();
        let server = Server::answering(move |call| answering.lock().unwrap().answer(call)).await;
        Self { server, state }
    }

    fn adapter(&self) -> Adapter {
        let config = json!({"baseUrl": self.server.url, "apiKey": "xp-secret", "assistantId": "expert", "organizationId": "org"});
        adapter("xpert", config)
    }

    async fn ask(&self, request: &AgentRequest) -> Vec<AgentEvent> {
        ask(&self.adapter(), request, &env()).await
    }

    fn joins(&self) -> Vec<Option<String>> {
        let calls = self.server.calls();
        let joins = calls.iter().filter(|call| call.line().1.ends_with("/stream"));
        joins
            .map(|call| call.header("last-event-id").map(str::to_owned))
            .collect()
    }

    fn inputs(&self) -> Vec<Value> {
        self.state.lock().unwrap().inputs.clone()
    }
}

fn refusal(status: u16, message: &str) -> Vec<Act> {
    answer(
        status,
        JSON,
        &json!({"statusCode": status, "message": message}).to_string(),
    )
}

impl State {
    fn answer(&mut self, call: &Call) -> Vec<Act> {
        if call.header("authorization") != Some("Bearer xp-secret") {
            return refusal(401, "Unauthorized");
        }
        assert_eq!(call.header("organization-id"), Some("org"));
        let (method, path, _) = call.line();
        let path: Vec<&str> = path.strip_prefix("/api/ai/").unwrap().split('/').collect();
        match (method, path.as_slice()) {
            ("GET", ["assistants", "expert"]) => answer(200, JSON, r#"{"assistant_id":"expert"}"#),
            ("POST", ["threads"]) => {
                let id = call.json()["thread_id"].as_str().unwrap().to_owned();
                if !self.threads.contains(&id) {
                    self.threads.push(id.clone());
                }
                answer(201, JSON, &json!({ "thread_id": id }).to_string())
            }
            ("POST", ["threads", thread, "runs"]) => self.create_run(thread, &call.json()),
            ("GET", ["threads", _, "runs", run]) if self.runs.contains_key(*run) => {
                answer(200, JSON, &json!({"run_id": run, "status": self.status}).to_string())
            }
            ("GET", ["threads", _, "runs", run, "stream"]) if self.runs.contains_key(*run) => {
                let last = call
                    .header("last-event-id")
                    .map_or(0, |last| last.strip_suffix("-0").unwrap().parse().unwrap());
                self.stream(run, last)
            }
            ("POST", ["threads", _, "runs", run, "cancel"]) if self.runs.contains_key(*run) => answer(201, JSON, "{}"),
            _ => refusal(404, "The requested record was not found"),
        }
    }

    fn create_run(&mut self, thread: &str, body: &Value) -> Vec<Act> {
        if !self.threads.iter().any(|it| it == thread) {
            return refusal(404, "The requested record was not found");
        }
        let input = &body["input"];
        // Validates the input by the server's schema.
        let is_valid = match input["action"].as_str() {
            Some("send") => input["message"]["input"].is_object() && input["state"].is_object(),
            Some("resume") => {
                input["target"]["executionId"].is_string()
                    && matches!(input["decision"]["type"].as_str(), Some("confirm" | "reject"))
            }
            _ => false,
        };
        if !is_valid || body["assistant_id"] != "expert" {
            return refusal(400, "input: Invalid input");
        }
        self.inputs.push(input.clone());
        // A resumed run keeps its id, and its new events follow the old ones.
        let run = match input["target"]["executionId"].as_str() {
            Some(run) => run.to_owned(),
            None => format!("exec-{}", self.runs.len()),
        };
        let events = self.next.remove(0);
        self.runs.entry(run.clone()).or_default().extend(events);
        answer(
            201,
            JSON,
            &json!({"run_id": run, "thread_id": thread, "status": "running"}).to_string(),
        )
    }

    fn stream(&mut self, run: &str, after: usize) -> Vec<Act> {
        if self.n_refused > 0 {
            self.n_refused -= 1;
            return refusal(409, "Stream already connected");
        }
        let cut = (!self.cuts.is_empty()).then(|| self.cuts.remove(0));
        let mut script = vec![Act::Say(head(200, &format!("{SSE}transfer-encoding: chunked\r\n")))];
        let mut say = |text: &str| script.push(Act::Say(format!("{:x}\r\n{text}\r\n", text.len()).into_bytes()));
        say(": keep-alive\n\n");
        for (n, data) in self.runs[run]
            .iter()
            .enumerate()
            .take(cut.unwrap_or(usize::MAX))
            .skip(after)
        {
            let is_end = data["type"] == "complete";
            let name = if is_end { "event: complete\n" } else { "" };
            say(&format!("{name}id: {}-0\ndata: {data}\n\n", n + 1));
            if is_end {
                script.push(Act::Say(b"0\r\n\r\n".to_vec()));
                return script;
            }
        }
        match (cut, self.trouble) {
            (None, _) => script.push(Act::Hang),
            (Some(_), "") => {}
            (Some(_), trouble) => {
                say(trouble);
                script.push(Act::Say(b"0\r\n\r\n".to_vec()));
            }
        }
        script
    }
}

fn piece(data: impl Into<Value>) -> Value {
    json!({"type": "message", "data": data.into()})
}

fn event(event: &str, data: Value) -> Value {
    json!({"type": "event", "event": event, "data": data})
}

fn complete() -> Value {
    json!({"type": "complete"})
}

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

fn after(events: &[AgentEvent], said: &str) -> AgentRequest {
    let mut next = request(said);
    next.session.conversation_ref = started(events).1;
    next
}

#[tokio::test]
async fn stream_becomes_events() {
    let run = vec![
        event("on_conversation_start", json!({"id": "c"})),
        event("on_message_start", json!({"id": "m"})),
        piece(json!({"type": "reasoning", "id": "r", "text": "hm"})),
        piece(json!({"type": "text", "id": "a", "text": "Let me "})),
        piece(json!({"type": "text", "id": "a", "text": "look."})),
        event("on_tool_start", json!({"name": "weather"})),
        event("on_tool_end", json!({"name": "weather"})),
        piece(json!({"type": "component", "data": {"x": 1}})),
        event("on_made_up", json!(5)),
        piece(json!({"type": "text", "id": "b", "text": "Sunny"})),
        piece("!"),
        event(
            "on_agent_end",
            json!({"status": "success", "inputTokens": 3, "outputTokens": 5}),
        ),
        event("on_message_end", json!({"id": "m", "status": "success"})),
        complete(),
    ];
    let sim = Sim::start(vec![run.clone(), run], vec![]).await;
    let events = sim.ask(&request("hello")).await;
    assert!(matches!(events[0], AgentEvent::Started { .. }));
    let progress = |state: &str| AgentEvent::Progress {
        label: "weather".into(),
        state: state.into(),
    };
    let expected = [
        AgentEvent::ReasoningDelta("hm".into()),
        text("Let me "),
        text("look."),
        progress("started"),
        progress("finished"),
        text("\nSunny"),
        text("!"),
        completed(),
    ];
    assert_eq!(told(&events), expected);
    // The session stays in its thread, which was created once.
    sim.ask(&after(&events, "again")).await;
    assert_eq!(sim.state.lock().unwrap().threads.len(), 1);
    assert_eq!(sim.inputs()[1]["message"]["input"], json!({"input": "again"}));
    assert_eq!(sim.inputs()[1]["message"]["clientMessageId"], "msg_1");
}

#[tokio::test]
async fn broken_stream_is_joined_after_the_last_event() {
    let run = vec![piece("a"), piece("b"), piece("c"), complete()];
    let sim = Sim::start(vec![run], vec![0, 2, 2]).await;
    assert_eq!(
        told(&sim.ask(&request("hello")).await),
        [text("a"), text("b"), text("c"), completed()]
    );
    let last = |id: &str| Some(id.to_owned());
    assert_eq!(sim.joins(), [None, None, last("2-0"), last("2-0")]);
    assert_eq!(sim.inputs().len(), 1);
}

/// The server ends a stream that it can't read on with an event of its framework, whose id counts the messages of the connection.
#[tokio::test]
async fn stream_that_the_server_cannot_read_on_is_joined_again() {
    for trouble in [
        "event: error\nid: 1\ndata: Socket closed unexpectedly\n\n",
        "event: error\nid: 1\ndata: {\"message\":\"STREAM_LOCKED\"}\n\n",
        "id: 1\ndata: upstream connect error\n\n",
    ] {
        let run = vec![piece("a"), piece("b"), piece("c"), complete()];
        let sim = Sim::start(vec![run], vec![0, 2, 2]).await;
        sim.state.lock().unwrap().trouble = trouble;
        let told = told(&sim.ask(&request("hello")).await);
        assert_eq!(told, [text("a"), text("b"), text("c"), completed()], "{trouble}");
        let last = |id: &str| Some(id.to_owned());
        assert_eq!(sim.joins(), [None, None, last("2-0"), last("2-0")]);
        // It doesn't wait forever for a server that never can.
        let sim = Sim::start(vec![vec![piece("a")]], vec![1; 20]).await;
        sim.state.lock().unwrap().trouble = trouble;
        let events = sim.ask(&request("hello")).await;
        assert_eq!((failure(&events).code.as_str(), sim.joins().len()), ("incomplete", 11));
    }
}

#[tokio::test]
async fn stream_that_a_broken_connection_still_holds_is_waited_for() {
    for (n_refused, ends_well) in [(10, true), (20, false)] {
        let sim = Sim::start(vec![vec![piece("a"), complete()]], vec![]).await;
        sim.state.lock().unwrap().n_refused = n_refused;
        let events = sim.ask(&request("hello")).await;
        let is_whole = told(&events) == [text("a"), completed()];
        assert_eq!((is_whole, sim.joins().len()), (ends_well, 11), "{events:?}");
    }
}

#[tokio::test]
async fn another_process_continues_at_the_cursor() {
    let run = vec![piece("a"), piece("b"), piece("c"), complete()];
    let sim = Sim::start(vec![run], vec![]).await;
    let (adapter, asked, env) = (sim.adapter(), request("hello"), env());
    let mut run = adapter.run(&asked, Duration::ZERO, &env);
    let (mut cursor, mut run_ref) = (None, String::new());
    while let Some(event) = run.next().await {
        match event {
            AgentEvent::Started { run_ref: known, .. } => run_ref = known,
            AgentEvent::Cursor(at) => {
                cursor = Some(at);
                break;
            }
            _ => {}
        }
    }
    drop(run);
    let resumed = |cursor: Option<String>| AgentRequest {
        resume: Some(Resume {
            run_ref: run_ref.clone(),
            cursor,
        }),
        ..request("hello")
    };
    assert_eq!(
        told(&sim.ask(&resumed(cursor)).await),
        [text("b"), text("c"), completed()]
    );
    let first = AgentEvent::TextSnapshot("a".into());
    assert_eq!(
        told(&sim.ask(&resumed(None)).await),
        [first, text("b"), text("c"), completed()]
    );
    assert_eq!(sim.inputs().len(), 1);
}

#[tokio::test]
async fn confirmation_is_requested_and_given() {
    let operation = json!({"tasks": [{"name": "t", "info": {"title": "Send mail", "description": "to Ann"}, "call": {"name": "mail", "args": {"to": "ann"}}}]});
    let asking = vec![
        event("on_message_start", json!({"id": "m"})),
        piece("Wait."),
        event("on_interrupt", operation),
        complete(),
    ];
    for (answer, decision) in [("是", "confirm"), ("better not", "reject")] {
        let sim = Sim::start(
            vec![asking.clone(), vec![piece("Done."), complete()], vec![complete()]],
            vec![],
        )
        .await;
        let events = sim.ask(&request("go")).await;
        let asked = &told(&events)[1];
        let AgentEvent::InputRequired { prompt, choices, .. } = asked else {
            panic!("{asked:?}")
        };
        assert!(
            prompt.starts_with("Send mail: to Ann") && prompt.contains("\"ann\""),
            "{prompt}"
        );
        assert_eq!(choices, &["confirm", "reject"]);
        let mut answered = after(&events, answer);
        // In a group the text names the speaker; the decision is made by the words alone.
        answered.message.text = format!("Li Si: {answer}");
        answered.message.parts = vec![AgentPart {
            kind: PartKind::Image,
            url: "https://files.example/1".into(),
            mime: None,
            name: None,
            inline: None,
            unavailable: false,
        }];
        let events = sim.ask(&answered).await;
        // Text from before the question isn't repeated.
        assert_eq!(told(&events), [text("Done."), completed()]);
        let expected = json!({"action": "resume", "target": {"aiMessageId": "m", "executionId": "exec-0"}, "decision": {"type": decision, "payload": format!("{answer}\n[image: ](https://files.example/1)")}});
        assert_eq!(sim.inputs()[1], expected);
        sim.ask(&after(&events, "next")).await;
        assert_eq!(sim.inputs()[2]["action"], "send");
    }
}

#[tokio::test]
async fn lost_thread_is_replaced_and_reported() {
    let run = vec![piece("a"), complete()];
    let sim = Sim::start(vec![run.clone(), run], vec![]).await;
    let events = sim.ask(&request("one")).await;
    sim.state.lock().unwrap().threads.clear();
    let events = sim.ask(&after(&events, "two")).await;
    assert_eq!(told(&events), [AgentEvent::ConversationLost, text("a"), completed()]);
}

#[tokio::test]
async fn failures_are_reported() {
    for failing in [
        event("on_error", json!({"error": "no quota for hello"})),
        event("on_error", json!("no quota for hello")),
        event(
            "on_message_end",
            json!({"status": "error", "error": "no quota for hello"}),
        ),
    ] {
        let sim = Sim::start(vec![vec![piece("a"), failing, complete()]], vec![]).await;
        let events = sim.ask(&request("hello")).await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).message.as_str()),
            ("agent_error", "the run failed: no quota for ***")
        );
    }
}

#[tokio::test]
async fn cancel_and_probe() {
    let sim = Sim::start(vec![vec![piece("a"), complete()]], vec![]).await;
    let asked = request("hello");
    let events = sim.ask(&asked).await;
    let cancel = CancelRequest {
        run: asked.run.clone(),
        run_ref: Some(started(&events).0),
        conversation_ref: None,
        organization: asked.organization.clone(),
        user: asked.user.id.clone(),
        is_stop: true,
    };
    sim.adapter().cancel(&cancel, &env()).await.unwrap();
    sim.state.lock().unwrap().runs.clear();
    sim.adapter().cancel(&cancel, &env()).await.unwrap();
    let cancels = sim
        .server
        .calls()
        .iter()
        .filter(|call| call.line().1.ends_with("/cancel"))
        .count();
    assert_eq!(cancels, 2);
    sim.adapter().probe(&env()).await.unwrap();
    let config = json!({"baseUrl": sim.server.url, "apiKey": "wrong", "assistantId": "expert"});
    assert_eq!(
        adapter("xpert", config).probe(&env()).await.unwrap_err().code,
        "http_401"
    );
}
