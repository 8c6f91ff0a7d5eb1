//! Weibo (微博) direct messages, over the long connection that 微博龙虾助手 offers its users.
//!
//! Only one-to-one chats. Answers are sent as chunks that are appended to a message ([`compose`]); nothing can be edited or deleted.
//! Incoming files are inside messages; outgoing ones are sent over HTTP, only to the owner of the credentials.
//!
//! See [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo), the vendor's own client.

mod api_error;
mod classify;
mod compose;
mod decode;
mod manifest;
mod progress;
mod receipts;
mod settings;
mod stream;
mod tokens;
mod wire;

#[cfg(test)]
mod tests;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Connector, Context, Manifest, Probe, Received, Rejection, SentCall, TokenExchange, Verdict,
};
use tieline_core::http_types::{ApiAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};
use tieline_core::stream::StreamProtocol;

use progress::WeiboProgress;
use settings::Settings;

/// Connector of Weibo direct messages.
#[derive(Debug, Clone, Copy)]
pub struct Weibo;

impl Connector for Weibo {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        _mode: ConnectionMode,
        credentials: &Credentials,
        endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        Settings::read(credentials, endpoints).map(Prepared::new)
    }

    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        credentials.get("appId").map(|id| id.trim().to_owned())
    }

    fn receive(&self, _request: &WebhookRequest, _cx: &Context<'_>) -> Result<Received, Rejection> {
        Err(Rejection::Missing("a callback URL on this platform"))
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
        let before: WeiboProgress = before.read()?;
        Ok(Progress::write(&WeiboProgress {
            message: before.message + 1,
            ..WeiboProgress::default()
        }))
    }

    fn tokens(&self) -> Option<&dyn TokenExchange> {
        Some(&tokens::Tokens)
    }

    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(Probe {
            call: tokens::Tokens.request(cx),
            read: |answer| tokens::read(answer).map(|_| Credentials::default()),
            is_needed: false,
        })
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::LongConnection)
    }
}
