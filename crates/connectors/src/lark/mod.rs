//! Lark and Feishu: a self-built app, over webhook or long connection.
//!
//! Both ways bring the same payloads, which `decode` handles. Answers go over HTTP, as a card whose text is streamed.

mod api_error;
mod card;
mod card_action;
mod card_text;
mod classify;
mod compose;
mod content;
mod decode;
mod dialect;
mod files;
#[cfg(test)]
mod fixture;
mod frame;
mod full_text;
mod inline;
mod links;
mod lists;
mod manifest;
mod media;
mod mentions;
mod names;
mod pages;
mod parts;
mod permissions;
mod plan;
mod progress;
mod quote;
mod settings;
mod stream;
mod surface;
mod tokens;
mod verify;
mod wire;

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, FileSender, Manifest, MediaSource, NameSource, PermissionQuestion, Probe, Received,
    Rejection, SentCall, TokenError, TokenExchange, Verdict,
};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};
use tieline_core::stream::StreamProtocol;

use decode::{Decoded, Kind};
use plan::Situation;
use settings::Settings;
use verify::Proved;

/// Timeout of a call.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// The connector of Lark and Feishu.
#[derive(Debug)]
pub struct Lark;

impl Connector for Lark {
    fn manifest(&self) -> &'static Manifest {
        &manifest::MANIFEST
    }

    fn prepare(
        &self,
        mode: ConnectionMode,
        credentials: &Credentials,
        _endpoints: &Endpoints,
    ) -> Result<Prepared, InvalidSetting> {
        Settings::read(mode, credentials).map(Prepared::new)
    }

    fn account_key(&self, _mode: ConnectionMode, credentials: &Credentials) -> Option<String> {
        credentials.get("appId").map(str::to_owned)
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        Ok(match verify::verify(request, Settings::of(cx.account))? {
            Proved::Payload(payload) => received(decode::decode(payload, cx)),
            Proved::OldCard => Received::ignored(
                "old card callback: subscribe to card.action.trigger instead",
                WebhookAnswer::json(&json!({})),
            ),
            Proved::Unreadable(reason) => Received::unreadable(reason, WebhookAnswer::json(&taken())),
        })
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("verificationToken, encryptKey"),
            Rejection::BadCipher(_) => Some("encryptKey"),
            Rejection::WrongReceiver => Some("appId"),
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
        compose::step(&Situation::new(desired, done, cx)?, to)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::verdict(sent, answer, cx.now)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: progress::LarkProgress = before.read()?;
        Ok(Progress::write(&before.restarted()))
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(progress::LarkProgress::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    fn tokens(&self) -> Option<&dyn TokenExchange> {
        Some(&tokens::Tokens)
    }

    /// Fetches the bot's identity: without side effects, and without the bot's own id, mentions of it can't be distinguished from others.
    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(Probe {
            call: HttpCall {
                name: "bot_info",
                method: "GET",
                url: settings::address(cx.account, "/open-apis/bot/v3/info"),
                headers: Vec::new(),
                body: Body::Empty,
                token: TokenPlace::Bearer,
                timeout: CALL_TIMEOUT,
            },
            read: read_bot_info,
            is_needed: Settings::of(cx.account).bot.is_none(),
        })
    }

    fn missing_permissions(&self, cx: &Context<'_>) -> Option<PermissionQuestion> {
        Some(permissions::question(cx))
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Files)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::Resources)
    }

    fn names(&self) -> Option<&dyn NameSource> {
        Some(&names::Names)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::LongConnection)
    }
}

fn read_bot_info(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
    let body = tokens::accepted(answer)?;
    let bot = body.bot.get("open_id").and_then(Value::as_str);
    Ok(bot.map(|bot| (settings::BOT_FIELD, bot)).into_iter().collect())
}

fn received(decoded: Decoded) -> Received {
    let is_check = matches!(decoded.kind, Kind::Check(_));
    let answer = match decoded.kind {
        Kind::Check(challenge) => json!({ "challenge": challenge }),
        Kind::Event => taken(),
        Kind::Callback(answer) => answer,
    };
    let (event, remark) = match decoded.event {
        Ok(event) => (Some(event), None),
        Err(remark) => (None, Some(remark).filter(|_| !is_check)),
    };
    Received {
        events: event.into_iter().collect(),
        answer: Answer::Fixed(WebhookAnswer::json(&answer)),
        remark,
    }
}

/// The official handlers' response to an event.
fn taken() -> Value {
    json!({ "msg": "success" })
}
