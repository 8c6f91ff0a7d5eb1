use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::event::{Event, NEW_SESSION_KEY};

use super::super::fixture::{NOW, account, context, list, text, vectors};
use super::*;

const BOT: &str = "ou_b07b07b07b07b07b07b07b07b07b07b0";

fn ours(bot: &str) -> Account {
    let mut account = account(ConnectionMode::LongConnection, &[("botOpenId", bot)]);
    account
        .endpoints
        .insert("apiBase".into(), "https://msg-frontier.example.invalid".into());
    account
}

fn session() -> Session {
    let url = "wss://msg-frontier.example.invalid/ws/v2?device_id=7&service_id=33554678";
    Session::new(&SocketAddress {
        url: url.into(),
        headers: Vec::new(),
        note: "{}".into(),
    })
}

fn named(name: &str) -> Value {
    let vectors = vectors();
    let found = list(&vectors, "frames", 16).iter().find(|frame| frame["name"] == name);
    found.unwrap().clone()
}

fn frame(vector: &Value) -> SocketFrame {
    SocketFrame::Binary(hex::decode(text(vector, "hex")).unwrap())
}

/// Id of the bot that a frame's message mentions.
fn mentioned(payload: &str) -> String {
    let payload: Value = serde_json::from_str(payload).unwrap();
    let id = &payload["event"]["message"]["mentions"][0]["id"]["open_id"];
    id.as_str().unwrap_or(BOT).to_owned()
}

fn sent(effects: &[Effect]) -> Vec<String> {
    let sent = effects.iter().filter_map(|effect| match effect {
        Effect::Send(SocketFrame::Binary(bytes)) => Some(hex::encode(bytes)),
        _ => None,
    });
    sent.collect()
}

fn delivered(effects: &[Effect]) -> Option<(u64, Event)> {
    effects.iter().find_map(|effect| match effect {
        Effect::Deliver { token, events, .. } => Some((*token, events[0].clone())),
        _ => None,
    })
}

#[test]
fn event_is_acknowledged_only_after_it_is_stored() {
    let vector = named("event_single");
    let account = ours(&mentioned(text(&vector["decoded"], "payload_utf8")));
    let mut session = session();
    let effects = session.on_frame(frame(&vector), &context(&account, NOW));
    assert!(sent(&effects).is_empty(), "acknowledged before it is stored");
    let (token, event) = delivered(&effects).unwrap();
    assert_eq!(event.id().as_str(), "om_6b1d0f4c8a2e49c7b3d5e6f708192a3b");
    let later = NOW.after(Duration::from_millis(3));
    let acks = sent(&session.on_stored(token, &context(&account, later)));
    assert_eq!(acks, [text(&named("ack_event_200"), "hex")]);
    assert!(session.on_stored(token, &context(&account, later)).is_empty());
}

#[test]
fn parts_in_either_order_give_one_event_and_one_acknowledgement() {
    let vectors = vectors();
    let joined = text(&vectors["split"], "joined_utf8");
    let account = ours(&mentioned(joined));
    for order in ["order_arrived", "also_test"] {
        let mut session = session();
        let mut events = Vec::new();
        let mut last = Value::Null;
        for name in vectors["split"][order].as_array().unwrap() {
            last = named(name.as_str().unwrap());
            let effects = session.on_frame(frame(&last), &context(&account, NOW));
            assert!(sent(&effects).is_empty());
            events.extend(delivered(&effects));
        }
        let [(token, event)] = &events[..] else {
            panic!("{order}: {} events", events.len())
        };
        assert_eq!(event.id().as_str(), "om_6b1d0f4c8a2e49c7b3d5e6f708192a3b");
        let acks = sent(&session.on_stored(*token, &context(&account, NOW.after(Duration::from_millis(3)))));
        let answered = Frame::read(&hex::decode(text(&last, "hex")).unwrap())
            .unwrap()
            .answered(TAKEN, 3);
        assert_eq!(acks, [hex::encode(answered.bytes())]);
        if last["name"] == "event_part_1_of_2" {
            assert_eq!(acks, [text(&named("ack_split_200"), "hex")]);
        }
    }
}

#[test]
fn click_is_answered_with_a_toast() {
    let vector = named("callback_single");
    let account = ours(BOT);
    let mut session = session();
    let effects = session.on_frame(frame(&vector), &context(&account, NOW));
    let (token, event) = delivered(&effects).unwrap();
    assert!(matches!(&event, Event::CardAction(action) if action.key == NEW_SESSION_KEY));
    let acks = sent(&session.on_stored(token, &context(&account, NOW.after(Duration::from_millis(12)))));
    let ack = Frame::read(&hex::decode(&acks[0]).unwrap()).unwrap();
    let expected = Frame::read(&hex::decode(text(&named("ack_callback_toast"), "hex")).unwrap()).unwrap();
    assert_eq!(ack.headers, expected.headers);
    let payload: Value = serde_json::from_slice(&ack.payload.unwrap()).unwrap();
    let answer = STANDARD.decode(payload["data"].as_str().unwrap()).unwrap();
    let answer: Value = serde_json::from_slice(&answer).unwrap();
    assert_eq!(
        (&payload["code"], &answer["toast"]["type"]),
        (&json!(200), &json!("success"))
    );
}

#[test]
fn click_on_a_foreign_card_is_answered_with_nothing_to_show() {
    let vector = named("callback_single");
    let mut asked = Frame::read(&hex::decode(text(&vector, "hex")).unwrap()).unwrap();
    let payload = String::from_utf8(asked.payload.take().unwrap()).unwrap();
    asked.payload = Some(payload.replace("tieline", "foreign").into_bytes());
    let account = ours(BOT);
    let effects = session().on_frame(SocketFrame::Binary(asked.bytes()), &context(&account, NOW));
    assert!(delivered(&effects).is_none());
    let ack = Frame::read(&hex::decode(&sent(&effects)[0]).unwrap()).unwrap();
    let expected = Frame::read(&hex::decode(text(&named("ack_callback_empty"), "hex")).unwrap()).unwrap();
    assert_eq!(ack.payload, expected.payload);
}

#[test]
fn unknown_frames_are_handled_as_documented() {
    let vectors = vectors();
    let account = ours(BOT);
    let dropped = [named("card_frame_old_type")];
    for vector in dropped.iter().chain(list(&vectors, "frames_semantic", 5)) {
        let effects = session().on_frame(frame(vector), &context(&account, NOW));
        let name = text(vector, "name");
        assert!(delivered(&effects).is_none(), "{name}");
        let acks: Vec<_> = sent(&effects)
            .iter()
            .map(|ack| Frame::read(&hex::decode(ack).unwrap()).unwrap())
            .collect();
        match vector["expect_action"].as_str() {
            Some("ack_500") => assert_eq!(acks[0].payload.as_deref(), Some(FAILED.as_bytes()), "{name}"),
            _ => assert!(acks.is_empty(), "{name}"),
        }
    }
    let unknown = named("max_u64_and_negative_service");
    let acks = sent(&session().on_frame(frame(&unknown), &context(&account, NOW)));
    let ack = Frame::read(&hex::decode(&acks[0]).unwrap()).unwrap();
    assert_eq!((ack.seq_id, ack.service), (u64::MAX, -1));
    assert_eq!(ack.payload.as_deref(), Some(TAKEN.as_bytes()));
}

#[test]
fn failed_acknowledgement_matches_the_vectors() {
    let event = Frame::read(&hex::decode(text(&named("event_single"), "hex")).unwrap()).unwrap();
    let ack = named("ack_event_500");
    assert_eq!(hex::encode(event.answered(FAILED, 3).bytes()), text(&ack, "hex"));
}

#[test]
fn pong_sets_the_ping_interval() {
    let account = ours(BOT);
    let mut session = session();
    assert_eq!(
        sent(&session.on_open(&context(&account, NOW))),
        [text(&named("ping"), "hex")]
    );
    assert_eq!(session.wake_at(), Some(NOW.after(SILENCE)));
    let effects = session.on_frame(frame(&named("pong_empty")), &context(&account, NOW));
    assert_eq!(effects, [Effect::Up, Effect::Heard]);
    assert_eq!(session.wake_at(), Some(NOW.after(Duration::from_secs(120))));
    let pong = named("pong_with_config");
    assert_eq!(session.on_frame(frame(&pong), &context(&account, NOW)), [Effect::Heard]);
    let interval = pong["expect_config"]["ping_interval_s"].as_i64().unwrap_or(90);
    assert_eq!(session.config.ping_interval, interval);
    let due = NOW.after(Duration::from_secs(90));
    assert_eq!(session.wake_at(), Some(due));
    assert_eq!(
        sent(&session.on_time(&context(&account, due))),
        [text(&named("ping"), "hex")]
    );
}

#[test]
fn silence_after_a_ping_ends_the_connection_despite_further_pings() {
    let account = ours(BOT);
    let mut session = session();
    session.config.ping_interval = 20;
    session.on_open(&context(&account, NOW));
    let second = NOW.after(Duration::from_secs(20));
    assert_eq!(session.on_time(&context(&account, second)).len(), 1);
    let dead = NOW.after(SILENCE);
    assert_eq!(session.wake_at(), Some(dead));
    let effects = session.on_time(&context(&account, dead));
    assert!(matches!(effects[..], [Effect::Reconnect { after: Some(after), .. }] if after <= Duration::from_secs(5)));
}

#[test]
fn bootstrap_responses_are_handled_as_documented() {
    let account = ours(BOT);
    for vector in list(&vectors(), "bootstrap", 9) {
        let name = text(vector, "name");
        let answer = ApiAnswer::Answered {
            status: u16::try_from(vector["http_status"].as_u64().unwrap()).unwrap(),
            retry_after_s: None,
            body: text(vector, "body").as_bytes().to_vec(),
        };
        let outcome = LongConnection.address(&answer, &context(&account, NOW));
        let expect = &vector["expect"];
        match expect["action"].as_str() {
            None => {
                let session = Session::new(&outcome.unwrap());
                let defaults = [
                    ("reconnect_count", -1),
                    ("reconnect_interval_s", 120),
                    ("ping_interval_s", 120),
                ];
                let expected = defaults.map(|(field, default)| expect[field].as_i64().unwrap_or(default));
                let config = session.config;
                let actual = [config.reconnect_count, config.reconnect_interval, config.ping_interval];
                assert_eq!(actual, expected, "{name}");
                assert_eq!(
                    i64::from(session.service),
                    expect["service_id"].as_i64().unwrap(),
                    "{name}"
                );
            }
            Some("retry") => assert!(
                matches!(outcome, Err(Refusal::Passing { retry_after: None, .. })),
                "{name}"
            ),
            Some("stop") => assert!(matches!(outcome, Err(Refusal::Credentials { .. })), "{name}"),
            // Leaked connections time out, so the connector waits and reports the cause.
            Some(_) => assert_eq!(outcome, Err(crowded(1_000_040_350)), "{name}"),
        }
    }
}

#[test]
fn handshake_responses_are_handled_as_documented() {
    let account = ours(BOT);
    for vector in list(&vectors(), "handshake", 5) {
        let name = text(vector, "name");
        let headers = vector["headers"].as_object().unwrap().iter();
        let headers: Vec<_> = headers
            .map(|(name, value)| (name.to_lowercase(), value.as_str().unwrap().to_owned()))
            .collect();
        let status = u16::try_from(vector["status"].as_u64().unwrap()).unwrap();
        let refusal = LongConnection.handshake_failed(status, &headers, &context(&account, NOW));
        let right = match text(vector, "expect") {
            "stop_and_alert" => refusal == crowded(1_000_040_350),
            "stop" => matches!(refusal, Refusal::Credentials { .. }),
            _ => matches!(refusal, Refusal::Passing { retry_after: None, .. }),
        };
        assert!(right, "{name}: {refusal:?}");
    }
}

#[test]
fn foreign_socket_urls_are_refused() {
    let mut account = ours(BOT);
    account.endpoints.clear();
    let body = br#"{"code":0,"data":{"URL":"wss://evil.example/ws?service_id=1"}}"#.to_vec();
    let answer = ApiAnswer::Answered {
        status: 200,
        retry_after_s: None,
        body,
    };
    let refused = LongConnection.address(&answer, &context(&account, NOW));
    assert_eq!(refused, Err(passing("foreign_address")));
}

#[test]
fn nothing_is_sent_over_this_connection() {
    let account = ours(BOT);
    let call = SocketCall {
        name: "x".into(),
        lane: "x".into(),
        frame: json!({}),
        replaceable: false,
        expires_at: NOW,
    };
    let effects = session().on_call("call", call, &context(&account, NOW));
    assert!(matches!(
        &effects[..],
        [Effect::Answer {
            answer: ApiAnswer::NotSent,
            ..
        }]
    ));
}

fn any_frame() -> impl Strategy<Value = Vec<u8>> {
    let headers = prop::collection::vec(
        (
            prop::sample::select(vec!["type", "message_id", "sum", "seq", "trace_id", "x"]),
            prop::sample::select(vec![
                "event",
                "card",
                "pong",
                "0",
                "1",
                "2",
                "-1",
                "99999999999999999999",
            ]),
        ),
        0..7,
    );
    let payload = prop::option::of(prop_oneof![
        prop::collection::vec(any::<u8>(), 0..40),
        Just(br#"{"schema":"2.0","header":{"event_type":"im.message.receive_v1"},"event":{}}"#.to_vec()),
        Just(br#"{"PingInterval":-5}"#.to_vec()),
    ]);
    (any::<(u64, i32)>(), 0..3, headers, payload).prop_map(|((seq_id, service), method, headers, payload)| {
        let header = |(key, value): (&str, &str)| super::super::frame::Header {
            key: key.into(),
            value: value.into(),
        };
        let frame = Frame {
            seq_id,
            service,
            method,
            headers: headers.into_iter().map(header).collect(),
            payload,
            ..Frame::default()
        };
        frame.bytes()
    })
}

proptest! {
    #[test]
    fn any_frames_are_handled_without_panic(
        frames in prop::collection::vec(prop_oneof![any_frame(), prop::collection::vec(any::<u8>(), 0..60)], 0..20),
        step in 0u64..10_000,
    ) {
        let account = ours(BOT);
        let mut session = session();
        let mut now = NOW;
        session.on_open(&context(&account, now));
        for frame in frames {
            now = now.after(Duration::from_millis(step));
            let cx = context(&account, now);
            for effect in session.on_frame(SocketFrame::Binary(frame), &cx) {
                if let Effect::Deliver { token, .. } = effect {
                    prop_assert_eq!(session.on_stored(token, &cx).len(), 1);
                }
            }
            prop_assert!(session.wake_at().is_some());
        }
    }
}
