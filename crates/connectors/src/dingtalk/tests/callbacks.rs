//! Encrypted event callbacks.

use serde_json::Value;
use tieline_core::account::ConnectionMode;
use tieline_core::connector::{Answer, Connector as _, Rejection};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};

use super::{account, at, field, rows, vectors};
use crate::callback_cipher::CallbackKey;
use crate::dingtalk::DingTalk;
use crate::dingtalk::event_cipher::EventCipher;

fn cipher(vector: &Value) -> EventCipher {
    let receivers = match vector["accepted_receive_keys"].as_array() {
        Some(keys) => keys.iter().map(|key| key.as_str().unwrap().to_owned()).collect(),
        None => vec![field(vector, "receive_key").to_owned()],
    };
    EventCipher::new(field(vector, "token"), field(vector, "encoding_aes_key"), receivers).unwrap()
}

/// The message and its receiver, or the vectors' word for the error.
fn open(vector: &Value) -> Result<(String, String), &'static str> {
    let cipher = cipher(vector);
    let encrypted = field(vector, "encrypt");
    let signature = field(vector, "msg_signature");
    if !cipher.is_signed(signature, field(vector, "timestamp"), field(vector, "nonce"), encrypted) {
        return Err("bad_signature");
    }
    match cipher.open(encrypted) {
        Ok(opened) => Ok((opened.message, opened.receiver)),
        Err(Rejection::WrongReceiver) => Err("receive_id_mismatch"),
        Err(Rejection::BadCipher("it is not base64")) => Err("bad_base64"),
        Err(Rejection::BadCipher("its length is not a multiple of 16")) => Err("bad_ciphertext_length"),
        Err(Rejection::BadCipher("its padding is wrong")) => Err("bad_padding"),
        Err(Rejection::BadCipher("it is too short")) => Err("plaintext_too_short"),
        Err(Rejection::BadCipher("its length field is wrong")) => Err("bad_length_field"),
        Err(Rejection::BadCipher("it is not UTF-8")) => Err("bad_utf8"),
        Err(_) => Err("another"),
    }
}

#[test]
fn valid_callbacks_decrypt() {
    let vectors = vectors();
    let valid = rows(&vectors, "event_callback", "valid");
    assert_eq!(valid.len(), 15);
    for vector in valid {
        let expected = (
            field(vector, "plaintext").to_owned(),
            field(vector, "receive_key").to_owned(),
        );
        assert_eq!(open(vector), Ok(expected), "{}", vector["name"]);
    }
}

#[test]
fn invalid_callbacks_fail_with_their_reason() {
    let vectors = vectors();
    let invalid = rows(&vectors, "event_callback", "invalid");
    assert_eq!(invalid.len(), 25);
    for vector in invalid {
        assert_eq!(open(vector), Err(field(vector, "expect_error")), "{}", vector["name"]);
    }
}

#[test]
fn keys_are_parsed_strictly_except_for_spare_bits() {
    let vectors = vectors();
    let keys = rows(&vectors, "event_callback", "keys");
    assert_eq!(keys.len(), 8);
    for vector in keys {
        let text = field(vector, "encoding_aes_key");
        let made = EventCipher::new("token", text, Vec::new()).is_some();
        assert_eq!(Value::from(made), vector["ok"], "{}", vector["reason"]);
        let fields = [
            ("clientId", "a"),
            ("clientSecret", "b"),
            ("token", "t"),
            ("aesKey", text),
        ];
        let prepared = DingTalk.prepare(
            ConnectionMode::Webhook,
            &fields.iter().copied().collect(),
            &std::collections::BTreeMap::new(),
        );
        assert_eq!(Value::from(prepared.is_ok()), vector["ok"], "{}", vector["reason"]);
        if made {
            let hex = CallbackKey::parse_file_key(field(vector, "aes_key_hex")).unwrap();
            let key = CallbackKey::parse(text).unwrap();
            assert_eq!(key.seal([1; 16], b"x", "y"), hex.seal([1; 16], b"x", "y"));
        }
    }
}

#[test]
fn replies_match_to_the_byte() {
    let vectors = vectors();
    let replies = rows(&vectors, "event_callback", "replies");
    assert_eq!(replies.len(), 3);
    for vector in replies {
        let random = field(vector, "random16").as_bytes().try_into().unwrap();
        let answer = cipher(vector).answer(
            field(vector, "content"),
            field(vector, "receive_key"),
            random,
            field(vector, "timeStamp"),
            field(vector, "nonce"),
        );
        let answer = WebhookAnswer::json(&answer);
        assert_eq!(Value::from(answer.status), vector["status"]);
        assert_eq!(answer.content_type, vector["content_type"].as_str());
        let body: Value = serde_json::from_slice(&answer.body).unwrap();
        assert_eq!(body, vector["body"], "{}", vector["name"]);
    }
}

#[test]
fn requests_are_answered_with_an_encrypted_success() {
    let vectors = vectors();
    let requests = rows(&vectors, "event_callback", "http");
    assert_eq!(requests.len(), 10);
    for vector in requests {
        let name = field(vector, "name");
        let valid = rows(&vectors, "event_callback", "valid");
        let keys = valid
            .iter()
            .find(|valid| valid["name"] == vector["valid_vector"])
            .unwrap();
        let fields = [
            ("clientId", field(keys, "receive_key")),
            ("clientSecret", "s3cret"),
            ("token", field(keys, "token")),
            ("aesKey", field(keys, "encoding_aes_key")),
        ];
        let account = account(ConnectionMode::Webhook, &fields);
        let request = WebhookRequest {
            method: field(vector, "method").into(),
            query: field(vector, "query").into(),
            headers: Vec::new(),
            body: field(vector, "body").into(),
        };
        let received = DingTalk.receive(&request, &at(&account, 1_760_000_001_234));
        if let Some(error) = vector["expect_error"].as_str() {
            assert_eq!(error, "missing_param", "{name}");
            assert!(matches!(received, Err(Rejection::Missing(_))), "{name}: {received:?}");
            continue;
        }
        let Answer::Fixed(answer) = received.unwrap().answer else {
            panic!("{name}: no fixed answer");
        };
        assert_eq!(content_of(&answer, &cipher(keys)), "success", "{name}");
    }
}

/// Decrypts a response as the platform does.
fn content_of(answer: &WebhookAnswer, cipher: &EventCipher) -> String {
    let body: Value = serde_json::from_slice(&answer.body).unwrap();
    let encrypted = field(&body, "encrypt");
    let signed = cipher.is_signed(
        field(&body, "msg_signature"),
        field(&body, "timeStamp"),
        field(&body, "nonce"),
        encrypted,
    );
    assert!(signed && !encrypted.contains('\n'));
    assert_eq!(field(&body, "timeStamp").len(), 13);
    cipher.open(encrypted).unwrap().message
}

#[test]
fn suite_checks_get_their_random_value_and_non_json_gets_success() {
    let vectors = vectors();
    for (name, content, noted) in [
        ("suite_url_check", "Qm4TkXw2", false),
        ("empty_message", "success", true),
        ("chinese_and_emoji", "success", true),
    ] {
        let valid = rows(&vectors, "event_callback", "valid");
        let vector = valid.iter().find(|vector| vector["name"] == name).unwrap();
        let fields = [
            ("clientId", "ding1"),
            ("clientSecret", "s3cret"),
            ("corpId", field(vector, "receive_key")),
            ("token", field(vector, "token")),
            ("aesKey", field(vector, "encoding_aes_key")),
        ];
        let account = account(ConnectionMode::Webhook, &fields);
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        for key in ["msg_signature", "timestamp", "nonce"] {
            query.append_pair(key, field(vector, key));
        }
        let request = WebhookRequest {
            method: "POST".into(),
            query: query.finish(),
            headers: Vec::new(),
            body: serde_json::json!({ "encrypt": vector["encrypt"] }).to_string().into(),
        };
        let received = DingTalk.receive(&request, &at(&account, 1_760_000_001_234)).unwrap();
        assert_eq!(received.remark.is_some(), noted, "{name}");
        let Answer::Fixed(answer) = received.answer else {
            panic!("{name}: no fixed answer");
        };
        assert_eq!(content_of(&answer, &cipher(vector)), content, "{name}");
    }
}
