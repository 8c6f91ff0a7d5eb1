//! AI cards: the calls that create, fill and finish them.
//!
//! See [DingTalk Docs/创建并投放卡片](https://open.dingtalk.com/document/development/create-and-deliver-cards) and
//! [DingTalk Docs/AI卡片流式更新](https://open.dingtalk.com/document/development/api-streamingupdate).

use serde_json::{Value, json};
use tieline_core::account::ConnectionMode;
use tieline_core::connector::Context;
use tieline_core::event::ChatKind;
use tieline_core::http_types::HttpCall;
use tieline_core::ids::ReplyId;
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::ReplyTarget;

use super::call;
use super::handle::Handle;
use super::plan::Frame;
use super::settings::{self, Template, TemplateKind};
use super::verify;

/// Values of `flowStatus`.
///
/// See [DingTalk Docs/AI 卡片模板](https://open.dingtalk.com/document/development/ai-card-template).
mod flow {
    pub(super) const PROCESSING: &str = "1";
    pub(super) const INPUTING: &str = "2";
    pub(super) const FINISHED: &str = "3";
    pub(super) const FAILED: &str = "5";
}

/// Our id of a card: the reply's id, with the kind of chat, since a click doesn't report it, and the round, since an id can't be used
/// twice.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct CardId {
    pub(super) reply: String,
    pub(super) kind: Option<ChatKind>,
}

impl CardId {
    /// Parses an id. A foreign id is kept as it is.
    pub(super) fn parse(text: &str) -> Self {
        let marked = text
            .rsplit_once('-')
            .and_then(|(reply, mark)| Some((reply, kind_of(mark)?)));
        match marked {
            Some((reply, kind)) => Self {
                reply: reply.to_owned(),
                kind: Some(kind),
            },
            None => Self {
                reply: text.to_owned(),
                kind: None,
            },
        }
    }

    /// `outTrackId`.
    pub(super) fn write(reply: &ReplyId, kind: ChatKind, round: u32) -> String {
        let mark = match kind {
            ChatKind::Group => 'g',
            ChatKind::Direct => 'd',
        };
        match round {
            0 => format!("{reply}-{mark}"),
            round => format!("{reply}-{mark}{round}"),
        }
    }
}

fn kind_of(mark: &str) -> Option<ChatKind> {
    let kinds = [('g', ChatKind::Group), ('d', ChatKind::Direct)];
    let (round, kind) = kinds
        .into_iter()
        .find_map(|(letter, kind)| Some((mark.strip_prefix(letter)?, kind)))?;
    round.bytes().all(|digit| digit.is_ascii_digit()).then_some(kind)
}

/// Registers the URL to which clicks on cards are sent over HTTP.
///
/// See [DingTalk Docs/注册卡片回调地址](https://open.dingtalk.com/document/development/register-card-callback-address).
pub(super) fn register(callback_url: &str, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "callbackRouteKey": route_key(cx),
        "callbackUrl": callback_url,
        "apiSecret": verify::card_secret(cx),
        "forceUpdate": true,
    });
    call::api(cx, "register_cards", "POST", "/v1.0/card/callbacks/register", &body)
}

/// Whether clicks come over HTTP: only custom templates have buttons.
pub(super) fn clicks_over_http(cx: &Context<'_>) -> bool {
    cx.account.mode == ConnectionMode::Webhook && settings::of(cx).template.kind == TemplateKind::Own
}

fn route_key(cx: &Context<'_>) -> String {
    format!("tieline-{}", cx.account.integration)
}

/// Creates and delivers the card. `None` for a direct chat with a person whom API calls can't address.
pub(super) fn create(out_track_id: &str, to: &ReplyTarget, clicks: bool, cx: &Context<'_>) -> Option<HttpCall> {
    let handle = Handle::of(to);
    let robot = handle.robot(cx);
    let template = &settings::of(cx).template;
    let mut body = json!({
        "cardTemplateId": template.id,
        "outTrackId": out_track_id,
        "userIdType": 1,
        "cardData": { "cardParamMap": first_variables(template, cx.account.language) },
    });
    if cx.account.mode == ConnectionMode::LongConnection {
        body["callbackType"] = "STREAM".into();
    } else if clicks && clicks_over_http(cx) {
        body["callbackType"] = "HTTP".into();
        body["callbackRouteKey"] = route_key(cx).into();
    }
    let preview = json!({
        "ZH_CN": Notice::Thinking.text(Language::Chinese),
        "EN_US": Notice::Thinking.text(Language::English),
    });
    let space = json!({ "supportForward": true, "lastMessageI18n": preview });
    match to.chat.kind {
        ChatKind::Group => {
            body["openSpaceId"] = format!("dtv1.card//IM_GROUP.{}", to.chat.id).into();
            body["imGroupOpenSpaceModel"] = space;
            body["imGroupOpenDeliverModel"] = json!({ "robotCode": robot });
        }
        ChatKind::Direct => {
            body["openSpaceId"] = format!("dtv1.card//IM_ROBOT.{}", handle.user(to)?).into();
            body["imRobotOpenSpaceModel"] = space;
            body["imRobotOpenDeliverModel"] =
                json!({ "spaceType": "IM_ROBOT", "robotCode": robot, "extension": { "dynamicSummary": "true" } });
        }
    }
    Some(call::api(
        cx,
        "create_card",
        "POST",
        "/v1.0/card/instances/createAndDeliver",
        &body,
    ))
}

/// Sets the state in which text begins.
pub(super) fn begin(out_track_id: &str, cx: &Context<'_>) -> HttpCall {
    update("begin_text", out_track_id, &public_variables(flow::INPUTING, ""), cx)
}

/// Streams text into the card. `guid` is new for each call, also for repetitions.
pub(super) fn stream(out_track_id: &str, frame: &Frame, show_failure: bool, cx: &Context<'_>) -> HttpCall {
    let template = &settings::of(cx).template;
    let is_error = frame.failed && show_failure && template.kind == TemplateKind::Own;
    stream_call("stream_text", out_track_id, &frame.content, frame.last, is_error, cx)
}

/// Sets the final state of a card with a public template. Its text is included unless the platform refused it.
pub(super) fn settle(out_track_id: &str, frame: &Frame, state_alone: bool, cx: &Context<'_>) -> HttpCall {
    let state = if frame.failed { flow::FAILED } else { flow::FINISHED };
    let variables = match state_alone {
        true => json!({ "flowStatus": state }),
        false => public_variables(state, &frame.content),
    };
    update("settle_card", out_track_id, &variables, cx)
}

/// Finishes a card that took no text, with a line that says where the text is, or that there is none.
pub(super) fn mark(out_track_id: &str, is_answered: bool, show_failure: bool, cx: &Context<'_>) -> HttpCall {
    let notice = if is_answered {
        Notice::AnsweredBelow
    } else {
        Notice::Incomplete
    };
    let line = notice.text(cx.account.language);
    match settings::of(cx).template.kind {
        TemplateKind::Own => stream_call("mark_card", out_track_id, line, true, show_failure, cx),
        TemplateKind::Public => update("mark_card", out_track_id, &public_variables(flow::FAILED, line), cx),
    }
}

fn first_variables(template: &Template, language: Language) -> Value {
    match template.kind {
        TemplateKind::Own => json!({ template.key(): Notice::Thinking.text(language) }),
        TemplateKind::Public => public_variables(flow::PROCESSING, ""),
    }
}

/// All variables, in every call. The text is in both: cards with an empty `staticMsgContent` were seen to go blank at the end.
fn public_variables(state: &str, content: &str) -> Value {
    json!({
        "flowStatus": state,
        "msgContent": content,
        "staticMsgContent": content,
        "sys_full_json_obj": r#"{"order":["msgContent"]}"#,
        "config": r#"{"autoLayout":true}"#,
    })
}

fn update(name: &'static str, out_track_id: &str, variables: &Value, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "outTrackId": out_track_id,
        "cardData": { "cardParamMap": variables },
        "cardUpdateOptions": { "updateCardDataByKey": true },
    });
    call::api(cx, name, "PUT", "/v1.0/card/instances", &body)
}

fn stream_call(
    name: &'static str,
    out_track_id: &str,
    content: &str,
    is_last: bool,
    is_error: bool,
    cx: &Context<'_>,
) -> HttpCall {
    let body = json!({
        "outTrackId": out_track_id,
        "guid": guid(cx.random),
        "key": settings::of(cx).template.key(),
        "content": content,
        "isFull": true,
        "isFinalize": is_last,
        "isError": is_error,
    });
    call::api(cx, name, "PUT", "/v1.0/card/streaming", &body)
}

/// A random UUID.
fn guid(random: [u8; 32]) -> String {
    let digits = hex::encode(&random[..16]);
    let (a, b, c, d) = (&digits[..8], &digits[8..12], &digits[13..16], &digits[17..20]);
    format!("{a}-{b}-4{c}-8{d}-{}", &digits[20..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn card_ids_round_trip() {
        let reply = ReplyId::new("tl-abc-g");
        for kind in [ChatKind::Group, ChatKind::Direct] {
            for round in [0, 1, 12] {
                let parsed = CardId::parse(&CardId::write(&reply, kind, round));
                assert_eq!((parsed.reply.as_str(), parsed.kind), (reply.as_str(), Some(kind)));
            }
        }
        assert_eq!(CardId::parse("tl-card-0001").kind, None);
    }

    #[test]
    fn guid_is_a_uuid() {
        assert_eq!(guid([0xab; 32]), "abababab-abab-4bab-8bab-abababababab");
    }
}
