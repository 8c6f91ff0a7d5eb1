//! Tests beyond the vectors: signatures of our own posts, and properties of the authentication.

use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{Connector as _, Context};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiCall, Body, HttpCall, WebhookRequest};
use tieline_core::ids::{ChatId, IdMint, IntegrationId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::Language;
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;
use tieline_core::webhook_signature::SigningKeys;

use super::Custom;

const SECRETS: &str = "whsec_bmV3IHNlY3JldA== whsec_b2xkIHNlY3JldA==";
const NOW_S: i64 = 1_795_338_000;

fn account() -> Account {
    let credentials: Credentials = [("secret", SECRETS)].into_iter().collect();
    let endpoints = Endpoints::from([("sendUrl".to_owned(), "https://chat.example/replies".to_owned())]);
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode: ConnectionMode::Webhook,
        prepared: Custom
            .prepare(ConnectionMode::Webhook, &credentials, &endpoints)
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

fn context(account: &Account) -> Context<'_> {
    Context {
        account,
        now: Timestamp::from_secs(NOW_S),
        random: [7; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

fn post(account: &Account, text: &str, progress: &Progress) -> HttpCall {
    step(account, Stage::Final, text, progress, NOW_S).0
}

/// The next post at a given time, and the progress after it.
fn step(account: &Account, stage: Stage, text: &str, progress: &Progress, now_s: i64) -> (HttpCall, Progress) {
    let target = ReplyTarget {
        integration: account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("c1"),
            thread: None,
        },
        asker: SenderId::new("u1"),
        message: PlatformMessageId::new("m1"),
        handle: ReplyHandle::default(),
        expires_at: None,
    };
    let reply = ReplyId::new("tl-1");
    let desired = DesiredReply::new(&reply, stage, text);
    let cx = Context {
        now: Timestamp::from_secs(now_s),
        ..context(account)
    };
    let step = Custom.deliver(&desired, &target, progress, &cx).unwrap();
    let Step::Call {
        call: ApiCall::Http(call),
        on_success,
    } = step
    else {
        panic!("{step:?}")
    };
    (call, on_success)
}

#[test]
fn posts_are_signed_with_every_secret() {
    let call = post(&account(), "hello", &Progress::default());
    let header = |name: &str| call.headers.iter().find(|(it, _)| it == name).unwrap().1.clone();
    let Body::Json(body) = &call.body else {
        panic!("{call:?}")
    };
    let signature = header("webhook-signature");
    assert_eq!(header("webhook-id"), "tl-1.99999999999999");
    assert_eq!(header("webhook-timestamp"), NOW_S.to_string());
    for secret in SECRETS.split(' ') {
        let keys = SigningKeys::read(&[secret]).unwrap();
        assert!(keys.verify("tl-1.99999999999999", NOW_S, body.as_bytes(), &signature));
    }
}

#[test]
fn restarted_reply_has_versions_above_the_old_ones() {
    let again = Custom.restart(&Progress::default()).unwrap();
    let call = post(&account(), "hello", &again);
    assert_eq!(call.headers[0].1, "tl-1.199999999999999");
}

#[test]
fn process_with_an_old_snapshot_continues_above_all_versions() {
    let account = account();
    let grow = |text: &str, from: &Progress, now_s| step(&account, Stage::Growing, text, from, now_s);
    let version = |call: &HttpCall| call.headers[0].1.strip_prefix("tl-1.").unwrap().parse::<u64>().unwrap();
    let (first, recorded) = grow("One", &Progress::default(), NOW_S);
    let (second, reached) = grow("One two", &recorded, NOW_S + 1);
    assert!(Custom.is_repeatable(&recorded, &reached));
    let (third, _) = grow("One two three", &recorded, NOW_S + 2);
    let (whole, done) = step(&account, Stage::Final, "One two three.", &recorded, NOW_S - 60);
    assert!(!Custom.is_repeatable(&recorded, &done));
    let versions = [&first, &second, &third, &whole].map(version);
    assert!(versions.is_sorted_by(|a, b| a < b), "{versions:?}");
    // A clock that is behind.
    let (late, _) = grow("One two", &recorded, NOW_S - 60);
    assert!(version(&late) > version(&first));
}

#[test]
fn secrets_must_be_readable() {
    let field = |secret: &str| {
        let credentials: Credentials = [("secret", secret)].into_iter().collect();
        let prepared = Custom.prepare(ConnectionMode::Webhook, &credentials, &Endpoints::new());
        prepared.err().map(|error| error.field)
    };
    assert_eq!((field(""), field(" ")), (Some("secret"), Some("secret")));
    assert_eq!(
        (field("whsec_***"), field("whsec_bmV3 whsec_*")),
        (Some("secret"), Some("secret"))
    );
    // Everybody could sign with an empty one.
    assert_eq!(
        (field("whsec_"), field("whsec_bmV3 whsec_")),
        (Some("secret"), Some("secret"))
    );
    assert_eq!((field("whsec_bmV3"), field(SECRETS)), (None, None));
}

proptest! {
    #[test]
    fn any_flipped_bit_is_noticed(at in 0usize..70, bit in 0u8..8, method in prop::sample::select(vec!["GET", "POST"])) {
        let account = account();
        let keys = SigningKeys::read(&["whsec_b2xkIHNlY3JldA=="]).unwrap();
        let body = br#"{"id":"m1","text":"hi there","chat":{"id":"c1"},"sender":{"id":"u1"}}"#;
        let signature = keys.sign("msg_1", NOW_S, body);
        let mut signed = body.to_vec();
        let at = at % signed.len();
        // A query must stay text, so only those bits are flipped.
        let mask = 1 << (bit % 7);
        signed[at] ^= mask;
        let headers = [("webhook-id", "msg_1"), ("webhook-timestamp", &NOW_S.to_string()), ("webhook-signature", &signature)];
        let request = WebhookRequest {
            method: method.to_owned(),
            query: String::from_utf8(signed.clone()).unwrap(),
            headers: headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
            body: signed,
        };
        prop_assert!(Custom.receive(&request, &context(&account)).is_err());
    }

    #[test]
    fn no_authenticated_body_panics(body in "\\PC{0,80}") {
        let account = account();
        let keys = SigningKeys::read(&["whsec_b2xkIHNlY3JldA=="]).unwrap();
        let signature = keys.sign("msg_1", NOW_S, body.as_bytes());
        let request = WebhookRequest {
            method: "POST".to_owned(),
            query: String::new(),
            headers: vec![
                ("webhook-id".to_owned(), "msg_1".to_owned()),
                ("webhook-timestamp".to_owned(), NOW_S.to_string()),
                ("webhook-signature".to_owned(), signature),
            ],
            body: body.into_bytes(),
        };
        prop_assert!(Custom.receive(&request, &context(&account)).is_ok());
    }
}
