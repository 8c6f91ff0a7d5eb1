//! Delivery of a reply, call by call, to a simulated platform that may fail.

use std::collections::VecDeque;

use proptest::prelude::*;
use serde_json::{Value, json};
use tieline_core::account::{Account, ConnectionMode};
use tieline_core::connector::{Connector as _, Context, SentCall, Verdict};
use tieline_core::event::{Chat, ChatKind};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, HttpCall};
use tieline_core::ids::{ChatId, PlatformMessageId, ReplyId, SenderId};
use tieline_core::notice::Notice;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyFile, ReplyHandle, ReplyTarget, Stage, Step};

use super::{CLIENT, account, at};
use crate::dingtalk::{DingTalk, classify};
use tieline_core::timestamp::Timestamp;

const NOW: i64 = 1_760_000_000_000;

/// A simulated chat, built by the calls.
#[derive(Default)]
struct Platform {
    now: i64,
    progress: Progress,
    /// Names of the calls.
    calls: Vec<&'static str>,
    /// Ids of the created cards.
    cards: Vec<Value>,
    /// Text of the card.
    card: String,
    /// `flowStatus`, or `finalized`.
    card_state: String,
    messages: Vec<String>,
    /// `isError` of each call that marks a card.
    failures_shown: Vec<bool>,
    /// Responses instead of success, by name of the call; each is used once.
    troubles: VecDeque<(&'static str, ApiAnswer)>,
}

fn answered(status: u16, body: &Value) -> ApiAnswer {
    ApiAnswer::Answered {
        status,
        retry_after_s: None,
        body: body.to_string().into_bytes(),
    }
}

fn body_of(call: &HttpCall) -> Value {
    match &call.body {
        Body::Json(text) => serde_json::from_str(text).unwrap(),
        _ => panic!("not JSON"),
    }
}

impl Platform {
    fn new() -> Self {
        Self {
            now: NOW,
            ..Self::default()
        }
    }

    fn trouble(mut self, call: &'static str, answer: ApiAnswer) -> Self {
        self.troubles.push_back((call, answer));
        self
    }

    fn answer(&mut self, call: &HttpCall) -> ApiAnswer {
        self.calls.push(call.name);
        if call.name == "mark_card" {
            self.failures_shown.push(body_of(call)["isError"] == true);
        }
        if let Some(at) = self.troubles.iter().position(|(name, _)| *name == call.name) {
            return self.troubles.remove(at).unwrap().1;
        }
        let body = body_of(call);
        match call.name {
            "create_card" => {
                self.cards.push(body["outTrackId"].clone());
                answered(
                    200,
                    &json!({ "success": true, "result": { "deliverResults": [{ "success": true }] } }),
                )
            }
            "stream_text" => {
                assert!(
                    !matches!(self.card_state.as_str(), "finalized" | "3" | "5"),
                    "text after the end"
                );
                assert!(!body["content"].as_str().unwrap().is_empty(), "empty text is refused");
                self.card = body["content"].as_str().unwrap().to_owned();
                if body["isFinalize"] == true {
                    self.card_state = "finalized".into();
                }
                answered(200, &json!({ "success": true, "result": true }))
            }
            "mark_card" if body["isFinalize"] == true => {
                self.card = body["content"].as_str().unwrap().to_owned();
                self.card_state = "finalized".into();
                answered(200, &json!({ "success": true, "result": true }))
            }
            "begin_text" | "settle_card" | "mark_card" => {
                let variables = &body["cardData"]["cardParamMap"];
                if let Some(state) = variables["flowStatus"].as_str() {
                    self.card_state = state.into();
                    if let Some(text) = variables["msgContent"].as_str() {
                        self.card = text.to_owned();
                    }
                }
                answered(200, &json!({ "success": true, "result": true }))
            }
            "send_webhook" => {
                self.messages
                    .push(body["markdown"]["text"].as_str().unwrap().to_owned());
                answered(200, &json!({ "errcode": 0, "errmsg": "ok" }))
            }
            _ => {
                assert!(body["msgParam"].as_str().unwrap().len() <= 15_000);
                let param: Value = serde_json::from_str(body["msgParam"].as_str().unwrap()).unwrap();
                self.messages.push(param["text"].as_str().unwrap().to_owned());
                answered(200, &json!({ "processQueryKey": "k" }))
            }
        }
    }

    /// Delivers as the bridge does: until the chat is in the desired state, waiting where the step says so.
    fn show(&mut self, account: &Account, to: &ReplyTarget, desired: &DesiredReply<'_>) -> Result<(), String> {
        for _ in 0..200 {
            let cx = at(account, self.now);
            let step = DingTalk.deliver(desired, to, &self.progress, &cx);
            let (call, on_success) = match step.map_err(|error| format!("{error:?}"))? {
                Step::Done => return Ok(()),
                Step::Wait { until } => {
                    self.now = until.as_millis();
                    continue;
                }
                Step::Call {
                    call: ApiCall::Http(call),
                    on_success,
                } => (call, on_success),
                Step::Call {
                    call: ApiCall::Socket(_),
                    ..
                } => panic!("no socket is used"),
            };
            let answer = self.answer(&call);
            let call = ApiCall::Http(call);
            match classify(&call, &answer, &self.progress, &on_success, &cx) {
                Verdict::Accepted(progress)
                | Verdict::FallBack { progress, .. }
                | Verdict::Closed { progress, .. }
                | Verdict::Resting { progress, .. } => self.progress = progress,
                Verdict::Retry { .. } | Verdict::SlowDown { .. } => self.now += 2000,
                Verdict::TokenExpired => {}
                Verdict::Refused { code } | Verdict::CredentialsRefused { code } => return Err(code),
            }
        }
        panic!("no end: {:?}", self.calls)
    }
}

fn target(kind: ChatKind) -> ReplyTarget {
    ReplyTarget {
        integration: tieline_core::ids::IntegrationId::new("int_1"),
        chat: Chat {
            kind,
            id: ChatId::new("cidTieline0001Ab=="),
            thread: None,
        },
        asker: SenderId::new("manager0123"),
        message: PlatformMessageId::new("msg1"),
        handle: ReplyHandle::new(json!({
            "webhook": "https://oapi.dingtalk.com/robot/sendBySession?session=0f1e",
            "webhookUntil": NOW + 5_400_000,
            "robot": "dingtielinedemo01",
            "staff": "manager0123",
        })),
        expires_at: None,
    }
}

fn own() -> Account {
    let fields = [CLIENT[0], CLIENT[1], ("cardTemplateId", "mine.schema")];
    account(ConnectionMode::LongConnection, &fields)
}

fn public() -> Account {
    account(ConnectionMode::LongConnection, &CLIENT)
}

/// Delivers the thinking state, then each text, the last one as final.
fn tell(platform: &mut Platform, account: &Account, texts: &[&str]) -> Result<(), String> {
    let reply = ReplyId::new("tl-reply");
    let to = target(ChatKind::Group);
    platform.show(account, &to, &DesiredReply::new(&reply, Stage::Thinking, ""))?;
    let (last, growing) = texts.split_last().unwrap();
    for text in growing {
        platform.show(account, &to, &DesiredReply::new(&reply, Stage::Growing, text))?;
    }
    platform.show(account, &to, &DesiredReply::new(&reply, Stage::Final, last))
}

#[test]
fn own_template_streams_and_ends() {
    let mut platform = Platform::new();
    tell(&mut platform, &own(), &["He", "He", "Hello", "Hello"]).unwrap();
    assert_eq!(
        platform.calls,
        ["create_card", "stream_text", "stream_text", "stream_text"]
    );
    assert_eq!(
        (platform.card.as_str(), platform.card_state.as_str()),
        ("Hello", "finalized")
    );
    assert!(platform.messages.is_empty());
}

#[test]
fn public_template_is_begun_and_settled() {
    let mut platform = Platform::new();
    tell(&mut platform, &public(), &["He", "Hello"]).unwrap();
    assert_eq!(
        platform.calls,
        ["create_card", "begin_text", "stream_text", "stream_text", "settle_card"]
    );
    assert_eq!((platform.card.as_str(), platform.card_state.as_str()), ("Hello", "3"));
}

#[test]
fn growing_after_the_end_changes_nothing() {
    let account = own();
    let mut platform = Platform::new();
    tell(&mut platform, &account, &["Hello"]).unwrap();
    let calls = platform.calls.len();
    let reply = ReplyId::new("tl-reply");
    for stage in [Stage::Thinking, Stage::Growing, Stage::Final] {
        let again = DesiredReply::new(&reply, stage, "Hello");
        platform.show(&account, &target(ChatKind::Group), &again).unwrap();
    }
    assert_eq!(platform.calls.len(), calls);
}

#[test]
fn refused_card_becomes_a_message() {
    let refused = answered(
        403,
        &json!({ "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied" }),
    );
    let mut platform = Platform::new().trouble("create_card", refused);
    tell(&mut platform, &own(), &["He", "Hello"]).unwrap();
    assert_eq!(platform.calls, ["create_card", "send_webhook"]);
    assert_eq!(platform.messages, ["Hello"]);
}

/// Verdict on the creation of a card that got this response.
fn created(status: u16, body: &Value) -> Verdict {
    let (account, reply, to) = (own(), ReplyId::new("tl-1"), target(ChatKind::Group));
    let (cx, done) = (at(&account, NOW), Progress::default());
    let desired = DesiredReply::new(&reply, Stage::Thinking, "");
    let Ok(Step::Call { call, on_success }) = DingTalk.deliver(&desired, &to, &done, &cx) else {
        panic!("no card is put up")
    };
    classify(&call, &answered(status, body), &done, &on_success, &cx)
}

#[test]
fn cards_enter_cooldown_when_refused_as_such() {
    let scopes = json!({ "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied",
        "accessdenieddetail": { "requiredScopes": ["Card.Instance.Write"] } });
    let Verdict::Closed { rest, missing, .. } = created(403, &scopes) else {
        panic!("cards go on")
    };
    assert_eq!(
        (rest.as_secs(), missing),
        (1800, vec!["Card.Instance.Write".to_owned()])
    );
    for (status, code) in [(403, "Forbidden.AccessDenied.ApiCountLimitForOrg"), (429, "x")] {
        assert!(
            matches!(created(status, &json!({ "code": code })), Verdict::Closed { .. }),
            "{code}"
        );
    }
    let second = created(403, &json!({ "code": "Forbidden.AccessDenied.QpsLimitForApi" }));
    assert!(matches!(second, Verdict::SlowDown { .. }));
    let template = created(400, &json!({ "code": "param.templateNotExist" }));
    assert!(matches!(template, Verdict::FallBack { .. }));
}

#[test]
fn platform_faults_close_cards_after_several_attempts() {
    let busy = || answered(500, &json!({ "code": "system.busy" }));
    let (account, reply, to) = (own(), ReplyId::new("tl-1"), target(ChatKind::Group));
    let desired = DesiredReply::new(&reply, Stage::Thinking, "");
    let (mut progress, mut now, mut tries) = (Progress::default(), NOW, 0);
    loop {
        let cx = at(&account, now);
        let (call, on_success) = match DingTalk.deliver(&desired, &to, &progress, &cx).unwrap() {
            Step::Wait { until } => {
                now = until.as_millis();
                continue;
            }
            Step::Call { call, on_success } => (call, on_success),
            Step::Done => panic!("given up without a word"),
        };
        tries += 1;
        match classify(&call, &busy(), &progress, &on_success, &cx) {
            Verdict::FallBack { progress: next, .. } => progress = next,
            Verdict::Closed { .. } => break,
            other => panic!("{other:?}"),
        }
    }
    assert!((2..5).contains(&tries), "{tries}");
}

#[test]
fn reply_during_the_card_cooldown_is_a_message() {
    let (account, reply, to) = (own(), ReplyId::new("tl-1"), target(ChatKind::Group));
    let mut platform = Platform::new();
    for (stage, text) in [(Stage::Thinking, ""), (Stage::Growing, "He"), (Stage::Final, "Hello")] {
        let desired = DesiredReply {
            plain: true,
            ..DesiredReply::new(&reply, stage, text)
        };
        platform.show(&account, &to, &desired).unwrap();
    }
    assert_eq!(platform.calls, ["send_webhook"]);
}

#[test]
fn restarted_answer_gets_a_new_card() {
    let mut platform = Platform::new();
    for _ in 0..3 {
        tell(&mut platform, &own(), &["Hello"]).unwrap();
        platform.progress = DingTalk.restart(&platform.progress).unwrap();
        platform.card_state.clear();
    }
    let ids: std::collections::HashSet<String> = platform.cards.iter().map(ToString::to_string).collect();
    assert_eq!((platform.cards.len(), ids.len()), (3, 3), "{ids:?}");
}

#[test]
fn lost_card_creation_is_retried_and_found_existing() {
    let exists = answered(400, &json!({ "code": "param.cardAlreadyExist" }));
    let mut platform = Platform::new()
        .trouble("create_card", ApiAnswer::Unknown)
        .trouble("create_card", exists);
    tell(&mut platform, &own(), &["Hello"]).unwrap();
    assert_eq!(platform.calls, ["create_card", "create_card", "stream_text"]);
}

#[test]
fn card_without_text_is_marked_after_the_message_is_sent() {
    let unknown = answered(500, &json!({ "code": "unknownError" }));
    for account in [own(), public()] {
        let mut platform = Platform::new()
            .trouble("stream_text", unknown.clone())
            .trouble("stream_text", unknown.clone());
        tell(&mut platform, &account, &["He", "Hel", "Hello"]).unwrap();
        assert_eq!(platform.messages, ["Hello"]);
        assert_eq!(platform.calls.last(), Some(&"mark_card"));
        let tried = platform.calls.iter().filter(|call| **call == "stream_text").count();
        assert_eq!(tried, 2, "one that grew, and the last");
    }
}

/// What a person sees of an answer if the platform blocks its first messages.
fn withheld(times: usize, link: Option<&str>) -> (Platform, Result<(), String>) {
    let unsafe_text = answered(200, &json!({ "errcode": 430_102, "errmsg": "unsafe" }));
    let mut platform = Platform::new();
    for _ in 0..times {
        platform = platform.trouble("send_webhook", unsafe_text.clone());
    }
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply {
        link,
        ..DesiredReply::new(&reply, Stage::Final, "Hello")
    };
    let came = platform.show(&own(), &target(ChatKind::Group), &last);
    (platform, came)
}

#[test]
fn person_is_notified_of_an_answer_blocked_by_moderation() {
    let blocked = Notice::Blocked.text(own().language);
    let link = "https://bridge.example/api/replies/token";
    let (platform, came) = withheld(1, None);
    assert_eq!((platform.messages, came), (vec![blocked.to_owned()], Ok(())));
    let (platform, came) = withheld(1, Some(link));
    let sentence = Notice::BlockedBehindLink.text(own().language);
    assert_eq!(platform.messages[0], format!("{sentence}\n\n{link}"));
    assert_eq!((platform.messages.len(), came), (1, Ok(())));
    let (platform, came) = withheld(2, Some(link));
    assert_eq!((platform.messages, came), (vec![blocked.to_owned()], Ok(())));
    let (platform, came) = withheld(3, Some(link));
    assert_eq!((platform.messages.len(), came), (0, Err("430102".to_owned())));
    let by_api = answered(400, &json!({ "code": "contain.unsafe.url" }));
    let mut platform = Platform::new().trouble("send_group", by_api);
    let mut to = target(ChatKind::Group);
    to.handle = ReplyHandle::new(json!({}));
    let reply = ReplyId::new("tl-reply");
    platform
        .show(&own(), &to, &DesiredReply::new(&reply, Stage::Final, "Hello"))
        .unwrap();
    assert_eq!(platform.messages, [blocked]);
}

#[test]
fn person_is_notified_of_an_answer_lost_by_its_session_webhook() {
    let incomplete = Notice::Incomplete.text(own().language);
    for (kind, call) in [(ChatKind::Group, "send_group"), (ChatKind::Direct, "send_direct")] {
        for (answer, code) in [
            (ApiAnswer::Unknown, "no_answer"),
            (answered(500, &json!({})), "500"),
            (answered(504, &json!({})), "504"),
        ] {
            let mut platform = Platform::new().trouble("send_webhook", answer);
            let reply = ReplyId::new("tl-reply");
            let came = platform.show(&own(), &target(kind), &DesiredReply::new(&reply, Stage::Final, "Hello"));
            assert_eq!(platform.calls, ["send_webhook", call]);
            assert_eq!(
                (platform.messages, came),
                (vec![incomplete.to_owned()], Err(code.to_owned()))
            );
        }
    }
}

#[test]
fn person_is_notified_of_a_part_lost_by_the_api() {
    let text = "Line of a long answer. ".repeat(600);
    let reply = ReplyId::new("tl-reply");
    for answer in [
        ApiAnswer::Unknown,
        answered(500, &json!({ "code": "system.error" })),
        answered(504, &json!({})),
    ] {
        let delivered = answered(200, &json!({ "processQueryKey": "k" }));
        let mut platform = Platform::new()
            .trouble("send_group", delivered)
            .trouble("send_group", answer);
        let mut to = target(ChatKind::Group);
        to.handle = ReplyHandle::new(json!({}));
        let came = platform.show(&own(), &to, &DesiredReply::new(&reply, Stage::Final, &text));
        // The second of four parts isn't repeated, and what follows the hole isn't sent.
        assert_eq!(platform.calls, ["send_group"; 3]);
        assert_eq!(platform.messages, [Notice::Incomplete.text(own().language)]);
        assert!(came.is_err());
    }
}

#[test]
fn notice_of_a_lost_answer_has_its_link_and_is_not_repeated_either() {
    let link = "https://bridge.example/api/replies/token";
    let busy = answered(503, &json!({}));
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply {
        link: Some(link),
        ..DesiredReply::new(&reply, Stage::Final, "Hello")
    };
    let mut platform = Platform::new()
        .trouble("send_webhook", ApiAnswer::Unknown)
        .trouble("send_group", busy);
    let came = platform.show(&own(), &target(ChatKind::Group), &last);
    assert_eq!(platform.calls, ["send_webhook", "send_group", "send_group"]);
    assert!(platform.messages[0].ends_with(link), "{:?}", platform.messages);
    assert_eq!((platform.messages.len(), came), (1, Err("no_answer".to_owned())));
    let mut platform = Platform::new()
        .trouble("send_webhook", ApiAnswer::Unknown)
        .trouble("send_group", ApiAnswer::Unknown);
    let came = platform.show(&own(), &target(ChatKind::Group), &last);
    assert_eq!(platform.calls, ["send_webhook", "send_group"]);
    assert_eq!(came, Err("no_answer".to_owned()));
}

#[test]
fn lost_answer_without_another_way_is_only_refused() {
    let mut outsider = target(ChatKind::Direct);
    outsider.asker = SenderId::new("$:LWCP_v1:$sender");
    outsider.handle = ReplyHandle::new(json!({ "webhook": outsider.handle.text("webhook") }));
    let mut platform = Platform::new().trouble("send_webhook", ApiAnswer::Unknown);
    let reply = ReplyId::new("tl-reply");
    let came = platform.show(&own(), &outsider, &DesiredReply::new(&reply, Stage::Final, "Hello"));
    assert_eq!(platform.calls, ["send_webhook"]);
    assert_eq!(came, Err("no_answer".to_owned()));
}

#[test]
fn card_is_marked_after_the_notice_of_a_lost_answer() {
    let unknown = answered(500, &json!({ "code": "unknownError" }));
    let mut platform = Platform::new()
        .trouble("stream_text", unknown)
        .trouble("send_webhook", ApiAnswer::Unknown);
    let came = tell(&mut platform, &own(), &["Hello"]);
    assert_eq!(
        platform.calls,
        ["create_card", "stream_text", "send_webhook", "send_group", "mark_card"]
    );
    assert_eq!((platform.messages.len(), came), (1, Err("no_answer".to_owned())));
}

#[test]
fn card_without_a_message_below_is_marked_too() {
    let unknown = answered(500, &json!({ "code": "unknownError" }));
    let dissolved = answered(200, &json!({ "errcode": 400_013 }));
    for (account, state) in [(own(), "finalized"), (public(), "5")] {
        let mut platform = Platform::new()
            .trouble("stream_text", unknown.clone())
            .trouble("send_webhook", dissolved.clone());
        let came = tell(&mut platform, &account, &["Hello"]);
        assert_eq!((platform.messages.len(), came), (0, Err("400013".to_owned())));
        assert_eq!(platform.calls.last(), Some(&"mark_card"));
        let shown = (platform.card.as_str(), platform.card_state.as_str());
        assert_eq!(shown, (Notice::Incomplete.text(account.language), state));
    }
}

#[test]
fn card_that_may_exist_is_marked() {
    let undelivered = answered(
        200,
        &json!({ "success": true, "result": { "deliverResults": [{ "success": false }] } }),
    );
    let forbidden = answered(
        403,
        &json!({ "code": "Forbidden.AccessDenied.AccessTokenPermissionDenied" }),
    );
    let no_template = answered(400, &json!({ "code": "param.templateNotExist" }));
    for refusal in [undelivered, forbidden, no_template] {
        let mut platform = Platform::new()
            .trouble("create_card", ApiAnswer::Unknown)
            .trouble("create_card", refusal);
        tell(&mut platform, &own(), &["Hello"]).unwrap();
        assert_eq!(
            platform.calls,
            ["create_card", "create_card", "send_webhook", "mark_card"]
        );
    }
}

#[test]
fn card_is_marked_without_a_state_that_its_template_lacks() {
    let account = own();
    let unknown = answered(500, &json!({ "code": "unknownError" }));
    let no_state = answered(400, &json!({ "code": "param.stream.isError" }));
    let busy = answered(500, &json!({ "code": "system.busy" }));
    let mut platform = Platform::new()
        .trouble("stream_text", unknown)
        .trouble("mark_card", no_state)
        .trouble("mark_card", busy);
    tell(&mut platform, &account, &["Hello"]).unwrap();
    let marks = platform.calls.iter().filter(|call| **call == "mark_card").count();
    assert_eq!((marks, platform.failures_shown), (3, vec![true, false, false]));
    assert_eq!(platform.card, Notice::AnsweredBelow.text(account.language));
}

#[test]
fn card_spinner_stops_although_its_text_is_refused() {
    let refused = answered(400, &json!({ "code": "param.contentUnsafe" }));
    let mut platform = Platform::new().trouble("settle_card", refused);
    tell(&mut platform, &public(), &["Hello"]).unwrap();
    assert_eq!((platform.card.as_str(), platform.card_state.as_str()), ("Hello", "3"));
    assert!(platform.messages.is_empty());
}

#[test]
fn final_text_is_retried_before_it_is_sent_as_a_message() {
    let busy = answered(500, &json!({ "code": "system.busy" }));
    let throttled = answered(
        403,
        &json!({ "code": "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi" }),
    );
    let mut platform = Platform::new()
        .trouble("stream_text", busy.clone())
        .trouble("stream_text", throttled)
        .trouble("stream_text", ApiAnswer::Unknown);
    tell(&mut platform, &own(), &["Hello"]).unwrap();
    assert_eq!((platform.card.as_str(), platform.messages.len()), ("Hello", 0));
    assert!(platform.now >= NOW + 8000, "2, 2 and 4 s");
    let mut platform = Platform::new();
    for _ in 0..3 {
        platform = platform.trouble("stream_text", busy.clone());
    }
    tell(&mut platform, &own(), &["Hello"]).unwrap();
    assert_eq!(platform.messages, ["Hello"]);
    assert_eq!(platform.calls.last(), Some(&"mark_card"));
}

#[test]
fn failure_state_is_set_if_the_template_supports_it() {
    let account = own();
    let reply = ReplyId::new("tl-reply");
    let failed = DesiredReply {
        notice: Some(Notice::AgentFailed),
        ..DesiredReply::new(&reply, Stage::Final, "")
    };
    let no_state = answered(400, &json!({ "code": "param.stream.isError" }));
    let mut platform = Platform::new().trouble("stream_text", no_state);
    let to = target(ChatKind::Group);
    platform
        .show(&account, &to, &DesiredReply::new(&reply, Stage::Thinking, ""))
        .unwrap();
    platform.show(&account, &to, &failed).unwrap();
    assert_eq!(platform.card, Notice::AgentFailed.text(account.language));
    assert_eq!(platform.calls, ["create_card", "stream_text", "stream_text"]);
    let mut platform = Platform::new();
    platform
        .show(&public(), &to, &DesiredReply::new(&reply, Stage::Thinking, ""))
        .unwrap();
    platform.show(&public(), &to, &failed).unwrap();
    assert_eq!(platform.card_state, "5");
}

#[test]
fn click_callbacks_are_dropped_before_the_card() {
    let fields = [CLIENT[0], CLIENT[1], ("cardTemplateId", "mine.schema")];
    let account = account(ConnectionMode::Webhook, &fields);
    let unknown_route = answered(400, &json!({ "code": "param.callbackRouteKeyNotExist" }));
    let mut platform = Platform::new().trouble("create_card", unknown_route);
    tell(&mut platform, &account, &["Hello"]).unwrap();
    assert_eq!(platform.calls, ["create_card", "create_card", "stream_text"]);
}

#[test]
fn long_text_ends_the_card_and_continues_in_messages() {
    let text: String = (0..2000).map(|n| format!("字{n} ")).collect();
    for account in [own(), public()] {
        let mut platform = Platform::new();
        tell(
            &mut platform,
            &account,
            &[&text[..300], &text[..6000], &text[..7000], &text],
        )
        .unwrap();
        assert!(platform.card.ends_with(Notice::Continued.text(account.language)));
        assert!(platform.card.chars().count() <= 3000);
        assert!(platform.messages.len() > 1);
        let all = format!("{} {}", platform.card, platform.messages.join(" "));
        let numbers: Vec<_> = all.split_whitespace().filter(|word| word.starts_with('字')).collect();
        let expected: Vec<_> = text.split_whitespace().collect();
        assert_eq!(numbers, expected, "each word once, in order");
        let spaced = NOW + 3000 * (i64::try_from(platform.messages.len()).unwrap() - 1);
        assert_eq!(platform.now, spaced, "3 s between messages");
    }
}

#[test]
fn inline_picture_is_shown_as_its_label() {
    let text = format!("See ![chart](data:image/png;base64,{}) above.", "AAAA".repeat(25_000));
    let growing = [&text[..40], &text[..30_000], &text[..text.len() - 8]];
    let mut platform = Platform::new();
    tell(&mut platform, &own(), &[&growing[..], &[&text]].concat()).unwrap();
    assert_eq!(platform.calls, ["create_card", "stream_text", "stream_text"]);
    assert_eq!(
        (platform.card.as_str(), platform.messages.len()),
        ("See chart above.", 0)
    );
    let mut platform = Platform::new();
    tell(&mut platform, &account_without_streaming(), &[&text]).unwrap();
    assert_eq!(platform.messages, ["See chart above."]);
}

#[test]
fn file_urls_are_escaped_in_links() {
    let reply = ReplyId::new("tl-reply");
    let files = [ReplyFile {
        url: "https://files.example/a (1).pdf".into(),
        name: "a.pdf".into(),
        mime: "application/pdf".into(),
    }];
    let desired = DesiredReply {
        files: &files,
        buttons: &[],
        ..DesiredReply::new(&reply, Stage::Final, "Here")
    };
    let mut platform = Platform::new();
    platform.show(&own(), &target(ChatKind::Group), &desired).unwrap();
    assert_eq!(
        platform.messages,
        ["Here\n\n[a.pdf](https://files.example/a%20%281%29.pdf)"]
    );
}

#[test]
fn replaced_text_is_sent_whole() {
    let old = "旧 ".repeat(3000);
    let new = "新 ".repeat(100);
    let mut platform = Platform::new();
    tell(&mut platform, &own(), &[&old, &new]).unwrap();
    assert_eq!(platform.messages.concat().matches('新').count(), 100);
}

#[test]
fn excess_text_is_behind_a_link() {
    let account = account(ConnectionMode::Webhook, &CLIENT);
    let reply = ReplyId::new("tl-reply");
    let text = "长".repeat(100_000);
    let long = DesiredReply {
        link: Some("https://bridge.example/api/replies/token"),
        ..DesiredReply::new(&reply, Stage::Final, &text)
    };
    let mut platform = Platform::new();
    platform.show(&account, &target(ChatKind::Group), &long).unwrap();
    assert_eq!(platform.messages.len(), 20);
    assert!(platform.messages[0].ends_with("(1/20)"));
    assert!(platform.messages[19].ends_with("/api/replies/token"));
}

#[test]
fn closed_session_webhook_falls_back_to_the_api() {
    for (kind, call) in [(ChatKind::Group, "send_group"), (ChatKind::Direct, "send_direct")] {
        let gone = answered(200, &json!({ "errcode": "300001", "errmsg": "session 不存在" }));
        let mut platform = Platform::new().trouble("send_webhook", gone);
        let reply = ReplyId::new("tl-reply");
        let last = DesiredReply::new(&reply, Stage::Final, "Hello");
        platform.show(&own(), &target(kind), &last).unwrap();
        assert_eq!(platform.calls, ["send_webhook", call]);
        assert_eq!(platform.messages, ["Hello"]);
    }
}

#[test]
fn blocked_session_webhook_cools_down_if_there_is_no_other_way() {
    let blocked = || answered(200, &json!({ "errcode": 410_100 }));
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply::new(&reply, Stage::Final, "Hello");
    let mut platform = Platform::new().trouble("send_webhook", blocked());
    platform.show(&own(), &target(ChatKind::Group), &last).unwrap();
    assert_eq!(platform.calls, ["send_webhook", "send_group"]);
    let mut outsider = target(ChatKind::Direct);
    outsider.asker = SenderId::new("$:LWCP_v1:$sender");
    outsider.handle = ReplyHandle::new(json!({ "webhook": outsider.handle.text("webhook") }));
    let mut platform = Platform::new().trouble("send_webhook", blocked());
    platform.show(&own(), &outsider, &last).unwrap();
    assert_eq!(platform.calls, ["send_webhook", "send_webhook"]);
    assert_eq!(platform.now, NOW + 600_000);
}

#[test]
fn next_reply_respects_the_session_webhook_cooldown() {
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply::new(&reply, Stage::Final, "Hello");
    let mut platform = Platform::new();
    let until = Timestamp::from_millis(NOW + 600_000);
    platform.progress = DingTalk.with_resting_way(&platform.progress, classify::WEBHOOK, until);
    platform.show(&own(), &target(ChatKind::Group), &last).unwrap();
    assert_eq!(platform.calls, ["send_group"]);
}

#[test]
fn too_long_message_is_halved() {
    let too_long = || answered(200, &json!({ "errcode": 460_101 }));
    let text = "word ".repeat(600);
    let mut platform = Platform::new()
        .trouble("send_webhook", too_long())
        .trouble("send_webhook", too_long());
    tell(&mut platform, &account_without_streaming(), &[&text]).unwrap();
    assert_eq!(platform.messages.concat().matches("word").count(), 600);
    assert!(platform.messages.iter().all(|text| text.chars().count() <= 900));
}

fn account_without_streaming() -> Account {
    let mut account = own();
    account.streaming = false;
    account
}

#[test]
fn without_streaming_only_the_final_text_is_sent() {
    let mut platform = Platform::new();
    tell(&mut platform, &account_without_streaming(), &["He", "Hel", "Hello"]).unwrap();
    assert_eq!(platform.calls, ["send_webhook"]);
}

#[test]
fn foreign_and_expired_session_webhooks_are_not_called() {
    let account = own();
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply::new(&reply, Stage::Final, "Hello");
    let mut to = target(ChatKind::Direct);
    to.asker = SenderId::new("$:LWCP_v1:$sender");
    let step = |handle: Value| {
        let mut to = to.clone();
        to.handle = ReplyHandle::new(handle);
        DingTalk.deliver(&last, &to, &Progress::default(), &at(&account, NOW))
    };
    for foreign in [
        "https://evil.example/robot/sendBySession?session=1",
        "http://oapi.dingtalk.com/robot/sendBySession?session=1",
        "https://oapi.dingtalk.com.evil.example/robot/sendBySession?session=1",
    ] {
        let step = step(json!({ "webhook": foreign }));
        assert_eq!(step, Err(ComposeError::ForeignAddress), "{foreign}");
    }
    let webhook = "https://oapi.dingtalk.com/robot/sendBySession?session=1";
    let dead = step(json!({ "webhook": webhook, "webhookUntil": NOW + 59_999 }));
    assert_eq!(dead, Err(ComposeError::Expired));
    let live = step(json!({ "webhook": webhook, "webhookUntil": NOW + 60_001 }));
    assert!(matches!(live, Ok(Step::Call { .. })));
}

#[test]
fn proactive_message_to_a_direct_chat_goes_to_its_person() {
    let account = own();
    let reply = ReplyId::new("tl-reply");
    let last = DesiredReply {
        proactive: true,
        ..DesiredReply::new(&reply, Stage::Final, "Hello")
    };
    let step = |asker: &str| {
        let to = ReplyTarget {
            asker: SenderId::new(asker),
            handle: ReplyHandle::default(),
            ..target(ChatKind::Direct)
        };
        assert!(to.chat.id.as_str().starts_with("cid"));
        DingTalk.deliver(&last, &to, &Progress::default(), &at(&account, NOW))
    };
    let Ok(Step::Call {
        call: ApiCall::Http(call),
        ..
    }) = step("manager0123")
    else {
        panic!("the person can be reached");
    };
    assert!(call.url.ends_with("/v1.0/robot/oToMessages/batchSend"), "{}", call.url);
    assert_eq!(body_of(&call)["userIds"], json!(["manager0123"]));
    assert_eq!(step(""), Err(ComposeError::Incomplete { field: "userId" }));
}

proptest! {
    // Each case is a complete conversation.
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn every_word_arrives_once_and_in_order(
        words in prop::collection::vec("([a-z]{1,8}|字{1,6}|```rust\n|```\n|\n\n|\n|😀|\")", 1..1500),
        cuts in prop::collection::vec(0usize..1500, 0..4),
        is_own in any::<bool>(),
    ) {
        let mut numbered: Vec<String> = Vec::new();
        for (at, word) in words.iter().enumerate() {
            numbered.push(format!("{word}w{at}w "));
        }
        let mut ends: Vec<usize> = cuts.into_iter().filter(|cut| *cut < numbered.len()).collect();
        ends.sort_unstable();
        ends.push(numbered.len());
        let texts: Vec<String> = ends.iter().map(|end| numbered[..*end].concat()).collect();
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let mut platform = Platform::new();
        let account = if is_own { own() } else { public() };
        tell(&mut platform, &account, &texts).unwrap();
        let all = format!("{} {}", platform.card, platform.messages.join(" "));
        let mut rest = all.as_str();
        for at in 0..numbered.len() {
            let mark = format!("w{at}w");
            let found = rest.find(&mark);
            prop_assert!(found.is_some(), "{} is lost", mark);
            rest = &rest[found.unwrap_or_default() + mark.len()..];
            prop_assert!(!rest.contains(&mark), "{} comes twice", mark);
        }
        prop_assert!(platform.card.chars().count() <= 3000);
    }
}

/// The verdict on `answer`, after a call with `progress`.
fn classify(
    call: &ApiCall,
    answer: &ApiAnswer,
    progress: &Progress,
    on_success: &Progress,
    cx: &Context<'_>,
) -> Verdict {
    let sent = SentCall {
        call,
        progress,
        on_success,
    };
    DingTalk.classify(&sent, answer, cx)
}
