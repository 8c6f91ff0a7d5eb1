//! Tests beyond the vectors: tokens, the probe, media, encrypted responses, properties of what is sent.

use std::time::Duration;

use proptest::prelude::*;
use tieline_core::account::{Account, ConnectionMode, Credentials, Endpoints};
use tieline_core::connector::{
    Answer, Connector as _, Context, MediaError, MediaSource as _, SentCall, TokenError, TokenExchange as _, Verdict,
};
use tieline_core::event::{Chat, ChatKind, Part, PartKind};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, HttpCall, TokenPlace, WebhookRequest};
use tieline_core::ids::{ChatId, IdMint, IntegrationId, OrganizationId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::{Language, Notice};
use tieline_core::reference::Reference;
use tieline_core::reply::{DesiredReply, Progress, ReplyHandle, ReplyTarget, Stage, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::compose::OfficialAccountProgress;
use super::{OfficialAccount, compose, media, tokens};
use crate::xml;

const NOW: Timestamp = Timestamp::from_secs(1_789_900_000);
const KEY: &str = "T7YSCg85Zh+b+xeCpd3p2fQ2BRhNG6wKza8nXfkEPug";

fn account(more: &[(&str, &str)]) -> Account {
    let fields = [
        ("appId", "wx0123456789abcdef"),
        ("appSecret", "s3"),
        ("token", "tlToken01"),
    ];
    let credentials: Credentials = fields.iter().chain(more).copied().collect();
    let mode = ConnectionMode::Webhook;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: OfficialAccount.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
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
        welcome: Some("Welcome."),
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
fn stable_token_is_requested_and_never_forced() {
    let account = account(&[]);
    let cx = context(&account);
    let call = tokens::Tokens.request(&cx);
    assert_eq!((call.method, call.token), ("POST", TokenPlace::None));
    assert_eq!(call.url, "https://api.weixin.qq.com/cgi-bin/stable_token");
    let Body::Json(body) = call.body else {
        panic!("not JSON")
    };
    assert!(body.contains("\"force_refresh\":false"));
    let read = |body: &str| tokens::Tokens.read(&answered(body), &cx);
    let token = read(r#"{"access_token":"AT","expires_in":7200}"#).unwrap();
    assert_eq!(
        (token.token.expose(), token.expires_at.as_secs()),
        ("AT", NOW.as_secs() + 6900)
    );
    let refused = |code: &str| Err(TokenError::Refused { code: code.to_owned() });
    assert_eq!(
        read(r#"{"errcode":40164,"errmsg":"invalid ip"}"#),
        refused("40164_ip_not_allowed")
    );
    assert_eq!(read(r#"{"errcode":40125}"#), refused("40125_wrong_app_secret"));
    assert_eq!(read(r#"{"errcode":40001}"#), refused("40001"));
    assert!(matches!(read(r#"{"errcode":-1}"#), Err(TokenError::Unavailable { .. })));
    assert!(matches!(read("{}"), Err(TokenError::Unavailable { .. })));
}

#[test]
fn probe_detects_the_kind_of_account() {
    let unknown = account(&[]);
    let probe = OfficialAccount.probe(&context(&unknown)).unwrap();
    assert!(probe.is_needed);
    let learned = |body: &str| {
        let found = (probe.read)(&answered(body)).unwrap();
        found.get("customerService").map(str::to_owned)
    };
    assert_eq!(
        learned(r#"{"errcode":48001,"errmsg":"api unauthorized"}"#).as_deref(),
        Some("no")
    );
    assert_eq!(
        learned(r#"{"errcode":40003,"errmsg":"invalid openid"}"#).as_deref(),
        Some("yes")
    );
    assert_eq!(learned(r#"{"errcode":45072}"#).as_deref(), Some("yes"));
    assert!((probe.read)(&answered(r#"{"errcode":40164}"#)).is_err());
    let known = account(&[("customerService", "no")]);
    assert!(!OfficialAccount.probe(&context(&known)).unwrap().is_needed);
}

#[test]
fn encrypted_welcome_decrypts() {
    let account = account(&[("encodingAesKey", KEY)]);
    let cx = context(&account);
    let settings = super::Settings::of(&account);
    let keys = settings.keys.as_ref().unwrap();
    let event = "<xml><ToUserName>gh_1</ToUserName><FromUserName>o1</FromUserName><MsgType>event</MsgType><Event>subscribe</Event></xml>";
    // Responses and callbacks have the same format.
    let callback = keys.seal(event, "n1", &cx);
    let fields = xml::read(&callback.body).unwrap();
    let request = WebhookRequest {
        method: "POST".to_owned(),
        query: format!(
            "timestamp={}&nonce=n1&msg_signature={}",
            fields.text("TimeStamp"),
            fields.text("MsgSignature")
        ),
        headers: Vec::new(),
        body: callback.body,
    };
    let received = OfficialAccount.receive(&request, &cx).unwrap();
    let Answer::Fixed(answer) = received.answer else {
        panic!("a welcome is known at once")
    };
    let answer = xml::read(&answer.body).unwrap();
    assert_eq!(answer.text("Nonce"), "n1");
    let opened = keys.key.open(answer.text("Encrypt"), "wx0123456789abcdef").unwrap();
    let message = xml::read(opened.message()).unwrap();
    assert_eq!(
        (message.text("ToUserName"), message.text("FromUserName")),
        ("o1", "gh_1")
    );
    assert_eq!(message.text("Content"), "Welcome.");
}

fn part(kind: PartKind, locator: serde_json::Value) -> Part {
    Part {
        kind,
        name: None,
        mime: None,
        size: None,
        locator,
    }
}

#[test]
fn media_is_fetched_by_id_and_pictures_by_public_url_too() {
    let locator = serde_json::json!({ "media": "m+1", "picture": "http://mmbiz.qpic.cn/a" });
    let picture = part(PartKind::Image, locator);
    let address = |account: &Account| {
        let call = media::TemporaryMedia.download(&picture, &context(account)).unwrap();
        (call.url, call.token)
    };
    let by_id = "https://api.weixin.qq.com/cgi-bin/media/get?media_id=m%2B1".to_owned();
    assert_eq!(address(&account(&[])), (by_id, TokenPlace::Query("access_token")));
    let public = "https://mmbiz.qpic.cn/a".to_owned();
    assert_eq!(address(&account(&[("replies", "passive")])), (public, TokenPlace::None));
}

#[test]
fn videos_are_located_first() {
    let account = account(&[]);
    let cx = context(&account);
    let film = part(PartKind::Video, serde_json::json!({ "media": "m1" }));
    let lookup = media::TemporaryMedia.locate(&film, &cx).unwrap();
    let found = (lookup.read)(&answered(r#"{"video_url":"http://v.weixin.qq.com/a"}"#)).unwrap();
    let call = media::TemporaryMedia.download(&found, &cx).unwrap();
    assert_eq!(
        (call.url.as_str(), call.token),
        ("https://v.weixin.qq.com/a", TokenPlace::None)
    );
    let refused = |body: &str| (lookup.read)(&answered(body)).unwrap_err();
    assert_eq!(refused(r#"{"errcode":42001}"#), MediaError::TokenExpired);
    assert_eq!(refused(r#"{"errcode":40007}"#), MediaError::Gone);
    assert_eq!(refused("{}"), MediaError::Incomplete("video_url"));
    let picture = part(PartKind::Image, serde_json::json!({ "media": "m1" }));
    assert!(media::TemporaryMedia.locate(&picture, &cx).is_none());
    let open = |body: &str| media::TemporaryMedia.open(&picture, body.as_bytes().to_vec(), None, &cx);
    assert_eq!(open(r#"{"errcode":40014}"#), Err(MediaError::TokenExpired));
    assert_eq!(open("bytes").unwrap().bytes, b"bytes");
}

fn target(account: &Account, window_ends: Option<Timestamp>) -> ReplyTarget {
    ReplyTarget {
        integration: account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new("o1"),
            thread: None,
        },
        asker: SenderId::new("o1"),
        message: PlatformMessageId::new("m1"),
        handle: ReplyHandle::new(serde_json::json!({ "messages": 5 })),
        expires_at: window_ends,
    }
}

/// Delivers `text` from `progress` on, with one response for each call: the messages sent, the progress, and the code of a refusal.
fn delivered(text: &str, progress: Progress, response: &str) -> (Vec<String>, Progress, Option<String>) {
    delivered_until(None, text, progress, response)
}

/// Like [`delivered`], in a window that ends at `window_ends`.
fn delivered_until(
    window_ends: Option<Timestamp>,
    text: &str,
    mut progress: Progress,
    response: &str,
) -> (Vec<String>, Progress, Option<String>) {
    let account = account(&[]);
    let cx = context(&account);
    let reply = ReplyId::new("tl-1");
    let to = target(&account, window_ends);
    let desired = DesiredReply {
        link: Some("https://b.example/r"),
        ..DesiredReply::new(&reply, Stage::Final, text)
    };
    let mut messages = Vec::new();
    loop {
        let Step::Call { call, on_success } = OfficialAccount.deliver(&desired, &to, &progress, &cx).unwrap() else {
            return (messages, progress, None);
        };
        let sent = SentCall {
            call: &call,
            progress: &progress,
            on_success: &on_success,
        };
        let verdict = OfficialAccount.classify(&sent, &answered(response), &cx);
        let ApiCall::Http(HttpCall {
            body: Body::Json(body), ..
        }) = call
        else {
            panic!("not JSON over HTTP")
        };
        let body: serde_json::Value = serde_json::from_str(&body).unwrap();
        messages.push(body["text"]["content"].as_str().unwrap().to_owned());
        progress = match verdict {
            Verdict::Accepted(progress) => progress,
            Verdict::FallBack { progress, .. } => progress,
            Verdict::Refused { code } => return (messages, progress, Some(code)),
            other => panic!("{other:?}"),
        };
    }
}

#[test]
fn restarted_reply_uses_the_messages_that_are_left() {
    let paragraphs = |n| ("汉".repeat(600) + "。\n\n").repeat(n);
    let (messages, progress, _) = delivered(&paragraphs(3), Progress::default(), r#"{"errcode":0}"#);
    assert_eq!(messages.len(), 3);
    let progress = OfficialAccount.restart(&progress).unwrap();
    let (messages, progress, _) = delivered(&paragraphs(5), progress, r#"{"errcode":0}"#);
    assert_eq!(messages.len(), 2, "of five messages three were used before");
    assert!(messages[0].starts_with('汉') && messages[1].ends_with("https://b.example/r"));
    // None is left, unless the person has written again: one message asks the platform, and its refusal is final.
    let progress = OfficialAccount.restart(&progress).unwrap();
    let (messages, _, refused) = delivered(&paragraphs(5), progress, r#"{"errcode":45047}"#);
    assert_eq!(refused.as_deref(), Some("45047_message_quota_used_up"));
    assert_eq!(messages.len(), 1);
    assert!(messages[0].ends_with("https://b.example/r"));
}

#[test]
fn new_message_of_the_person_allows_five_messages_again() {
    let manifest = OfficialAccount.manifest();
    assert!(manifest.answers_by_newest && manifest.refused_until_next.contains(&"target_expired"));
    let text = ("汉".repeat(600) + "。\n\n").repeat(9);
    let hours = |n: u64| Duration::from_secs(n * 3600);
    let counted = |messages, window_ends| {
        Progress::write(&OfficialAccountProgress {
            messages,
            window_ends: Some(window_ends),
            ..OfficialAccountProgress::default()
        })
    };
    let n_sent = |progress| {
        let (messages, _, refused) = delivered_until(Some(NOW.after(hours(48))), &text, progress, r#"{"errcode":0}"#);
        assert!(refused.is_none() && messages.last().unwrap().ends_with("https://b.example/r"));
        messages.len()
    };
    let (same, over, open) = (NOW.after(hours(48)), NOW.before(hours(1)), NOW.after(hours(1)));
    assert_eq!(n_sent(counted(3, same)), 2);
    assert_eq!(n_sent(counted(3, over)), 5);
    assert_eq!(n_sent(counted(5, open)), 5);
    // The answer to the new message needs some of its five.
    assert_eq!(n_sent(counted(3, open)), 2);
}

#[test]
fn pictures_are_counted_among_the_messages_of_an_answer() {
    let account = account(&[]);
    let reply = ReplyId::new("tl-1");
    let text = ("汉".repeat(600) + "。\n\n").repeat(9);
    let progress = Progress::write(&OfficialAccountProgress {
        messages: 1,
        ..OfficialAccountProgress::default()
    });
    let is_last = |n_native_files| {
        let desired = DesiredReply {
            n_native_files,
            link: Some("https://b.example/r"),
            ..DesiredReply::new(&reply, Stage::Final, &text)
        };
        let step = OfficialAccount.deliver(&desired, &target(&account, None), &progress, &context(&account));
        let Ok(Step::Call {
            call: ApiCall::Http(HttpCall {
                body: Body::Json(body), ..
            }),
            ..
        }) = step
        else {
            panic!("{step:?}")
        };
        body.contains("https://b.example/r")
    };
    assert_eq!([0, 2, 3, 4].map(is_last), [false, false, true, true]);
    let pictures = OfficialAccount.files().unwrap();
    assert_eq!(pictures.max_files(&target(&account, None)), Some(4));
}

#[test]
fn message_that_may_be_lost_is_followed_by_a_notice() {
    let (messages, _, refused) = delivered("Hello", Progress::default(), "<html>");
    assert_eq!(refused.as_deref(), Some("http_200"), "the answer stays unconfirmed");
    let reference = Reference::of(&ReplyId::new("tl-1"));
    let notice = Notice::Incomplete.referring(Some(reference), Language::English);
    assert_eq!(messages.len(), 2);
    assert!(messages[1].starts_with(&*notice), "{}", messages[1]);
    assert!(messages[1].ends_with("https://b.example/r"));
}

#[test]
fn no_notice_follows_the_last_message_that_is_allowed() {
    let progress = Progress::write(&OfficialAccountProgress {
        messages: 4,
        ..OfficialAccountProgress::default()
    });
    let (messages, _, refused) = delivered("Hello", progress, "<html>");
    assert_eq!((messages.len(), refused.as_deref()), (1, Some("http_200")));
}

#[test]
fn answer_is_sent_again_after_a_restart_even_if_it_was_unconfirmed() {
    let progress = Progress::write(&OfficialAccountProgress {
        messages: 2,
        unconfirmed: Some("http_504".to_owned()),
        ..OfficialAccountProgress::default()
    });
    let progress = OfficialAccount.restart(&progress).unwrap();
    let (messages, _, refused) = delivered("Hello", progress, r#"{"errcode":0}"#);
    assert_eq!((messages.len(), refused), (1, None));
    assert_eq!(messages[0], "Hello");
}

#[test]
fn restarted_reply_keeps_the_typing_indicator_off() {
    let before = OfficialAccountProgress {
        no_typing: true,
        typing_since: Some(NOW),
        sent: 9,
        ..OfficialAccountProgress::default()
    };
    let restarted: OfficialAccountProgress = OfficialAccount
        .restart(&Progress::write(&before))
        .and_then(|restarted| restarted.read())
        .unwrap();
    assert!(restarted.no_typing);
    assert_eq!((restarted.sent, restarted.typing_since), (0, None));
}

#[test]
fn passive_reply_is_never_blank() {
    for text in ["![](data:image/png;base64,AA)", "```", "> ", "[]()"] {
        let text = compose::full_text(text, &[], (None, None), Language::English);
        let shown = compose::last_piece(&text, 0, None, Language::English);
        assert_eq!(shown, Notice::EmptyAnswer.text(Language::English));
    }
}

proptest! {
    #[test]
    fn single_message_fits_for_any_text(
        pieces in prop::collection::vec("\n\n|```\n[a-z]{9}\n```\n|汉字{1,40}。|😀|[a-z]{3,9} |- [a-z]{4}\n", 1..30),
        times in 1usize..60,
    ) {
        let text = compose::full_text(&pieces.concat().repeat(times), &[], (None, None), Language::Chinese);
        let shown = compose::last_piece(&text, 0, Some("https://b.example/api/replies/token"), Language::Chinese);
        prop_assert!(shown.len() <= 2048, "{} bytes", shown.len());
        prop_assert!(!shown.trim().is_empty());
    }
}
