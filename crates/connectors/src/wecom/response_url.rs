//! `response_url`: the URL of a message to which one answer can be posted, with or without a connection.

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, ReplyTarget};

use super::wire::{Say, SayContent};

/// The platform's own host, the only one allowed in a `response_url`.
const HOSTS: [&str; 1] = ["qyapi.weixin.qq.com"];
/// Timeout of a call.
const PATIENCE: Duration = Duration::from_secs(10);
/// Name of the call.
const NAME: &str = "respond";

/// The call to `response_url`. It works once, within an hour.
///
/// See [WeCom Docs/主动回复消息](https://developer.work.weixin.qq.com/document/path/101138).
pub(super) fn call(content: &str, to: &ReplyTarget, cx: &Context<'_>) -> Result<ApiCall, ComposeError> {
    let url = address(to, cx)?;
    let body = Say::Markdown {
        markdown: SayContent { content },
    };
    Ok(ApiCall::Http(HttpCall {
        name: NAME,
        method: "POST",
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Json(serde_json::to_string(&body).expect("wire types serialize as JSON")),
        token: TokenPlace::None,
        timeout: PATIENCE,
    }))
}

/// The `response_url`, if there is one that may be called.
pub(super) fn address<'a>(to: &'a ReplyTarget, cx: &Context<'_>) -> Result<&'a str, ComposeError> {
    let url = to
        .handle
        .text("responseUrl")
        .ok_or(ComposeError::Incomplete { field: "responseUrl" })?;
    if to.expires_at.is_some_and(|end| end <= cx.now) {
        return Err(ComposeError::Expired);
    }
    if !cx.account.may_call(url, &HOSTS) {
        return Err(ComposeError::ForeignAddress);
    }
    Ok(url)
}
