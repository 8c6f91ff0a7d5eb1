//! Discord: a bot application, over the gateway or by interactions over HTTP.
//!
//! Messages come only through the gateway; slash commands and buttons come either way. Answers are sent over HTTP: to a message as messages
//! in the channel, to an interaction with its token while that is valid.

mod api_error;
mod call;
mod card_action;
mod classify;
mod commands;
mod compose;
mod content;
mod decode;
mod dialect;
mod files;
mod full_text;
mod interaction;
mod manifest;
mod media;
mod mentions;
mod pages;
mod plan;
mod progress;
mod settings;
mod stream;
mod verify;
mod wire;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    AddressQuestion, Answer, Connector, Context, FileSender, Manifest, MediaSource, Probe, Received, Rejection,
    SentCall, TokenError, Verdict, Withheld, probe_by_status,
};
use tieline_core::http_types::{ApiAnswer, HttpCall, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step, UnreadableProgress};
use tieline_core::stream::StreamProtocol;

use interaction::Decoded;
use settings::{BOT_FIELD, CONTENT_FIELD, Settings, address};

/// Flag of messages that only one person sees.
///
/// See [Discord Docs/Message Flags](https://discord.com/developers/docs/resources/message#message-object-message-flags).
const EPHEMERAL: u64 = 1 << 6;
/// Application flags of the Message Content Intent: approved, and enabled in a small application.
///
/// See [Discord Docs/Application Flags](https://discord.com/developers/docs/resources/application#application-object-application-flags).
const CONTENT_FLAGS: u64 = 1 << 18 | 1 << 19;

/// The connector of Discord.
#[derive(Debug)]
pub struct Discord;

impl Connector for Discord {
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
        credentials.get("applicationId").map(|id| id.trim().to_owned())
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        let settings = Settings::of(cx.account);
        let authentic = verify::verify(request, settings)?;
        let Ok(interaction) = serde_json::from_slice::<wire::Interaction>(authentic.body()) else {
            return Ok(received(Decoded::unreadable("body is not an interaction")));
        };
        if interaction.application_id != settings.application {
            return Err(Rejection::WrongReceiver);
        }
        Ok(received(interaction::decode(&interaction, cx)))
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature | Rejection::Missing("publicKey") => Some("publicKey"),
            Rejection::WrongReceiver => Some("applicationId"),
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

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, _cx: &Context<'_>) -> Verdict {
        classify::verdict(sent, answer)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: progress::DiscordProgress = before.read()?;
        Ok(Progress::write(&before.next_round()))
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(progress::DiscordProgress::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    /// Fetches the application: it names the bot's user, and its flags say which messages the bot may read.
    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        let settings = Settings::of(cx.account);
        Some(Probe {
            call: application(cx),
            read: read_application,
            is_needed: settings.bot.is_none() || settings.content_intent.is_none(),
        })
    }

    /// The commands, and the way by which interactions come: the platform delivers them one way only, and a URL, also one of an earlier mode,
    /// takes them away from the gateway.
    fn registration(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        let mut calls = vec![commands::register(cx)];
        match cx.account.mode {
            ConnectionMode::Webhook if callback_url.is_empty() => {}
            ConnectionMode::Webhook => calls.push(commands::register_endpoint(Some(callback_url), cx)),
            ConnectionMode::LongConnection => calls.push(commands::register_endpoint(None, cx)),
        }
        calls
    }

    fn registers_callback_url(&self) -> bool {
        true
    }

    fn delivery_address(&self, cx: &Context<'_>) -> Option<AddressQuestion> {
        Some(AddressQuestion {
            call: application(cx),
            read: |answer| {
                probe_by_status(answer).ok()?;
                let application = answer.json()?;
                Some(
                    application["interactions_endpoint_url"]
                        .as_str()
                        .unwrap_or_default()
                        .to_owned(),
                )
            },
        })
    }

    /// Interactions over HTTP are never withheld: they arrive complete.
    fn withheld(&self, cx: &Context<'_>) -> Option<Withheld> {
        let is_gateway = cx.account.mode == ConnectionMode::LongConnection;
        let is_off = Settings::of(cx.account).content_intent == Some(false);
        (is_gateway && is_off).then_some(Withheld::UnmentionedText)
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Files)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::Attachments)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::Gateway)
    }
}

/// The response that the platform waits for. An interaction that can't be read can't be responded to: it is only acknowledged.
fn received(decoded: Decoded) -> Received {
    let answer = decoded
        .response
        .map_or_else(|| WebhookAnswer::empty(202), |response| WebhookAnswer::json(&response));
    let (event, remark) = match decoded.event {
        Ok(event) => (Some(event), None),
        Err(remark) => (None, Some(remark)),
    };
    Received {
        events: event.into_iter().collect(),
        answer: Answer::Fixed(answer),
        remark,
    }
}

/// The call that fetches the application.
fn application(cx: &Context<'_>) -> HttpCall {
    let url = address(cx.account, "/applications/@me");
    call::with_token("application", "GET", url, None, cx)
}

/// Whether `answer` is the application, with the Message Content Intent enabled.
fn is_content_enabled(answer: &ApiAnswer) -> bool {
    read_application(answer).is_ok_and(|learned| learned.get(CONTENT_FIELD) == Some("yes"))
}

fn read_application(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
    probe_by_status(answer)?;
    let application = answer.json().and_then(|json| serde_json::from_value(json).ok());
    let application: wire::Application = application.ok_or_else(|| TokenError::Unavailable {
        code: "application_not_readable".to_owned(),
    })?;
    let content = application.flags.map(|flags| match flags & CONTENT_FLAGS {
        0 => "no",
        _ => "yes",
    });
    let bot = application.bot.map_or(application.id, |bot| bot.id);
    let content = content.map(|content| (CONTENT_FIELD, content));
    Ok([(BOT_FIELD, bot.as_str())].into_iter().chain(content).collect())
}
