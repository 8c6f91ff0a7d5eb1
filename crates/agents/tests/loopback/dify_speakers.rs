//! Conversations of Dify that several people share.

use serde_json::{Value, json};
use tieline_agents::protocol::CancelRequest;
use tieline_core::agent::{AgentEvent, AgentPart, AgentRequest, Resume};
use tieline_core::event::{ChatKind, PartKind};
use tieline_core::ids::{OrganizationId, RunId, UserId};

use crate::ask::{adapter, ask, conversation, env, request, shown};
use crate::dify::{cursor, dify, of};
use crate::dify_server::{App, Habits, KEY, start};

/// A question in a group whose people share a session.
fn said_by(user: &str, text: &str, reference: Option<&str>) -> AgentRequest {
    let mut request = request(text);
    request.chat.kind = ChatKind::Group;
    request.user.id = UserId::new(user);
    request.session.conversation_ref = reference.map(str::to_owned);
    request.message.parts = vec![AgentPart {
        kind: PartKind::Image,
        url: "https://tieline.example/a.png".into(),
        mime: None,
        name: Some("a.png".into()),
        inline: Some(b"\x89PNG".as_slice().into()),
        unavailable: false,
    }];
    request
}

fn stop(user: &str, reference: Option<&str>) -> CancelRequest {
    CancelRequest {
        run: RunId::new("run_1"),
        run_ref: Some("t-1".into()),
        conversation_ref: reference.map(str::to_owned),
        organization: OrganizationId::new("default"),
        user: UserId::new(user),
        is_stop: true,
    }
}

#[tokio::test]
async fn shared_conversation_survives_a_change_of_speaker() {
    let server = start(of(App::Chatflow)).await;
    let config = json!({"baseUrl": format!("{}/v1", server.url), "apiKey": KEY, "inputs": {"speaker": "{{userId}}"}});
    let agent = adapter("dify", config);
    let first = ask(&agent, &said_by("usr_1", "hello", None), &env()).await;
    let kept = conversation(&first).last().unwrap().unwrap().to_owned();
    let second = ask(&agent, &said_by("usr_2", "again", Some(&kept)), &env()).await;
    assert_eq!(shown(&second), "turn 2: again[image a.png]");
    assert_eq!(conversation(&second).last(), Some(&Some(kept.as_str())));
    let asked: Vec<Value> = server
        .calls()
        .iter()
        .filter(|call| call.target() == "POST /v1/chat-messages")
        .map(|call| call.json())
        .collect();
    assert_eq!(asked[0]["user"], asked[1]["user"]);
    assert_eq!(asked[0]["inputs"]["speaker"], asked[0]["user"]);
    assert_ne!(asked[1]["inputs"]["speaker"], asked[0]["user"]);
    // Another process follows the run, and another person stops it.
    let mut next = said_by("usr_2", "again", Some(&kept));
    next.resume = Some(Resume {
        run_ref: "t-1".into(),
        cursor: cursor(&second),
    });
    assert_eq!(shown(&ask(&agent, &next, &env()).await), "turn 2: again[image a.png]");
    agent.cancel(&stop("usr_2", Some(&kept)), &env()).await.unwrap();
    let stopped = server.calls().last().unwrap().json();
    assert_eq!(stopped["user"], asked[0]["user"]);
}

#[tokio::test]
async fn form_is_answered_by_the_words_without_the_speakers_name() {
    let server = start(of(App::Form)).await;
    let agent = dify(&server.url);
    let events = ask(&agent, &request("hello"), &env()).await;
    let waiting = conversation(&events).last().unwrap().unwrap().to_owned();
    let mut answered = request("reject: too dear");
    answered.chat.kind = ChatKind::Group;
    answered.session.conversation_ref = Some(waiting);
    answered.message.text = "[before]\n\nLi Si: reject: too dear".into();
    let events = ask(&agent, &answered, &env()).await;
    assert_eq!(shown(&events), r#"turn 1: hello (reject {"comment":"too dear"})"#);
}

#[tokio::test]
async fn attachment_of_a_forms_answer_is_mentioned_in_its_text() {
    let server = start(of(App::Form)).await;
    let agent = dify(&server.url);
    for (words, said) in [("Approve: as marked", "as marked\n"), ("approve", "")] {
        let events = ask(&agent, &request("hello"), &env()).await;
        let waiting = conversation(&events).last().unwrap().unwrap().to_owned();
        ask(&agent, &said_by("usr_1", words, Some(&waiting)), &env()).await;
        let mut calls = server.calls().into_iter().rev();
        let decision = calls.find(|call| call.target().contains("/form/human_input/")).unwrap();
        let comment = format!("{said}[image: a.png](https://tieline.example/a.png)");
        assert_eq!(decision.json()["action"], "approve");
        assert_eq!(decision.json()["inputs"], json!({"comment": comment}));
    }
}

#[tokio::test]
async fn lost_shared_conversation_begins_anew_as_that_of_the_speaker() {
    let server = start(Habits::default()).await;
    let agent = dify(&server.url);
    for gone in [r#"{"id":"c-99","user":"somebody"}"#, "c-99"] {
        let events = ask(&agent, &said_by("usr_2", "hello", Some(gone)), &env()).await;
        assert!(events.contains(&AgentEvent::ConversationLost));
        assert_eq!(shown(&events), "turn 1: hello[image a.png]");
        let kept = conversation(&events).last().unwrap().unwrap().to_owned();
        let events = ask(&agent, &said_by("usr_1", "again", Some(&kept)), &env()).await;
        assert_eq!(shown(&events), "turn 2: again[image a.png]");
    }
    // A reference that an older version stored continues for the last speaker, and keeps that user from then on.
    let events = ask(&agent, &said_by("usr_2", "again", Some("c-1")), &env()).await;
    assert_eq!(shown(&events), "turn 2: again[image a.png]");
    let kept = conversation(&events).last().unwrap().unwrap().to_owned();
    let events = ask(&agent, &said_by("usr_1", "again", Some(&kept)), &env()).await;
    assert_eq!(shown(&events), "turn 2: again[image a.png]");
}
