//! The shared protocol vectors, through the connector's public interface.

use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context, TokenError};
use tieline_core::event::{Chat, ChatKind, Event, Message};
use tieline_core::http_types::{ApiAnswer, ApiCall};
use tieline_core::ids::{ChatId, IdMint, IntegrationId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::stream::{Effect, Frame, Refusal, SocketAddress, StreamSession};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::Weibo;

fn vectors(group: &str) -> Vec<Value> {
    let all: Value = serde_json::from_str(include_str!("vectors/weibo.json")).unwrap();
    all[group].as_array().unwrap().clone()
}

fn account() -> Account {
    let credentials: Credentials = [("appId", "100200300400"), ("appSecret", "s3cr3t-9f21")]
        .into_iter()
        .collect();
    let mode = ConnectionMode::LongConnection;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: Weibo.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::Chinese,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

fn context(account: &Account) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_millis(1_789_900_010_000),
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

fn session(cx: &Context<'_>) -> Box<dyn StreamSession> {
    let address = SocketAddress {
        url: String::new(),
        headers: Vec::new(),
        note: String::new(),
    };
    let mut session = Weibo.stream().unwrap().session(&address, cx);
    session.on_open(cx);
    session
}

fn frame_of(vector: &Value) -> String {
    if let Some(raw) = vector["body_raw"].as_str() {
        return raw.to_owned();
    }
    let Some(repeat) = vector.get("repeat") else {
        return vector["body"].to_string();
    };
    let unit = repeat["unit"].as_str().unwrap();
    let filling = unit.repeat(usize::try_from(repeat["count"].as_u64().unwrap()).unwrap());
    vector["body_template"]
        .to_string()
        .replace(repeat["placeholder"].as_str().unwrap(), &filling)
}

fn delivered(effects: &[Effect]) -> Vec<&Message> {
    let events = effects.iter().flat_map(|effect| match effect {
        Effect::Deliver { events, .. } => events.as_slice(),
        _ => &[],
    });
    events
        .map(|event| match event {
            Event::Message(message) => message,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn accepted_frames_are_delivered() {
    let account = account();
    let cx = context(&account);
    for vector in vectors("accept") {
        let effects = session(&cx).on_frame(Frame::Text(frame_of(&vector)), &cx);
        let [message] = delivered(&effects)[..] else {
            panic!("{}: {effects:?}", vector["id"])
        };
        let expect = &vector["expect"];
        let name = message.sender.name.as_deref().unwrap_or(message.sender.id.as_str());
        let attachments: Vec<Value> = message
            .parts
            .iter()
            .map(|part| json!({ "kind": part.kind, "file_name": part.name, "mime_type": part.mime, "size": part.size }))
            .collect();
        let actual = json!({
            "outcome": "accept",
            "conversation_id": message.target.chat.id,
            "sender_id": message.sender.id,
            "sender_name": name,
            "chat_type": message.target.chat.kind,
            "mentions_bot": true,
            "attachments": attachments,
            "text": message.text,
            "message_id": message.id,
        });
        assert_eq!(&actual, expect, "{}", vector["id"]);
        assert_eq!(
            message.sent_at.map(Timestamp::as_millis),
            vector["body"]["payload"]["timestamp"].as_i64()
        );
    }
}

#[test]
fn hostile_frames_are_ignored_and_keep_the_connection() {
    let account = account();
    let cx = context(&account);
    for vector in vectors("hostile") {
        // Duplicates are detected by the ledger.
        if vector.get("precondition").is_some() {
            continue;
        }
        let mut session = session(&cx);
        let dead_at = session.wake_at();
        let effects = session.on_frame(Frame::Text(frame_of(&vector)), &cx);
        let sent: Vec<Value> = effects
            .iter()
            .filter_map(|effect| match effect {
                Effect::Send(Frame::Text(text)) => serde_json::from_str(text).ok(),
                _ => None,
            })
            .collect();
        let outcome = match (&vector["expect"]["outcome"], effects.len()) {
            (outcome, 1) if outcome == "heartbeat" => outcome.clone(),
            // Confirms a chunk, if one was written.
            (outcome, 1) if vector["expect"]["reason"] == "ack" => outcome.clone(),
            (_, 1) => panic!("{}: {effects:?}", vector["id"]),
            _ if sent == [vector["response"].clone()] => json!("respond"),
            _ => json!("ignore"),
        };
        assert_eq!(outcome, vector["expect"]["outcome"], "{}: {effects:?}", vector["id"]);
        let is_quiet = |effect: &Effect| matches!(effect, Effect::Heard | Effect::Remark(_) | Effect::Send(_));
        assert!(effects.iter().all(is_quiet), "{}: {effects:?}", vector["id"]);
        assert_eq!(session.wake_at(), dead_at);
    }
}

#[test]
fn token_responses_and_refusals_are_classified() {
    let account = account();
    let cx = context(&account);
    for vector in vectors("tokens") {
        let body = vector["body_raw"]
            .as_str()
            .map_or_else(|| vector["body"].to_string(), str::to_owned);
        let answer = ApiAnswer::Answered {
            status: u16::try_from(vector["http_status"].as_u64().unwrap()).unwrap(),
            retry_after_s: None,
            body: body.into_bytes(),
        };
        let read = Weibo.tokens().unwrap().read(&answer, &cx);
        let probed = (Weibo.probe(&cx).unwrap().read)(&answer);
        let expect = &vector["expect"];
        match (expect["outcome"].as_str().unwrap(), read) {
            ("token", Ok(token)) => {
                assert_eq!(expect["token"], token.token.expose());
                let refresh_after = token.expires_at.since(cx.now).as_secs();
                assert_eq!(expect["refresh_after_s"], refresh_after, "{}", vector["id"]);
                assert!(probed.is_ok());
            }
            ("permanent_error", Err(TokenError::Refused { .. })) => {
                assert!(matches!(probed, Err(TokenError::Refused { .. })));
            }
            // The supervisor decides when to retry.
            ("retry", Err(TokenError::Unavailable { .. })) => {}
            (_, read) => panic!("{}: {read:?}", vector["id"]),
        }
    }
}

#[test]
fn token_request_names_the_app_as_text() {
    let account = account();
    let call = Weibo.tokens().unwrap().request(&context(&account));
    let tieline_core::http_types::Body::Json(body) = call.body else {
        panic!("{call:?}")
    };
    let expected = json!({ "app_id": "100200300400", "app_secret": "s3cr3t-9f21" });
    assert_eq!(serde_json::from_str::<Value>(&body).unwrap(), expected);
    assert_eq!(call.url, "https://open-im.api.weibo.com/open/auth/ws_token");
}

/// The next frame of a reply to `to`, and the progress after it. `None` if everything is shown.
fn next_frame(to: &str, stage: Stage, text: &str, progress: &Progress) -> Option<(Value, Progress)> {
    let account = account();
    let target = ReplyTarget {
        integration: account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(to),
            thread: None,
        },
        asker: SenderId::new(to),
        message: PlatformMessageId::new("m1"),
        handle: ReplyHandle::default(),
        expires_at: None,
    };
    let reply = ReplyId::new("tl-1");
    let desired = DesiredReply::new(&reply, stage, text);
    match Weibo.deliver(&desired, &target, progress, &context(&account)).unwrap() {
        Step::Done => None,
        Step::Call {
            call: ApiCall::Socket(call),
            on_success,
        } => Some((call.frame, on_success)),
        step => panic!("{step:?}"),
    }
}

#[test]
fn replies_match_the_vectors() {
    for vector in vectors("outbound") {
        let to = vector["to"].as_str().unwrap();
        let deltas = vector["deltas"].as_array().unwrap();
        let (mut text, mut progress, mut frames) = (String::new(), Progress::default(), Vec::new());
        for (at, delta) in deltas.iter().enumerate() {
            text.push_str(delta.as_str().unwrap());
            let is_last = at + 1 == deltas.len();
            let stage = if is_last { Stage::Final } else { Stage::Growing };
            let (frame, on_success) = next_frame(to, stage, &text, &progress).unwrap();
            frames.push(frame);
            progress = on_success;
        }
        // We choose the message's id; all of its chunks have the same.
        let id = frames[0]["payload"]["messageId"].clone();
        let mut expected = vector["frames"].clone();
        for frame in expected.as_array_mut().unwrap() {
            frame["payload"]["messageId"] = id.clone();
        }
        assert_eq!(Value::Array(frames), expected, "{}", vector["id"]);
    }
}

/// A message may be almost full when the next line comes, and much text may come at once.
#[test]
fn line_is_not_cut_where_the_next_message_has_room_for_it() {
    let lines: Vec<String> = (0..300).map(|n| format!("Line {n:03} of a long answer.\n\n")).collect();
    let text = lines.concat();
    for step in [1, 7, 40, 78, 150] {
        let (mut progress, mut messages) = (Progress::default(), vec![String::new()]);
        for end in (0..lines.len()).step_by(step).skip(1).chain([lines.len()]) {
            let is_last = end == lines.len();
            let stage = if is_last { Stage::Final } else { Stage::Growing };
            let text = &text[..lines[..end].concat().len()];
            while let Some((frame, on_success)) = next_frame("1001", stage, text, &progress) {
                let payload = &frame["payload"];
                messages.last_mut().unwrap().push_str(payload["text"].as_str().unwrap());
                if payload["done"] == true {
                    messages.push(String::new());
                }
                progress = on_success;
            }
        }
        assert_eq!(messages.concat(), text);
        assert!(messages.len() > 2, "{messages:?}");
        assert!(
            messages.iter().all(|it| it.is_empty() || it.ends_with("answer.\n\n")),
            "{step} lines at a time: {messages:?}"
        );
    }
}

#[test]
fn close_codes_are_handled_as_in_the_vectors() {
    let account = account();
    let cx = context(&account);
    for vector in vectors("close") {
        let code = u16::try_from(vector["code"].as_u64().unwrap()).unwrap();
        let effects = session(&cx).on_closed(code, vector["reason"].as_str().unwrap(), &cx);
        let actual = match &effects[..] {
            [] => json!(["reconnect"]),
            [Effect::Refused(Refusal::StaleToken { .. })] => json!(["clear_token", "reconnect"]),
            [
                Effect::Refused(Refusal::Passing {
                    retry_after: Some(wait),
                    ..
                }),
            ] if wait.as_secs() == 60 => {
                json!(["alert", "reconnect_slow"])
            }
            other => panic!("{vector}: {other:?}"),
        };
        assert_eq!(actual, vector["expect"], "{vector}");
    }
}

#[test]
fn refused_handshakes_request_another_token() {
    let account = account();
    let refused = |status| {
        Weibo
            .stream()
            .unwrap()
            .handshake_failed(status, &[], &context(&account))
    };
    assert_eq!(refused(401), Refusal::StaleToken { code: "401".into() });
    assert_eq!(refused(403), Refusal::StaleToken { code: "403".into() });
    for status in [429, 502] {
        assert!(matches!(refused(status), Refusal::Passing { .. }), "{status}");
    }
}
