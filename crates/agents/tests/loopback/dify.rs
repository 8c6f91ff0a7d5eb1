//! Dify's chat apps.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::PartKind;
use tieline_core::ids::{OrganizationId, RunId, UserId};

use crate::ask::{adapter, ask, completed, conversation, env, failure, request, shown, targets};
use crate::dify_server::{App, Habits, KEY, start};
use crate::server::{Act, JSON, SSE, Server, answer, head, sse};

pub fn dify(url: &str) -> Adapter {
    adapter(
        "dify",
        json!({"baseUrl": format!("{url}/v1"), "apiKey": KEY, "inputs": {"team": "red"}}),
    )
}

pub fn of(app: App) -> Habits {
    Habits {
        app,
        ..Habits::default()
    }
}

fn with_conversation(text: &str, conversation: &str) -> AgentRequest {
    let mut request = request(text);
    request.session.conversation_ref = Some(conversation.into());
    request
}

fn progress(events: &[AgentEvent]) -> Vec<(&str, &str)> {
    let told = events.iter().filter_map(|event| match event {
        AgentEvent::Progress { label, state } => Some((label.as_str(), state.as_str())),
        _ => None,
    });
    told.collect()
}

pub fn cursor(events: &[AgentEvent]) -> Option<String> {
    events.iter().rev().find_map(|event| match event {
        AgentEvent::Cursor(cursor) => Some(cursor.clone()),
        _ => None,
    })
}

#[tokio::test]
async fn every_kind_of_app_streams_its_answer() {
    for app in [App::Chatbot, App::Agent, App::Chatflow] {
        let server = start(of(app)).await;
        let events = ask(&dify(&server.url), &request("hello"), &env()).await;
        assert_eq!(shown(&events), "turn 1: hello", "{app:?}");
        assert_eq!(conversation(&events), [Some("c-1")]);
        // Emitted before the first text, so that it can be stored.
        let begun = events.iter().find(|event| !matches!(event, AgentEvent::Cursor(_)));
        assert!(matches!(begun, Some(AgentEvent::Started { run_ref, .. }) if run_ref == "t-1"));
        let n_deltas = events
            .iter()
            .filter(|event| matches!(event, AgentEvent::TextDelta(_)))
            .count();
        assert!(n_deltas >= 3, "{events:?}");
        let expected: &[_] = match app {
            App::Chatbot => &[("handbook.pdf", "source")],
            App::Agent => &[("search", "started"), ("handbook.pdf", "source")],
            _ => &[("Look up", "started"), ("Look up", "finished")],
        };
        assert_eq!(progress(&events), expected);
        assert_eq!(cursor(&events).is_some(), app == App::Chatflow);
        let file = events.iter().find_map(|event| match event {
            AgentEvent::File(file) => Some(file.url.clone()),
            _ => None,
        });
        assert_eq!(
            file,
            (app == App::Agent).then(|| format!("{}/files/a.png?sign=1", server.url))
        );
        let body = server.calls()[0].json();
        assert_eq!(
            (&body["inputs"], &body["response_mode"]),
            (&json!({"team": "red"}), &json!("streaming"))
        );
        assert!(server.calls()[0].header("idempotency-key").is_some());
    }
}

#[tokio::test]
async fn conversation_continues_and_a_forgotten_one_is_replaced() {
    let server = start(Habits::default()).await;
    ask(&dify(&server.url), &request("hello"), &env()).await;
    let events = ask(&dify(&server.url), &with_conversation("again", "c-1"), &env()).await;
    assert_eq!(shown(&events), "turn 2: again");
    assert!(!events.contains(&AgentEvent::ConversationLost));
    let events = ask(&dify(&server.url), &with_conversation("hello", "c-99"), &env()).await;
    assert!(events.contains(&AgentEvent::ConversationLost));
    assert_eq!(
        (shown(&events).as_str(), conversation(&events)),
        ("turn 1: hello", vec![Some("c-2")])
    );
    let mut other = with_conversation("hello", "c-1");
    other.user.id = UserId::new("usr_2");
    assert!(
        ask(&dify(&server.url), &other, &env())
            .await
            .contains(&AgentEvent::ConversationLost)
    );
}

#[tokio::test]
async fn attachments_are_uploaded_or_sent_by_link() {
    let part = |kind, name: &str, inline: Option<&'static [u8]>| AgentPart {
        kind,
        url: format!("https://tieline.example/{name}"),
        mime: None,
        name: Some(name.into()),
        inline: inline.map(Into::into),
        unavailable: false,
    };
    let mut asked = request("");
    asked.message.parts = vec![
        part(PartKind::Image, "a.png", Some(b"\x89PNG")),
        part(PartKind::File, "b.pdf", None),
        AgentPart {
            unavailable: true,
            ..part(PartKind::Video, "c.mp4", None)
        },
    ];
    let server = start(Habits::default()).await;
    let events = ask(&dify(&server.url), &asked, &env()).await;
    assert_eq!(
        shown(&events),
        "turn 1: [video: c.mp4] (unavailable)[image a.png][document https://tieline.example/b.pdf]"
    );
    // A file that the app refuses is mentioned; an authentication error fails the run.
    let server = start(Habits {
        refuses_uploads: Some(415),
        ..Habits::default()
    })
    .await;
    let events = ask(&dify(&server.url), &asked, &env()).await;
    assert!(
        shown(&events).starts_with("turn 1: [image: a.png](https://tieline.example/a.png)"),
        "{}",
        shown(&events)
    );
    let server = start(Habits {
        refuses_uploads: Some(403),
        ..Habits::default()
    })
    .await;
    assert_eq!(failure(&ask(&dify(&server.url), &asked, &env()).await).code, "http_403");
    // A picture without text is a question too.
    asked.message.parts.truncate(1);
    let server = start(Habits::default()).await;
    assert_eq!(
        shown(&ask(&dify(&server.url), &asked, &env()).await),
        "turn 1: image[image a.png]"
    );
}

#[tokio::test]
async fn broken_stream_of_a_workflow_is_followed_and_of_a_chatbot_is_incomplete() {
    for cut in 1..7 {
        let server = start(Habits {
            cut_after: Some(cut),
            ..of(App::Chatflow)
        })
        .await;
        let events = ask(&dify(&server.url), &request("hello"), &env()).await;
        assert_eq!(shown(&events), "turn 1: hello", "cut after {cut}");
        assert!(targets(&server)[1].starts_with("GET /v1/workflow/w-1/events?user="));
    }
    let server = start(Habits {
        cut_after: Some(2),
        ..Habits::default()
    })
    .await;
    let events = ask(&dify(&server.url), &request("hello"), &env()).await;
    assert_eq!((failure(&events).code.as_str(), server.n_calls()), ("broken", 1));
}

#[tokio::test]
async fn next_process_follows_a_workflow_only() {
    let server = start(of(App::Chatflow)).await;
    let agent = dify(&server.url);
    let first = ask(&agent, &request("hello"), &env()).await;
    let resume = Resume {
        run_ref: "t-1".into(),
        cursor: cursor(&first),
    };
    assert!(agent.can_resume(&resume));
    assert!(!agent.can_resume(&Resume {
        cursor: None,
        ..resume.clone()
    }));
    let mut next = with_conversation("hello", "c-1");
    next.resume = Some(resume);
    let events = ask(&agent, &next, &env()).await;
    assert_eq!(shown(&events), "turn 1: hello");
    let posts = targets(&server)
        .iter()
        .filter(|target| target.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
}

#[tokio::test]
async fn form_is_asked_and_the_next_message_answers_it() {
    let server = start(of(App::Form)).await;
    let agent = dify(&server.url);
    let events = ask(&agent, &request("hello"), &env()).await;
    assert_eq!(shown(&events), "Is it right?\n- Approve\n- Reject");
    let waiting = conversation(&events).last().unwrap().unwrap().to_owned();
    // A text that is no choice makes the form ask again, and changes nothing.
    let events = ask(&agent, &with_conversation("maybe", &waiting), &env()).await;
    assert_eq!(shown(&events), "Is it right?\n- Approve\n- Reject");
    assert_eq!(server.n_calls(), 1);
    let events = ask(&agent, &with_conversation("reject: too dear", &waiting), &env()).await;
    assert_eq!(shown(&events), r#"turn 1: hello (reject {"comment":"too dear"})"#);
    assert_eq!(conversation(&events).last(), Some(&Some("c-1")));
    // The form was submitted already, so the text is an ordinary question.
    let events = ask(&agent, &with_conversation("approve", &waiting), &env()).await;
    assert_eq!(shown(&events), "Is it right?\n- Approve\n- Reject");
    assert!(server.calls().last().unwrap().json()["query"] == "approve");
}

/// The conversation with a form that waits for the next message.
fn with_form(text: &str) -> AgentRequest {
    let form = json!({"token": "f-1", "run": "w-1", "prompt": "Sure?", "actions": [{"id": "y", "title": "Yes"}], "input": null});
    with_conversation(text, &json!({"id": "c-1", "form": form}).to_string())
}

#[tokio::test]
async fn decision_whose_answer_was_lost_counts_as_submitted() {
    let error = |code: &str| {
        answer(
            412,
            JSON,
            &json!({"code": code, "message": "x", "status": 412}).to_string(),
        )
    };
    let submitted = error("human_input_form_submitted");
    let answered = stream(&[message("Approved."), finished("Approved.")]);
    for lost in [vec![Act::Reset], answer(504, JSON, "")] {
        let server = Server::start(vec![lost, submitted.clone(), answered.clone()]).await;
        let events = ask(&dify(&server.url), &with_form("yes"), &env()).await;
        assert_eq!(shown(&events), "Approved.");
        assert!(targets(&server)[2].starts_with("GET /v1/workflow/w-1/events?"));
    }
    // The app didn't take the first attempt, or the form is gone: the text is an ordinary question.
    let expired = error("human_input_form_expired");
    for (first, second) in [(answer(429, JSON, ""), submitted.clone()), (vec![Act::Reset], expired)] {
        let server = Server::start(vec![first, second, answered.clone()]).await;
        ask(&dify(&server.url), &with_form("yes"), &env()).await;
        assert_eq!(targets(&server)[2], "POST /v1/chat-messages");
    }
}

#[tokio::test]
async fn generation_is_stopped_by_its_task_and_user() {
    let server = start(Habits::default()).await;
    ask(&dify(&server.url), &request("hello"), &env()).await;
    let cancel = |run_ref: Option<&str>| CancelRequest {
        run: RunId::new("run_1"),
        run_ref: run_ref.map(str::to_owned),
        conversation_ref: None,
        organization: OrganizationId::new("default"),
        user: UserId::new("usr_1"),
        is_stop: true,
    };
    dify(&server.url).cancel(&cancel(Some("t-1")), &env()).await.unwrap();
    dify(&server.url).cancel(&cancel(Some("gone")), &env()).await.unwrap();
    dify(&server.url).cancel(&cancel(None), &env()).await.unwrap();
    let calls = server.calls();
    assert_eq!(calls[1].target(), "POST /v1/chat-messages/t-1/stop");
    assert_eq!(calls[1].json()["user"], calls[0].json()["user"]);
    assert_eq!(calls.len(), 3);
}

#[tokio::test]
async fn errors_name_their_cause() {
    let server = start(Habits::default()).await;
    let wrong = adapter(
        "dify",
        json!({"baseUrl": format!("{}/v1", server.url), "apiKey": "app-other"}),
    );
    let events = ask(&wrong, &request("hi"), &env()).await;
    assert_eq!(
        failure(&events).message,
        "HTTP 401, code unauthorized, message Access token is invalid"
    );
    assert_eq!(wrong.probe(&env()).await.unwrap_err().code, "http_401");
    assert!(dify(&server.url).probe(&env()).await.is_ok());
    let event = |event: Value| sse(&format!("data: {event}\n\n"));
    for (script, code, retryable, n_calls) in [
        (
            answer(
                429,
                &format!("{JSON}retry-after: 3600\r\n"),
                r#"{"code":"too_many_requests","message":"x"}"#,
            ),
            "http_429",
            true,
            1,
        ),
        (answer(500, JSON, "{}"), "http_500", true, 3),
        (answer(404, JSON, "{}"), "http_404", false, 1),
        (
            event(json!({"event": "error", "status": 400, "code": "provider_quota_exceeded", "message": "x"})),
            "provider_quota_exceeded",
            false,
            1,
        ),
        (
            event(json!({"event": "error", "status": 500, "code": "internal_server_error", "message": "x"})),
            "internal_server_error",
            true,
            1,
        ),
        (
            event(json!({"event": "workflow_finished", "data": {"status": "failed", "error": "node broke"}})),
            "workflow_failed",
            false,
            1,
        ),
        (event(json!({"event": "ping"})), "incomplete", true, 1),
        (sse(""), "incomplete", true, 1),
        (sse("data: what?\n\n"), "bad_answer", false, 1),
        (
            answer(200, JSON, r#"{"code":"app_unavailable","message":"x","status":400}"#),
            "app_unavailable",
            false,
            1,
        ),
        (answer(200, JSON, r#"{"answer":"blocking"}"#), "bad_answer", false, 1),
        (answer(200, "", "<html>"), "bad_answer", false, 1),
    ] {
        let server = Server::start(vec![script]).await;
        let events = ask(&dify(&server.url), &request("hi"), &env()).await;
        let failure = failure(&events);
        assert_eq!(
            (failure.code.as_str(), failure.retryable, server.n_calls()),
            (code, retryable, n_calls)
        );
    }
}

#[tokio::test]
async fn replaced_and_stopped_answers_are_reported() {
    let moderated = sse(concat!(
        "data: {\"event\":\"message\",\"task_id\":\"t\",\"conversation_id\":\"c\",\"answer\":\"bad\"}\n\n",
        "data: {\"event\":\"message_replace\",\"answer\":\"moderated\"}\n\n",
        "data: {\"event\":\"message_end\"}\n\n",
    ));
    let server = Server::start(vec![moderated]).await;
    assert_eq!(
        shown(&ask(&dify(&server.url), &request("hi"), &env()).await),
        "moderated"
    );
    let stopped = "data: {\"event\":\"workflow_finished\",\"data\":{\"status\":\"stopped\"}}\n\n";
    let server = Server::start(vec![sse(stopped)]).await;
    assert_eq!(
        ask(&dify(&server.url), &request("hi"), &env()).await,
        [AgentEvent::Cancelled]
    );
}

fn stream(events: &[Value]) -> Vec<Act> {
    sse(&lines(events))
}

fn lines(events: &[Value]) -> String {
    events.iter().map(|event| format!("data: {event}\n\n")).collect()
}

fn begun() -> Value {
    json!({"event": "workflow_started", "task_id": "t", "conversation_id": "c", "workflow_run_id": "w-1"})
}

fn message(text: &str) -> Value {
    json!({"event": "message", "answer": text})
}

fn replace(text: &str) -> Value {
    json!({"event": "message_replace", "answer": text})
}

fn finished(answer: &str) -> Value {
    json!({"event": "workflow_finished", "data": {"status": "succeeded", "outputs": {"answer": answer}}})
}

fn message_end() -> Value {
    json!({"event": "message_end", "metadata": {"retriever_resources": [{"document_name": "manual.pdf"}]},
        "files": [{"type": "document", "url": "https://x.example/a.pdf", "filename": "a.pdf", "mime_type": "application/pdf"}]})
}

#[tokio::test]
async fn replaced_text_of_a_chatflow_stays_replaced() {
    let (text, output) = (message("secret"), finished("secret"));
    for (events, expected) in [
        (
            vec![text.clone(), replace("hidden"), message_end(), output.clone()],
            "hidden",
        ),
        (
            vec![text.clone(), output.clone(), replace("hidden"), message_end()],
            "hidden",
        ),
        (vec![text.clone(), replace(""), message_end(), output.clone()], ""),
        // The streamed text is shown as it was streamed; a workflow that streamed nothing is answered by its output.
        (vec![message("streamed"), finished("other"), message_end()], "streamed"),
        (vec![output.clone(), message_end()], "secret"),
    ] {
        let server = Server::start(vec![stream(&[vec![begun()], events].concat())]).await;
        let events = ask(&dify(&server.url), &request("hi"), &env()).await;
        assert_eq!(shown(&events), expected, "{events:?}");
    }
}

#[tokio::test]
async fn replaced_text_of_a_followed_workflow_is_a_snapshot_or_moderated() {
    let cut = |events: &[Value]| {
        let lines = lines(events);
        let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
        let headers = format!("{SSE}transfer-encoding: chunked\r\n");
        vec![Act::Say(head(200, &headers)), Act::Say(chunk.into_bytes())]
    };
    let first = [begun(), message("one ")];
    for (first, rest, expected) in [
        // The run has ended, and the stored text is moderated.
        (&first[..], vec![replace("hidden"), finished("one two")], "hidden"),
        // It hasn't ended: nothing is stored, or the text before a pause.
        (&first, vec![replace(""), finished("one two")], "one two"),
        (
            &first,
            vec![replace(""), message("two"), finished("one two")],
            "one two",
        ),
        (
            &first,
            vec![replace("zero"), message("two"), finished("zero one two")],
            "zero one two",
        ),
        // Moderated before the connection broke.
        (
            &[begun(), replace("hidden")],
            vec![replace(""), finished("one two")],
            "hidden",
        ),
    ] {
        let server = Server::start(vec![cut(first), stream(&[vec![begun()], rest].concat())]).await;
        let events = ask(&dify(&server.url), &request("hi"), &env()).await;
        assert_eq!((shown(&events).as_str(), server.n_calls()), (expected, 2), "{events:?}");
    }
}

/// Apps without a workflow list all files of the turn at its end, and don't say whose they are.
#[tokio::test]
async fn files_of_the_question_are_not_sent_back_and_those_of_tools_once() {
    let file =
        |url: &str, method: &str| json!({"type": "image", "url": url, "filename": url, "transfer_method": method});
    let made = json!({"event": "message_file", "id": "f", "type": "image", "belongs_to": "assistant", "url": "/files/tools/f.png?sign=1"});
    let listed = [
        file("/files/u/file-preview?sign=2", "local_file"),
        file("https://bridge.example/api/media/x", "remote_url"),
        file("/files/tools/f.png?sign=3", "tool_file"),
        file("/files/tools/g.png?sign=4", "tool_file"),
    ];
    let end = json!({"event": "message_end", "files": listed});
    let server = Server::start(vec![stream(&[message("hi"), made, end])]).await;
    let events = ask(&dify(&server.url), &request("hi"), &env()).await;
    let signed = |event: &AgentEvent| match event {
        AgentEvent::File(file) => file.url.rsplit('=').next().map(str::to_owned),
        _ => None,
    };
    assert_eq!(
        events.iter().filter_map(signed).collect::<Vec<_>>(),
        ["1", "4"],
        "{events:?}"
    );
}

#[tokio::test]
async fn files_and_sources_after_the_workflow_s_end_are_read() {
    let whole = [begun(), message("hi"), finished("hi")];
    for rest in [vec![message_end()], vec![message_end(), json!({"event": "ping"})]] {
        let server = Server::start(vec![stream(&[&whole[..], &rest].concat())]).await;
        let events = ask(&dify(&server.url), &request("hi"), &env()).await;
        assert_eq!(shown(&events), "hi");
        assert_eq!(progress(&events), [("manual.pdf", "source")]);
        let is_file = |event: &AgentEvent| matches!(event, AgentEvent::File(file) if file.name == "a.pdf");
        assert!(events.iter().any(is_file), "{events:?}");
    }
    // A server that sends no `message_end`, that hangs, or that fails after the complete answer doesn't change it.
    let say = || vec![Act::Say(head(200, SSE)), Act::Say(lines(&whole).into_bytes())];
    let late = json!({"event": "error", "status": 500, "code": "internal_server_error", "message": "x"});
    for rest in [vec![], vec![Act::Hang], vec![Act::Say(lines(&[late]).into_bytes())]] {
        let server = Server::start(vec![[say(), rest].concat()]).await;
        let begin = Instant::now();
        let events = ask(&dify(&server.url), &request("hi"), &env()).await;
        assert_eq!((shown(&events).as_str(), events.last()), ("hi", Some(&completed())));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}

#[tokio::test]
async fn silence_and_floods_end() {
    let server = Server::start(vec![vec![Act::Say(head(200, SSE)), Act::Hang]]).await;
    let config = json!({"baseUrl": server.url, "apiKey": KEY, "idleTimeoutSeconds": 1});
    assert_eq!(
        failure(&ask(&adapter("dify", config), &request("hi"), &env()).await).code,
        "idle_timeout"
    );
    server.hung_up().await;
    let flood = vec![
        Act::Say(head(200, SSE)),
        Act::Say("data: ".into()),
        Act::Flood(vec![b'x'; 65536], 1600),
    ];
    let server = Server::start(vec![flood]).await;
    assert_eq!(
        failure(&ask(&dify(&server.url), &request("hi"), &env()).await).code,
        "too_long"
    );
    server.hung_up().await;
    assert!(server.flooded_bytes() < 16 << 20, "{}", server.flooded_bytes());
}
