//! Tests of the connector through its public trait, with callbacks encrypted here.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use serde_json::{Value, json};
use tieline_core::account::Account;
use tieline_core::card::{Action, Button};
use tieline_core::connector::{
    Answer, Connector as _, Context, MediaError, PollRequest, Received, Rejection, Remark, SentCall, Verdict,
};
use tieline_core::event::{Event, Message};
use tieline_core::http_types::{ApiAnswer, ApiCall, WebhookAnswer, WebhookRequest};
use tieline_core::ids::{IdMint, IntegrationId, OrganizationId, SenderId};
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{DesiredReply, Progress, Pulled, ReplyHandle, ReplyView, Stage, Step};
use tieline_core::thinking_display::ThinkingDisplay;
use tieline_core::timestamp::Timestamp;

use super::*;
use crate::callback_cipher::{CallbackKey, signature};

const TOKEN: &str = "TLnWc7pQ2sVb9KxA";
const KEY: &str = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp";
const NONCE: &str = "1122334455";
const START: Timestamp = Timestamp::from_secs(1_760_000_400);

fn account(fields: &[(&str, &str)]) -> Account {
    let known = [("token", TOKEN), ("encodingAesKey", KEY)];
    let credentials: Credentials = known.iter().chain(fields).copied().collect();
    let mode = ConnectionMode::Webhook;
    Account {
        integration: IntegrationId::new("int_1"),
        organization: OrganizationId::new("default"),
        mode,
        prepared: WeCom.prepare(mode, &credentials, &Endpoints::new()).unwrap(),
        credentials,
        endpoints: Endpoints::new(),
        language: Language::English,
        streaming: true,
        thinking: ThinkingDisplay::default(),
        ids: IdMint::new(&[7; 32]),
        allow_private: false,
    }
}

fn at(account: &Account, seconds: u64) -> Context<'_> {
    Context {
        account,
        now: START.after(Duration::from_secs(seconds)),
        random: [9; 32],
        welcome: None,
        unaddressed: tieline_core::connector::Unaddressed::Ignored,
    }
}

/// A callback as the platform would send it.
fn callback(message: &Value) -> WebhookRequest {
    signed_at(&START.as_secs().to_string(), message)
}

fn signed_at(time: &str, message: &Value) -> WebhookRequest {
    let sealed = CallbackKey::parse(KEY)
        .unwrap()
        .seal([5; 16], message.to_string().as_bytes(), "");
    let signature = signature([TOKEN, time, NONCE, &sealed].map(str::as_bytes));
    let signature = String::from_utf8(signature.to_vec()).unwrap();
    WebhookRequest {
        method: "POST".into(),
        query: format!("msg_signature={signature}&timestamp={time}&nonce={NONCE}"),
        headers: Vec::new(),
        body: json!({ "encrypt": sealed }).to_string().into_bytes(),
    }
}

#[test]
fn signed_time_must_be_a_number_and_not_ahead() {
    let account = account(&[]);
    let try_time = |time: &str| WeCom.receive(&signed_at(time, &text_message()), &at(&account, 0));
    for wrong in ["", "soon", "1.5e9", "+1760000000", "99999999999999999999999"] {
        assert!(matches!(try_time(wrong), Err(Rejection::Malformed(_))), "{wrong}");
    }
    let now = START.as_secs();
    let ahead = try_time(&(now + 3601).to_string());
    assert!(matches!(ahead, Err(Rejection::Stale { age_s: -3601, .. })), "{ahead:?}");
    assert!(try_time(&(now + 3600).to_string()).is_ok());
}

#[test]
fn message_time_is_that_of_its_signature() {
    let account = account(&[]);
    let sent_at = |signed: i64, created: Option<i64>| {
        let mut message = text_message();
        message["create_time"] = json!(created);
        let received = WeCom
            .receive(&signed_at(&signed.to_string(), &message), &at(&account, 0))
            .unwrap();
        match &received.events[..] {
            [Event::Message(message)] => message.sent_at.unwrap().as_secs(),
            other => panic!("{other:?}"),
        }
    };
    let (now, old) = (START.as_secs(), START.as_secs() - 2 * 24 * 3600);
    assert_eq!(sent_at(now, None), now);
    // A replayed callback stays old, whichever of the two times shows it.
    assert_eq!(sent_at(old, None), old);
    assert_eq!(sent_at(old, Some(now)), old);
    assert_eq!(sent_at(now, Some(old)), old);
}

/// Decrypts a response, after checking its signature as the platform does.
fn opened(answer: &WebhookAnswer) -> Value {
    let outer: Value = serde_json::from_slice(&answer.body).unwrap();
    assert_eq!(outer["nonce"], NONCE);
    let (sealed, time) = (
        outer["encrypt"].as_str().unwrap(),
        outer["timestamp"].as_i64().unwrap().to_string(),
    );
    let expected = signature([TOKEN, &time, NONCE, sealed].map(str::as_bytes));
    assert_eq!(outer["msgsignature"].as_str().unwrap().as_bytes(), expected);
    let opened = CallbackKey::parse(KEY).unwrap().open(sealed, "").unwrap();
    serde_json::from_slice(opened.message()).unwrap()
}

fn text_message() -> Value {
    json!({ "msgid": "m1", "aibotid": "b", "chattype": "single", "from": { "userid": "lisi" }, "msgtype": "text",
        "response_url": "https://qyapi.weixin.qq.com/cgi-bin/aibot/response?response_code=RC1", "text": { "content": "hi" } })
}

fn receive(message: &Value, account: &Account) -> Received {
    WeCom.receive(&callback(message), &at(account, 0)).unwrap()
}

fn message(received: &Received) -> &Message {
    match &received.events[..] {
        [Event::Message(message)] => message,
        other => panic!("no message: {other:?}"),
    }
}

fn newest(received: &Received) -> PollRequest {
    match &received.answer {
        Answer::Polled(newest) => newest.clone(),
        Answer::Fixed(fixed) => panic!("fixed: {fixed:?}"),
    }
}

fn view(stage: Stage, text: &str) -> ReplyView {
    ReplyView {
        stage,
        text: text.to_owned(),
        reasoning: String::new(),
        notice: None,
        reference: None,
        files: Vec::new(),
        version: 1,
        asker: SenderId::new("lisi"),
        received_at: START,
        rest_follows: true,
        link: None,
        closed: None,
    }
}

/// Answers a poll as the bridge does: the state that ends polling is stored first.
fn poll(view: &mut ReplyView, account: &Account, seconds: u64) -> Value {
    let mut asked = newest(&receive(&text_message(), account));
    asked.first = false;
    let cx = at(account, seconds);
    if view.closed.is_none() {
        view.closed = WeCom.final_poll_state(&asked, view, &cx);
    }
    opened(&WeCom.answer_poll(&asked, Some(view), &cx))["stream"].clone()
}

/// The text that is pushed after polling has ended.
fn pushed(view: &ReplyView, link: Option<&str>, account: &Account, seconds: u64) -> Option<String> {
    let received = receive(&text_message(), account);
    let reply = account.ids.reply(&message(&received).id);
    let desired = DesiredReply {
        reply: &reply,
        stage: Stage::Final,
        text: &view.text,
        reasoning: "",
        notice: view.notice,
        reference: view.reference,
        files: &view.files,
        n_native_files: 0,
        buttons: &[],
        link,
        proactive: false,
        plain: false,
        pulled: Some(Pulled {
            received_at: view.received_at,
            closed: view.closed.as_ref(),
        }),
    };
    let to = &message(&received).target;
    match WeCom
        .deliver(&desired, to, &Progress::default(), &at(account, seconds))
        .unwrap()
    {
        Step::Call {
            call: ApiCall::Http(call),
            ..
        } => {
            let tieline_core::http_types::Body::Json(body) = call.body else {
                panic!("no JSON")
            };
            let body: Value = serde_json::from_str(&body).unwrap();
            Some(body["markdown"]["content"].as_str().unwrap().to_owned())
        }
        Step::Done => None,
        other => panic!("{other:?}"),
    }
}

#[test]
fn first_answer_shows_dots_and_repeats_on_redelivery() {
    let account = account(&[]);
    let received = receive(&text_message(), &account);
    let asked = newest(&received);
    assert!(asked.first);
    assert_eq!(asked.reply, account.ids.reply(&message(&received).id));
    let stream = opened(&WeCom.answer_poll(&asked, None, &at(&account, 0)))["stream"].clone();
    assert_eq!(stream["id"], asked.reply.as_str());
    assert_eq!(stream["finish"], false);
    assert_eq!(stream["content"], "<think></think>");
    assert_eq!(newest(&receive(&text_message(), &account)), asked);
}

#[test]
fn polls_show_growing_and_final_text() {
    let account = account(&[]);
    let grown = poll(&mut view(Stage::Growing, "Hel"), &account, 3);
    assert_eq!((&grown["content"], &grown["finish"]), (&json!("Hel"), &json!(false)));
    assert!(grown.get("feedback").is_none());
    let mut last = view(Stage::Final, "Hello");
    let ended = poll(&mut last, &account, 4);
    assert_eq!((&ended["content"], &ended["finish"]), (&json!("Hello"), &json!(true)));
    assert_eq!(pushed(&last, None, &account, 5), None);
}

#[test]
fn without_streaming_only_the_final_text_is_shown() {
    let mut account = account(&[]);
    account.streaming = false;
    assert_eq!(
        poll(&mut view(Stage::Growing, "Hel"), &account, 3)["content"],
        "<think></think>"
    );
    assert_eq!(poll(&mut view(Stage::Final, "Hello"), &account, 3)["content"], "Hello");
}

#[test]
fn reasoning_shows_until_the_text_begins() {
    let account = account(&[]);
    let mut thinking = view(Stage::Growing, "");
    thinking.reasoning = "hm </think> hm".into();
    assert_eq!(
        poll(&mut thinking, &account, 3)["content"],
        "<think>hm <\u{200b}/think> hm</think>"
    );
    thinking.text = "So".into();
    assert_eq!(poll(&mut thinking, &account, 3)["content"], "So");
}

#[test]
fn files_are_below_the_final_text() {
    let account = account(&[]);
    let mut reply = view(Stage::Final, "Here:");
    reply.files = vec![tieline_core::reply::ReplyFile {
        url: "https://e.com/a.pdf".into(),
        name: "a.pdf".into(),
        mime: "application/pdf".into(),
    }];
    assert_eq!(
        poll(&mut reply, &account, 3)["content"],
        "Here:\n\n[a.pdf](https://e.com/a.pdf)"
    );
    assert_eq!(pushed(&reply, None, &account, 4), None);
    reply.closed = Some(Progress::default());
    assert_eq!(
        pushed(&reply, None, &account, 400).unwrap(),
        "Here:\n\n[a.pdf](https://e.com/a.pdf)"
    );
}

/// Complete bodies and queries, as sent over HTTP.
#[test]
fn published_samples_round_trip() {
    let account = account(&[]);
    let vectors: Value = serde_json::from_str(include_str!("vectors/crypto.json")).unwrap();
    let named = |list: &str, name: &str| {
        vectors[list]
            .as_array()
            .unwrap()
            .iter()
            .find(|vector| vector["name"] == name)
            .unwrap()
            .clone()
    };
    let post = named("http", "bot_post_request_body");
    let request = WebhookRequest {
        method: "POST".into(),
        query: post["query"].as_str().unwrap().into(),
        headers: Vec::new(),
        body: post["http_body"].as_str().unwrap().into(),
    };
    let plain: Value = serde_json::from_str(named("valid", "bot_text_chinese")["plaintext"].as_str().unwrap()).unwrap();
    let received = WeCom.receive(&request, &at(&account, 0)).unwrap();
    assert_eq!(message(&received).id.as_str(), plain["msgid"].as_str().unwrap());

    let reply = named("valid", "bot_stream_reply_first");
    let mut random = [0; 32];
    hex::decode_to_slice(reply["random16_hex"].as_str().unwrap(), &mut random[..16]).unwrap();
    let cx = Context {
        random,
        now: Timestamp::from_secs(reply["timestamp"].as_str().unwrap().parse().unwrap()),
        ..at(&account, 0)
    };
    let body: Box<serde_json::value::RawValue> = serde_json::from_str(reply["plaintext"].as_str().unwrap()).unwrap();
    let sealed = callback_answer::sealed(&body, reply["nonce"].as_str().unwrap(), webhook_keys(&cx).unwrap(), &cx);
    let expected = named("http", "bot_passive_reply_body");
    assert_eq!(
        String::from_utf8(sealed.body).unwrap(),
        expected["http_body"].as_str().unwrap()
    );
}

#[test]
fn only_the_asker_can_poll_an_answer() {
    let account = account(&[]);
    let mut other = view(Stage::Final, "secret");
    other.asker = SenderId::new("wangwu");
    let shown = poll(&mut other, &account, 3);
    assert_eq!(shown["content"], Notice::Expired.text(Language::English));
    assert_eq!(shown["finish"], true);
    assert_eq!(other.closed, None, "a stranger ends nothing");
}

#[test]
fn unknown_streams_end_and_own_streams_wait() {
    let account = account(&[]);
    let mut asked = newest(&receive(&text_message(), &account));
    asked.first = false;
    let ours = opened(&WeCom.answer_poll(&asked, None, &at(&account, 9)));
    assert_eq!(ours["stream"]["finish"], false);
    asked.reply = ReplyId::new("tl-01J9");
    let foreign = opened(&WeCom.answer_poll(&asked, None, &at(&account, 9)));
    assert_eq!(foreign["stream"]["finish"], true);
    assert_eq!(foreign["stream"]["content"], Notice::Expired.text(Language::English));
}

#[test]
fn stream_ends_before_polling_stops_and_the_rest_is_pushed() {
    let account = account(&[]);
    let mut growing = view(Stage::Growing, "One.\n\nTwo and");
    assert_eq!(poll(&mut growing, &account, 329)["finish"], false);
    let ended = poll(&mut growing, &account, 330);
    assert_eq!(ended["finish"], true);
    // Text that was shown is never removed.
    assert_eq!(ended["content"], "One.\n\nTwo and\n\n(Continued in the next message.)");
    // Later polls get the same, even if the text has grown.
    growing.text.push_str(" three.");
    assert_eq!(poll(&mut growing, &account, 340), ended);
    assert_eq!(pushed(&growing, None, &account, 600).unwrap().trim(), "three.");
}

#[test]
fn reply_never_polled_is_pushed_whole() {
    let account = account(&[]);
    let mut late = view(Stage::Final, "Late answer");
    late.closed = Some(Progress::default());
    assert_eq!(pushed(&late, None, &account, 900).unwrap(), "Late answer");
    assert_eq!(
        poll(&mut late, &account, 361)["content"],
        Notice::Continued.text(Language::English)
    );
}

#[test]
fn replaced_text_is_pushed_again() {
    let account = account(&[]);
    let mut reply = view(Stage::Growing, "First thought.\n\nMore");
    poll(&mut reply, &account, 331);
    reply.text = "Other answer altogether, longer than before.".into();
    assert_eq!(pushed(&reply, None, &account, 400).unwrap(), reply.text);
    assert_eq!(
        poll(&mut reply, &account, 341)["content"],
        Notice::Continued.text(Language::English)
    );
}

#[test]
fn long_text_continues_below_and_excess_text_is_linked() {
    let account = account(&[]);
    let paragraph = "汉".repeat(300) + "。\n\n";
    let mut reply = view(Stage::Final, paragraph.repeat(30).trim_end());
    let shown = poll(&mut reply, &account, 10);
    let shown = shown["content"].as_str().unwrap();
    let rest = pushed(&reply, Some("https://e.com/api/replies/t"), &account, 11).unwrap();
    assert!(shown.len() <= 20480 && rest.len() <= 20480);
    assert!(shown.ends_with("。\n\n(Continued in the next message.)"));
    let joined = shown
        .strip_suffix("(Continued in the next message.)")
        .unwrap()
        .to_owned()
        + &rest;
    assert_eq!(joined, reply.text);

    let mut longer = view(Stage::Final, &paragraph.repeat(60));
    poll(&mut longer, &account, 10);
    let rest = pushed(&longer, Some("https://e.com/api/replies/t"), &account, 11).unwrap();
    assert!(rest.len() <= 20480);
    assert!(
        rest.ends_with("The whole answer:[https://e.com/api/replies/t](https://e.com/api/replies/t)"),
        "{rest}"
    );
}

#[test]
fn stream_keeps_shown_text_when_the_answer_outgrows_it() {
    let account = account(&[]);
    let begins = "汉".repeat(4000) + "。\n\n" + &"字".repeat(2700);
    let mut reply = view(Stage::Growing, &begins);
    let shown = poll(&mut reply, &account, 10);
    assert_eq!((&shown["content"], &shown["finish"]), (&json!(begins), &json!(false)));
    reply.text.push_str(&"字".repeat(200));
    let ended = poll(&mut reply, &account, 11);
    assert_eq!(ended["finish"], true);
    let content = ended["content"].as_str().unwrap();
    assert!(content.starts_with(&begins), "{} bytes are left", content.len());
    assert!(content.len() <= 20480 && content.ends_with("\n\n(Continued in the next message.)"));
}

#[test]
fn reply_without_a_follow_up_ends_with_a_link() {
    let account = account(&[]);
    let whole = ("汉".repeat(300) + "。\n\n").repeat(60);
    for (stage, seconds) in [(Stage::Final, 10), (Stage::Growing, 10), (Stage::Growing, 331)] {
        let text = if seconds > 300 { "A beginning" } else { &whole };
        let mut reply = view(stage, text);
        reply.link = Some("https://e.com/t".to_owned());
        reply.rest_follows = false;
        let shown = poll(&mut reply, &account, seconds);
        assert_eq!(shown["finish"], true);
        let content = shown["content"].as_str().unwrap();
        assert!(content.len() <= 20480, "{}", content.len());
        assert!(
            content.ends_with("The whole answer:[https://e.com/t](https://e.com/t)"),
            "{content}"
        );
        assert!(text.starts_with(content.split("\n\nThe whole").next().unwrap()));
        // The text continues; the final response stays the same, and nothing is pushed.
        reply.text.push_str(" and an end");
        assert_eq!(poll(&mut reply, &account, seconds + 1)["content"], content);
        assert_eq!(pushed(&reply, reply.link.as_deref(), &account, seconds + 2), None);
    }
    let mut short = view(Stage::Final, "Hello");
    short.rest_follows = false;
    assert_eq!(poll(&mut short, &account, 10)["content"], "Hello");
}

#[test]
fn rest_is_pushed_only_if_allowed() {
    let account = account(&[]);
    let mut to = message(&receive(&text_message(), &account)).target.clone();
    assert!(WeCom.can_push(&to, &at(&account, 10)));
    assert!(!WeCom.can_push(&to, &at(&account, 3601)), "too late");
    to.handle = ReplyHandle::new(json!({ "responseUrl": "https://elsewhere.example/" }));
    assert!(!WeCom.can_push(&to, &at(&account, 10)));
    to.handle = ReplyHandle::default();
    assert!(!WeCom.can_push(&to, &at(&account, 10)));
}

/// A picture of 100 kB inside an answer, and the position where its URL ends.
fn answer_with_a_picture() -> (String, usize) {
    let begins = format!("See ![chart](data:image/png;base64,{}", "AAAA".repeat(25_000));
    (format!("{begins}) above."), begins.len())
}

#[test]
fn inline_picture_is_polled_as_its_label() {
    let account = account(&[]);
    let (text, end) = answer_with_a_picture();
    for shown in [40, 30_000, end] {
        let grown = poll(&mut view(Stage::Growing, &text[..shown]), &account, 3);
        assert_eq!(
            (&grown["content"], &grown["finish"]),
            (&json!("See chart"), &json!(false))
        );
    }
    let mut last = view(Stage::Final, &text);
    assert_eq!(poll(&mut last, &account, 4)["content"], "See chart above.");
    assert_eq!(pushed(&last, None, &account, 5), None);
    last.closed = Some(Progress::default());
    assert_eq!(pushed(&last, None, &account, 900).unwrap(), "See chart above.");
}

#[test]
fn inline_picture_is_pushed_as_its_label() {
    let mut account = account(&[]);
    account.mode = ConnectionMode::LongConnection;
    let mut to = message(&receive(&text_message(), &account)).target.clone();
    to.handle = ReplyHandle::new(json!({ "reqId": "cb2" }));
    let reply = ReplyId::new("tl-r1");
    let mut done = Progress::default();
    let (text, _) = answer_with_a_picture();
    let states = [
        (Stage::Growing, &text[..30_000], "See chart"),
        (Stage::Final, &text[..], "See chart above."),
    ];
    for (stage, text, expected) in states {
        let desired = DesiredReply::new(&reply, stage, text);
        let step = WeCom.deliver(&desired, &to, &done, &at(&account, 1)).unwrap();
        let Step::Call {
            call: ApiCall::Socket(call),
            on_success,
        } = step
        else {
            panic!("{step:?}")
        };
        assert_eq!(call.frame["body"]["stream"]["content"], expected);
        done = on_success;
    }
}

/// The body of each frame that delivers `text` with a button from `progress` on, and the progress in the end.
fn framed(text: &str, mut progress: Progress, account: &Account) -> (Vec<Value>, Progress) {
    let reply = ReplyId::new("tl-r1");
    let mut to = message(&receive(&text_message(), account)).target.clone();
    to.handle = ReplyHandle::new(json!({ "reqId": "cb2" }));
    let desired = DesiredReply {
        reply: &reply,
        stage: Stage::Final,
        text,
        reasoning: "",
        notice: None,
        reference: None,
        files: &[],
        n_native_files: 0,
        buttons: &[Button {
            text: "Yes".into(),
            action: Action::Value("yes".into()),
        }],
        link: None,
        proactive: false,
        plain: false,
        pulled: None,
    };
    let cx = at(account, 1);
    let mut bodies = Vec::new();
    loop {
        let (call, on_success) = match WeCom.deliver(&desired, &to, &progress, &cx).unwrap() {
            Step::Call { call, on_success } => (call, on_success),
            Step::Done => return (bodies, progress),
            other => panic!("{other:?}"),
        };
        let sent = SentCall {
            call: &call,
            progress: &progress,
            on_success: &on_success,
        };
        let answer = ApiAnswer::Answered {
            status: 200,
            retry_after_s: None,
            body: b"{\"errcode\":0}".to_vec(),
        };
        let Verdict::Accepted(accepted) = WeCom.classify(&sent, &answer, &cx) else {
            panic!("refused: {call:?}")
        };
        let ApiCall::Socket(call) = call else {
            panic!("not over the socket")
        };
        bodies.push(call.frame["body"].clone());
        progress = accepted;
    }
}

#[test]
fn restarted_reply_has_a_bubble_and_a_card_of_its_own() {
    let mut account = account(&[]);
    account.mode = ConnectionMode::LongConnection;
    let long = ("汉".repeat(300) + "。\n\n").repeat(30);
    let (mut streams, mut tasks) = (BTreeSet::new(), BTreeSet::new());
    let mut progress = Progress::default();
    let mut rounds = 0;
    // A long text needs two bubbles.
    for text in ["First.", &long, "Third."] {
        let bodies;
        (bodies, progress) = framed(text, progress, &account);
        assert_eq!(bodies[0].pointer("/stream/feedback").is_some(), rounds == 0);
        let (cards, bubbles): (Vec<_>, Vec<_>) = bodies.iter().partition(|body| body["stream"].is_null());
        let streamed = bubbles.len();
        let before = streams.len();
        streams.extend(bubbles.iter().map(|body| body["stream"]["id"].to_string()));
        assert_eq!(streams.len(), before + streamed, "a finished bubble shows nothing more");
        tasks.extend(cards.iter().map(|body| body["template_card"]["task_id"].to_string()));
        rounds += 1;
        assert_eq!(tasks.len(), rounds, "an id of a card is accepted once");
        progress = WeCom.restart(&progress).unwrap();
    }
}

#[test]
fn restarted_polled_reply_begins_like_the_first() {
    let before = Progress::write(&compose::Rest {
        pushed: true,
        unsure: true,
    });
    for before in [Progress::default(), before] {
        let restarted = WeCom.restart(&before).unwrap();
        let rest: compose::Rest = restarted.read().unwrap();
        assert!(!rest.pushed && !rest.unsure);
    }
}

#[test]
fn code_is_closed_and_reopened_across_messages() {
    let account = account(&[]);
    let mut reply = view(
        Stage::Final,
        &format!("```rust\n{}```\nDone.", "let x = 1;\n".repeat(2500)),
    );
    let shown = poll(&mut reply, &account, 10);
    let rest = pushed(&reply, None, &account, 11).unwrap();
    assert!(shown["content"].as_str().unwrap().contains("```\n\n(Continued"));
    assert!(rest.starts_with("```rust\nlet x = 1;\n") && rest.ends_with("```\nDone."));
}

#[test]
fn final_text_is_never_blank() {
    let account = account(&[]);
    assert_eq!(
        poll(&mut view(Stage::Final, " \n"), &account, 3)["content"],
        Notice::EmptyAnswer.text(Language::English)
    );
    let mut failed = view(Stage::Final, "");
    failed.notice = Some(Notice::AgentFailed);
    assert_eq!(
        poll(&mut failed, &account, 3)["content"],
        Notice::AgentFailed.text(Language::English)
    );
    failed.text = "Half".into();
    failed.closed = None;
    let both = format!("Half\n\n{}", Notice::AgentFailed.text(Language::English));
    assert_eq!(poll(&mut failed, &account, 3)["content"], both);
}

#[test]
fn foreign_response_urls_are_not_called() {
    let account = account(&[]);
    let mut said = text_message();
    said["response_url"] = "https://qyapi.weixin.qq.com.evil.example/x".into();
    let received = receive(&said, &account);
    let reply = account.ids.reply(&message(&received).id);
    let closed = Progress::default();
    let desired = DesiredReply {
        reply: &reply,
        stage: Stage::Final,
        text: "x",
        reasoning: "",
        notice: None,
        reference: None,
        files: &[],
        n_native_files: 0,
        buttons: &[],
        link: None,
        proactive: false,
        plain: false,
        pulled: Some(Pulled {
            received_at: START,
            closed: Some(&closed),
        }),
    };
    let step = WeCom.deliver(
        &desired,
        &message(&received).target,
        &Progress::default(),
        &at(&account, 400),
    );
    assert_eq!(step, Err(ComposeError::ForeignAddress));
}

#[test]
fn group_mentions_are_removed_and_direct_ones_are_kept() {
    let account = account(&[("botName", "My Helper")]);
    let mut said = text_message();
    said["text"]["content"] = "@My Helper /new plan".into();
    assert_eq!(message(&receive(&said, &account)).text, "@My Helper /new plan");
    said["chattype"] = "group".into();
    said["chatid"] = "wrG".into();
    let received = receive(&said, &account);
    assert_eq!(message(&received).text, "/new plan");
    assert_eq!(message(&received).target.chat.id.as_str(), "wrG");
}

#[test]
fn malformed_callback_is_unreadable() {
    for strange in [
        json!({ "a": 1 }),
        json!({ "msgtype": "text", "msgid": "m", "text": { "content": "hi" } }),
    ] {
        let received = receive(&strange, &account(&[]));
        assert!(matches!(received.remark, Some(Remark::Unreadable(_))), "{received:?}");
    }
}

#[test]
fn another_bots_callback_is_ignored() {
    let account = account(&[("botId", "mine")]);
    let received = receive(&text_message(), &account);
    assert!(matches!(received.remark, Some(Remark::Ignored(_))), "{received:?}");
    assert!(received.events.is_empty());
}

#[test]
fn files_decrypt_with_the_callback_key() {
    let account = account(&[]);
    let vectors: Value = serde_json::from_str(include_str!("vectors/crypto.json")).unwrap();
    let vectors = vectors["media"].as_array().unwrap();
    let vector = vectors
        .iter()
        .find(|vector| vector["name"] == "media_webhook_key")
        .unwrap();
    let mut said = text_message();
    said["msgtype"] = "file".into();
    said["file"] = json!({ "url": "https://cos.example/f" });
    let received = receive(&said, &account);
    let part = &message(&received).parts[0];
    let cx = at(&account, 0);
    assert_eq!(
        media::MessageFiles.download(part, &cx).unwrap().url,
        "https://cos.example/f"
    );
    let sealed = hex::decode(vector["cipher_hex"].as_str().unwrap()).unwrap();
    let disposition = Some("attachment; filename*=UTF-8''%E6%8A%A5.gif");
    let media = media::MessageFiles.open(part, sealed, disposition, &cx).unwrap();
    assert_eq!(hex::encode(&media.bytes), vector["plain_hex"].as_str().unwrap());
    assert_eq!(media.name.as_deref(), Some("报.gif"));
}

#[test]
fn download_is_repeated_after_a_fault_of_the_storage() {
    for status in [429, 500, 502, 503, 504] {
        assert_eq!(
            media::MessageFiles.refused(status, b""),
            MediaError::Passing,
            "{status}"
        );
    }
    for status in [400, 403, 404] {
        assert_eq!(media::MessageFiles.refused(status, b""), MediaError::Gone, "{status}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn any_flipped_bit_is_refused(bit in 0usize..8, at_byte in any::<prop::sample::Index>(), field in 0usize..2) {
        let account = account(&[]);
        let request = callback(&text_message());
        prop_assert!(WeCom.receive(&request, &at(&account, 0)).is_ok());
        let mut flipped = request.clone();
        if field == 0 {
            // Flips bits only inside the base64, so that the body stays JSON.
            let inner = 12..request.body.len() - 2;
            let byte = inner.start + at_byte.index(inner.len());
            flipped.body[byte] ^= 1 << bit;
        } else {
            let inner = "msg_signature=".len().."msg_signature=".len() + 40;
            let byte = inner.start + at_byte.index(inner.len());
            let mut query = request.query.clone().into_bytes();
            query[byte] ^= 1 << bit;
            flipped.query = String::from_utf8_lossy(&query).into_owned();
        }
        let outcome = WeCom.receive(&flipped, &at(&account, 0));
        prop_assert!(matches!(outcome, Err(Rejection::BadSignature | Rejection::Malformed(_) | Rejection::Missing(_))), "{:?}", outcome);
    }

    #[test]
    fn any_request_is_handled_without_panic(query in "\\PC{0,60}", body in prop::collection::vec(any::<u8>(), 0..200), get in any::<bool>()) {
        let account = account(&[]);
        let request = WebhookRequest { method: if get { "GET" } else { "POST" }.into(), query, headers: Vec::new(), body };
        prop_assert!(WeCom.receive(&request, &at(&account, 0)).is_err());
    }

    #[test]
    fn any_authenticated_json_is_handled_without_panic(kind in "text|image|mixed|voice|file|video|stream|event|link", payload in "\\PC{0,20}", shape in 0usize..6) {
        let account = account(&[]);
        let mut said = text_message();
        said["msgtype"] = kind.clone().into();
        said[&kind] = match shape {
            0 => json!(payload),
            1 => json!({ "content": payload, "url": payload, "id": payload, "eventtype": payload }),
            2 => json!({ "msg_item": [{ "msgtype": payload }, { "msgtype": "text", "text": { "content": payload } }] }),
            3 => json!([payload]),
            4 => json!({ "content": 5, "id": null }),
            _ => Value::Null,
        };
        let received = WeCom.receive(&callback(&said), &at(&account, 0)).unwrap();
        if let Answer::Fixed(answer) = received.answer {
            prop_assert_eq!(answer.status, 200);
        }
    }

    #[test]
    fn stream_and_push_together_show_the_whole_text(text in "([a-z]{1,30}[ \n]|中{1,200}。|\n\n){0,400}", stop in 0usize..40000, seconds in 0u64..360) {
        let account = account(&[]);
        let mut stop = stop.min(text.len());
        while !text.is_char_boundary(stop) {
            stop -= 1;
        }
        let mut reply = view(Stage::Growing, &text[..stop]);
        let first = poll(&mut reply, &account, seconds);
        reply.text = text.clone();
        reply.stage = Stage::Final;
        let last = if first["finish"] == true { first } else { poll(&mut reply, &account, seconds + 1) };
        prop_assert_eq!(&last["finish"], true);
        let shown = last["content"].as_str().unwrap();
        prop_assert!(shown.len() <= 20480);
        let rest = pushed(&reply, Some("https://e.com/t"), &account, seconds + 2);
        let all = format!("{shown}{}", rest.as_deref().unwrap_or_default());
        if text.trim().is_empty() || all.contains("https://e.com/t") {
            return Ok(());
        }
        let plain = |text: &str| text.replace(Notice::Continued.text(Language::English), "").split_whitespace().collect::<String>();
        prop_assert_eq!(plain(&all), plain(&text));
    }
}
