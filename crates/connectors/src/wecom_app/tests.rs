//! Tests beyond the vectors: tokens, media, encrypted responses byte by byte, and properties of what is sent.

use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context, MediaError, MediaSource as _, TokenError, TokenExchange as _};
use tieline_core::event::{Chat, ChatKind, Part, PartKind};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, TokenPlace};
use tieline_core::ids::{ChatId, IdMint, IntegrationId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::settings::Settings;
use super::{WeComApp, media, tokens};
use crate::xml::cdata;
use crate::xml_callback::passive;

const NOW: Timestamp = Timestamp::from_secs(1_760_000_301);

fn account() -> Account {
    let credentials: Credentials = [
        ("corpId", "ww7f3a9c1e5b2d4068"),
        ("agentId", "1000002"),
        ("secret", "a+b&c"),
        ("token", "appTok3n"),
        ("encodingAesKey", "zY9xW8vU7tS6rQ5pO4nM3lK2jI1hG0fE9dC8bA7Z6Y5"),
    ]
    .into_iter()
    .collect();
    let mode = ConnectionMode::Webhook;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: WeComApp.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

fn context(account: &Account) -> Context<'_> {
    Context {
        account,
        now: NOW,
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

fn answered(body: &str) -> ApiAnswer {
    ApiAnswer::Answered {
        status: 200,
        retry_after_s: None,
        body: body.as_bytes().to_vec(),
    }
}

#[test]
fn passive_answer_is_encrypted_as_documented() {
    let account = account();
    let mut cx = context(&account);
    hex::decode_to_slice("30303636383630303131383036313234", &mut cx.random[..16]).unwrap();
    let content = format!("<Content>{}</Content>", cdata("收到"));
    let message = passive("lisi", "ww7f3a9c1e5b2d4068", "text", &content, &cx);
    let sealed = Settings::of(&account).keys.seal(&message, "4815162342", &cx);
    let vectors: serde_json::Value = serde_json::from_str(include_str!("vectors/passive.json")).unwrap();
    assert_eq!(
        String::from_utf8(sealed.body).unwrap(),
        vectors["http_body"].as_str().unwrap()
    );
}

#[test]
fn token_is_requested_with_escaped_values_and_renewed_early() {
    let account = account();
    let cx = context(&account);
    let call = tokens::Tokens.request(&cx);
    assert_eq!(
        call.url,
        "https://qyapi.weixin.qq.com/cgi-bin/gettoken?corpid=ww7f3a9c1e5b2d4068&corpsecret=a%2Bb%26c"
    );
    let read = |body: &str| tokens::Tokens.read(&answered(body), &cx);
    let token = read(r#"{"errcode":0,"errmsg":"ok","access_token":"AT","expires_in":7200}"#).unwrap();
    assert_eq!(
        (token.token.expose(), token.expires_at.as_secs()),
        ("AT", NOW.as_secs() + 6900)
    );
    let short = read(r#"{"errcode":0,"access_token":"AT","expires_in":60}"#).unwrap();
    assert_eq!(short.expires_at.as_secs(), NOW.as_secs() + 30);
    let refused = |code: &str| Err(TokenError::Refused { code: code.to_owned() });
    let unavailable = |code: &str| Err(TokenError::Unavailable { code: code.to_owned() });
    assert_eq!(read(r#"{"errcode":40001,"errmsg":"x"}"#), refused("40001"));
    assert_eq!(read(r#"{"errcode":40013,"errmsg":"x"}"#), refused("40013"));
    assert_eq!(read(r#"{"errcode":-1,"errmsg":"x"}"#), unavailable("-1"));
    assert_eq!(read(r#"{"errcode":45009,"errmsg":"x"}"#), unavailable("45009"));
    assert_eq!(read(r#"{"errcode":0}"#), unavailable("no_token"));
    assert_eq!(read("<html>"), unavailable("http_200"));
}

#[test]
fn probe_names_an_untrusted_ip_address() {
    let account = account();
    let probe = WeComApp.probe(&context(&account)).unwrap();
    assert_eq!(probe.call.token, TokenPlace::Query("access_token"));
    assert!(probe.call.url.ends_with("/cgi-bin/agent/get?agentid=1000002"));
    let read = |answer: &ApiAnswer| (probe.read)(answer);
    assert_eq!(
        read(&answered(r#"{"errcode":0,"name":"Helper"}"#)),
        Ok(Credentials::default())
    );
    let refused = |code: &str| Err(TokenError::Refused { code: code.to_owned() });
    assert_eq!(read(&answered(r#"{"errcode":60020}"#)), refused("60020_ip_not_allowed"));
    assert_eq!(read(&answered(r#"{"errcode":301002}"#)), refused("301002"));
    let unknown_path = ApiAnswer::Answered {
        status: 404,
        retry_after_s: None,
        body: Vec::new(),
    };
    assert_eq!(read(&unknown_path), Ok(Credentials::default()));
    assert!(read(&ApiAnswer::NotSent).is_err());
}

#[test]
fn media_is_the_bytes_or_the_platforms_refusal() {
    let account = account();
    let cx = context(&account);
    let part = Part {
        kind: PartKind::Image,
        name: None,
        mime: None,
        size: None,
        locator: serde_json::json!({ "media": "1G6n/+=" }),
    };
    let call = media::TemporaryMedia.download(&part, &cx).unwrap();
    assert_eq!(
        call.url,
        "https://qyapi.weixin.qq.com/cgi-bin/media/get?media_id=1G6n%2F%2B%3D"
    );
    let open = |body: &[u8], disposition| media::TemporaryMedia.open(&part, body.to_vec(), disposition, &cx);
    let opened = open(b"\x89PNG", Some("attachment; filename=\"a.png\"")).unwrap();
    assert_eq!(
        (opened.bytes.as_slice(), opened.name.as_deref()),
        (b"\x89PNG".as_slice(), Some("a.png"))
    );
    let refused = |code: i64| open(format!(r#"{{"errcode":{code},"errmsg":"x"}}"#).as_bytes(), None).unwrap_err();
    assert_eq!(refused(40007), MediaError::Gone);
    assert_eq!(refused(42001), MediaError::TokenExpired);
    assert_eq!(refused(-1), MediaError::Passing);
    assert_eq!(media::TemporaryMedia.refused(502, b""), MediaError::Passing);
}

#[test]
fn applications_of_one_company_are_different_accounts() {
    let account = account();
    let key = |credentials: &Credentials| WeComApp.account_key(ConnectionMode::Webhook, credentials);
    assert_eq!(key(&account.credentials).as_deref(), Some("ww7f3a9c1e5b2d4068/1000002"));
}

/// All messages of an answer, each of them accepted.
fn sent(text: &str, link: Option<&str>) -> Vec<String> {
    let account = account();
    let cx = context(&account);
    let to = ReplyTarget {
        integration: account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("lisi"),
            thread: None,
        },
        asker: SenderId::new("lisi"),
        message: PlatformMessageId::new("1"),
        handle: ReplyHandle::default(),
        expires_at: None,
    };
    let reply = ReplyId::new("tl-1");
    let desired = DesiredReply {
        link,
        ..DesiredReply::new(&reply, Stage::Final, text)
    };
    let mut progress = Progress::default();
    let mut messages = Vec::new();
    while let Step::Call { call, on_success } = WeComApp.deliver(&desired, &to, &progress, &cx).unwrap() {
        let ApiCall::Http(call) = call else {
            panic!("not over HTTP")
        };
        let Body::Json(body) = call.body else {
            panic!("not JSON")
        };
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        messages.push(body["text"]["content"].as_str().unwrap().to_owned());
        progress = on_success;
    }
    messages
}

#[test]
fn restarted_reply_is_sent_whole() {
    let before = Progress::default();
    assert_ne!(WeComApp.restart(&before).unwrap(), before);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(32))]

    #[test]
    fn messages_fit_are_not_blank_and_lose_no_text(
        pieces in prop::collection::vec("\n\n|```\n[a-z]{9}\n```\n|汉字{1,40}。|😀|[a-z]{3,9} |- [a-z]{4}\n|\\*\\*[a-z]{5}\\*\\*", 1..30),
        times in 1usize..60,
    ) {
        let text = pieces.concat().repeat(times);
        let messages = sent(&text, Some("https://b.example/r"));
        prop_assert!(!messages.is_empty() && messages.len() <= 30);
        for message in &messages {
            prop_assert!(message.len() <= 2048, "{} bytes", message.len());
            prop_assert!(!message.trim().is_empty());
        }
        if !messages.last().unwrap().ends_with("https://b.example/r") && text.chars().any(char::is_alphanumeric) {
            let letters = |text: &str| text.chars().filter(|c| c.is_alphanumeric()).collect::<String>();
            prop_assert_eq!(letters(&messages.concat()), letters(&text));
        }
    }
}
