//! Frames of the long connection and their exact acknowledgements.

use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::connector::Remark;
use tieline_core::event::{ChatKind, Event, Message, PartKind};
use tieline_core::stream::{Effect, Frame, SocketAddress, StreamProtocol as _, StreamSession};

use super::{CLIENT, account, at, field, vectors};
use crate::dingtalk::stream::Stream;

const NOW: i64 = 1_760_000_100_000;

fn session(account: &Account) -> Box<dyn StreamSession> {
    let address = SocketAddress {
        url: "wss://wss-open-connection.dingtalk.com/connect?ticket=t".into(),
        headers: Vec::new(),
        note: String::new(),
    };
    let mut session = Stream.session(&address, &at(account, NOW));
    assert_eq!(session.on_open(&at(account, NOW)), [Effect::Up]);
    session
}

/// Result of one frame.
#[derive(Default)]
struct Told {
    events: Vec<Event>,
    /// Acknowledgements before the queue stored the events.
    early: Vec<Value>,
    /// Acknowledgements at the end.
    acks: Vec<Value>,
    remark: Option<Remark>,
    heard: bool,
    replace: bool,
}

/// Sends a frame to a session. `stores`: whether the queue accepts events.
fn play(frame: &str, stores: bool) -> Told {
    let account = account(ConnectionMode::LongConnection, &CLIENT);
    let mut session = session(&account);
    let mut told = Told::default();
    let mut token_given = None;
    for effect in session.on_frame(Frame::Text(frame.into()), &at(&account, NOW)) {
        match effect {
            Effect::Deliver { token, events, .. } => {
                told.events = events;
                token_given = Some(token);
            }
            Effect::Heard => told.heard = true,
            Effect::Replace { .. } => told.replace = true,
            Effect::Remark(remark) => told.remark = Some(remark),
            Effect::Send(frame) => told.early.push(read(&frame)),
            other => panic!("unexpected effect: {other:?}"),
        }
    }
    told.acks.clone_from(&told.early);
    let Some(token) = token_given else { return told };
    let later = if stores {
        session.on_stored(token, &at(&account, NOW + 100))
    } else {
        let deadline = session.wake_at().unwrap();
        assert!(deadline.as_millis() < NOW + 3000, "the platform waits 3 s");
        session.on_time(&at(&account, deadline.as_millis()))
    };
    told.acks.extend(later.iter().filter_map(|effect| match effect {
        Effect::Send(frame) => Some(read(frame)),
        _ => None,
    }));
    if !stores {
        // Stored after all: no second acknowledgement.
        assert_eq!(session.on_stored(token, &at(&account, NOW + 9000)), []);
    }
    told
}

/// An acknowledgement whose `data`, which must be a string, is parsed as JSON.
fn read(frame: &Frame) -> Value {
    let Frame::Text(text) = frame else {
        panic!("not a text frame")
    };
    with_data_read(serde_json::from_str(text).unwrap())
}

fn with_data_read(mut ack: Value) -> Value {
    ack["data"] = serde_json::from_str(ack["data"].as_str().expect("data is a string")).unwrap();
    ack
}

/// The vectors' description of a failing queue.
const QUEUE_FAILS: &str = "the inbound queue refuses writes";

#[test]
fn every_frame_gets_its_exact_acknowledgement() {
    let vectors = vectors();
    let frames = vectors["stream_frames"].as_array().unwrap();
    assert_eq!(frames.len(), 40);
    for vector in frames {
        let name = field(vector, "name");
        let stores = vector["ctx"] != QUEUE_FAILS;
        let told = play(field(vector, "frame_text"), stores);
        let mut expected = vector["ack"].clone();
        if name == "event_store_failed" {
            // Nothing is stored for an event without a handler, so storing can't fail.
            expected["data"] = json!({ "status": "SUCCESS", "message": "success" }).to_string().into();
        }
        let expected: Vec<_> = (!expected.is_null())
            .then(|| with_data_read(expected))
            .into_iter()
            .collect();
        assert_eq!(told.acks, expected, "{name}");
        if !told.events.is_empty() {
            assert!(told.early.is_empty(), "{name}: acknowledged before it was stored");
        }
        check_what_follows(name, &told);
        check_expected(name, &vector["expect"], &told);
    }
}

/// Checks the `then` of the vectors, which is prose.
fn check_what_follows(name: &str, told: &Told) {
    let sent = told.events.len();
    match name {
        "system_disconnect" | "system_disconnect_without_message_id" => assert!(told.replace, "{name}"),
        "malformed_not_json" | "malformed_json_not_object" | "malformed_no_headers" | "event_misspelt_header" => {
            assert!(
                !told.heard && matches!(told.remark, Some(Remark::Unreadable(_))),
                "{name}"
            );
        }
        "bot_data_not_json"
        | "card_callback_content_not_json"
        | "bot_quota_exhausted"
        | "bot_quota_exhausted_stream_names" => {
            assert!(
                sent == 0 && matches!(told.remark, Some(Remark::Unreadable(_))),
                "{name}"
            );
        }
        "type_unknown" | "callback_topic_not_subscribed" | "system_unknown_topic" => {
            assert!(sent == 0 && matches!(told.remark, Some(Remark::Ignored(_))), "{name}");
        }
        _ if name.starts_with("system_") || name.starts_with("malformed_") => {
            assert!(sent == 0 && told.heard, "{name}")
        }
        _ if name.starts_with("event_") => assert_eq!(sent, 0, "{name}"),
        _ => assert_eq!(sent, 1, "{name}"),
    }
}

fn check_expected(name: &str, expect: &Value, told: &Told) {
    match told.events.first() {
        Some(Event::Message(message)) => check_message(name, expect, message),
        Some(Event::CardAction(action)) => {
            assert_eq!(Value::from(action.card.as_str()), expect["out_track_id"], "{name}");
            assert_eq!(json!([action.key]), expect["action_ids"], "{name}");
            assert_eq!(Value::from(action.sender.id.as_str()), expect["user"], "{name}");
        }
        Some(event @ (Event::Overheard(_) | Event::Recalled(_) | Event::ChatMoved(_))) => {
            panic!("{name}: not expected here: {event:?}")
        }
        Some(Event::Feedback(_)) => assert_eq!(name, "card_callback_with_update"),
        None => {}
    }
}

fn check_message(name: &str, expect: &Value, message: &Message) {
    let same = |field: &str, actual: Value| {
        assert!(
            expect[field].is_null() || expect[field] == actual,
            "{name}.{field}: expected {}, got {actual}",
            expect[field]
        );
    };
    let kind = message.parts.first().map(|part| match part.kind {
        PartKind::Image if !message.text.is_empty() => "richText",
        PartKind::Image => "picture",
        PartKind::Audio => "audio",
        PartKind::Video => "video",
        PartKind::File => "file",
    });
    let codes: Value = message.parts.iter().map(|part| part.locator["code"].clone()).collect();
    let chat = match message.target.chat.kind {
        ChatKind::Direct => "single",
        ChatKind::Group => "group",
    };
    same("text", message.text.as_str().into());
    same("msgtype", kind.unwrap_or("text").into());
    same("chat", chat.into());
    same("downloads", codes);
    same("sender", message.sender.id.as_str().into());
    same("quoted_text", json!(message.quoted.as_ref().map(|quoted| &quoted.text)));
    same(
        "file_name",
        json!(message.parts.first().and_then(|part| part.name.as_ref())),
    );
    let robot = message.target.handle.text("robot").unwrap();
    same("dedupe_key", format!("{robot}:{}", message.id).into());
}

#[test]
fn redelivery_has_the_same_id() {
    let vectors = vectors();
    let frames = vectors["stream_frames"].as_array().unwrap();
    let id = |name: &str| {
        let vector = frames.iter().find(|vector| vector["name"] == name).unwrap();
        play(field(vector, "frame_text"), true).events[0].id().clone()
    };
    assert_eq!(id("bot_text_group_at"), id("bot_redelivery_new_message_id"));
    assert_ne!(id("bot_text_group_at"), id("bot_text_single"));
}

#[test]
fn sender_outside_the_organization_is_reached_until_the_session_webhook_expires() {
    let vectors = vectors();
    let frames = vectors["stream_frames"].as_array().unwrap();
    let vector = frames
        .iter()
        .find(|vector| vector["name"] == "bot_external_sender")
        .unwrap();
    let mut frame: Value = serde_json::from_str(field(vector, "frame_text")).unwrap();
    let expires_at = |frame: &Value| match &play(&frame.to_string(), true).events[0] {
        Event::Message(message) => message.target.expires_at.map(|at| at.as_millis()),
        other => panic!("not a message: {other:?}"),
    };
    assert_eq!(expires_at(&frame), None, "a group is reached at any time");
    let mut data: Value = serde_json::from_str(field(&frame, "data")).unwrap();
    data["conversationType"] = "1".into();
    frame["data"] = data.to_string().into();
    assert_eq!(expires_at(&frame), data["sessionWebhookExpiredTime"].as_i64());
}

#[test]
fn click_older_than_a_day_is_ignored() {
    let click = |time: i64| {
        let said = json!({ "cardPrivateData": { "actionIds": ["stop"] } }).to_string();
        let data = json!({ "outTrackId": "tl-card", "userId": "manager0123", "spaceId": "cid1", "content": said });
        let headers =
            json!({ "messageId": "card_1", "time": time.to_string(), "topic": "/v1.0/card/instances/callback" });
        let frame = json!({ "type": "CALLBACK", "headers": headers, "data": data.to_string() });
        play(&frame.to_string(), true)
    };
    const DAY: i64 = 24 * 3_600_000;
    let told = click(NOW - DAY);
    assert_eq!((told.events.len(), told.remark), (1, None));
    let told = click(NOW - DAY - 1);
    assert!(told.events.is_empty() && matches!(told.remark, Some(Remark::Ignored(_))));
    assert_eq!((told.acks.len(), &told.acks[0]["code"]), (1, &json!(200)));
}
