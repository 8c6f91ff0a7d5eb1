//! Connector for chat platforms without a connector of their own: they connect themselves, over signed HTTP.
//!
//! Messages are posted to us ([`wire`], authenticated by [`verify`]). Replies are posted to the integration's `sendUrl`, or polled if there
//! is none ([`compose`]). Signatures follow Standard Webhooks in both directions, with one secret.
//!
//! The interface is described in `docs/platforms/custom.md`, with an example in `docs/platforms/custom_example.py`.

mod classify;
mod compose;
mod decode;
mod fields;
mod manifest;
mod settings;
mod verify;
mod wire;

#[cfg(test)]
mod tests;

use std::time::Duration;

use tieline_core::account::{ConnectionMode, Credentials, Endpoints, InvalidSetting, Prepared};
use tieline_core::connector::{
    Answer, Connector, Context, Manifest, MediaSource, PollRequest, PollWait, PolledReplies, Received, Rejection,
    Remark, SentCall, Verdict,
};
use tieline_core::event::{Event, Part};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace, WebhookAnswer, WebhookRequest};
use tieline_core::ids::{ReplyId, SenderId};
use tieline_core::reply::{ComposeError, DesiredReply, Progress, ReplyTarget, ReplyView, Step, UnreadableProgress};

use compose::Posted;
use fields::Mistake;
use settings::Settings;
use verify::Authentic;
use wire::{Poll, Request, State};

/// Timeout for the download of an attachment.
const DOWNLOAD_TIMEOUT: Duration = Duration::from_secs(30);

/// A platform that connects itself.
#[derive(Debug, Clone, Copy)]
pub struct Custom;

impl Connector for Custom {
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

    fn account_key(&self, _mode: ConnectionMode, _credentials: &Credentials) -> Option<String> {
        // The secret identifies no account, and two integrations may share a program.
        None
    }

    fn receive(&self, request: &WebhookRequest, cx: &Context<'_>) -> Result<Received, Rejection> {
        let settings = Settings::of(cx).ok_or(Rejection::Missing("the integration's secret"))?;
        let authentic = verify::verify(request, &settings.keys, cx.now)?;
        Ok(received(&authentic, settings, cx).unwrap_or_else(|mistake| unreadable(&mistake)))
    }

    fn rejected_credential(&self, rejection: &Rejection) -> Option<&'static str> {
        match rejection {
            Rejection::BadSignature => Some("secret"),
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
        classify::classify(sent, answer)
    }

    fn restart(&self, before: &Progress) -> Result<Progress, UnreadableProgress> {
        let before: Posted = before.read()?;
        Ok(Progress::write(&Posted {
            attempt: before.attempt + 1,
            ..Posted::default()
        }))
    }

    fn is_repeatable(&self, recorded: &Progress, reached: &Progress) -> bool {
        let lasting = |of: &Progress| of.read().map(Posted::lasting);
        lasting(recorded).is_ok_and(|recorded| lasting(reached) == Ok(recorded))
    }

    fn polled_replies(&self) -> Option<&dyn PolledReplies> {
        Some(self)
    }

    fn media(&self) -> Option<&dyn MediaSource> {
        Some(self)
    }
}

impl PolledReplies for Custom {
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
        match reply {
            Some(reply) => WebhookAnswer::json(&compose::polled(reply, cx)),
            // The reply has not started yet.
            None if cx.account.ids.made("tl-", asked.reply.as_str()) => WebhookAnswer::json(&State {
                text: "".into(),
                reasoning: "",
                done: false,
                version: match asked.wait {
                    PollWait::Newer(version) => version,
                    PollWait::No | PollWait::Final(_) => 0,
                },
                files: &[],
                notice: None,
            }),
            None => WebhookAnswer::problem(404, "reply_not_found", "There is no such reply."),
        }
    }
}

impl MediaSource for Custom {
    fn download(&self, part: &Part, _cx: &Context<'_>) -> Option<HttpCall> {
        Some(HttpCall {
            name: "attachment",
            method: "GET",
            url: part.locator.get("url")?.as_str()?.to_owned(),
            headers: Vec::new(),
            body: Body::Empty,
            token: TokenPlace::None,
            timeout: DOWNLOAD_TIMEOUT,
        })
    }
}

/// Converts an authenticated request to an event and a response.
fn received(authentic: &Authentic<'_>, settings: &Settings, cx: &Context<'_>) -> Result<Received, Mistake> {
    let ignored = |why, code| Ok(Received::ignored(why, wire::not_accepted(code, None)));
    let (event, unread) = match wire::read(authentic.request())? {
        Request::Message(said, unread) => match decode::event(*said, settings.bot_name.as_deref(), cx)? {
            Some(event) => (event, unread),
            None => return ignored("a group message that doesn't address the bot", "not_addressed"),
        },
        Request::Click(clicked, unread) => match decode::click(*clicked, cx) {
            Some(event) => (event, unread),
            None => return ignored("a click that is older than a day", "stale"),
        },
        Request::Poll(poll) => return Ok(polled(poll)),
    };
    let (message, reply) = (cx.account.ids.message(event.id()), cx.account.ids.reply(event.id()));
    let answer = match &event {
        // There will be no reply to poll for.
        Event::Overheard(_) => wire::not_accepted("kept_as_context", None),
        _ => wire::accepted(message, reply, &unread),
    };
    Ok(Received {
        events: vec![event],
        answer: Answer::Fixed(answer),
        remark: None,
    })
}

/// The program is authenticated, so it may poll any reply of its integration.
fn polled(poll: Poll) -> Received {
    Received {
        events: Vec::new(),
        answer: Answer::Polled(PollRequest {
            reply: ReplyId::new(poll.reply),
            asker: SenderId::new(""),
            first: false,
            note: String::new(),
            wait: poll.after.map_or(PollWait::No, PollWait::Newer),
        }),
        remark: None,
    }
}

/// The program gets the name of the invalid field, the operator only the fact.
fn unreadable(mistake: &Mistake) -> Received {
    Received {
        remark: Some(Remark::Unreadable("a request does not have the documented shape")),
        ..Received::only(wire::not_accepted("invalid_field", Some(mistake)))
    }
}
