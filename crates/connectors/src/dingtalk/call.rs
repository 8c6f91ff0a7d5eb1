//! Calls of DingTalk's API, except those about cards.

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::reply::ReplyTarget;

use super::handle::{Handle, Way};
use super::plan::Outgoing;

/// Base URL of the new API.
pub(super) const API_BASE: &str = "https://api.dingtalk.com";
/// Base URL of the old API.
pub(super) const OAPI_BASE: &str = "https://oapi.dingtalk.com";
/// Header for the access token of the new API.
const TOKEN_HEADER: &str = "x-acs-dingtalk-access-token";
/// The vendor's own processing limit is 3 s; this leaves time for the network.
const TIMEOUT: Duration = Duration::from_secs(10);

/// A call of the new API with the access token.
pub(super) fn api(cx: &Context<'_>, name: &'static str, method: &'static str, path: &str, body: &Value) -> HttpCall {
    HttpCall {
        token: TokenPlace::Header(TOKEN_HEADER),
        ..open_api(cx, name, method, path, body)
    }
}

/// A call of the new API that needs no access token.
///
/// `Accept` matters: without it XML has been seen.
pub(super) fn open_api(
    cx: &Context<'_>,
    name: &'static str,
    method: &'static str,
    path: &str,
    body: &Value,
) -> HttpCall {
    HttpCall {
        name,
        method,
        url: format!("{}{path}", cx.account.endpoint("apiBase", API_BASE)),
        headers: vec![("accept".to_owned(), "application/json".to_owned())],
        body: Body::Json(body.to_string()),
        token: TokenPlace::None,
        timeout: TIMEOUT,
    }
}

/// Content of a message, in the formats of the two ways to send it.
struct Content {
    /// `msgtype` of a message to a `sessionWebhook`.
    kind: &'static str,
    /// Value of the field of that name.
    body: Value,
    /// `msgKey` of a message through the API.
    key: String,
    /// `msgParam` of a message through the API.
    param: Value,
}

impl Content {
    /// Markdown; as an action card if there are buttons that open URLs.
    ///
    /// See [DingTalk Docs/消息发送与接收类型](https://open.dingtalk.com/document/development/robot-message-type).
    fn of(outgoing: &Outgoing) -> Self {
        let Outgoing { title, text, links, .. } = outgoing;
        match links.as_slice() {
            [] => {
                let markdown = json!({ "title": title, "text": text });
                Self {
                    kind: "markdown",
                    key: "sampleMarkdown".to_owned(),
                    param: markdown.clone(),
                    body: markdown,
                }
            }
            [link] => {
                let card = json!({ "title": title, "text": text, "singleTitle": link.label, "singleURL": link.url });
                Self {
                    kind: "actionCard",
                    key: "sampleActionCard".to_owned(),
                    param: card.clone(),
                    body: card,
                }
            }
            links => {
                let mut param = json!({ "title": title, "text": text });
                for (number, link) in (1..).zip(links) {
                    param[format!("actionTitle{number}")] = link.label.as_str().into();
                    param[format!("actionURL{number}")] = link.url.as_str().into();
                }
                let buttons = links
                    .iter()
                    .map(|link| json!({ "title": link.label, "actionURL": link.url }));
                let buttons: Vec<_> = buttons.collect();
                Self {
                    kind: "actionCard",
                    key: format!("sampleActionCard{}", links.len()),
                    param,
                    body: json!({ "title": title, "text": text, "btnOrientation": "0", "btns": buttons }),
                }
            }
        }
    }
}

/// Sends a message.
pub(super) fn message(way: &Way, outgoing: &Outgoing, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let content = Content::of(outgoing);
    match way {
        Way::Webhook(url) => webhook(url, &content),
        way => by_api(way, &content.key, &content.param, to, cx),
    }
}

/// Sends a message of a type that only the API has: `msgKey` and `msgParam`. `None` for a `sessionWebhook`.
pub(super) fn by_api(way: &Way, key: &str, param: &Value, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    match way {
        Way::Direct { user } => direct(user, (key, param), to, cx),
        Way::Webhook(_) | Way::Group => group((key, param), to, cx),
    }
}

/// See [DingTalk Docs/机器人回复/发送消息](https://open.dingtalk.com/document/dingstart/robot-reply-and-send-messages).
fn webhook(url: &str, content: &Content) -> HttpCall {
    let mut body = json!({ "msgtype": content.kind });
    body[content.kind] = content.body.clone();
    HttpCall {
        name: "send_webhook",
        method: "POST",
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Json(body.to_string()),
        token: TokenPlace::None,
        timeout: TIMEOUT,
    }
}

/// See [DingTalk Docs/批量发送人与机器人会话中机器人消息](https://open.dingtalk.com/document/development/chatbots-send-one-on-one-chat-messages-in-batches).
fn direct(user: &str, (key, param): (&str, &Value), to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "robotCode": Handle::of(to).robot(cx),
        "userIds": [user],
        "msgKey": key,
        "msgParam": param.to_string(),
    });
    api(cx, "send_direct", "POST", "/v1.0/robot/oToMessages/batchSend", &body)
}

/// See [DingTalk Docs/机器人发送群聊消息](https://open.dingtalk.com/document/development/the-robot-sends-a-group-message).
fn group((key, param): (&str, &Value), to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "robotCode": Handle::of(to).robot(cx),
        "openConversationId": to.chat.id,
        "msgKey": key,
        "msgParam": param.to_string(),
    });
    api(cx, "send_group", "POST", "/v1.0/robot/groupMessages/send", &body)
}
