use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::connector::{Answer, Connector as _, Received, Remark};
use tieline_core::event::Event;

use super::super::Lark;
use super::super::fixture::{NOW, account, context, list, text, vectors};
use super::*;

fn request(vector: &Value) -> WebhookRequest {
    let header = |name: &str, field: &str| Some((name.to_owned(), vector[field].as_str()?.to_owned()));
    let headers = [
        header("x-lark-request-timestamp", "timestamp"),
        header("x-lark-request-nonce", "nonce"),
        header(SIGNATURE, "signature"),
    ];
    WebhookRequest {
        method: "POST".into(),
        headers: headers.into_iter().flatten().collect(),
        body: text(vector, "body").as_bytes().to_vec(),
        ..WebhookRequest::default()
    }
}

fn account_of(vector: &Value) -> Account {
    let key = vector["encrypt_key"].as_str().map(|key| ("encryptKey", key));
    let bot = [("botOpenId", "ou_b07b07b07b07b07b07b07b07b07b07b0")];
    let more: Vec<_> = key.into_iter().chain(bot).collect();
    account(ConnectionMode::Webhook, &more)
}

fn receive(vector: &Value) -> Result<Received, Rejection> {
    let account = account_of(vector);
    Lark.receive(&request(vector), &context(&account, NOW))
}

#[test]
fn valid_vectors_are_signed_and_decrypt() {
    for vector in list(&vectors(), "valid", 14) {
        let name = text(vector, "name");
        let encryption = Encryption::new(text(vector, "encrypt_key"));
        assert_eq!(hex::encode(encryption.key), text(vector, "aes_key_hex"), "{name}");
        assert_eq!(signature(&request(vector), &encryption), Ok(()), "{name}");
        let plain = decrypt(text(vector, "encrypt"), &encryption.key).unwrap();
        assert_eq!(plain, text(vector, "plaintext").as_bytes(), "{name}");
        assert_eq!(plain.len() as u64, vector["plaintext_len"].as_u64().unwrap(), "{name}");
    }
}

#[test]
fn valid_vectors_decode_as_expected() {
    for vector in list(&vectors(), "valid", 14) {
        let name = text(vector, "name");
        let received = receive(vector).unwrap();
        let Answer::Fixed(answer) = &received.answer else {
            panic!("{name}: not a fixed answer")
        };
        assert_eq!(answer.status, 200, "{name}");
        let answered: Value = serde_json::from_slice(&answer.body).unwrap();
        let expect = &vector["expect"];
        match expect["kind"].as_str() {
            Some("event") if received.events.is_empty() => {
                // The group message mentions another bot.
                assert!(text(vector, "plaintext").contains("\"group\""), "{name}");
                assert!(matches!(received.remark, Some(Remark::Ignored(_))), "{name}");
            }
            // The id of a click has tests of its own.
            Some("callback") => assert!(matches!(received.events[..], [Event::CardAction(_)]), "{name}"),
            Some("event") => {
                assert_eq!(received.events[0].id().as_str(), text(expect, "dedupe"), "{name}");
            }
            Some("event_v1") => assert!(matches!(received.remark, Some(Remark::Ignored(_))), "{name}"),
            Some("url_verification") => assert_eq!(answered["challenge"], expect["challenge"], "{name}"),
            _ => assert!(matches!(received.remark, Some(Remark::Unreadable(_))), "{name}"),
        }
    }
}

#[test]
fn group_message_of_the_vectors_reaches_the_bot_that_it_mentions() {
    let vectors = vectors();
    let vector = &list(&vectors, "valid", 14)[2];
    let plain: Value = serde_json::from_str(text(vector, "plaintext")).unwrap();
    let bot = plain["event"]["message"]["mentions"][0]["id"]["open_id"]
        .as_str()
        .unwrap();
    let more = [("encryptKey", text(vector, "encrypt_key")), ("botOpenId", bot)];
    let account = account(ConnectionMode::Webhook, &more);
    let received = Lark.receive(&request(vector), &context(&account, NOW)).unwrap();
    let Event::Message(message) = &received.events[0] else {
        panic!("not a message")
    };
    assert_eq!(message.id.as_str(), text(&vector["expect"], "dedupe"));
    assert!(!message.text.contains("@_user_1") && message.text.contains("№42"));
    assert!(message.target.chat.thread.is_some());
}

#[test]
fn invalid_vectors_fail_with_their_reason() {
    for vector in list(&vectors(), "invalid", 26) {
        let name = text(vector, "name");
        let outcome = receive(vector);
        let right = match text(vector, "expect_error") {
            "bad_signature" if vector["signature"].is_null() => {
                matches!(outcome, Err(Rejection::Missing(_)))
            }
            "bad_signature" | "bad_token" => outcome == Err(Rejection::BadSignature),
            "bad_base64" => outcome == Err(Rejection::BadCipher("encrypt is not base64")),
            "bad_length" => outcome == Err(Rejection::BadCipher("encrypt is not a whole number of blocks")),
            "bad_padding" => outcome == Err(Rejection::BadCipher("padding is wrong")),
            "not_encrypted" => outcome == Err(Rejection::Missing("encrypt")),
            // Signed and decrypted, so it is authentic: acknowledged, but never processed.
            "bad_utf8" => unread(&outcome, "decrypted payload is not UTF-8"),
            "bad_json" if name == "plaintext_not_json" => unread(&outcome, "decrypted payload is not a JSON object"),
            "bad_json" => matches!(outcome, Err(Rejection::Malformed(_))),
            other => panic!("{name}: no such error: {other}"),
        };
        assert!(right, "{name}: {outcome:?}");
    }
}

fn unread(outcome: &Result<Received, Rejection>, reason: &'static str) -> bool {
    matches!(outcome, Ok(received) if received.events.is_empty() && received.remark == Some(Remark::Unreadable(reason)))
}

#[test]
fn plain_requests_are_authenticated_by_their_token() {
    for vector in list(&vectors(), "plain_requests", 4) {
        let name = text(vector, "name");
        let outcome = receive(vector);
        match (vector["expect_error"].as_str(), vector["expect_body"].as_str()) {
            (Some("bad_token"), _) => assert_eq!(outcome, Err(Rejection::BadSignature), "{name}"),
            (Some(_), _) => {
                let unconfigured = Rejection::BadCipher("no encrypt key is configured");
                assert_eq!(outcome, Err(unconfigured), "{name}");
            }
            (None, Some(body)) => {
                let Answer::Fixed(answer) = outcome.unwrap().answer else {
                    panic!("{name}: not a fixed answer")
                };
                assert_eq!(String::from_utf8(answer.body).unwrap(), body, "{name}");
            }
            (None, None) => assert_eq!(
                outcome.unwrap().events[0].id().as_str(),
                text(vector, "dedupe"),
                "{name}"
            ),
        }
    }
}

/// The id of a click on a button of ours, which the platform reported with this event id and time.
fn click_id(event: &str, create_time: &str, message: &str, person: &str, button: &str) -> String {
    let account = account(ConnectionMode::Webhook, &[]);
    let body = serde_json::json!({
        "schema": "2.0",
        "header": { "event_id": event, "event_type": "card.action.trigger", "create_time": create_time,
            "token": "vTok3nTieline0001xyzABCDEFGHIJKL" },
        "event": {
            "operator": { "open_id": person },
            "action": { "tag": "button", "value": { "tieline": button, "card": "tl-1", "chat": "direct" } },
            "context": { "open_message_id": message, "open_chat_id": "oc_1" },
        },
    });
    let request = WebhookRequest {
        body: body.to_string().into_bytes(),
        ..WebhookRequest::default()
    };
    let received = Lark.receive(&request, &context(&account, NOW)).unwrap();
    received.events[0].id().as_str().to_owned()
}

#[test]
fn double_click_is_one_event() {
    let click = |event: &str, create_time: &str| click_id(event, create_time, "om_1", "ou_1", "tl:b:0");
    let first = click("e1", "1760000002123456");
    assert_eq!(click("e1", "1760000002123456"), first, "redelivered");
    assert_eq!(click("e2", "1760000002623456"), first);
    assert_eq!(click("e2", "1760000009999999"), first);
    assert_ne!(click("e2", "1760000010000000"), first, "seconds later");
    // Other events have their time in milliseconds.
    assert_eq!(click("e2", "1760000002623"), first);
    let at = "1760000002123456";
    assert_ne!(click_id("e2", at, "om_2", "ou_1", "tl:b:0"), first);
    assert_ne!(click_id("e2", at, "om_1", "ou_2", "tl:b:0"), first);
    assert_ne!(click_id("e2", at, "om_1", "ou_1", "tl:b:1"), first);
}

#[test]
fn click_without_a_time_has_the_id_of_its_event() {
    for unknown in ["", "soon"] {
        assert_eq!(click_id("e1", unknown, "om_1", "ou_1", "new_session"), "e1");
    }
}

#[test]
fn old_card_callbacks_have_their_own_signature() {
    let vectors = vectors();
    let vector = &list(&vectors, "old_card", 1)[0];
    let received = receive(vector).unwrap();
    assert!(matches!(received.remark, Some(Remark::Ignored(reason)) if reason.contains("card.action.trigger")));
    let mut forged = request(vector);
    forged.body.push(b' ');
    let account = account_of(vector);
    assert_eq!(
        Lark.receive(&forged, &context(&account, NOW)),
        Err(Rejection::BadSignature)
    );
}

#[test]
fn only_url_checks_may_be_unsigned() {
    let vectors = vectors();
    for vector in list(&vectors, "valid", 14) {
        let mut unsigned = request(vector);
        unsigned.headers.clear();
        let account = account_of(vector);
        let outcome = Lark.receive(&unsigned, &context(&account, NOW));
        let is_check = vector["expect"]["kind"] == "url_verification";
        assert_eq!(outcome.is_ok(), is_check, "{}", text(vector, "name"));
    }
}

#[test]
fn payload_of_another_app_is_refused() {
    let vectors = vectors();
    let vector = &list(&vectors, "plain_requests", 4)[2];
    let mut request = request(vector);
    let body = String::from_utf8(request.body).unwrap();
    request.body = body
        .replace("cli_a1b2c3d4e5f60718", "cli_ffffffffffffffff")
        .into_bytes();
    let account = account_of(vector);
    assert_eq!(
        Lark.receive(&request, &context(&account, NOW)),
        Err(Rejection::WrongReceiver)
    );
}

proptest! {
    #[test]
    fn any_flipped_bit_is_refused(index in 1usize..14, at in any::<prop::sample::Index>(), bit in 0u8..8) {
        let vectors = vectors();
        let vector = &vectors["valid"][index];
        // URL checks need no signature.
        prop_assume!(vector["expect"]["kind"] != "url_verification");
        let mut request = request(vector);
        let at = at.index(request.body.len());
        request.body[at] ^= 1 << bit;
        let account = account_of(vector);
        prop_assert!(Lark.receive(&request, &context(&account, NOW)).is_err());
    }

    #[test]
    fn any_other_signature_is_refused(at in 0usize..64, digit in "[0-9a-f]") {
        let vectors = vectors();
        let mut vector = vectors["valid"][1].clone();
        let mut signature = text(&vector, "signature").to_owned();
        prop_assume!(signature[at..=at] != digit);
        signature.replace_range(at..=at, &digit);
        vector["signature"] = signature.into();
        prop_assert_eq!(receive(&vector), Err(Rejection::BadSignature));
    }

    #[test]
    fn garbage_never_panics(
        body in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..200),
            "\\{\"encrypt\":\"[A-Za-z0-9+/]{0,120}={0,2}\"\\}".prop_map(String::into_bytes),
            json().prop_map(String::into_bytes),
        ],
        keyed in any::<bool>(),
    ) {
        let key = keyed.then_some(("encryptKey", "key"));
        let account = account(ConnectionMode::Webhook, &key.into_iter().collect::<Vec<_>>());
        let request = WebhookRequest { body, ..WebhookRequest::default() };
        let _ = Lark.receive(&request, &context(&account, NOW));
    }
}

/// Generates payloads with the right token and arbitrary other content.
fn json() -> impl Strategy<Value = String> {
    let event = prop_oneof![
        Just("im.message.receive_v1"),
        Just("card.action.trigger"),
        Just("url.preview.get"),
        Just("x")
    ];
    let value = prop_oneof![
        Just("null".to_owned()),
        Just("\"\"".to_owned()),
        Just("1".to_owned()),
        Just("[]".to_owned()),
        Just(r#"{"message":{"message_id":"m","chat_id":"c","message_type":"post","content":"{\"content\":[[{}]]}"},"sender":{"sender_type":"user"}}"#.to_owned()),
        Just(r#"{"operator":{"open_id":"ou"},"action":{"value":"{}"}}"#.to_owned()),
        "\\PC{0,30}",
    ];
    (event, value).prop_map(|(event, value)| {
        format!(
            r#"{{"schema":"2.0","header":{{"event_type":"{event}","token":"vTok3nTieline0001xyzABCDEFGHIJKL"}},"event":{value}}}"#
        )
    })
}
