use serde_json::json;

use super::super::tests::{account, answer, context, logged_in, vectors};
use super::*;

fn address(note: &str) -> SocketAddress {
    SocketAddress {
        url: String::new(),
        headers: Vec::new(),
        note: note.to_owned(),
    }
}

fn updates(body: Value) -> ApiAnswer {
    answer(&json!({ "body": body }))
}

/// A session that is polling.
fn polling(note: &str, cx: &Context<'_>) -> Box<dyn StreamSession> {
    let mut session = LongPoll.session(&address(note), cx);
    session.on_open(cx);
    let effects = session.on_fetched(updates(json!({ "ret": 0 })), cx);
    assert!(
        matches!(effects.as_slice(), [Effect::Up, Effect::Fetch(_)]),
        "{effects:?}"
    );
    session
}

fn fetched(effects: &[Effect]) -> Option<&HttpCall> {
    effects.iter().find_map(|effect| match effect {
        Effect::Fetch(call) => Some(call),
        _ => None,
    })
}

fn cursor_of(effects: &[Effect]) -> Option<&str> {
    effects.iter().find_map(|effect| match effect {
        Effect::SaveCursor(cursor) => Some(cursor.as_str()),
        _ => None,
    })
}

fn n_events(effects: &[Effect]) -> usize {
    let counts = effects.iter().map(|effect| match effect {
        Effect::Deliver { events, .. } => events.len(),
        _ => 0,
    });
    counts.sum()
}

#[test]
fn next_poll_and_cursor_wait_for_the_queue() {
    let account = logged_in();
    let cx = context(&account);
    let mut session = polling("", &cx);
    let message = vectors()["accept"][0]["body"].clone();
    let effects = session.on_fetched(updates(json!({ "msgs": [message], "get_updates_buf": "NEXT" })), &cx);
    assert_eq!(n_events(&effects), 1);
    assert!(
        fetched(&effects).is_none() && cursor_of(&effects).is_none(),
        "{effects:?}"
    );
    let effects = session.on_stored(1, &cx);
    let Body::Json(body) = &fetched(&effects).unwrap().body else {
        panic!("no JSON");
    };
    assert!(body.contains("\"get_updates_buf\":\"NEXT\""), "{body}");
    assert!(cursor_of(&effects).unwrap().contains("NEXT"));
}

use tieline_core::http_types::Body;

#[test]
fn duplicates_are_dropped_across_sessions() {
    let account = logged_in();
    let cx = context(&account);
    let mut session = polling("", &cx);
    let first = vectors()["accept"][0]["body"].clone();
    session.on_fetched(updates(json!({ "msgs": [first], "get_updates_buf": "A" })), &cx);
    let note = cursor_of(&session.on_stored(1, &cx)).unwrap().to_owned();
    let copies = vectors()["hostile"].as_array().unwrap().clone();
    let copies = copies.iter().filter(|row| row.get("precondition").is_some());
    let mut other_words = first_body();
    other_words["message_id"] = json!(1);
    other_words["client_id"] = json!("c-new");
    for body in copies.map(|row| row["body"].clone()).chain([other_words]) {
        for session in [&mut session, &mut polling(&note, &cx)] {
            let effects = session.on_fetched(updates(json!({ "msgs": [body] })), &cx);
            assert_eq!(n_events(&effects), 0, "{body}");
        }
    }
    let mut later = first_body();
    later["message_id"] = json!(2);
    later["client_id"] = json!("c-later");
    later["create_time_ms"] = json!(1_789_900_059_000_i64);
    let effects = session.on_fetched(updates(json!({ "msgs": [later] })), &cx);
    assert_eq!(n_events(&effects), 1);
}

#[test]
fn message_without_a_context_token_is_answered_with_the_newest_known_one() {
    let account = logged_in();
    let cx = context(&account);
    let token_of = |session: &mut Box<dyn StreamSession>, id: i64, token: Value| {
        let mut body = first_body();
        body["message_id"] = json!(id);
        body["client_id"] = json!(format!("c-{id}"));
        body["create_time_ms"] = json!(1_789_900_000_000_i64 + id);
        body["context_token"] = token;
        let effects = session.on_fetched(updates(json!({ "msgs": [body] })), &cx);
        effects.iter().find_map(|effect| match effect {
            Effect::Deliver { events, .. } => match events.as_slice() {
                [Event::Message(message)] => message.target.handle.text("contextToken").map(str::to_owned),
                _ => None,
            },
            _ => None,
        })
    };
    let mut session = polling("", &cx);
    assert_eq!(token_of(&mut session, 1, Value::Null), None);
    assert_eq!(token_of(&mut session, 2, json!("CTX-2")).as_deref(), Some("CTX-2"));
    assert_eq!(token_of(&mut session, 3, json!("CTX-3")).as_deref(), Some("CTX-3"));
    assert_eq!(token_of(&mut session, 4, Value::Null).as_deref(), Some("CTX-3"));
    assert_eq!(token_of(&mut session, 5, json!("")).as_deref(), Some("CTX-3"));
    let note = cursor_of(&session.on_stored(5, &cx)).unwrap().to_owned();
    assert_eq!(
        token_of(&mut polling(&note, &cx), 6, Value::Null).as_deref(),
        Some("CTX-3")
    );
}

fn first_body() -> Value {
    vectors()["accept"][0]["body"].clone()
}

#[test]
fn ended_login_is_detected_by_every_call() {
    let account = logged_in();
    let cx = context(&account);
    for body in [json!({ "errcode": -14 }), json!({ "ret": -14 })] {
        let refused = vec![Effect::Refused(Refusal::LoggedOut { code: "-14".to_owned() })];
        assert_eq!(polling("", &cx).on_fetched(updates(body.clone()), &cx), refused);
        let mut session = LongPoll.session(&address(""), &cx);
        session.on_open(&cx);
        assert_eq!(session.on_fetched(updates(body), &cx), refused);
    }
}

#[test]
fn responses_match_the_vectors() {
    let account = logged_in();
    let cx = context(&account);
    for row in vectors()["responses"].as_array().unwrap() {
        if row["call"] != "getupdates" {
            continue;
        }
        let mut session = polling("", &cx);
        let effects = session.on_fetched(answer(row), &cx);
        let expect = &row["expect"];
        if let Some(cursor) = expect["cursor"].as_str() {
            let kept = cursor_of(&effects);
            assert_eq!(kept.is_none(), cursor == "keep", "{}: {effects:?}", row["id"]);
        }
        if expect["outcome"] == "relogin" {
            continue;
        }
        let wait = expect["delay_ms"].as_i64().unwrap_or(1000);
        let at = Timestamp::from_millis(cx.now.as_millis() + wait);
        assert_eq!(session.wake_at(), Some(at), "{}", row["id"]);
        if let Some(timeout) = expect["client_timeout_ms"].as_u64() {
            let effects = session.on_time(&Context { now: at, ..cx });
            assert_eq!(fetched(&effects).unwrap().timeout, Duration::from_millis(timeout));
        }
    }
}

#[test]
fn silent_polls_are_empty_until_a_probe_is_needed() {
    let account = logged_in();
    let mut cx = context(&account);
    let mut session = polling("", &cx);
    let mut silent = |cx: &mut Context<'_>| {
        cx.now = cx.now.after(Duration::from_secs(45));
        let effects = session.on_fetched(ApiAnswer::Unknown, cx);
        fetched(&effects).unwrap().name
    };
    assert_eq!(
        [silent(&mut cx), silent(&mut cx), silent(&mut cx)],
        ["get_updates", "get_updates", "get_life"]
    );
    let effects = session.on_fetched(updates(json!({ "ret": 0, "typing_ticket": "t" })), &cx);
    assert!(effects.contains(&Effect::Heard));
    assert_eq!(fetched(&effects).unwrap().name, "get_updates");
    for _ in 0..2 {
        session.on_fetched(ApiAnswer::Unknown, &cx);
        cx.now = cx.now.after(Duration::from_secs(45));
        session.on_time(&cx);
    }
    session.on_fetched(ApiAnswer::Unknown, &cx);
    let effects = session.on_fetched(ApiAnswer::NotSent, &cx);
    assert!(
        matches!(
            effects.as_slice(),
            [Effect::Reconnect {
                reason: "no_answer",
                ..
            }]
        ),
        "{effects:?}"
    );
}

#[test]
fn consecutive_errors_end_the_connection_for_a_while() {
    let account = logged_in();
    let mut cx = context(&account);
    let mut session = polling("", &cx);
    for _ in 0..2 {
        assert_eq!(session.on_fetched(updates(json!({ "ret": -1 })), &cx), Vec::new());
        cx.now = session.wake_at().unwrap();
        assert!(fetched(&session.on_time(&cx)).is_some());
    }
    let effects = session.on_fetched(updates(json!({ "ret": -1 })), &cx);
    let refusal = Refusal::Passing {
        code: "-1".to_owned(),
        retry_after: Some(PAUSE),
    };
    assert_eq!(effects, [Effect::Refused(refusal)]);
}

#[test]
fn unreadable_message_loses_no_other() {
    let account = logged_in();
    let cx = context(&account);
    let msgs: Vec<Value> = ["hostile", "accept"]
        .iter()
        .flat_map(|kind| vectors()[kind].as_array().unwrap().clone())
        .filter(|row| row.get("precondition").is_none())
        .map(|row| row["body"].clone())
        .collect();
    let effects = polling("", &cx).on_fetched(updates(json!({ "msgs": msgs })), &cx);
    assert_eq!(n_events(&effects), vectors()["accept"].as_array().unwrap().len());
}

#[test]
fn account_without_a_login_never_gets_a_reply() {
    let account = account(&[], &[]);
    let cx = context(&account);
    let call = LongPoll.session(&address(""), &cx).on_open(&cx);
    assert!(
        fetched(&call)
            .unwrap()
            .headers
            .iter()
            .all(|(name, _)| name != "Authorization")
    );
}
