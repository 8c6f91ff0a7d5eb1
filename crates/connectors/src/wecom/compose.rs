//! From what the chat should show to the next call.

use std::time::Duration;

use tieline_core::account::ConnectionMode;
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiCall, Body, HttpCall, TokenPlace};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Stage, Step};

use super::decode::POLLED;
use super::wire::{Say, SayContent};
use super::{full_text, poll_reply, socket_reply};
use crate::markdown;

/// The platform's own host: the only one that `response_url` may name.
const HOSTS: [&str; 1] = ["qyapi.weixin.qq.com"];
/// How long to wait for the answer of a call.
const PATIENCE: Duration = Duration::from_secs(10);

/// The name of the call to `response_url`.
pub(super) const RESPOND: &str = "respond";

/// The next step.
pub(super) fn deliver(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    match cx.account.mode {
        ConnectionMode::Webhook => after_polls(desired, to, done, cx),
        ConnectionMode::LongConnection => socket_reply::deliver(desired, to, done, cx),
    }
}

/// How far a reply is that the platform fetches: whether the rest was pushed.
#[derive(Debug, Default, serde::Serialize, serde::Deserialize)]
pub(super) struct Rest {
    /// The platform took it.
    #[serde(default)]
    pub(super) pushed: bool,
    /// It may have: the answer got lost.
    #[serde(default)]
    pub(super) unsure: bool,
}

/// The rest that the stream didn't show goes by `response_url`, once.
fn after_polls(
    desired: &DesiredReply<'_>,
    to: &ReplyTarget,
    done: &Progress,
    cx: &Context<'_>,
) -> Result<Step, ComposeError> {
    if desired.proactive {
        return Err(ComposeError::Expired);
    }
    let Some(pulled) = desired.pulled.filter(|_| desired.stage == Stage::Final) else {
        return Ok(Step::Done);
    };
    let Some(closed) = pulled.closed else {
        return Ok(Step::Wait {
            until: pulled.received_at.after(POLLED),
        });
    };
    let text = markdown::with_files(desired.text, desired.files);
    let rest: Rest = done.read()?;
    let Some(from) = poll_reply::rest_from(&text, closed)?.filter(|_| !rest.pushed) else {
        return Ok(Step::Done);
    };
    match full_text::only(&text, from, desired, cx.account.language) {
        Some(content) => respond(&content, to, cx).map(|call| Step::Call {
            call,
            on_success: Progress::write(&Rest { pushed: true, ..rest }),
        }),
        None => Ok(Step::Done),
    }
}

/// The call to `response_url`. It works once, for an hour.
///
/// See [WeCom Docs/主动回复消息](https://developer.work.weixin.qq.com/document/path/101138).
pub(super) fn respond(content: &str, to: &ReplyTarget, cx: &Context<'_>) -> Result<ApiCall, ComposeError> {
    let url = response_url(to, cx)?;
    let body = Say::Markdown {
        markdown: SayContent { content },
    };
    Ok(ApiCall::Http(HttpCall {
        name: RESPOND,
        method: "POST",
        url: url.to_owned(),
        headers: Vec::new(),
        body: Body::Json(serde_json::to_string(&body).expect("wire types serialize as JSON")),
        token: TokenPlace::None,
        timeout: PATIENCE,
    }))
}

/// The `response_url`, if there is one that may be called.
pub(super) fn response_url<'a>(to: &'a ReplyTarget, cx: &Context<'_>) -> Result<&'a str, ComposeError> {
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
