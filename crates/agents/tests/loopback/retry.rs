//! Which calls are retried, and which are not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use serde_json::json;
use tieline_agents::protocol::Adapter;
use tieline_core::agent::AgentEvent;
use tieline_core::outbound_url::PrivateEndpoints;

use crate::ask::{adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, JSON, Server, answer, head, nowhere, sse};

const GOOD: &str =
    "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";

fn chat(url: &str) -> Adapter {
    adapter(
        "openai_chat",
        json!({"baseUrl": url, "model": "m", "apiKey": "sk-secret"}),
    )
}

async fn play(scripts: Vec<Vec<Act>>) -> (Server, Vec<AgentEvent>) {
    let server = Server::start(scripts).await;
    let events = ask(&chat(&server.url), &request("hello"), &env()).await;
    (server, events)
}

#[tokio::test]
async fn refused_connection_is_retried_twice() {
    let waits = Arc::new(AtomicU32::new(0));
    let counted = waits.clone();
    let env = tieline_agents::env::Env {
        random: Arc::new(move || u64::from(counted.fetch_add(1, Ordering::SeqCst))),
        ..env()
    };
    let events = ask(&chat(&nowhere().await), &request("hello"), &env).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("connect", true)
    );
    assert_eq!(waits.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn saved_private_address_is_not_called_unless_allowed() {
    let server = Server::start(vec![sse(GOOD)]).await;
    let env = tieline_agents::env::Env {
        allow_private: PrivateEndpoints::Refused,
        ..env()
    };
    for url in [server.url.as_str(), "https://10.0.0.5"] {
        let events = ask(&chat(url), &request("hello"), &env).await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).retryable),
            ("connect", false)
        );
        assert_eq!(chat(url).probe(&env).await.unwrap_err().code, "connect");
    }
    assert_eq!(server.n_calls(), 0);
}

#[tokio::test]
async fn reset_before_the_first_byte_is_retried() {
    for rude in [vec![Act::Reset], vec![]] {
        let (server, events) = play(vec![rude.clone(), rude, sse(GOOD)]).await;
        assert_eq!(events, [text("hi"), completed()]);
        assert_eq!(server.n_calls(), 3);
    }
}

#[tokio::test]
async fn call_fails_after_the_third_reset() {
    let (server, events) = play(vec![vec![Act::Reset]]).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("reset", true)
    );
    assert_eq!(server.n_calls(), 3);
}

#[tokio::test]
async fn transient_statuses_are_retried() {
    for status in [429, 500, 502, 503, 504] {
        let busy = answer(status, JSON, "{}");
        let (server, events) = play(vec![busy.clone(), busy.clone(), sse(GOOD)]).await;
        assert_eq!(events, [text("hi"), completed()], "{status}");
        let (always, events) = play(vec![busy]).await;
        assert_eq!(failure(&events).code, format!("http_{status}"));
        assert!(failure(&events).retryable);
        assert_eq!((server.n_calls(), always.n_calls()), (3, 3));
    }
}

#[tokio::test]
async fn other_statuses_are_final() {
    for status in [302, 400, 401, 403, 404, 409, 413, 422, 501] {
        let body = r#"{"error":{"code":"sk-secret","type":"bad_thing","message":"you said: hello"}}"#;
        let (server, events) = play(vec![answer(status, "location: http://127.0.0.1:9/\r\n", body)]).await;
        let failure = failure(&events);
        assert_eq!(
            (failure.code.clone(), failure.retryable),
            (format!("http_{status}"), false)
        );
        // The agent's own message, without the key and without the person's text.
        let expected = format!("HTTP {status}, code ***, type bad_thing, message you said: ***");
        assert_eq!(failure.message, expected);
        assert_eq!(server.n_calls(), 1);
    }
}

#[tokio::test]
async fn retry_after_is_honoured() {
    let (server, events) = play(vec![answer(429, "retry-after: 1\r\n", ""), sse(GOOD)]).await;
    assert_eq!(events.last(), Some(&completed()));
    let calls = server.calls();
    let wait = calls[1].at - calls[0].at;
    assert!(
        (Duration::from_secs(1)..Duration::from_secs(5)).contains(&wait),
        "{wait:?}"
    );
}

#[tokio::test]
async fn retry_after_of_hours_ends_the_attempts() {
    let (server, events) = play(vec![answer(429, "retry-after: 3600\r\n", ""), sse(GOOD)]).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("http_429", true)
    );
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn nothing_is_retried_after_the_first_byte() {
    let said = "data: {\"choices\":[{\"delta\":{\"content\":\"hi\"}}]}\n\n";
    for (begun, shown) in [("", vec![]), (": hi\n\n", vec![]), (said, vec![text("hi")])] {
        // The last chunk is never sent.
        let chunk = if begun.is_empty() {
            String::new()
        } else {
            format!("{:x}\r\n{begun}\r\n", begun.len())
        };
        let script = vec![
            Act::Say(head(200, "transfer-encoding: chunked\r\n")),
            Act::Say(chunk.into_bytes()),
        ];
        let (server, events) = play(vec![script, sse(GOOD)]).await;
        assert_eq!(events[..events.len() - 1], shown);
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).retryable),
            ("broken", shown.is_empty())
        );
        assert_eq!(server.n_calls(), 1);
    }
}

#[tokio::test]
async fn invalid_http_is_not_retried() {
    let (server, events) = play(vec![vec![Act::Say(b"\x00\x01 what? \r\n\r\n".to_vec())]]).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("bad_answer", false)
    );
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn endless_error_body_is_cut_off() {
    let complaint = vec![Act::Say(head(400, JSON)), Act::Flood(vec![b'x'; 65536], 1600)];
    let (server, events) = play(vec![complaint]).await;
    assert_eq!(failure(&events).code, "http_400");
    server.hung_up().await;
    assert!(server.flooded_bytes() < 16 << 20, "{}", server.flooded_bytes());
}
