//! Calls of DingTalk's API that aren't about cards.

use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::reply::ReplyTarget;

use super::handle::{Handle, Way};
use super::plan::Outgoing;

/// The new API.
pub(super) const API_BASE: &str = "https://api.dingtalk.com";
/// The old API.
pub(super) const OAPI_BASE: &str = "https://oapi.dingtalk.com";
/// Where the new API expects the access token.
const TOKEN_HEADER: &str = "x-acs-dingtalk-access-token";
/// The vendor's own limit on its side is 3 s; this leaves room for the way.
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

/// The content of `markdown` and `sampleMarkdown`.
#[derive(Serialize)]
struct Markdown<'a> {
    /// What the list of chats shows. Required.
    title: &'a str,
    text: &'a str,
}

impl Markdown<'_> {
    fn to_json(&self) -> String {
        serde_json::to_string(self).expect("text is JSON")
    }
}

/// Sends a message.
pub(super) fn message(way: &Way, outgoing: &Outgoing, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let markdown = Markdown {
        title: &outgoing.title,
        text: &outgoing.text,
    };
    match way {
        Way::Webhook(url) => webhook(url, &markdown),
        Way::Direct { user } => direct(user, &markdown, to, cx),
        Way::Group => group(&markdown, to, cx),
    }
}

/// See [DingTalk Docs/机器人回复/发送消息](https://open.dingtalk.com/document/dingstart/robot-reply-and-send-messages).
fn webhook(url: &str, markdown: &Markdown<'_>) -> HttpCall {
    let body = json!({ "msgtype": "markdown", "markdown": markdown });
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
fn direct(user: &str, markdown: &Markdown<'_>, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "robotCode": Handle::of(to).robot(cx),
        "userIds": [user],
        "msgKey": "sampleMarkdown",
        "msgParam": markdown.to_json(),
    });
    api(cx, "send_direct", "POST", "/v1.0/robot/oToMessages/batchSend", &body)
}

/// See [DingTalk Docs/机器人发送群聊消息](https://open.dingtalk.com/document/development/the-robot-sends-a-group-message).
fn group(markdown: &Markdown<'_>, to: &ReplyTarget, cx: &Context<'_>) -> HttpCall {
    let body = json!({
        "robotCode": Handle::of(to).robot(cx),
        "openConversationId": to.chat.id,
        "msgKey": "sampleMarkdown",
        "msgParam": markdown.to_json(),
    });
    api(cx, "send_group", "POST", "/v1.0/robot/groupMessages/send", &body)
}
