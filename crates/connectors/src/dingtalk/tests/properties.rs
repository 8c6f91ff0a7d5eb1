//! Property tests: no input panics, and no altered request is accepted.

use proptest::prelude::*;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Answer, Connector as _, Remark};
use tieline_core::http_types::WebhookRequest;
use tieline_core::stream::{Effect, Frame, SocketAddress, StreamProtocol as _};

use super::{CLIENT, account, at, field, rows, vectors};
use crate::dingtalk::stream::Stream;
use crate::dingtalk::{DingTalk, verify};

const NOW: i64 = 1_760_000_000_000;
const MESSAGE: &str = r#"{"conversationId":"cid1","conversationType":"1","msgId":"m1","senderId":"$:s","msgtype":"text","text":{"content":"hi"}}"#;

fn signed(body: Vec<u8>) -> WebhookRequest {
    let timestamp = NOW.to_string();
    WebhookRequest {
        method: "POST".into(),
        headers: vec![
            ("sign".into(), verify::robot_sign("s3cret", &timestamp)),
            ("timestamp".into(), timestamp),
        ],
        body,
        ..WebhookRequest::default()
    }
}

/// Flips one bit of a text, if the result is still text.
fn flipped(text: &str, at: usize, bit: u8) -> Option<String> {
    let mut bytes = text.as_bytes().to_vec();
    let at = at % bytes.len();
    bytes[at] ^= 1 << bit;
    String::from_utf8(bytes).ok()
}

#[test]
fn longest_body_is_read_and_a_longer_one_is_not() {
    let account = account(ConnectionMode::Webhook, &CLIENT);
    let status = |length: usize| {
        let mut body = MESSAGE.as_bytes().to_vec();
        body.resize(length, b' ');
        let received = DingTalk.receive(&signed(body), &at(&account, NOW)).unwrap();
        match received.answer {
            Answer::Fixed(answer) => (answer.status, received.events.len()),
            Answer::Polled(_) => panic!("nothing is fetched here"),
        }
    };
    assert_eq!(status(256 * 1024), (200, 1));
    assert_eq!(status(256 * 1024 + 1), (413, 0));
}

proptest! {
    #[test]
    fn flipped_bit_in_a_robot_signature_is_rejected(header in 0usize..2, place in 0usize..64, bit in 0u8..7) {
        let account = account(ConnectionMode::Webhook, &CLIENT);
        let mut request = signed(MESSAGE.into());
        prop_assert!(DingTalk.receive(&request, &at(&account, NOW)).is_ok());
        if let Some(changed) = flipped(&request.headers[header].1, place, bit) {
            request.headers[header].1 = changed;
            prop_assert!(DingTalk.receive(&request, &at(&account, NOW)).is_err());
        }
    }

    #[test]
    fn flipped_bit_in_an_event_is_rejected(part in 0usize..4, place in 0usize..512, bit in 0u8..7) {
        let vectors = vectors();
        let valid = rows(&vectors, "event_callback", "valid");
        let vector = valid.iter().find(|vector| vector["name"] == "check_url_app_key").unwrap();
        let fields = [CLIENT[0], CLIENT[1], ("token", field(vector, "token")), ("aesKey", field(vector, "encoding_aes_key"))];
        let account = account(ConnectionMode::Webhook, &fields);
        let mut values = ["msg_signature", "timestamp", "nonce", "encrypt"].map(|name| field(vector, name).to_owned());
        let ask = |values: &[String; 4]| {
            let mut query = url::form_urlencoded::Serializer::new(String::new());
            query.append_pair("msg_signature", &values[0]);
            query.append_pair("timestamp", &values[1]);
            query.append_pair("nonce", &values[2]);
            let request = WebhookRequest {
                method: "POST".into(),
                query: query.finish(),
                headers: Vec::new(),
                body: serde_json::json!({ "encrypt": values[3] }).to_string().into(),
            };
            DingTalk.receive(&request, &at(&account, NOW))
        };
        prop_assert!(ask(&values).is_ok());
        if let Some(changed) = flipped(&values[part], place, bit) {
            values[part] = changed;
            prop_assert!(ask(&values).is_err());
        }
    }

    #[test]
    fn any_request_is_answered(
        query in "[ -~]{0,80}",
        sign in prop::option::of("[ -~]{0,50}"),
        timestamp in "[0-9]{0,22}",
        body in prop::collection::vec(any::<u8>(), 0..200),
    ) {
        let account = account(ConnectionMode::Webhook, &CLIENT);
        let mut headers = vec![("timestamp".to_owned(), timestamp)];
        headers.extend(sign.map(|sign| ("sign".to_owned(), sign)));
        let request = WebhookRequest { method: "POST".into(), query, headers, body: body.clone() };
        let _ = DingTalk.receive(&request, &at(&account, NOW));
        let _ = DingTalk.receive(&signed(body), &at(&account, NOW));
    }

    #[test]
    fn truncated_message_is_unreadable(end in 0usize..MESSAGE.len()) {
        let account = account(ConnectionMode::Webhook, &CLIENT);
        let received = DingTalk.receive(&signed(MESSAGE[..end].into()), &at(&account, NOW)).unwrap();
        prop_assert!(received.events.is_empty());
        prop_assert!(matches!(received.remark, Some(Remark::Unreadable(_))));
    }

    #[test]
    fn any_frame_is_handled_without_panic(
        text in "[ -~]{0,100}",
        kind in "SYSTEM|EVENT|CALLBACK|[A-Z]{0,5}",
        topic in "ping|disconnect|\\*|/v1.0/im/bot/messages/get|/v1.0/card/instances/callback|[a-z]{0,5}",
        bytes in prop::collection::vec(any::<u8>(), 0..100),
    ) {
        let account = account(ConnectionMode::LongConnection, &CLIENT);
        let cx = at(&account, NOW);
        let address = SocketAddress { url: String::new(), headers: Vec::new(), note: String::new() };
        let mut session = Stream.session(&address, &cx);
        let shaped = serde_json::json!({ "type": kind, "headers": { "topic": topic, "messageId": text }, "data": text });
        for frame in [Frame::Text(text), Frame::Text(shaped.to_string()), Frame::Binary(bytes)] {
            let effects = session.on_frame(frame, &cx);
            let closes = |effect: &Effect| matches!(effect, Effect::Reconnect { .. } | Effect::Refused(_));
            prop_assert!(!effects.iter().any(closes));
        }
        session.on_time(&cx);
    }
}
