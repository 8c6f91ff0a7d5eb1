//! Simulated AgentCore Runtime: refuses what the service refuses, and checks signatures as it does.

use hmac::{Hmac, KeyInit as _, Mac as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentRequest};

use crate::ask::{NOON, adapter, ask, completed, env, failure, request, text};
use crate::server::{Act, Call, JSON, SSE, Server, answer, head, sse};

const ARN: &str = "arn:aws:bedrock-agentcore:us-west-2:123456789012:runtime/agent-a1";
const PATH: &str = "/runtimes/arn%3Aaws%3Abedrock-agentcore%3Aus-west-2%3A123456789012%3Aruntime%2Fagent-a1";
const KEY: &str = "AKIDEXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";

fn config(url: &str, more: Value) -> Value {
    let mut config = json!({"runtimeArn": ARN, "baseUrl": url, "auth": "bearer", "apiKey": "jwt-secret"});
    config
        .as_object_mut()
        .unwrap()
        .extend(more.as_object().unwrap().clone());
    config
}

fn signed(url: &str) -> Adapter {
    let config = json!({"runtimeArn": ARN, "baseUrl": url, "accessKeyId": KEY, "secretAccessKey": SECRET});
    adapter("agentcore", config)
}

fn refusal(status: u16, kind: &str) -> Vec<Act> {
    let headers = format!("{JSON}x-amzn-errortype: {kind}\r\n");
    answer(
        status,
        &headers,
        &json!({"message": format!("{kind} of you")}).to_string(),
    )
}

/// The service's response to a request that it refuses; otherwise `script`.
fn service(call: &Call, script: &[Act]) -> Vec<Act> {
    let (method, path, query) = call.line();
    let authorized = match call.header("authorization") {
        Some("Bearer jwt-secret") => true,
        Some(signature) if signature.starts_with("AWS4-") => signature == expected_signature(call),
        _ => false,
    };
    let session = call
        .header("x-amzn-bedrock-agentcore-runtime-session-id")
        .unwrap_or_default();
    match path.strip_prefix(PATH) {
        _ if method != "POST" || query != "qualifier=DEFAULT" => refusal(400, "ValidationException"),
        None => refusal(404, "ResourceNotFoundException"),
        Some(_) if !authorized => refusal(403, "AccessDeniedException"),
        Some(_) if !(33..=256).contains(&session.len()) => refusal(400, "ValidationException"),
        Some("/invocations") => script.to_vec(),
        Some("/stopruntimesession") => match call.json()["clientToken"].as_str() {
            Some(token) if (33..=256).contains(&token.len()) => answer(200, JSON, "{}"),
            _ => refusal(400, "ValidationException"),
        },
        Some(_) => refusal(404, "UnknownOperationException"),
    }
}

fn hmac(key: &[u8], text: &str) -> Vec<u8> {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).unwrap();
    mac.update(text.as_bytes());
    mac.finalize().into_bytes().to_vec()
}

fn hex(bytes: impl AsRef<[u8]>) -> String {
    bytes.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// The expected `Authorization` header, computed step by step as documented.
fn expected_signature(call: &Call) -> String {
    let given = call.header("authorization").unwrap();
    let names = given.split("SignedHeaders=").nth(1).unwrap().split(',').next().unwrap();
    for required in ["host", "x-amz-date"] {
        assert!(
            names.split(';').any(|name| name == required),
            "{required} is not signed"
        );
    }
    let headers: String = names
        .split(';')
        .map(|name| format!("{name}:{}\n", call.header(name).unwrap().trim()))
        .collect();
    let (_, path, query) = call.line();
    // The path is escaped once more than on the wire.
    let path = path.replace('%', "%25");
    let canonical = format!(
        "POST\n{path}\n{query}\n{headers}\n{names}\n{}",
        hex(Sha256::digest(&call.body))
    );
    let time = call.header("x-amz-date").unwrap();
    let scope = format!("{}/us-west-2/bedrock-agentcore/aws4_request", &time[..8]);
    let to_sign = format!("AWS4-HMAC-SHA256\n{time}\n{scope}\n{}", hex(Sha256::digest(canonical)));
    let key = hmac(format!("AWS4{SECRET}").as_bytes(), &time[..8]);
    let key = ["us-west-2", "bedrock-agentcore", "aws4_request"]
        .iter()
        .fold(key, |key, part| hmac(&key, part));
    let signature = hex(hmac(&key, &to_sign));
    format!("AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}")
}

async fn start(script: Vec<Act>) -> Server {
    Server::answering(move |call| service(call, &script)).await
}

/// The events after the reference to the session.
fn told(events: &[AgentEvent]) -> &[AgentEvent] {
    assert!(
        matches!(&events[0], AgentEvent::Started { run_ref, conversation_ref: Some(session) } if run_ref == session)
    );
    &events[1..]
}

async fn play(script: Vec<Act>, more: Value) -> (Server, Vec<AgentEvent>) {
    let server = start(script).await;
    let events = ask(
        &adapter("agentcore", config(&server.url, more)),
        &request("hello"),
        &env(),
    )
    .await;
    (server, events)
}

#[tokio::test]
async fn signed_question_is_answered_as_a_stream() {
    let server = start(sse("data: \"你\"\n\ndata: {\"text\": \"no\"}\n\ndata: \"好\"\n\n")).await;
    let events = ask(&signed(&server.url), &request("hello"), &env()).await;
    assert_eq!(told(&events), [text("你"), text("no"), text("好"), completed()]);
    let call = &server.calls()[0];
    assert_eq!(call.json(), json!({"prompt": "hello"}));
    let user = call.header("x-amzn-bedrock-agentcore-runtime-user-id").unwrap();
    assert!(!user.is_empty() && !user.contains("usr_1"));
    // The tests' clock is the service's too: 2025-10-09.
    assert_eq!(
        (NOON, call.header("x-amz-date").map(|time| &time[..8])),
        (1_760_000_400, Some("20251009"))
    );
}

#[tokio::test]
async fn process_without_credentials_calls_nothing() {
    let by_process = adapter("agentcore", json!({"runtimeArn": ARN}));
    let events = ask(&by_process, &request("hello"), &env()).await;
    let failure = failure(&events);
    assert_eq!((failure.code.as_str(), failure.retryable), ("connect", false));
    assert!(failure.message.contains("no AWS credentials"), "{failure:?}");
}

#[tokio::test]
async fn each_attempt_is_signed_again() {
    let server = Server::start(vec![refusal(429, "ThrottlingException"), sse("data: \"hi\"\n\n")]).await;
    let events = ask(&signed(&server.url), &request("hello"), &env()).await;
    assert_eq!(told(&events), [text("hi"), completed()]);
    let calls = server.calls();
    for call in &calls {
        assert_eq!(call.header("authorization").unwrap(), expected_signature(call));
    }
    assert_ne!(calls[0].header("x-amz-date"), calls[1].header("x-amz-date"));
}

#[tokio::test]
async fn wrong_credentials_are_refused_and_never_quoted() {
    let server = start(sse("data: \"hi\"\n\n")).await;
    let wrong =
        json!({"runtimeArn": ARN, "baseUrl": server.url, "accessKeyId": KEY, "secretAccessKey": "wrong-secret"});
    for adapter in [
        adapter("agentcore", wrong),
        adapter("agentcore", config(&server.url, json!({"apiKey": "wrong-secret"}))),
    ] {
        let events = ask(&adapter, &request("hello"), &env()).await;
        assert_eq!(
            (failure(&events).code.as_str(), failure(&events).retryable),
            ("http_403", false)
        );
        assert_eq!(adapter.probe(&env()).await.unwrap_err().code, "http_403");
        assert!(!format!("{adapter:?}{events:?}").contains("wrong-secret"));
    }
}

#[tokio::test]
async fn session_is_one_runtime_session() {
    let server = start(answer(200, JSON, r#"{"result":"hi"}"#)).await;
    let adapter = signed(&server.url);
    let mut second = request("two");
    second.session.id = tieline_core::ids::SessionId::new("ses_2");
    for asked in [&request("one"), &request("again"), &second] {
        let events = ask(&adapter, asked, &env()).await;
        assert_eq!(
            told(&events),
            [AgentEvent::Completed {
                final_text: Some("hi".into())
            }]
        );
    }
    let sessions: Vec<_> = server
        .calls()
        .iter()
        .map(|call| {
            call.header("x-amzn-bedrock-agentcore-runtime-session-id")
                .unwrap()
                .to_owned()
        })
        .collect();
    assert!(sessions[0] == sessions[1] && sessions[0] != sessions[2], "{sessions:?}");
    assert!(sessions[0].starts_with("tl-") && sessions[0].len() == 67);
}

#[tokio::test]
async fn template_and_pointer_fit_any_agent() {
    let template =
        json!({"input": {"messages": [{"role": "user", "content": "{{text}}"}]}, "session": "{{sessionId}}"});
    for template in [template.clone(), template.to_string().into()] {
        let more = json!({"payloadTemplate": template, "textPointer": "/a/0/b"});
        let (server, events) = play(sse("data: {\"a\":[{\"b\":\"hi\"}],\"text\":\"no\"}\n\n"), more).await;
        assert_eq!(told(&events), [text("hi"), completed()]);
        let expected = json!({"input": {"messages": [{"role": "user", "content": "hello"}]}, "session": "ses_1"});
        assert_eq!(server.calls()[0].json(), expected);
    }
    let (_, events) = play(answer(200, JSON, r#"{"a":1}"#), json!({})).await;
    assert_eq!(failure(&events).code, "bad_answer");
}

#[tokio::test]
async fn string_is_a_whole_answer() {
    let (_, events) = play(answer(200, JSON, " \"Hello\\n2024\""), json!({})).await;
    let [AgentEvent::Completed { final_text, .. }] = told(&events) else {
        panic!("{events:?}");
    };
    assert_eq!(final_text.as_deref(), Some("Hello\n2024"));
}

#[tokio::test]
async fn errors_of_service_and_agent_end_the_run() {
    for (status, kind, n_calls) in [
        (404, "ResourceNotFoundException", 1),
        (424, "RuntimeClientError", 1),
        (500, "InternalServerException", 3),
    ] {
        let (server, events) = play(refusal(status, kind), json!({})).await;
        assert_eq!(failure(&events).code, format!("http_{status}"));
        assert_eq!(server.n_calls(), n_calls);
    }
    let (_, events) = play(
        sse("data: \"hi\"\n\ndata: {\"error\":\"it broke on hello\",\"error_type\":\"ValueError\"}\n\n"),
        json!({}),
    )
    .await;
    assert_eq!(
        (told(&events)[0].clone(), failure(&events).code.as_str()),
        (text("hi"), "ValueError")
    );
    assert!(!failure(&events).message.contains("hello"));
    // An answer ends with its connection.
    let cut = vec![
        Act::Say(head(200, &format!("{SSE}transfer-encoding: chunked\r\n"))),
        Act::Say(b"c\r\ndata: \"hi\"\n\n\r\n".to_vec()),
    ];
    let (server, events) = play(cut, json!({})).await;
    assert_eq!(
        (told(&events)[0].clone(), failure(&events).code.as_str()),
        (text("hi"), "broken")
    );
    assert_eq!(server.n_calls(), 1);
}

#[tokio::test]
async fn cancelling_ends_the_session_only_if_configured() {
    let asked = request("hello");
    let cancel = |is_stop: bool| CancelRequest {
        run: asked.run.clone(),
        run_ref: Some(format!("tl-{}", "0".repeat(64))),
        conversation_ref: None,
        organization: asked.organization.clone(),
        user: asked.user.id.clone(),
        is_stop,
    };
    // A fault and a newer message are no reason to end it.
    for (wanted, is_stop, n_calls) in [(false, true, 0), (true, true, 1), (true, false, 0)] {
        let server = start(vec![]).await;
        let adapter = adapter("agentcore", config(&server.url, json!({"stopEndsSession": wanted})));
        adapter.cancel(&cancel(is_stop), &env()).await.unwrap();
        assert_eq!(server.n_calls(), n_calls);
    }
}

#[tokio::test]
async fn settings_are_checked() {
    use tieline_agents::protocol::Protocol;
    use tieline_core::agent::AgentConfig;
    let field = |config: Value| {
        let config = AgentConfig::new(config.as_object().unwrap().clone());
        Protocol::parse("agentcore", &config)
            .err()
            .and_then(|error| error.field().map(str::to_owned))
    };
    assert_eq!(field(json!({"runtimeArn": ARN})), None);
    let endpoint = "https://vpce-1.bedrock-agentcore.us-west-2.vpce.amazonaws.com";
    assert_eq!(field(json!({"runtimeArn": ARN, "baseUrl": endpoint})), None);
    for (config, wrong) in [
        // The process's own credentials are sent to the service only.
        (
            json!({"runtimeArn": ARN, "baseUrl": "https://x.execute-api.us-west-2.amazonaws.com"}),
            "baseUrl",
        ),
        (
            json!({"runtimeArn": ARN, "baseUrl": "https://amazonaws.com.evil.example"}),
            "baseUrl",
        ),
        (json!({}), "runtimeArn"),
        (json!({"runtimeArn": "agent"}), "runtimeArn"),
        (json!({"runtimeArn": ARN, "auth": "bearer"}), "apiKey"),
        (json!({"runtimeArn": ARN, "auth": "basic"}), "auth"),
        (json!({"runtimeArn": ARN, "accessKeyId": "k"}), "secretAccessKey"),
        (json!({"runtimeArn": ARN, "secretAccessKey": "k"}), "accessKeyId"),
        (json!({"runtimeArn": ARN, "textPointer": "text"}), "textPointer"),
        (
            json!({"runtimeArn": ARN, "payloadTemplate": "{{text}}"}),
            "payloadTemplate",
        ),
    ] {
        assert_eq!(field(config.clone()).as_deref(), Some(wrong), "{config}");
    }
}

/// Runs can't be resumed: a request to resume is treated as a new question.
#[tokio::test]
async fn run_can_not_be_resumed() {
    let server = start(sse("data: \"hi\"\n\n")).await;
    let adapter = signed(&server.url);
    let resume = tieline_core::agent::Resume {
        run_ref: "tl-x".into(),
        cursor: None,
    };
    assert!(!adapter.manifest().can_resume && !adapter.can_resume(&resume));
    let asked = AgentRequest {
        resume: Some(resume),
        ..request("hello")
    };
    assert_eq!(told(&ask(&adapter, &asked, &env()).await), [text("hi"), completed()]);
}
