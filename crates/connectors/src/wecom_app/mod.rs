//! WeCom (企业微信) self-built applications: encrypted XML callbacks in, messages over the API out.
//!
//! An application chats with members one to one. It can't edit sent messages, so nothing is shown until the answer is complete; then it is
//! sent as text, in as many messages as necessary.
//!
//! See [WeCom Docs/接收消息与事件](https://developer.work.weixin.qq.com/document/path/90238).

mod api_error;
mod card_action;
mod classify;
mod compose;
mod decode;
mod files;
mod manifest;
mod media;
mod settings;
mod tokens;
mod verify;

#[cfg(test)]
mod tests;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, FileSender, Manifest, MediaSource, Probe, Received, Rejection, Remark, SentCall,
    TokenExchange, Verdict,
};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};

use decode::Decoded;
use settings::Settings;
use verify::Proved;

/// Connector of WeCom applications.
#[derive(Debug, Clone, Copy)]
pub struct WeComApp;

impl Connector for WeComApp {
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

    /// The application's number is unique only within its company.
    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        let (company, application) = (credentials.get("corpId")?, credentials.get("agentId")?);
        Some(format!("{}/{}", company.trim(), application.trim()))
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        let settings = Settings::of(cx.account);
        Ok(match verify::verify(request, settings, cx)? {
            Proved::Challenge(echo) => Received::only(WebhookAnswer::text(echo)),
            Proved::Callback(callback) => match decode::decode(&callback, cx) {
                Decoded::Event(event) => {
                    let chosen = if let Event::CardAction(action) = &*event {
                        card_action::chosen(action, &callback, cx)
                    } else {
                        None
                    };
                    Received {
                        events: vec![*event],
                        answer: Answer::Fixed(chosen.unwrap_or_else(received)),
                        remark: None,
                    }
                }
                Decoded::LateClick { clicker } => Received::only(card_action::too_late(&clicker, &callback, cx)),
                Decoded::Nothing(Remark::Ignored(reason)) => Received::ignored(reason, received()),
                Decoded::Nothing(Remark::Unreadable(reason)) => Received::unreadable(reason, received()),
            },
        })
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("token"),
            Rejection::BadCipher(_) => Some("encodingAesKey"),
            Rejection::WrongReceiver => Some("corpId"),
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
        compose::deliver(desired, to, progress, cx)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::classify(sent, answer, cx)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        compose::restart(before)
    }

    fn tokens(&self) -> Option<&dyn TokenExchange> {
        Some(&tokens::Tokens)
    }

    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(tokens::probe(cx))
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Files)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::TemporaryMedia)
    }
}

/// An empty body means "received, no reply".
const fn received() -> WebhookAnswer {
    WebhookAnswer::empty(200)
}
