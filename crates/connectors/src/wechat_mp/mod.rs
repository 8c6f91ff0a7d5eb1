//! WeChat Official Accounts (微信公众号): callbacks in XML, plain or encrypted, and customer-service messages out.
//!
//! Accounts whose customer-service API is closed (error 48001, mostly subscription accounts) can only reply in the response to the
//! callback: see [`poll_reply`]. The kind of an account is probed once: see [`tokens::probe`].
//!
//! See [WeChat Docs/接收普通消息](https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html).

mod api_error;
mod classify;
mod compose;
mod decode;
mod files;
mod manifest;
mod media;
mod poll_reply;
mod settings;
mod tokens;
mod verify;

#[cfg(test)]
mod tests;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, FileSender, Manifest, MediaSource, PolledReplies, Probe, Received, Rejection, Remark,
    SentCall, TokenExchange, Verdict,
};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};

use compose::OfficialAccountProgress;
use decode::Decoded;
use settings::{ReplyWay, Settings};
use verify::{Authentic, Proved};

/// Connector of WeChat Official Accounts.
#[derive(Debug, Clone, Copy)]
pub struct OfficialAccount;

impl Connector for OfficialAccount {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        _mode: ConnectionMode,
        credentials: &Credentials,
        _endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        Settings::read(credentials).map(Prepared::new)
    }

    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        credentials.get("appId").map(|id| id.trim().to_owned())
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        Ok(match verify::verify(request, Settings::of(cx.account), cx)? {
            Proved::Challenge(echo) => Received::only(WebhookAnswer::text(echo)),
            Proved::Callback(callback) => received(&callback, cx),
        })
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("token"),
            Rejection::BadCipher(_) => Some("encodingAesKey"),
            Rejection::WrongReceiver => Some("appId"),
            _ => None,
        }
    }

    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        match Settings::of(cx.account).way {
            ReplyWay::CustomerService => compose::deliver(desired, to, progress, cx),
            ReplyWay::Passive if desired.proactive => Err(ComposeError::Expired),
            // The platform fetches the reply with its next delivery of the message, or the person reads it through the link.
            ReplyWay::Passive => Ok(Step::Done),
        }
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        classify::classify(sent, answer)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: OfficialAccountProgress = before.read()?;
        Ok(Progress::write(&before.restarted()))
    }

    fn tokens(&self) -> Option<&dyn TokenExchange> {
        Some(&tokens::Tokens)
    }

    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(tokens::probe(cx))
    }

    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        Some(&poll_reply::PassiveReplies)
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Pictures)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::TemporaryMedia)
    }
}

/// The response that means "received, the reply comes through the API".
fn success() -> WebhookAnswer {
    WebhookAnswer::text("success")
}

fn received(callback: &Authentic, cx: &Context<'_>) -> Received {
    match decode::decode(callback, cx) {
        Decoded::Event(event) => Received {
            answer: answer(&event, callback, cx),
            events: vec![*event],
            remark: None,
        },
        Decoded::Followed { follower, account } => {
            let welcome = cx.welcome.map(str::trim).filter(|text| !text.is_empty());
            let answer = welcome.map(|text| poll_reply::welcome(text, &follower, &account, callback, cx));
            Received::only(answer.unwrap_or_else(success))
        }
        Decoded::Nothing(Remark::Ignored(reason)) => Received::ignored(reason, success()),
        Decoded::Nothing(Remark::Unreadable(reason)) => Received::unreadable(reason, success()),
    }
}

fn answer(event: &Event, callback: &Authentic, cx: &Context<'_>) -> Answer {
    match Settings::of(cx.account).way {
        ReplyWay::CustomerService => Answer::Fixed(success()),
        ReplyWay::Passive => Answer::Polled(poll_reply::poll(event, callback, cx)),
    }
}
