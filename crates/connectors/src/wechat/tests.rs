//! Tests of the vendor's formats, row by row of `vectors/ilink.json`.

use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context, MediaSource as _, Remark};
use tieline_core::event::{ChatKind, Message, PartKind};
use tieline_core::http_types::ApiAnswer;
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId};
use tieline_core::notice::Language;
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::WeChat;
use super::api_error::Outcome;
use super::decode::{self, CONTEXT_TOKEN};

pub(super) fn vectors() -> Value {
    serde_json::from_str(include_str!("vectors/ilink.json")).unwrap()
}

pub(super) fn account(credentials: &[(&str, &str)], endpoints: &[(&str, &str)]) -> Account {
    let credentials: Credentials = credentials.iter().copied().collect();
    let owned = |(name, url): &(&str, &str)| ((*name).to_owned(), (*url).to_owned());
    let endpoints: Endpoints = endpoints.iter().map(owned).collect();
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode: ConnectionMode::LongConnection,
        prepared: WeChat
            .prepare(ConnectionMode::LongConnection, &credentials, &endpoints)
            .unwrap(),
        credentials,
        endpoints,
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

pub(super) fn logged_in() -> Account {
    let vectors = vectors();
    let text = |field: &str| vectors["account"][field].as_str().unwrap().to_owned();
    let (user, bot) = (text("ilink_user_id"), text("ilink_bot_id"));
    account(&[("botToken", "BT-demo"), ("botId", &bot), ("userId", &user)], &[])
}

pub(super) fn context(account: &Account) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_secs(1_789_900_060),
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

pub(super) fn answer(row: &Value) -> ApiAnswer {
    let status = row["http_status"].as_u64().unwrap_or(200);
    let body = match row["body_raw"].as_str() {
        Some(raw) => raw.to_owned(),
        None => row["body"].to_string(),
    };
    ApiAnswer::Answered {
        status: u16::try_from(status).unwrap(),
        retry_after_s: None,
        body: body.into_bytes(),
    }
}

fn read(row: &Value) -> Result<Message, Remark> {
    let account = logged_in();
    decode::read(row["body"].clone(), &context(&account)).map(|decoded| decoded.message)
}

#[test]
fn messages_are_parsed_as_in_the_vectors() {
    for row in vectors()["accept"].as_array().unwrap() {
        let (name, expect) = (&row["id"], &row["expect"]);
        let message = read(row).unwrap_or_else(|remark| panic!("{name}: {remark:?}"));
        assert_eq!(message.id.as_str(), expect["message_id"], "{name}");
        assert_eq!(message.text, expect["text"].as_str().unwrap(), "{name}");
        assert_eq!(message.sender.id.as_str(), expect["sender_id"], "{name}");
        assert_eq!(message.sender.name, None, "{name}");
        assert_eq!(message.target.chat.id.as_str(), expect["conversation_id"], "{name}");
        assert_eq!(message.target.chat.kind, ChatKind::Direct, "{name}");
        let token = message.target.handle.text(CONTEXT_TOKEN);
        assert_eq!(token, expect["context_token"].as_str(), "{name}");
        assert_eq!(message.quoted.is_some(), !expect["quoted_id"].is_null(), "{name}");
        let parts = expect["attachments"].as_array().unwrap();
        assert_eq!(message.parts.len(), parts.len(), "{name}");
        for (part, expected) in message.parts.iter().zip(parts) {
            check_part(part, expected, name);
        }
    }
}

fn check_part(part: &tieline_core::event::Part, expected: &Value, name: &Value) {
    let kind = match expected["kind"].as_str().unwrap() {
        "voice" => PartKind::Audio,
        "image" => PartKind::Image,
        _ => PartKind::File,
    };
    assert_eq!(part.kind, kind, "{name}");
    assert_eq!(part.name.as_deref(), expected["file_name"].as_str(), "{name}");
    assert_eq!(part.size, expected["size"].as_u64(), "{name}");
    let account = logged_in();
    let call = WeChat.download(part, &context(&account)).unwrap();
    let address = format!(
        "https://novac2c.cdn.weixin.qq.com/c2c/download?encrypted_query_param={}",
        expected["encrypt_query_param"].as_str().unwrap()
    );
    assert_eq!(call.url, expected["url"].as_str().unwrap_or(&address), "{name}");
    // Encrypted with the vector's key.
    let media = vectors()["media"][1].clone();
    assert_eq!(expected["key_hex"], media["key_hex"]);
    let body = hex::decode(media["ciphertext_hex"].as_str().unwrap()).unwrap();
    let opened = WeChat.open(part, body, None, &context(&account)).unwrap();
    assert_eq!(hex::encode(opened.bytes), media["plaintext_hex"], "{name}");
}

#[test]
fn messages_not_for_the_bot_are_ignored() {
    for row in vectors()["hostile"].as_array().unwrap() {
        // Copies are detected by the session.
        if row.get("precondition").is_some() {
            continue;
        }
        let remark = read(row).unwrap_err();
        let unreadable = row["expect"]["reason"] == "bad shape";
        assert_eq!(matches!(remark, Remark::Unreadable(_)), unreadable, "{}", row["id"]);
    }
}

#[test]
fn no_reply_is_sent_before_the_login() {
    let account = account(&[], &[]);
    let body = vectors()["accept"][0]["body"].clone();
    assert!(decode::read(body, &context(&account)).is_err());
}

#[test]
fn quoted_text_and_pictures_are_passed_on() {
    let mut row = vectors()["accept"][0].clone();
    row["body"]["item_list"][0]["ref_msg"] =
        json!({ "message_item": { "type": 1, "text_item": { "text": "before" } } });
    let quoted = read(&row).unwrap().quoted.unwrap();
    assert_eq!((quoted.text.as_str(), quoted.parts.len()), ("before", 0));
    let image = vectors()["accept"][3]["body"]["item_list"][0].clone();
    row["body"]["item_list"][0]["ref_msg"] = json!({ "message_item": image, "title": "[Photo]" });
    let quoted = read(&row).unwrap().quoted.unwrap();
    assert_eq!((quoted.text.as_str(), quoted.parts.len()), ("[Photo]", 1));
}

#[test]
fn unreadable_quote_loses_no_text() {
    let mut row = vectors()["accept"][0].clone();
    let said = row["body"]["item_list"][0]["text_item"]["text"].clone();
    for reference in [
        json!({ "svr_id": { "high": 1 } }),
        json!({ "title": 7 }),
        json!("7480000000000000123"),
    ] {
        row["body"]["item_list"][0]["ref_msg"] = reference;
        let message = read(&row).unwrap();
        assert_eq!(message.text, said);
        assert!(message.quoted.unwrap().text.contains("not available"));
    }
}

#[test]
fn responses_are_classified_as_documented() {
    for row in vectors()["responses"].as_array().unwrap() {
        let outcome = Outcome::of(&answer(row));
        let expected = match row["expect"]["outcome"].as_str().unwrap() {
            "ok" => matches!(outcome, Outcome::Ok(_)),
            "relogin" => matches!(outcome, Outcome::LoggedOut(_)),
            "retry" => matches!(outcome, Outcome::Transient(_)),
            "empty" => outcome == Outcome::TimedOut,
            "queue_until_next_inbound" => outcome == Outcome::WindowClosed,
            // The login interprets them further.
            _ => true,
        };
        assert!(expected, "{}: {outcome:?}", row["id"]);
    }
}

#[test]
fn only_the_platform_s_urls_are_followed() {
    let base = |named: &str, own: &[(&str, &str)]| {
        let account = account(&[("botToken", "t"), ("userId", "u"), ("baseUrl", named)], own);
        super::settings::api(&context(&account), "/x")
    };
    assert_eq!(base("https://ilinkai.wechat.com/", &[]), "https://ilinkai.wechat.com/x");
    for foreign in [
        "https://ilinkai.weixin.qq.com.evil.example",
        "http://ilinkai.wechat.com",
        "not an address",
    ] {
        assert_eq!(base(foreign, &[]), "https://ilinkai.weixin.qq.com/x");
    }
    let own = [("apiBase", "https://proxy.example")];
    assert_eq!(base("https://proxy.example/a", &own), "https://proxy.example/a/x");
}
