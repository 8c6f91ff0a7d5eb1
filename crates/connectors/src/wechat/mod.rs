//! Personal WeChat: a bot that a person adds to their contacts by scanning a QR code (iLink, "ClawBot").
//!
//! Messages are fetched by long polling and answered over HTTP. Only the person who scanned the code can talk to the bot.
//!
//! See [openclaw-weixin](https://github.com/Tencent/openclaw-weixin), the vendor's own client.

mod api_error;
mod call;
mod cipher;
mod classify;
mod compose;
mod decode;
mod dialect;
mod login;
mod manifest;
mod media;
mod plan;
mod settings;
mod stream;
#[cfg(test)]
mod tests;
mod wire;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Connector, Context, Manifest, Media, MediaError, MediaSource, Received, Rejection, SentCall, Verdict,
};
use tieline_core::event::Part;
use tieline_core::http_types::{ApiAnswer, HttpCall, WebhookRequest};
use tieline_core::login::ScanLogin;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step};
use tieline_core::stream::StreamProtocol;

use settings::Login;

/// The connector of personal WeChat.
#[derive(Debug)]
pub struct WeChat;

impl Connector for WeChat {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        _mode: ConnectionMode,
        credentials: &Credentials,
        _endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        Ok(Prepared::new(Login::read(credentials)))
    }

    /// The person's id: a person has one bot, and a new login gives the bot another id.
    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        credentials.get(settings::USER_ID).map(str::to_owned)
    }

    fn receive(&self, _request: &WebhookRequest, _cx: &Context<'_>) -> Result<Received, Rejection> {
        Err(Rejection::Malformed("the platform has no callbacks"))
    }

    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        compose::step(desired, to, progress, cx)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::verdict(sent, answer, cx)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(self)
    }

    fn login(&self) -> Option<&dyn ScanLogin> {
        Some(&login::QrLogin)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::LongPoll)
    }
}

impl MediaSource for WeChat {
    fn download(&self, part: &Part, cx: &Context<'_>) -> Option<HttpCall> {
        media::download(part, cx.account)
    }

    fn open(
        &self,
        part: &Part,
        body: Vec<u8>,
        _disposition: Option<&str>,
        _cx: &Context<'_>,
    ) -> Result<Media, MediaError> {
        media::open(part, body)
    }
}
