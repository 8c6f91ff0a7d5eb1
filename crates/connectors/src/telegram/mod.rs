//! Telegram: a bot, over webhook or long polling.
//!
//! Both ways bring the same updates, which `decode` handles. Answers go over HTTP: as a draft or an edited message while the text grows.

mod api_error;
mod classify;
mod compose;
mod content;
mod decode;
mod dialect;
mod files;
mod full_text;
mod manifest;
mod media;
mod mend;
mod mentions;
mod pages;
mod plan;
mod progress;
mod registration;
mod settings;
mod stream;
mod table;
mod verify;
mod wire;

use serde_json::{Value, json};
use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    AddressQuestion, Answer, Connector, Context, FileSender, Manifest, MediaSource, Probe, Received, Rejection,
    SentCall, TokenError, Verdict, Withheld,
};
use tieline_core::http_types::{ApiAnswer, HttpCall, WebhookAnswer, WebhookRequest};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, Step};
use tieline_core::stream::StreamProtocol;

use api_error::Meaning;
use plan::Situation;
use settings::Settings;

/// The connector of Telegram.
#[derive(Debug)]
pub struct Telegram;

impl Connector for Telegram {
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
        settings::bot_id(credentials.get("botToken")?).map(|id| id.to_string())
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        let authentic = verify::verify(request, cx.account)?;
        Ok(match serde_json::from_slice(authentic.body()) {
            Ok(update @ Value::Object(_)) => received(decode::update(update, cx)),
            Ok(_) => Received::unreadable("body is not an update", WebhookAnswer::empty(200)),
            Err(_) => Received::unreadable("body is not JSON", WebhookAnswer::empty(200)),
        })
    }

    fn deliver(
        &self,
        desired: &DesiredReply<'_>,
        to: &ReplyTarget,
        progress: &Progress,
        cx: &Context<'_>,
    ) -> Result<Step, ComposeError> {
        compose::step(&Situation::new(desired, to, progress, cx)?)
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::verdict(sent, answer, cx)
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(progress::TelegramProgress::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    /// Fetches the bot's identity: without its user name, mentions of it in groups can't be distinguished from others.
    fn probe(&self, cx: &Context<'_>) -> Option<Probe> {
        Some(Probe {
            call: settings::call(cx.account, "get_me", "getMe", &json!({})),
            read: read_bot,
            is_needed: Settings::of(cx.account).username.is_none(),
        })
    }

    fn registration(&self, callback_url: &str, cx: &Context<'_>) -> Vec<HttpCall> {
        registration::calls(callback_url, cx.account)
    }

    fn registers_callback_url(&self) -> bool {
        true
    }

    fn delivery_address(&self, cx: &Context<'_>) -> Option<AddressQuestion> {
        Some(AddressQuestion {
            call: settings::call(cx.account, "webhook_info", "getWebhookInfo", &json!({})),
            read: |answer| api_error::result(answer).ok()?["url"].as_str().map(str::to_owned),
        })
    }

    /// See [Telegram Docs/Privacy mode](https://core.telegram.org/bots/features#privacy-mode).
    fn withheld(&self, cx: &Context<'_>) -> Option<Withheld> {
        (Settings::of(cx.account).reads_groups == Some(false)).then_some(Withheld::GroupMessages)
    }

    fn files(&self) -> Option<&dyn FileSender> {
        Some(&files::Files)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::Files)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::LongPolling)
    }
}

/// Always 200: a refused update would be delivered again and block its chat for a day.
fn received(decoded: decode::Decoded) -> Received {
    let (event, remark) = match decoded.event {
        Ok(event) => (Some(event), None),
        Err(remark) => (None, Some(remark)),
    };
    // The response to the request may be a call. Used for a call whose result doesn't matter.
    let answer = match decoded.unanswered_query {
        Some(query) => {
            let mut call = query.answer();
            call["method"] = json!("answerCallbackQuery");
            WebhookAnswer::json(&call)
        }
        None => WebhookAnswer::empty(200),
    };
    Received {
        events: event.into_iter().collect(),
        answer: Answer::Fixed(answer),
        remark,
    }
}

/// See [Bot API/getMe](https://core.telegram.org/bots/api#getme).
fn read_bot(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
    let bot = api_error::result(answer).map_err(|error| match error.meaning {
        Meaning::BadToken | Meaning::UnknownMethod => TokenError::Refused { code: error.code },
        _ => TokenError::Unavailable { code: error.code },
    })?;
    let id = bot
        .get("id")
        .and_then(Value::as_i64)
        .map(|id| (settings::BOT_ID, id.to_string()));
    let username = bot.get("username").and_then(Value::as_str);
    let username = username.map(|name| (settings::BOT_USERNAME, name.to_owned()));
    let reads_groups = bot.get("can_read_all_group_messages").and_then(Value::as_bool);
    let reads_groups = reads_groups.map(|reads| (settings::READS_GROUPS, if reads { "yes" } else { "no" }.to_owned()));
    Ok(id.into_iter().chain(username).chain(reads_groups).collect())
}
