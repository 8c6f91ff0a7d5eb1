//! The Responses API, in both dialects.

use serde_json::{Value, json};
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::PartKind;
use tieline_core::ids::{OrganizationId, RunId, UserId};

use crate::ask::{adapter, ask, conversation, env, failure, request, shown, targets};
use crate::responses_server::{Habits, KEY, start};
use crate::server::{Act, JSON, SSE, Server, answer, head, sse};

fn responses(url: &str, mut more: Value) -> Adapter {
    let mut config = json!({"baseUrl": format!("{url}/v1"), "apiKey": KEY, "model": "m"});
    config.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    adapter("openai_responses", config)
}

fn wegent(url: &str, mut more: Value) -> Adapter {
    let mut config = json!({"dialect": "wegent", "model": "default#team"});
    config.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    responses(url, config)
}

fn with_conversation(text: &str, conversation: &str) -> AgentRequest {
    let mut request = request(text);
    request.session.conversation_ref = Some(conversation.into());
    request
}

fn cancel(run_ref: Option<&str>) -> CancelRequest {
    CancelRequest {
        run: RunId::new("run_1"),
        run_ref: run_ref.map(str::to_owned),
        conversation_ref: None,
        organization: OrganizationId::new("default"),
        user: UserId::new("usr_1"),
        is_stop: true,
    }
}

#[tokio::test]
async fn answer_is_streamed_and_the_conversation_goes_on() {
    let server = start(Habits::default()).await;
    let agent = responses(&server.url, json!({"systemPrompt": "be brief"}));
    let events = ask(&agent, &request("hi"), &env()).await;
    assert_eq!(shown(&events), "turn 1: hi");
    assert_eq!(conversation(&events), [None, Some("resp_1")]);
    assert!(matches!(&events[0], AgentEvent::Started { run_ref, .. } if run_ref == "resp_1"));
    assert!(events.contains(&AgentEvent::ReasoningDelta("hm".into())));
    assert!(
        events
            .iter()
            .any(|event| matches!(event, AgentEvent::Progress { label, .. } if label == "web_search"))
    );
    let n_deltas = events
        .iter()
        .filter(|event| matches!(event, AgentEvent::TextDelta(_)))
        .count();
    assert!(n_deltas >= 3, "{events:?}");

    let events = ask(&agent, &with_conversation("again", "resp_1"), &env()).await;
    assert_eq!(shown(&events), "turn 2: again");
    let calls = server.calls();
    let body = calls[0].json();
    assert_eq!(
        (&body["instructions"], &body["store"], &body["background"]),
        (&json!("be brief"), &json!(true), &json!(false))
    );
    assert_eq!(
        body["metadata"],
        json!({
            "organization": "default", "integrationId": "int_1", "integrationName": "Help desk", "platform": "wecom",
            "externalId": "zhangsan", "locale": "zh-CN", "sessionId": "ses_1", "sessionNumber": "3", "messageId": "msg_1",
            "chatType": "direct", "chatId": "zhangsan", "runId": "run_1",
        })
    );
    assert_eq!(calls[1].json()["previous_response_id"], "resp_1");
    assert!(calls[0].header("idempotency-key").is_some());
}

#[tokio::test]
async fn forgotten_conversation_is_replaced_and_reported() {
    for dialect in ["openai", "wegent"] {
        let habits = Habits {
            wegent: dialect == "wegent",
            ..Habits::default()
        };
        let server = start(habits).await;
        let agent = responses(&server.url, json!({"dialect": dialect, "model": "default#team"}));
        let events = ask(&agent, &with_conversation("hi", "resp_99"), &env()).await;
        assert!(events.contains(&AgentEvent::ConversationLost));
        assert_eq!(shown(&events), "turn 1: hi");
        let calls = server.calls();
        assert_eq!(calls.len(), 2);
        // The body differs, and a server may refuse a key that it saw with another body.
        assert_ne!(calls[0].header("idempotency-key"), calls[1].header("idempotency-key"));
    }
}

#[tokio::test]
async fn pictures_and_pdfs_are_sent_and_other_files_are_linked() {
    let server = start(Habits::default()).await;
    let mut request = request("look");
    let part = |kind, name: &str, inline: Option<&'static [u8]>| AgentPart {
        kind,
        url: format!("https://tieline.example/{name}"),
        mime: None,
        name: Some(name.into()),
        inline: inline.map(Into::into),
        unavailable: false,
    };
    request.message.parts = vec![
        part(PartKind::Image, "a.png", Some(b"\x89PNG")),
        part(PartKind::File, "b.PDF", None),
        part(PartKind::File, "c.zip", None),
    ];
    let events = ask(&responses(&server.url, json!({})), &request, &env()).await;
    let expected = "turn 1: look\n[file: c.zip](https://tieline.example/c.zip)[image data:image/png;base64,iVBORw==][file https://tieline.example/b.PDF]";
    assert_eq!(shown(&events), expected);
    let server = start(Habits {
        wegent: true,
        ..Habits::default()
    })
    .await;
    let events = ask(&wegent(&server.url, json!({})), &request, &env()).await;
    assert!(shown(&events).ends_with("[file: c.zip](https://tieline.example/c.zip)"));
    assert!(server.calls()[0].json()["input"].is_string());
}

#[tokio::test]
async fn broken_stream_of_a_background_response_is_resumed() {
    for cut in 1..8 {
        let server = start(Habits {
            cut_after: Some(cut),
            ..Habits::default()
        })
        .await;
        let events = ask(
            &responses(&server.url, json!({"background": true})),
            &request("hello"),
            &env(),
        )
        .await;
        assert_eq!(shown(&events), "turn 1: hello", "cut after {cut}");
        let deltas: String = events
            .iter()
            .filter_map(|event| match event {
                AgentEvent::TextDelta(text) => Some(text.as_str()),
                _ => None,
            })
            .collect();
        assert_eq!(deltas, "turn 1: hello");
        assert_eq!(
            targets(&server)[1],
            format!("GET /v1/responses/resp_1?stream=true&starting_after={}", cut - 1)
        );
    }
}

#[tokio::test]
async fn server_that_can_not_stream_again_is_polled() {
    let habits = Habits {
        cut_after: Some(6),
        no_resume: true,
        n_polls: 0,
        ..Habits::default()
    };
    let server = start(habits).await;
    let events = ask(
        &responses(&server.url, json!({"background": true})),
        &request("hello"),
        &env(),
    )
    .await;
    assert_eq!(shown(&events), "turn 1: hello");
    assert_eq!(targets(&server)[2], "GET /v1/responses/resp_1");
}

#[tokio::test]
async fn cut_stream_without_background_is_an_incomplete_answer() {
    let server = start(Habits {
        cut_after: Some(6),
        ..Habits::default()
    })
    .await;
    let events = ask(&responses(&server.url, json!({})), &request("hello"), &env()).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("broken", false)
    );
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn next_process_follows_a_background_response() {
    let server = start(Habits {
        cut_after: Some(6),
        no_resume: true,
        ..Habits::default()
    })
    .await;
    let agent = responses(&server.url, json!({"background": true}));
    let first = ask(&agent, &request("hello"), &env()).await;
    let cursor = first.iter().rev().find_map(|event| match event {
        AgentEvent::Cursor(cursor) => Some(cursor.clone()),
        _ => None,
    });
    assert_eq!(cursor.as_deref(), Some("5"));
    for cursor in [cursor, None] {
        let mut next = request("hello");
        let resume = Resume {
            run_ref: "resp_1".into(),
            cursor,
        };
        assert!(agent.can_resume(&resume));
        assert!(!responses(&server.url, json!({})).can_resume(&resume));
        next.resume = Some(resume);
        let n_before = server.n_calls();
        let events = ask(&agent, &next, &env()).await;
        assert_eq!(shown(&events), "turn 1: hello");
        assert!(
            targets(&server)[n_before..]
                .iter()
                .all(|target| target.starts_with("GET "))
        );
    }
}

#[tokio::test]
async fn team_that_can_not_stream_is_polled() {
    for (background, n_questions) in [(false, 2), (true, 1)] {
        let habits = Habits {
            wegent: true,
            no_stream: true,
            n_polls: 2,
            ..Habits::default()
        };
        let server = start(habits).await;
        let events = ask(
            &wegent(&server.url, json!({"background": background})),
            &request("hi"),
            &env(),
        )
        .await;
        assert_eq!(shown(&events), "turn 1: hi");
        assert!(matches!(conversation(&events).last(), Some(Some(id)) if id.starts_with("resp_")));
        let n_posts = targets(&server)
            .iter()
            .filter(|target| target.starts_with("POST"))
            .count();
        assert_eq!((n_posts, server.n_calls()), (n_questions, n_questions + 3));
    }
}

#[tokio::test]
async fn run_waits_for_a_running_task() {
    let server = start(Habits {
        wegent: true,
        n_busy: 5,
        ..Habits::default()
    })
    .await;
    let events = ask(&wegent(&server.url, json!({})), &request("hi"), &env()).await;
    assert_eq!(shown(&events), "turn 1: hi");
    assert_eq!(conversation(&events), [Some("resp_1")]);
    assert_eq!(server.n_calls(), 6);
}

#[tokio::test]
async fn only_a_background_response_is_cancelled_by_a_call() {
    let server = start(Habits::default()).await;
    let background = responses(&server.url, json!({"background": true}));
    ask(&background, &request("hi"), &env()).await;
    background.cancel(&cancel(Some("resp_1")), &env()).await.unwrap();
    // Unknown, or never started.
    background.cancel(&cancel(Some("resp_9")), &env()).await.unwrap();
    background.cancel(&cancel(None), &env()).await.unwrap();
    responses(&server.url, json!({}))
        .cancel(&cancel(Some("resp_1")), &env())
        .await
        .unwrap();
    assert_eq!(
        targets(&server)[1..],
        ["POST /v1/responses/resp_1/cancel", "POST /v1/responses/resp_9/cancel"]
    );
    let busy = Server::start(vec![answer(503, JSON, "{}")]).await;
    let told = responses(&busy.url, json!({"background": true}))
        .cancel(&cancel(Some("resp_1")), &env())
        .await;
    assert_eq!((told.unwrap_err().code.as_str(), busy.n_calls()), ("http_503", 3));
}

#[tokio::test]
async fn errors_name_their_cause() {
    let server = start(Habits::default()).await;
    let wrong_key = responses(&server.url, json!({"apiKey": "sk-other"}));
    let events = ask(&wrong_key, &request("hi"), &env()).await;
    assert_eq!(failure(&events).code, "http_401");
    assert!(
        failure(&events).message.contains("Incorrect API key"),
        "{}",
        failure(&events).message
    );
    let busy = [answer(
        429,
        &format!("{JSON}retry-after: 3600\r\n"),
        r#"{"error":{"message":"slow down","code":"rate_limit_exceeded"}}"#,
    )];
    for (script, code, n_calls) in [
        (busy[0].clone(), "http_429", 1),
        (answer(500, JSON, "oh no"), "http_500", 3),
        (
            answer(404, JSON, r#"{"error":{"message":"no such model"}}"#),
            "http_404",
            1,
        ),
        (
            sse("data: {\"type\":\"error\",\"code\":\"server_error\",\"message\":\"hi\"}\n\n"),
            "server_error",
            1,
        ),
        (
            sse("data: {\"type\":\"response.created\",\"response\":{\"id\":\"r\"}}\n\n"),
            "incomplete",
            1,
        ),
        (sse("what is this?\n\n"), "incomplete", 1),
        (sse("data: what is this?\n\n"), "bad_answer", 1),
        (
            answer(
                200,
                JSON,
                r#"{"error":{"message":"no such model","code":"model_not_found"}}"#,
            ),
            "model_not_found",
            1,
        ),
        (answer(200, JSON, r#"{"hello":1}"#), "bad_answer", 1),
        (answer(200, "", "<html>"), "bad_answer", 1),
    ] {
        let server = Server::start(vec![script]).await;
        let events = ask(&responses(&server.url, json!({})), &request("hi"), &env()).await;
        assert_eq!((failure(&events).code.as_str(), server.n_calls()), (code, n_calls));
        assert!(!failure(&events).message.contains("hello"));
    }
}

#[tokio::test]
async fn error_with_a_success_status_keeps_its_message() {
    let body = r#"{"error":{"message":"no such model","type":"invalid_request_error","code":"model_not_found"}}"#;
    let expected = "the agent sent an error, code model_not_found, type invalid_request_error, message no such model";
    let server = Server::start(vec![answer(200, JSON, body)]).await;
    let agent = responses(&server.url, json!({}));
    let events = ask(&agent, &request("hi"), &env()).await;
    assert_eq!(
        (failure(&events).message.as_str(), failure(&events).retryable),
        (expected, false)
    );
    assert_eq!(agent.probe(&env()).await.unwrap_err().message, expected);
    let mut resumed = request("hi");
    resumed.resume = Some(Resume {
        run_ref: "resp_1".into(),
        cursor: None,
    });
    let events = ask(&responses(&server.url, json!({"background": true})), &resumed, &env()).await;
    assert_eq!(failure(&events).message, expected);
}

#[tokio::test]
async fn silence_and_floods_end() {
    let server = Server::start(vec![vec![Act::Say(head(200, SSE)), Act::Hang]]).await;
    let events = ask(
        &responses(&server.url, json!({"idleTimeoutSeconds": 1})),
        &request("hi"),
        &env(),
    )
    .await;
    assert_eq!(failure(&events).code, "idle_timeout");
    server.hung_up().await;
    for start in ["data: ", "{\"id\": \""] {
        let flood = vec![
            Act::Say(head(200, SSE)),
            Act::Say(start.into()),
            Act::Flood(vec![b'x'; 65536], 1600),
        ];
        let server = Server::start(vec![flood]).await;
        let events = ask(&responses(&server.url, json!({})), &request("hi"), &env()).await;
        assert_eq!(failure(&events).code, "too_long");
        server.hung_up().await;
        assert!(server.flooded_bytes() < 24 << 20, "{}", server.flooded_bytes());
    }
}

#[tokio::test]
async fn probe_tests_key_and_model_and_creates_no_task() {
    let server = start(Habits::default()).await;
    assert!(responses(&server.url, json!({})).probe(&env()).await.is_ok());
    assert_eq!(server.calls()[0].json()["store"], false);
    let told = responses(&server.url, json!({"apiKey": "wrong"}))
        .probe(&env())
        .await
        .unwrap_err();
    assert_eq!(told.code, "http_401");
    let server = start(Habits {
        wegent: true,
        ..Habits::default()
    })
    .await;
    assert!(wegent(&server.url, json!({})).probe(&env()).await.is_ok());
    assert_eq!(targets(&server), ["GET /v1/responses/resp_0"]);
    assert!(
        wegent(&server.url, json!({"apiKey": "wrong"}))
            .probe(&env())
            .await
            .is_err()
    );
    let elsewhere = Server::start(vec![answer(404, "", "")]).await;
    assert!(wegent(&elsewhere.url, json!({})).probe(&env()).await.is_err());
}
