//! Agents that hang, never end or send too much; and callers that drop the run.

use std::time::Duration;

use futures_util::StreamExt as _;
use serde_json::{Value, json};
use tieline_agents::answer_memory::AnswerMemory;
use tieline_agents::env::Env;
use tieline_agents::failure::is_timeout;
use tieline_agents::protocol::Adapter;
use tieline_core::agent::{AgentEvent, MAX_ANSWER_BYTES};

use crate::ask::{adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, JSON, SSE, Server, head};

const MIB: usize = 1024 * 1024;

fn chat(url: &str, more: Value) -> Adapter {
    let mut config = json!({"baseUrl": url, "model": "m"});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    adapter("openai_chat", config)
}

fn said(content: &str) -> Vec<u8> {
    format!("data: {}\n\n", json!({"choices": [{"delta": {"content": content}}]})).into_bytes()
}

async fn play(script: Vec<Act>, config: Value) -> (Server, Vec<AgentEvent>) {
    let server = Server::start(vec![script]).await;
    let events = ask(&chat(&server.url, config), &request("hello"), &env()).await;
    (server, events)
}

#[tokio::test]
async fn silence_before_the_answer_ends_the_run() {
    let (server, events) = play(vec![Act::Hang], json!({"idleTimeoutSeconds": 1})).await;
    assert_eq!(failure(&events).code, "idle_timeout");
    assert!(is_timeout(failure(&events)) && !failure(&events).retryable);
    server.hung_up().await;
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn silence_in_the_answer_ends_the_run_and_keeps_the_text() {
    let script = vec![Act::Say(head(200, SSE)), Act::Say(said("hi")), Act::Hang];
    let (server, events) = play(script, json!({"idleTimeoutSeconds": 1})).await;
    assert_eq!(
        (&events[0], failure(&events).code.as_str()),
        (&text("hi"), "idle_timeout")
    );
    server.hung_up().await;
}

#[tokio::test]
async fn comments_reset_the_idle_timeout() {
    let mut script = vec![Act::Say(head(200, SSE))];
    for _ in 0..4 {
        script.extend([
            Act::Pause(Duration::from_millis(400)),
            Act::Say(b": keep-alive\n\n".to_vec()),
        ]);
    }
    script.push(Act::Say(b"data: [DONE]\n\n".to_vec()));
    let (_, events) = play(script, json!({"idleTimeoutSeconds": 1})).await;
    assert_eq!(events, [completed()]);
}

#[tokio::test]
async fn run_ends_at_its_time_limit_while_the_agent_is_busy() {
    let mut script = vec![Act::Say(head(200, SSE))];
    for _ in 0..100 {
        script.extend([Act::Say(said("x")), Act::Pause(Duration::from_millis(100))]);
    }
    let (_, events) = play(script.clone(), json!({"maxRunSeconds": 1})).await;
    assert_eq!(failure(&events).code, "max_run");
    assert!(is_timeout(failure(&events)) && events.len() > 2);

    // Time spent by earlier processes counts.
    let server = Server::start(vec![script]).await;
    let (chat, request, env) = (chat(&server.url, json!({"maxRunSeconds": 60})), request("hello"), env());
    let events: Vec<_> = chat.run(&request, Duration::from_secs(60), &env).collect().await;
    assert_eq!(failure(&events).code, "max_run");
}

#[tokio::test]
async fn dropping_the_run_closes_the_connection() {
    let server = Server::start(vec![vec![Act::Say(head(200, SSE)), Act::Say(said("hi")), Act::Hang]]).await;
    let (chat, request, env) = (chat(&server.url, json!({})), request("hello"), env());
    let mut run = chat.run(&request, Duration::ZERO, &env);
    assert_eq!(run.next().await, Some(text("hi")));
    drop(run);
    server.hung_up().await;
}

#[tokio::test]
async fn run_ends_though_the_agent_never_closes_the_stream() {
    let finished = br#"data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}"#;
    let script = vec![
        Act::Say(head(200, SSE)),
        Act::Say([&finished[..], b"\n\n"].concat()),
        Act::Hang,
    ];
    let (server, events) = play(script, json!({})).await;
    assert_eq!(events, [text("hi"), completed()]);
    server.hung_up().await;
}

#[track_caller]
fn assert_too_long(server: &Server, events: &[AgentEvent], most_bytes: usize) {
    assert_eq!(
        (failure(events).code.as_str(), failure(events).retryable),
        ("too_long", false)
    );
    let flooded = server.flooded_bytes();
    assert!(flooded < most_bytes, "{flooded} bytes were let in");
}

/// Upper bound of what sockets and readers buffer.
const SLACK: usize = 12 * MIB;

#[tokio::test]
async fn endless_event_is_cut_off() {
    let script = vec![
        Act::Say(head(200, SSE)),
        Act::Say(b"data: ".to_vec()),
        Act::Flood(vec![b'x'; 65536], 1600),
    ];
    let (server, events) = play(script, json!({})).await;
    server.hung_up().await;
    assert_too_long(&server, &events, MIB + SLACK);
}

#[tokio::test]
async fn endless_text_is_cut_off() {
    let script = vec![Act::Say(head(200, SSE)), Act::Flood(said(&"x".repeat(65536)), 1600)];
    let (server, events) = play(script, json!({})).await;
    server.hung_up().await;
    assert_too_long(&server, &events, MAX_ANSWER_BYTES + SLACK);
    let text_bytes: usize = events
        .iter()
        .map(|event| {
            if let AgentEvent::TextDelta(t) = event {
                t.len()
            } else {
                0
            }
        })
        .sum();
    assert_eq!(text_bytes, MAX_ANSWER_BYTES);
}

#[tokio::test]
async fn endless_comments_are_cut_off() {
    let chatter = [b": ".to_vec(), vec![b'x'; MIB - 3], b"\n".to_vec()].concat();
    let (server, events) = play(vec![Act::Say(head(200, SSE)), Act::Flood(chatter, 400)], json!({})).await;
    server.hung_up().await;
    assert_too_long(&server, &events, 16 * MAX_ANSWER_BYTES + SLACK);
}

#[tokio::test]
async fn endless_json_is_cut_off() {
    let script = vec![
        Act::Say(head(200, JSON)),
        Act::Say(b"{\"x\":\"".to_vec()),
        Act::Flood(vec![b'x'; 65536], 1600),
    ];
    let (server, events) = play(script, json!({})).await;
    server.hung_up().await;
    assert_too_long(&server, &events, MAX_ANSWER_BYTES + SLACK);
}

#[tokio::test]
async fn answers_are_read_no_further_than_there_is_memory() {
    let endless = |media_type, beginning: &[u8]| {
        vec![
            Act::Say(head(200, media_type)),
            Act::Say(beginning.to_vec()),
            Act::Flood(vec![b'x'; 65536], 1600),
        ]
    };
    for script in [endless(JSON, b"{\"x\":\""), endless(SSE, b"data: ")] {
        let server = Server::start(vec![script]).await;
        let env = Env {
            memory: AnswerMemory::new(|_| Box::pin(std::future::ready(false))),
            ..env()
        };
        let events = ask(&chat(&server.url, json!({})), &request("hello"), &env).await;
        server.hung_up().await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).retryable),
            ("no_memory", false)
        );
        assert!(server.flooded_bytes() < SLACK);
    }
}

#[tokio::test]
async fn slow_consumer_applies_backpressure_to_the_agent() {
    let script = vec![Act::Say(head(200, SSE)), Act::Flood(said(&"x".repeat(65536)), 1600)];
    let server = Server::start(vec![script]).await;
    let (chat, request, env) = (chat(&server.url, json!({})), request("hello"), env());
    let mut run = chat.run(&request, Duration::ZERO, &env);
    assert!(run.next().await.is_some());
    // Nothing reads: backpressure must stop the flood before all of it has passed.
    let mut before = usize::MAX;
    while server.flooded_bytes() != before {
        before = server.flooded_bytes();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(before < SLACK, "{before} bytes were let in");
}
