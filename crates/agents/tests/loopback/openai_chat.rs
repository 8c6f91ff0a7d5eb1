//! Chat Completions in the variants of real servers.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::agent::{AgentEvent, AgentPart, Turn};
use tieline_core::event::PartKind;

use crate::ask::{adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, JSON, SSE, Server, answer, head, sse};

fn chunk(delta: &Value, finish_reason: Option<&str>) -> String {
    let chunk = json!({"id": "c1", "object": "chat.completion.chunk",
        "choices": [{"index": 0, "delta": delta, "finish_reason": finish_reason}]});
    format!("data: {chunk}\n\n")
}

fn stream() -> String {
    [
        chunk(&json!({"role": "assistant", "content": ""}), None),
        chunk(&json!({"reasoning_content": "嗯"}), None),
        chunk(&json!({"content": "你"}), None),
        ": keep-alive\r\n\r\nevent: ping\n\n".to_owned(),
        chunk(&json!({"content": "好😀"}), None).replace("data: ", "data:"),
        chunk(&json!({}), Some("stop")),
        "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":2}}\r\n\r\n".to_owned(),
        "data: [DONE]\n\n".to_owned(),
    ]
    .concat()
}

fn heard() -> Vec<AgentEvent> {
    vec![
        AgentEvent::ReasoningDelta("嗯".into()),
        text("你"),
        text("好😀"),
        completed(),
    ]
}

fn all(text: &str) -> AgentEvent {
    AgentEvent::TextSnapshot(text.into())
}

async fn play(script: Vec<Act>) -> (Server, Vec<AgentEvent>) {
    let server = Server::start(vec![script]).await;
    let config = json!({"baseUrl": format!("{}/v1", server.url), "model": "m", "apiKey": "sk-secret"});
    let events = ask(&adapter("openai_chat", config), &request("hello"), &env()).await;
    (server, events)
}

#[tokio::test]
async fn stream_becomes_events_for_any_chunking() {
    let body = stream().into_bytes();
    for length in [1, 2, 3, 7, 64, body.len()] {
        let mut script = vec![Act::Say(head(200, SSE))];
        script.extend(body.chunks(length).map(|piece| Act::Say(piece.to_vec())));
        assert_eq!(play(script).await.1, heard(), "pieces of {length} bytes");
    }
    // The same stream in transfer chunks of one byte.
    let mut script = vec![Act::Say(head(200, "transfer-encoding: chunked\r\n"))];
    let chunked: Vec<u8> = body
        .iter()
        .flat_map(|byte| [b"1\r\n", &[*byte][..], b"\r\n"].concat())
        .collect();
    script.push(Act::Say([&chunked[..], b"0\r\n\r\n"].concat()));
    assert_eq!(play(script).await.1, heard());
}

#[tokio::test]
async fn content_type_does_not_matter() {
    for headers in ["", "content-type: text/plain\r\n", JSON] {
        assert_eq!(play(answer(200, headers, &stream())).await.1, heard());
    }
    let whole = json!({"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
        "message": {"role": "assistant", "content": "hi", "reasoning_content": "hm"}}]});
    for headers in ["", SSE, JSON] {
        let (_, events) = play(answer(200, headers, &format!("\u{feff}\n {whole}"))).await;
        assert_eq!(
            events,
            [AgentEvent::ReasoningDelta("hm".into()), all("hi"), completed()]
        );
    }
}

#[tokio::test]
async fn finish_reason_or_done_marks_the_end() {
    let said = chunk(&json!({"content": "hi"}), None);
    for end in [
        chunk(&json!({}), Some("stop")),
        "data: [DONE]\n\n".to_owned(),
        "data: [DONE]\n".to_owned(),
    ] {
        assert_eq!(
            play(sse(&format!("{said}{end}"))).await.1,
            [text("hi"), completed()],
            "{end}"
        );
    }
}

#[tokio::test]
async fn finish_reason_in_every_chunk_does_not_end_the_answer() {
    let words = [
        chunk(&json!({"role": "assistant", "content": ""}), Some("stop")),
        chunk(&json!({"reasoning_content": "hm"}), Some("stop")),
        chunk(&json!({"content": "hi"}), Some("stop")),
        chunk(&json!({"content": " there"}), Some("stop")),
    ]
    .concat();
    let heard = [
        AgentEvent::ReasoningDelta("hm".into()),
        text("hi"),
        text(" there"),
        completed(),
    ];
    for end in ["data: [DONE]\n\n", ""] {
        assert_eq!(play(sse(&format!("{words}{end}"))).await.1, heard, "{end}");
    }
    let cut = [words.clone(), chunk(&json!({}), Some("length"))].concat();
    assert_eq!(failure(&play(sse(&cut)).await.1).code, "length");
}

#[tokio::test]
async fn text_may_continue_after_a_finish_reason_until_silence() {
    let said = |word: &str| Act::Say(chunk(&json!({ "content": word }), Some("stop")).into_bytes());
    // Longer than `TRAILER_PATIENCE`.
    let pause = Act::Pause(Duration::from_millis(1500));
    let (_, events) = play(vec![Act::Say(head(200, SSE)), said("a"), pause, said("b"), Act::Hang]).await;
    assert_eq!(events, [text("a"), text("b"), completed()]);
}

#[tokio::test]
async fn errors_after_the_complete_answer_are_ignored() {
    let whole = [
        chunk(&json!({"content": "h"}), None),
        chunk(&json!({"content": "i"}), Some("stop")),
    ]
    .concat();
    for rest in ["data: {\"error\": {\"message\": \"late\"}}\n\n", "data: {\n\n"] {
        let (_, events) = play(sse(&format!("{whole}{rest}"))).await;
        assert_eq!(events, [text("h"), text("i"), completed()], "{rest}");
    }
    // A server that sends text after a finish reason had not finished then.
    let went_on = [whole.clone(), chunk(&json!({"content": "!"}), Some("stop"))].concat();
    let (_, events) = play(sse(&format!("{went_on}data: {{\n\n"))).await;
    assert_eq!(failure(&events).code, "bad_answer");
}

#[tokio::test]
async fn empty_chunks_between_texts_do_not_end_the_answer() {
    let said = |delta: Value| chunk(&delta, Some("stop"));
    let words = [
        said(json!({"reasoning_content": "hm"})),
        said(json!({"content": ""})),
        said(json!({"content": "hi"})),
        said(json!({"content": ""})),
        said(json!({"content": " there"})),
    ]
    .concat();
    let (_, events) = play(sse(&words)).await;
    let heard = [
        AgentEvent::ReasoningDelta("hm".into()),
        text("hi"),
        text(" there"),
        completed(),
    ];
    assert_eq!(events, heard);
}

#[tokio::test]
async fn closing_message_does_not_repeat_the_text() {
    let said = [
        chunk(&json!({"content": "h"}), None),
        chunk(&json!({"content": "i"}), None),
    ]
    .concat();
    let closing = json!({"object": "chat.completion", "choices": [{"index": 0, "finish_reason": "stop",
        "delta": {}, "message": {"role": "assistant", "content": "hi"}}]});
    let (_, events) = play(sse(&format!("{said}data: {closing}\n\ndata: [DONE]\n\n"))).await;
    assert_eq!(events, [text("h"), text("i"), all("hi"), completed()]);
}

#[tokio::test]
async fn end_without_a_sign_is_incomplete() {
    let (_, events) = play(sse("")).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("incomplete", true)
    );
    let (_, events) = play(sse(&chunk(&json!({"content": "hi"}), None))).await;
    assert_eq!(events[0], text("hi"));
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("incomplete", false)
    );
}

#[tokio::test]
async fn error_in_the_stream_ends_it() {
    let said = chunk(&json!({"content": "hi"}), None);
    let error = r#"{"error":{"message":"hello is not allowed","type":"server_error"}}"#;
    let (_, events) = play(sse(&format!("{said}data:{error}\n\n{said}data: [DONE]\n\n"))).await;
    assert_eq!(events.len(), 2);
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("server_error", false)
    );
    assert!(!failure(&events).message.contains("hello"));
    let (_, events) = play(answer(200, JSON, error)).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("server_error", true)
    );
}

#[tokio::test]
async fn garbage_is_a_bad_answer_and_is_not_quoted() {
    for body in [
        "data: hello there\n\n",
        "data: {\"choices\":[{\n\n",
        "<html>hello</html>",
        "{\"hello\":1}",
        "{\"hello\":",
        "[1]",
    ] {
        let (_, events) = play(answer(200, SSE, body)).await;
        assert_eq!(failure(&events).code, "bad_answer", "{body}");
        assert!(!failure(&events).message.contains("hello"), "{}", failure(&events));
    }
    let (_, events) = play(sse("hello there\n\nwhat is this?\n\n")).await;
    assert_eq!(failure(&events).code, "incomplete");
}

#[tokio::test]
async fn text_is_kept_when_the_server_ends_early() {
    for reason in ["length", "content_filter"] {
        let (_, events) = play(sse(&chunk(&json!({"content": "hi"}), Some(reason)))).await;
        assert_eq!((&events[0], failure(&events).code.as_str()), (&text("hi"), reason));
        assert!(!failure(&events).retryable);
    }
}

#[tokio::test]
async fn refusals_are_shown_and_tool_calls_fail_the_run() {
    let done = "data: [DONE]\n\n";
    let said = [
        chunk(&json!({"content": null, "refusal": "I can't."}), None),
        chunk(&json!({}), Some("stop")),
    ]
    .concat();
    let (_, events) = play(sse(&format!("{said}{done}"))).await;
    assert_eq!(events, [text("I can't."), completed()]);
    let call = json!({"content": null, "tool_calls": [{"index": 0, "function": {"name": "f", "arguments": "{}"}}]});
    let (_, events) = play(sse(&format!(
        "{}{}{done}",
        chunk(&call, None),
        chunk(&json!({}), Some("tool_calls"))
    )))
    .await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("function_call", false)
    );
}

#[tokio::test]
async fn request_has_the_documented_shape() {
    let server = Server::start(vec![sse(&stream())]).await;
    let config = json!({"baseUrl": format!("{}/v1/?api-version=2", server.url), "model": "m", "apiKey": "sk-secret",
        "systemPrompt": "Be brief.", "historyMessages": 2, "headers": {"x-team": "red"}});
    let mut request = request("what is it?");
    let turn = |user: &str, assistant: &str| Turn {
        user: user.into(),
        assistant: assistant.into(),
    };
    request.transcript = vec![turn("old", "gone"), turn("q", "a")];
    request.message.quoted = Some(("line 1\nline 2".into(), vec![]));
    let part = |kind, name: &str, inline| AgentPart {
        kind,
        url: format!("https://tieline.example/api/media/{name}"),
        mime: None,
        name: Some(name.into()),
        unavailable: name == "e.png",
        inline,
    };
    request.message.parts = vec![
        part(PartKind::Image, "a.png", Some(b"\x89PNG\r\n".as_slice().into())),
        part(PartKind::Image, "b.jpg", None),
        part(PartKind::File, "c.pdf", None),
        part(PartKind::Image, "e.png", None),
    ];
    ask(&adapter("openai_chat", config), &request, &env()).await;

    let call = &server.calls()[0];
    assert!(
        call.head
            .starts_with("POST /v1/chat/completions?api-version=2 HTTP/1.1"),
        "{}",
        call.head
    );
    assert_eq!(call.header("authorization"), Some("Bearer sk-secret"));
    assert_eq!(call.header("content-type"), Some("application/json"));
    assert_eq!(call.header("x-team"), Some("red"));
    let user = call.json()["user"].as_str().unwrap().to_owned();
    assert_eq!(user.len(), 43);
    assert_eq!(
        call.json(),
        json!({
            "model": "m", "stream": true, "stream_options": {"include_usage": true}, "user": user,
            "messages": [
                {"role": "system", "content": "Be brief."},
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": "a"},
                {"role": "user", "content": [
                    {"type": "text", "text": "> line 1\n> line 2\n\nwhat is it?\n[file: c.pdf](https://tieline.example/api/media/c.pdf)\n[image: e.png] (unavailable)"},
                    {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0K"}},
                    {"type": "image_url", "image_url": {"url": "https://tieline.example/api/media/b.jpg"}},
                ]},
            ],
        })
    );
}

#[tokio::test]
async fn plain_text_is_sent_as_text_and_no_key_is_no_header() {
    let server = Server::start(vec![sse(&stream())]).await;
    let config = json!({"baseUrl": server.url, "model": "m", "headers": {"Authorization": "Basic eA=="}});
    ask(&adapter("openai_chat", config), &request("hello"), &env()).await;
    let call = &server.calls()[0];
    assert!(call.head.starts_with("POST /chat/completions HTTP/1.1"));
    assert_eq!(call.header("authorization"), Some("Basic eA=="));
    assert_eq!(call.json()["messages"], json!([{"role": "user", "content": "hello"}]));
}

async fn probe(script: Vec<Act>) -> Result<(), String> {
    let server = Server::start(vec![script]).await;
    let config = json!({"baseUrl": server.url, "model": "m", "apiKey": "sk-secret"});
    let probed = adapter("openai_chat", config).probe(&env()).await;
    assert_eq!(server.n_calls(), 1);
    probed.map_err(|failure| {
        assert_eq!(failure.to_string(), format!("agent failed: {}", failure.code));
        failure.message
    })
}

#[tokio::test]
async fn probe_succeeds_at_the_first_word() {
    let first = chunk(&json!({"content": "po"}), None);
    assert_eq!(
        probe(vec![Act::Say(head(200, SSE)), Act::Say(first.into_bytes()), Act::Hang]).await,
        Ok(())
    );
    assert_eq!(probe(sse("data: [DONE]\n\n")).await, Ok(()));
    let error_body = r#"{"error":{"message":"Incorrect API key provided: sk-secret","code":"invalid_api_key"}}"#;
    let told = probe(answer(401, JSON, error_body)).await.unwrap_err();
    assert_eq!(
        told,
        "HTTP 401, code invalid_api_key, message Incorrect API key provided: ***"
    );
    assert!(probe(answer(503, JSON, "{}")).await.is_err());
    assert!(probe(answer(200, "", "<html>")).await.is_err());
    assert!(probe(sse("")).await.is_err());
}

#[tokio::test]
async fn probe_asks_for_one_token_and_without_a_limit_where_the_model_refuses_it() {
    let refused = r#"{"error":{"message":"Unsupported parameter: 'max_tokens'","code":"unsupported_parameter"}}"#;
    let server = Server::start(vec![answer(400, JSON, refused), sse("data: [DONE]\n\n")]).await;
    let config = json!({"baseUrl": server.url, "model": "m"});
    assert!(adapter("openai_chat", config).probe(&env()).await.is_ok());
    let calls = server.calls();
    assert_eq!((calls.len(), &calls[0].json()["max_tokens"]), (2, &json!(1)));
    assert!(calls[1].json().get("max_tokens").is_none());
}

#[tokio::test]
async fn idempotency_key_is_stable_within_a_run_and_differs_between_runs() {
    let server = Server::start(vec![answer(503, JSON, "{}"), sse(&stream())]).await;
    let chat = adapter("openai_chat", json!({"baseUrl": server.url, "model": "m"}));
    let mut request = request("hello");
    ask(&chat, &request, &env()).await;
    request.run = tieline_core::ids::RunId::new("run_2");
    ask(&chat, &request, &env()).await;
    let calls = server.calls();
    let keys: Vec<_> = calls
        .iter()
        .map(|call| call.header("idempotency-key").unwrap())
        .collect();
    assert_eq!(keys.len(), 3);
    assert_eq!(keys[0], keys[1]);
    assert_ne!(keys[0], keys[2]);
}
