//! Our own contract, as agents see it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::Sha256;
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart};
use tieline_core::event::{ChatKind, PartKind};
use tieline_core::ids::{OrganizationId, RunId, UserId};
use tieline_core::reply::ReplyFile;

use crate::ask::{NOON, adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, Call, JSON, Server, answer, sse};

fn hook(url: &str) -> Adapter {
    adapter(
        "webhook",
        json!({"url": format!("{url}/hook"), "secret": "s3cret", "idleTimeoutSeconds": 1}),
    )
}

async fn play(scripts: Vec<Vec<Act>>) -> (Server, Vec<AgentEvent>) {
    let server = Server::start(scripts).await;
    let events = ask(&hook(&server.url), &request("hello"), &env()).await;
    (server, events)
}

/// A signature, computed as the specification says.
fn signature(key: &[u8], call: &Call) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    let id = call.header("webhook-id").unwrap();
    mac.update(format!("{id}.{}.", call.header("webhook-timestamp").unwrap()).as_bytes());
    mac.update(&call.body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

fn said(events: &[Value]) -> Vec<Act> {
    sse(&events
        .iter()
        .map(|event| format!("data: {event}\n\n"))
        .collect::<String>())
}

#[tokio::test]
async fn json_answer_is_the_whole_text() {
    let (server, events) = play(vec![answer(200, JSON, r#"{"text":"hi","more":1}"#)]).await;
    assert_eq!(
        events,
        [AgentEvent::Completed {
            final_text: Some("hi".into())
        }]
    );
    let call = &server.calls()[0];
    assert!(call.head.starts_with("POST /hook HTTP/1.1"));
    assert_eq!(call.header("webhook-id"), Some("msg_1"));
    assert_eq!(call.header("webhook-timestamp"), Some(NOON.to_string().as_str()));
    assert_eq!(
        call.header("webhook-signature"),
        Some(signature(b"s3cret", call).as_str())
    );
    for body in [r#"{"answer":"hi"}"#, r#"{"text":5}"#, "[]", "{"] {
        let (_, events) = play(vec![answer(200, JSON, body)]).await;
        assert_eq!(failure(&events).code, "bad_answer", "{body}");
    }
}

#[tokio::test]
async fn redriven_message_is_a_new_question() {
    let server = Server::start(vec![answer(500, JSON, ""), answer(200, JSON, r#"{"text":"hi"}"#)]).await;
    let mut redriven = request("hello");
    redriven.message.redrives = 2;
    ask(&hook(&server.url), &redriven, &env()).await;
    let ids: Vec<_> = server
        .calls()
        .iter()
        .map(|call| call.header("webhook-id").unwrap().to_owned())
        .collect();
    assert_eq!(ids, ["msg_1-2", "msg_1-2"]);
    assert_eq!(server.calls()[1].json()["message"]["id"], "msg_1");
}

#[tokio::test]
async fn status_202_defers_the_answer() {
    let (server, events) = play(vec![answer(202, "content-length: 0\r\n", "")]).await;
    assert_eq!(events, [AgentEvent::Deferred]);
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn streamed_events_are_passed_on() {
    let (_, events) = play(vec![said(&[
        json!({"type": "run.started", "runRef": "r9"}),
        json!({"type": "reasoning.delta", "text": "hm"}),
        json!({"type": "progress", "label": "search", "state": "started"}),
        json!({"type": "text.delta", "text": "hi"}),
        json!({"type": "something.new", "text": "?"}),
        json!({"type": "text.snapshot", "text": "ho"}),
        json!({"type": "file", "url": "https://x.example/a", "name": "a", "mime": "text/plain"}),
        json!({"type": "completed", "finalText": "ho!"}),
        json!({"type": "text.delta", "text": "late"}),
    ])])
    .await;
    let file = ReplyFile {
        url: "https://x.example/a".into(),
        name: "a".into(),
        mime: "text/plain".into(),
    };
    assert_eq!(
        events,
        [
            AgentEvent::Started {
                run_ref: "r9".into(),
                conversation_ref: None
            },
            AgentEvent::ReasoningDelta("hm".into()),
            AgentEvent::Progress {
                label: "search".into(),
                state: "started".into()
            },
            text("hi"),
            AgentEvent::TextSnapshot("ho".into()),
            AgentEvent::File(file),
            AgentEvent::Completed {
                final_text: Some("ho!".into())
            },
        ]
    );
}

#[tokio::test]
async fn stream_ends_with_the_agent_s_last_event() {
    let (_, events) = play(vec![said(&[json!({"type": "cancelled"})])]).await;
    assert_eq!(events, [AgentEvent::Cancelled]);

    let failed = json!({"type": "failed", "code": "quota", "message": "s3cret quota", "retryable": true});
    let (_, events) = play(vec![said(std::slice::from_ref(&failed))]).await;
    let told = failure(&events);
    assert_eq!(
        (told.code.as_str(), told.message.as_str(), told.retryable),
        ("quota", "*** quota", true)
    );
    let (_, events) = play(vec![said(&[json!({"type": "text.delta", "text": "a"}), failed])]).await;
    assert!(!failure(&events).retryable);

    let asked = json!({"type": "input.required", "prompt": "sure?", "choices": ["yes"]});
    let (_, events) = play(vec![said(std::slice::from_ref(&asked))]).await;
    assert_eq!(events.last(), Some(&completed()));
    for more in [
        json!({"type": "cursor", "value": "7"}),
        json!({"type": "progress", "label": "ask", "state": "finished"}),
    ] {
        let (_, events) = play(vec![said(&[asked.clone(), more])]).await;
        assert_eq!(events.last(), Some(&completed()), "{events:?}");
    }
    let (_, events) = play(vec![said(&[asked, json!({"type": "text.delta", "text": "a"})])]).await;
    assert_eq!(failure(&events).code, "incomplete");

    let (_, events) = play(vec![said(&[json!({"type": "text.delta", "text": "a"})])]).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("incomplete", false)
    );
    let (_, events) = play(vec![said(&[json!({"type": "text.delta"})])]).await;
    assert_eq!(failure(&events).code, "bad_answer");
}

#[tokio::test]
async fn every_attempt_has_the_same_id_and_its_own_timestamp() {
    let (server, events) = play(vec![
        answer(503, JSON, "{}"),
        vec![Act::Hang],
        answer(200, JSON, r#"{"text":"hi"}"#),
    ])
    .await;
    assert_eq!(events.len(), 1);
    let calls = server.calls();
    assert_eq!(calls.len(), 3);
    for call in &calls {
        assert_eq!(call.header("webhook-id"), Some("msg_1"));
        assert_eq!(call.header("idempotency-key"), Some("msg_1"));
        assert_eq!(
            call.header("webhook-signature"),
            Some(signature(b"s3cret", call).as_str())
        );
        assert_eq!(call.body, calls[0].body);
    }
    let times: std::collections::BTreeSet<_> = calls.iter().map(|call| call.header("webhook-timestamp")).collect();
    assert_eq!(times.len(), 3);
}

#[tokio::test]
async fn every_5xx_is_retried_with_the_same_id() {
    for status in [501, 520, 529] {
        let (server, events) = play(vec![answer(status, JSON, "{}"), answer(200, JSON, r#"{"text":"hi"}"#)]).await;
        let expected = AgentEvent::Completed {
            final_text: Some("hi".into()),
        };
        assert_eq!(events, [expected], "{status}");
        let calls = server.calls();
        assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    }
}

#[tokio::test]
async fn silence_is_retried_twice_and_errors_are_not() {
    let (server, events) = play(vec![vec![Act::Hang]]).await;
    assert_eq!((failure(&events).code.as_str(), server.n_calls()), ("idle_timeout", 3));
    let (server, events) = play(vec![answer(401, JSON, r#"{"code":"bad_signature"}"#)]).await;
    assert_eq!(failure(&events).message, "HTTP 401, code bad_signature");
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn every_secret_signs_during_rotation() {
    let server = Server::start(vec![answer(202, "", "")]).await;
    let config = json!({"url": server.url, "secret": ["whsec_bmV3", "old"], "headers": {"x-team": "red"}});
    ask(&adapter("webhook", config), &request("hello"), &env()).await;
    let call = &server.calls()[0];
    let expected = format!("{} {}", signature(b"new", call), signature(b"old", call));
    assert_eq!(call.header("webhook-signature"), Some(expected.as_str()));
    assert_eq!(call.header("x-team"), Some("red"));
}

#[tokio::test]
async fn post_has_the_documented_shape() {
    let server = Server::start(vec![answer(202, "", "")]).await;
    let mut request = request("hello");
    request.chat.kind = ChatKind::Group;
    let part = AgentPart {
        kind: PartKind::Image,
        url: "https://tieline.example/api/media/t".into(),
        mime: Some("image/png".into()),
        name: None,
        inline: Some(vec![1].into()),
        unavailable: false,
    };
    request.message.parts = vec![part.clone()];
    let lost = AgentPart {
        unavailable: true,
        ..part
    };
    request.message.quoted = Some(("earlier".into(), vec![lost]));
    ask(&hook(&server.url), &request, &env()).await;
    let part =
        json!({"type": "image", "url": "https://tieline.example/api/media/t", "mime": "image/png", "name": null});
    let mut lost = part.clone();
    lost["unavailable"] = json!(true);
    assert_eq!(
        server.calls()[0].json(),
        json!({
            "type": "message.created", "version": 1, "runId": "run_1", "organization": "default",
            "agent": {"id": "agt_1", "name": "Echo"},
            "integration": {"id": "int_1", "name": "Help desk"},
            "session": {"id": "ses_1", "number": 3, "isNew": true},
            "user": {"id": "usr_1", "platform": "wecom", "externalId": "zhangsan", "displayName": null, "locale": "zh-CN"},
            "chat": {"type": "group", "id": "zhangsan", "threadId": null},
            "message": {"id": "msg_1", "text": "hello", "parts": [part], "quoted": {"text": "earlier", "parts": [lost]}},
            "reply": {"eventsUrl": "https://tieline.example/api/runs/run_1/events", "token": "rt_token", "expiresAt": "2026-01-02T03:04:05Z"},
            "limits": {"maxTextBytes": 20480, "stream": true},
        })
    );
}

#[tokio::test]
async fn cancel_is_posted_and_retried_with_one_id() {
    let server = Server::start(vec![answer(500, JSON, ""), answer(204, "", "")]).await;
    let cancel = CancelRequest {
        run: RunId::new("run_1"),
        run_ref: None,
        conversation_ref: None,
        organization: OrganizationId::new("default"),
        user: UserId::new("usr_1"),
        is_stop: true,
    };
    hook(&server.url).cancel(&cancel, &env()).await.unwrap();
    let calls = server.calls();
    assert_eq!(calls.len(), 2);
    assert_eq!(
        calls[0].json(),
        json!({"type": "run.cancelled", "version": 1, "runId": "run_1"})
    );
    assert_eq!(calls[0].header("webhook-id"), calls[1].header("webhook-id"));
    assert_ne!(calls[0].header("webhook-id"), Some("msg_1"));
    assert_eq!(
        calls[1].header("webhook-signature"),
        Some(signature(b"s3cret", &calls[1]).as_str())
    );
}

#[tokio::test]
async fn probe_is_a_signed_ping() {
    for (status, alive) in [
        (200, true),
        (202, true),
        (400, true),
        (422, true),
        (401, false),
        (404, false),
        (500, false),
    ] {
        let server = Server::start(vec![answer(status, JSON, "{}")]).await;
        assert_eq!(hook(&server.url).probe(&env()).await.is_ok(), alive, "{status}");
        let calls = server.calls();
        assert_eq!(
            (calls.len(), calls[0].json()),
            (1, json!({"type": "ping", "version": 1}))
        );
        assert_eq!(
            calls[0].header("webhook-signature"),
            Some(signature(b"s3cret", &calls[0]).as_str())
        );
    }
}

#[tokio::test]
async fn echo_streams_the_question_back() {
    let echo = adapter("echo", json!({"delayMillis": 0, "pieces": 2}));
    assert_eq!(
        ask(&echo, &request("你好吗"), &env()).await,
        [text("你好"), text("吗"), completed()]
    );
    assert!(echo.probe(&env()).await.is_ok());
}
