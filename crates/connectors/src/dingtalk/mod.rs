//! DingTalk (钉钉): robots of an organization's own application, over HTTP callbacks or the long connection ("Stream").

mod api_error;
mod call;
mod card;
mod card_action;
mod classify;
mod compose;
mod decode;
mod dialect;
mod event_cipher;
mod files;
mod handle;
mod manifest;
mod media;
mod plan;
mod progress;
mod receive;
mod settings;
mod stream;
mod tokens;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Connector, Context, FileSender, Manifest, MediaSource, Probe, Received, Rejection, SentCall, TokenExchange, Verdict,
};
use tieline_core::http_types::{ApiAnswer, HttpCall, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};
use tieline_core::stream::StreamProtocol;
use tieline_core::timestamp::Timestamp;

/// The connector for DingTalk.
pub struct DingTalk;

impl Connector for DingTalk {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        _mode: ConnectionMode,
        credentials: &Credentials,
        _endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        settings::read(credentials).map(Prepared::new)
    }

    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        settings::account_key(credentials)
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        verify::prove(request, cx).map(|authentic| receive::read(authentic, cx))
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("clientSecret, token"),
            Rejection::BadCipher(_) | Rejection::Missing("aesKey") => Some("aesKey"),
            Rejection::WrongReceiver => Some("corpId"),
            _ => None,
        }
    }

    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        done: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        compose::deliver(desired, to, done, cx)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::classify(sent, answer, cx)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: progress::DingTalkProgress = before.read()?;
        Ok(Progress::write(&before.restarted()))
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(progress::DingTalkProgress::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    fn with_resting_way(&self, progress: &Progress, way: &str, until: Timestamp) -> Progress {
        match way {
            classify::WEBHOOK => {
                let shown = progress.read::<progress::DingTalkProgress>();
                // Unreadable progress is reported by `deliver`.
                shown.map_or_else(
                    |_| progress.clone(),
                    |shown| Progress::write(&shown.with_webhook_at_rest(until)),
                )
            }
            _ => progress.clone(),
        }
    }

    fn tokens(&self) -> Option<&dyn TokenExchange> {
        Some(&tokens::Tokens)
    }

    /// Fetches the token: it shows that the credentials are valid, and doesn't count towards the monthly quota.
    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(Probe {
            call: tokens::Tokens.request(cx),
            read: |answer| tokens::read(answer).map(|_token| Credentials::default()),
            is_needed: false,
        })
    }

    fn registration(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        let registers = card::clicks_over_http(cx);
        registers
            .then(|| card::register(callback_url, cx))
            .into_iter()
            .collect()
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Files)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::MessageFiles)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::Stream)
    }
}
