//! Coze's chat API.

use serde_json::{Value, json};
use tieline_agents::failure::may_still_work;
use tieline_agents::protocol::{Adapter, CancelRequest};
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::PartKind;
use tieline_core::ids::{OrganizationId, RunId, UserId};

use crate::ask::{adapter, ask, conversation, env, failure, request, shown, targets};
use crate::coze_server::{Habits, KEY, start};
use crate::server::{Act, JSON, SSE, Server, answer, head, sse};

const FIRST_CONVERSATION: &str = "7380000000010000001";
const FIRST_CHAT: &str = "7380000000020000001";
const WHOLE: &str = "turn 1: hello\n\nAnd more.";

fn coze(url: &str) -> Adapter {
    coze_with(url, json!({}))
}

fn coze_with(url: &str, mut more: Value) -> Adapter {
    let mut config = json!({"baseUrl": url, "apiKey": KEY, "botId": "bot-1"});
    config.as_object_mut().unwrap().append(more.as_object_mut().unwrap());
    adapter("coze", config)
}

fn with_conversation(text: &str, conversation: &str) -> AgentRequest {
    let mut request = request(text);
    request.session.conversation_ref = Some(conversation.into());
    request
}

fn cut(events: usize) -> Habits {
    Habits {
        cut_after: Some(events),
        ..Habits::default()
    }
}

#[tokio::test]
async fn several_answers_become_paragraphs_of_one() {
    for studio in [false, true] {
        let server = start(Habits {
            studio,
            ..Habits::default()
        })
        .await;
        let agent = coze_with(
            &server.url,
            json!({"customVariables": {"team": "red"}, "parameters": {"n": 1}}),
        );
        let events = ask(&agent, &request("hello"), &env()).await;
        assert_eq!(shown(&events), WHOLE);
        // Emitted before the first text, so that it can be stored.
        let started = AgentEvent::Started {
            run_ref: FIRST_CHAT.into(),
            conversation_ref: Some(FIRST_CONVERSATION.into()),
        };
        assert_eq!(events[..2], [AgentEvent::Cursor(FIRST_CONVERSATION.into()), started]);
        let progress: Vec<_> = events
            .iter()
            .filter_map(|event| match event {
                AgentEvent::Progress { label, state } => Some((label.as_str(), state.as_str())),
                _ => None,
            })
            .collect();
        assert_eq!(progress, [("search", "started"), ("tool", "finished")]);
        assert!(events.contains(&AgentEvent::ReasoningDelta("hm".into())));
        let call = &server.calls()[0];
        let body = call.json();
        assert_eq!(
            (&body["custom_variables"], &body["parameters"]),
            (&json!({"team": "red"}), &json!({"n": 1}))
        );
        assert!(call.header("idempotency-key").is_some());
    }
}

#[tokio::test]
async fn conversation_continues_and_a_forgotten_one_is_replaced() {
    let server = start(Habits::default()).await;
    ask(&coze(&server.url), &request("hello"), &env()).await;
    let events = ask(
        &coze(&server.url),
        &with_conversation("again", FIRST_CONVERSATION),
        &env(),
    )
    .await;
    assert_eq!(shown(&events), "turn 2: again\n\nAnd more.");
    assert!(!events.contains(&AgentEvent::ConversationLost));
    // Coze Studio starts a new conversation silently.
    for studio in [false, true] {
        let server = start(Habits {
            studio,
            ..Habits::default()
        })
        .await;
        let events = ask(
            &coze(&server.url),
            &with_conversation("hello", "7380000000019999999"),
            &env(),
        )
        .await;
        assert!(events.contains(&AgentEvent::ConversationLost));
        assert_eq!(
            (shown(&events).as_str(), conversation(&events)),
            (WHOLE, vec![Some(FIRST_CONVERSATION)])
        );
    }
    // An unknown bot is not mistaken for a lost conversation.
    let server = start(Habits::default()).await;
    let events = ask(
        &coze_with(&server.url, json!({"botId": "other"})),
        &request("hello"),
        &env(),
    )
    .await;
    assert_eq!(
        (failure(&events).message.as_str(), server.n_calls()),
        ("code 4200, message Bot not found", 1)
    );
}

#[tokio::test]
async fn run_waits_for_an_occupied_conversation() {
    let server = start(Habits {
        n_occupied: 5,
        ..Habits::default()
    })
    .await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert_eq!((shown(&events).as_str(), server.n_calls()), (WHOLE, 6));
    let keys: std::collections::BTreeSet<_> = server
        .calls()
        .iter()
        .map(|call| call.header("idempotency-key").map(str::to_owned))
        .collect();
    assert_eq!(keys.len(), 1);
}

#[tokio::test]
async fn files_are_uploaded_or_sent_by_link_and_never_without_a_text() {
    let part = |kind, name: &str, inline: Option<&'static [u8]>| AgentPart {
        kind,
        url: format!("https://tieline.example/{name}"),
        mime: None,
        name: Some(name.into()),
        inline: inline.map(Into::into),
        unavailable: false,
    };
    let mut asked = request("look");
    asked.message.parts = vec![
        part(PartKind::Image, "a.png", Some(b"\x89PNG")),
        part(PartKind::File, "b.pdf", None),
        part(PartKind::Video, "c.mp4", None),
        part(PartKind::Image, "d.exe", Some(b"MZ")),
    ];
    let server = start(Habits::default()).await;
    let text = shown(&ask(&coze(&server.url), &asked, &env()).await);
    let expected = "turn 1: look\n[video: c.mp4](https://tieline.example/c.mp4)\n[image: d.exe](https://tieline.example/d.exe)\
                    [image a.png][file https://tieline.example/b.pdf]";
    assert_eq!(text.strip_suffix("\n\nAnd more.").unwrap(), expected);
    asked.message.parts.truncate(1);
    asked.message.text.clear();
    let server = start(Habits::default()).await;
    assert_eq!(
        shown(&ask(&coze(&server.url), &asked, &env()).await),
        "turn 1: image[image a.png]\n\nAnd more."
    );
}

#[tokio::test]
async fn chat_is_polled_after_its_stream_broke() {
    for n in 1..11 {
        let server = start(Habits { n_polls: 2, ..cut(n) }).await;
        let events = ask(&coze(&server.url), &request("hello"), &env()).await;
        assert_eq!(shown(&events), WHOLE, "cut after {n}");
        let expected = format!("GET /v3/chat/retrieve?conversation_id={FIRST_CONVERSATION}&chat_id={FIRST_CHAT}");
        assert_eq!(targets(&server)[1..4], [expected.clone(), expected.clone(), expected]);
        assert!(targets(&server)[4].starts_with("GET /v3/chat/message/list?"));
    }
    // No chat was created, so there is nothing to poll for.
    let server = start(cut(0)).await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).retryable),
        ("incomplete", true)
    );
}

#[tokio::test]
async fn refused_poll_is_repeated_and_the_question_is_not() {
    let posts = |server: &Server| {
        let is_post = |target: &&String| target.starts_with("POST");
        targets(server).iter().filter(is_post).count()
    };
    let after = |n_refused_polls| Habits {
        n_refused_polls,
        ..cut(2)
    };
    let server = start(after(8)).await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert_eq!((shown(&events).as_str(), posts(&server)), (WHOLE, 1));
    // A chat that can't be reached is given up as one that may go on, so it is cancelled.
    let server = start(after(1_000)).await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert!(may_still_work(failure(&events)), "{events:?}");
    assert_eq!(posts(&server), 1);
}

#[tokio::test]
async fn next_process_polls_for_the_end() {
    let server = start(cut(6)).await;
    let agent = coze(&server.url);
    let first = ask(&agent, &request("hello"), &env()).await;
    let cursor = first.iter().find_map(|event| match event {
        AgentEvent::Cursor(cursor) => Some(cursor.clone()),
        _ => None,
    });
    assert_eq!(cursor.as_deref(), Some(FIRST_CONVERSATION));
    let resume = Resume {
        run_ref: FIRST_CHAT.into(),
        cursor,
    };
    assert!(agent.can_resume(&resume));
    let mut next = request("hello");
    next.resume = Some(resume);
    let events = ask(&agent, &next, &env()).await;
    assert_eq!(shown(&events), WHOLE);
    let posts = targets(&server)
        .iter()
        .filter(|target| target.starts_with("POST"))
        .count();
    assert_eq!(posts, 1);
    // A chat that is gone makes the run fail.
    next.resume.as_mut().unwrap().run_ref = "7380000000029999999".into();
    assert_eq!(failure(&ask(&agent, &next, &env()).await).code, "coze_4200");
}

#[tokio::test]
async fn silent_chat_is_cancelled_to_free_its_conversation() {
    let begun = format!(
        "event:conversation.chat.created\ndata:{{\"id\":\"{FIRST_CHAT}\",\"conversation_id\":\"{FIRST_CONVERSATION}\",\"status\":\"created\"}}\n\n"
    );
    let script = vec![Act::Say(head(200, SSE)), Act::Say(begun.into_bytes()), Act::Hang];
    let server = Server::start(vec![script, answer(200, JSON, r#"{"code":0,"msg":"","data":{}}"#)]).await;
    let events = ask(
        &coze_with(&server.url, json!({"idleTimeoutSeconds": 1})),
        &request("hello"),
        &env(),
    )
    .await;
    assert_eq!(failure(&events).code, "idle_timeout");
    let cancel = &server.calls()[1];
    assert_eq!(cancel.target(), "POST /v3/chat/cancel");
    assert_eq!(
        cancel.json(),
        json!({"conversation_id": FIRST_CONVERSATION, "chat_id": FIRST_CHAT})
    );
}

#[tokio::test]
async fn workflow_question_ends_the_turn_and_caller_side_plugins_are_refused() {
    let server = start(Habits {
        asks: true,
        ..Habits::default()
    })
    .await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert_eq!(
        (shown(&events).as_str(), events.last()),
        (WHOLE, Some(&AgentEvent::Completed { final_text: None }))
    );
    // The question was the last answer.
    let is_question = |event: &AgentEvent| matches!(event, AgentEvent::InputRequired { .. });
    assert!(!events.iter().any(is_question), "{events:?}");
    let server = start(Habits {
        asks: true,
        question: Some("Which one?"),
        ..Habits::default()
    })
    .await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    let asked =
        |event: &&AgentEvent| matches!(event, AgentEvent::InputRequired { prompt, .. } if prompt == "Which one?");
    assert_eq!(events.iter().filter(asked).count(), 1, "{events:?}");
    let server = start(Habits {
        plugin: true,
        ..Habits::default()
    })
    .await;
    let events = ask(&coze(&server.url), &request("hello"), &env()).await;
    assert_eq!(failure(&events).code, "plugin_call");
    assert!(failure(&events).message.contains("open_door"));
}

#[tokio::test]
async fn chat_is_cancelled_by_both_of_its_ids() {
    let server = start(Habits { n_polls: 9, ..cut(6) }).await;
    let agent = coze(&server.url);
    let cancel = |conversation: Option<&str>, chat: Option<&str>| CancelRequest {
        run: RunId::new("run_1"),
        run_ref: chat.map(str::to_owned),
        conversation_ref: conversation.map(str::to_owned),
        organization: OrganizationId::new("default"),
        user: UserId::new("usr_1"),
        is_stop: true,
    };
    // Unknown, ended or never started: nothing is left to cancel.
    agent
        .cancel(&cancel(Some(FIRST_CONVERSATION), Some(FIRST_CHAT)), &env())
        .await
        .unwrap();
    agent
        .cancel(&cancel(Some(FIRST_CONVERSATION), None), &env())
        .await
        .unwrap();
    ask(&agent, &request("hello"), &env()).await;
    agent
        .cancel(&cancel(Some(FIRST_CONVERSATION), Some(FIRST_CHAT)), &env())
        .await
        .unwrap();
    assert_eq!(
        server.calls().last().unwrap().json(),
        json!({"conversation_id": FIRST_CONVERSATION, "chat_id": FIRST_CHAT})
    );
    let wrong = coze_with(&server.url, json!({"apiKey": "pat_other"}));
    let told = wrong
        .cancel(&cancel(Some(FIRST_CONVERSATION), Some(FIRST_CHAT)), &env())
        .await;
    assert_eq!(told.unwrap_err().code, "coze_4100");
}

#[tokio::test]
async fn errors_name_their_cause_for_any_status() {
    let server = start(Habits::default()).await;
    let wrong = coze_with(&server.url, json!({"apiKey": "pat_other"}));
    let events = ask(&wrong, &request("hi"), &env()).await;
    assert_eq!(
        (failure(&events).code.as_str(), failure(&events).message.as_str()),
        ("coze_4100", "code 4100, message authentication is invalid")
    );
    assert_eq!(wrong.probe(&env()).await.unwrap_err().code, "coze_4100");
    assert!(coze(&server.url).probe(&env()).await.is_ok());
    let event = |name: &str, data: Value| sse(&format!("event:{name}\ndata:{data}\n\n"));
    let failed =
        json!({"id": "1", "conversation_id": "2", "status": "failed", "last_error": {"code": 5000, "msg": "oh"}});
    for (script, code, retryable, n_calls) in [
        (
            answer(200, JSON, r#"{"code":4013,"msg":"slow down"}"#),
            "coze_4013",
            true,
            3,
        ),
        (
            answer(
                200,
                &format!("{JSON}retry-after: 3600\r\n"),
                r#"{"code":4013,"msg":"slow down"}"#,
            ),
            "coze_4013",
            true,
            1,
        ),
        (
            answer(429, &format!("{JSON}retry-after: 3600\r\n"), "{}"),
            "http_429",
            true,
            1,
        ),
        (answer(500, JSON, "{}"), "http_500", true, 3),
        (answer(404, "", "<html>"), "http_404", false, 1),
        (answer(400, JSON, r#"{"code":4000,"msg":"bad"}"#), "coze_4000", false, 1),
        (event("conversation.chat.failed", failed), "coze_5000", true, 3),
        (
            event("conversation.chat.failed", json!({"code": 4101, "msg": "no"})),
            "coze_4101",
            false,
            1,
        ),
        (
            event("error", json!({"code": 4000, "msg": "no"})),
            "coze_4000",
            false,
            1,
        ),
        (event("done", json!("[DONE]")), "incomplete", true, 1),
        (event("conversation.message.delta", json!(5)), "bad_answer", false, 1),
        (answer(200, JSON, r#"{"code":0}"#), "bad_answer", false, 1),
        (answer(200, "", "<html>"), "bad_answer", false, 1),
    ] {
        let server = Server::start(vec![script]).await;
        let events = ask(&coze(&server.url), &request("hi"), &env()).await;
        let failure = failure(&events);
        assert_eq!(
            (failure.code.as_str(), failure.retryable, server.n_calls()),
            (code, retryable, n_calls),
            "{}",
            failure.message
        );
    }
}

#[tokio::test]
async fn oversized_answers_end_the_run() {
    for begun in ["data:", "{\"msg\":\""] {
        let flood = vec![
            Act::Say(head(200, SSE)),
            Act::Say(begun.into()),
            Act::Flood(vec![b'x'; 65536], 1600),
        ];
        let server = Server::start(vec![flood]).await;
        assert_eq!(
            failure(&ask(&coze(&server.url), &request("hi"), &env()).await).code,
            "too_long"
        );
        server.hung_up().await;
        assert!(server.flooded_bytes() < 24 << 20, "{}", server.flooded_bytes());
    }
}
