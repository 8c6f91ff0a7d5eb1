//! WeCom (企业微信) AI bots, by callback URL or over the long connection.
//!
//! With a callback URL, every response is encrypted, and the platform polls the growing reply for 6 minutes; the rest is sent once by
//! `response_url`. Over the long connection we push frames on the socket. Both use the same JSON ([`decode`]) and the same dialect
//! ([`dialect`]); [`poll_reply`] and [`socket_reply`] decide what is shown where.
//!
//! See [WeCom Docs/智能机器人概述](https://developer.work.weixin.qq.com/document/path/101039).

mod callback_answer;
mod card_action;
mod classify;
mod compose;
mod decode;
mod dialect;
mod full_text;
mod manifest;
mod media;
mod mentions;
mod poll_reply;
mod response_url;
mod settings;
mod socket_progress;
mod socket_reply;
mod stream;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

use std::borrow::Cow;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, Manifest, MediaSource, PollRequest, PollWait, PolledReplies, Received, Rejection,
    Remark, SentCall, Verdict,
};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, WebhookAnswer, WebhookRequest};
use tieline_core::ids::ReplyId;
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step, UnreadableProgress};
use tieline_core::stream::StreamProtocol;

use crate::markdown;
use decode::{Heard, Way};
use settings::{Settings, WebhookKeys};
use socket_progress::SocketProgress;
use verify::Authentic;

/// Connector of WeCom bots.
#[derive(Debug, Clone, Copy)]
pub struct WeCom;

impl Connector for WeCom {
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
        // A bot has one mode at a time, so two integrations with the same bot in different modes conflict too.
        credentials.get("botId").map(str::to_owned)
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        let keys = webhook_keys(cx).ok_or(Rejection::Missing("a callback URL in this mode"))?;
        let authentic = verify::verify(request, keys, cx.now)?;
        if authentic.is_challenge() {
            return Ok(Received::only(WebhookAnswer::text(authentic.message())));
        }
        Ok(received(&authentic, keys, cx))
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("token"),
            Rejection::BadCipher(_) | Rejection::WrongReceiver => Some("encodingAesKey"),
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
        let text = &*markdown::answer(desired.text);
        compose::deliver(
            &DesiredReply {
                text,
                ..desired.clone()
            },
            to,
            done,
            cx,
        )
    }

    fn classify(&self, sent: &SentCall<'_>, answer: &ApiAnswer, cx: &Context<'_>) -> Verdict {
        classify::classify(sent, answer, cx)
    }

    /// Progress of a polled reply has none of the fields that must differ, so its next attempt begins like the first.
    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: SocketProgress = before.read()?;
        Ok(Progress::write(&before.restarted()))
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(SocketProgress::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        Some(self)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(&media::MessageFiles)
    }

    fn stream(&self) -> Option<&dyn StreamProtocol> {
        Some(&stream::LongConnection)
    }
}

impl PolledReplies for WeCom {
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
        match webhook_keys(cx) {
            Some(keys) => poll_reply::answer(asked, reply.map(visible).as_deref(), keys, cx),
            None => WebhookAnswer::empty(200),
        }
    }

    fn final_poll_state(&self, asked: &PollRequest, reply: &ReplyView, cx: &Context<'_>) -> Option<Progress> {
        poll_reply::ending(asked, &visible(reply), cx)
    }

    fn leaves_rest(&self, closed: &Progress) -> bool {
        poll_reply::leaves_rest(closed)
    }

    fn can_push(&self, to: &ReplyTarget, cx: &Context<'_>) -> bool {
        response_url::address(to, cx).is_ok()
    }
}

/// The reply with the text that is shown: see [`markdown::answer`].
fn visible(reply: &ReplyView) -> Cow<'_, ReplyView> {
    let text = markdown::answer(&reply.text);
    if text == reply.text {
        return Cow::Borrowed(reply);
    }
    Cow::Owned(ReplyView {
        text: text.into_owned(),
        ..reply.clone()
    })
}

fn webhook_keys<'a>(cx: &Context<'a>) -> Option<&'a WebhookKeys> {
    Settings::of(cx)?.webhook.as_ref()
}

/// Why a click is ignored.
const LONG_AGO: &str = "click of more than a day ago";

/// Converts a callback to an event and the response to the platform. An empty body means "received".
fn received(authentic: &Authentic, keys: &WebhookKeys, cx: &Context<'_>) -> Received {
    let nonce = authentic.nonce();
    let event = |event: Event, answer: Answer| Received {
        events: vec![event],
        answer,
        remark: None,
    };
    let empty = || WebhookAnswer::empty(200);
    let way = Way::Webhook {
        signed_at: authentic.signed_at(),
    };
    match decode::decode(authentic.message(), way, cx) {
        Heard::Message(message) => {
            let newest = PollRequest {
                reply: cx.account.ids.reply(&message.id),
                asker: message.sender.id.clone(),
                first: true,
                note: nonce.to_owned(),
                wait: PollWait::No,
            };
            event(Event::Message(*message), Answer::Polled(newest))
        }
        Heard::Poll { stream, asker } => Received {
            events: Vec::new(),
            answer: Answer::Polled(PollRequest {
                reply: ReplyId::new(stream),
                asker,
                first: false,
                note: nonce.to_owned(),
                wait: PollWait::No,
            }),
            remark: None,
        },
        Heard::Entered => {
            let welcome =
                callback_answer::welcome(cx).map(|welcome| callback_answer::sealed(&welcome, nonce, keys, cx));
            Received::only(welcome.unwrap_or_else(empty))
        }
        Heard::Clicked(click) => {
            let update = card_action::update(&click.key, &click.card, cx);
            let answer = update.map_or_else(empty, |update| callback_answer::sealed(&update, nonce, keys, cx));
            event(Event::CardAction(*click), Answer::Fixed(answer))
        }
        Heard::ClickedLongAgo { card } => {
            let update = card_action::stale(&card, cx);
            let answer = update.map_or_else(empty, |update| callback_answer::sealed(&update, nonce, keys, cx));
            Received::ignored(LONG_AGO, answer)
        }
        Heard::Rated(feedback) => event(Event::Feedback(feedback), Answer::Fixed(empty())),
        Heard::Kicked => Received::ignored("an event of the long connection", empty()),
        Heard::Nothing(Remark::Ignored(reason)) => Received::ignored(reason, empty()),
        Heard::Nothing(Remark::Unreadable(reason)) => Received::unreadable(reason, empty()),
    }
}
