//! Replies in the response to the callback itself, for accounts that have no other way.
//!
//! The platform waits 5 s, closes the connection and delivers the same message again, three times in total. So the first two deliveries
//! are held until the answer is complete, or longer than the platform waits; the third is answered in time, if necessary with a link to
//! the future answer.
//!
//! See [WeChat Docs/被动回复用户消息](https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Passive_user_reply_message.html).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tieline_core::connector::{Context, PollRequest, PollWait, PolledReplies};
use tieline_core::event::Event;
use tieline_core::http_types::WebhookAnswer;
use tieline_core::notice::Notice;
use tieline_core::reply::{ReplyView, Stage};

use super::compose;
use super::decode::{created_at, sides};
use super::settings::Settings;
use super::success;
use super::verify::Authentic;
use crate::xml::cdata;
use crate::xml_callback::{self, passive};

/// Age from which a delivery is the third one: they arrive after 0, 5 and 10 s.
const LAST_DELIVERY: Duration = Duration::from_secs(9);
/// How long a delivery is held that will be repeated: a little longer than the platform waits.
const HOLD: Duration = Duration::from_millis(5300);
/// How long the last delivery is held: leaves time for sending the response.
const LAST_HOLD: Duration = Duration::from_millis(4200);

/// Data of the callback that its response needs.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    person: String,
    account: String,
    nonce: String,
    sealed: bool,
}

/// The poll request for an event's reply, for as long as the platform waits.
pub(super) fn poll(event: &Event, callback: &Authentic, cx: &Context<'_>) -> PollRequest {
    let age = created_at(callback).map_or(Duration::ZERO, |at| cx.now.since(at));
    let hold = if age < LAST_DELIVERY { HOLD } else { LAST_HOLD };
    let (person, account) = sides(callback);
    PollRequest {
        reply: cx.account.ids.reply(event.id()),
        asker: event.sender().clone(),
        first: true,
        note: serde_json::to_string(&Envelope::of(person, account, callback)).expect("texts serialize as JSON"),
        wait: PollWait::Final(hold),
    }
}

/// The welcome for a new follower. It doesn't count towards the platform's message quota.
pub(super) fn welcome(
    text: &str,
    follower: &str,
    account: &str,
    callback: &Authentic,
    cx: &Context<'_>,
) -> WebhookAnswer {
    let envelope = Envelope::of(follower.to_owned(), account.to_owned(), callback);
    envelope.answer(&compose::last_piece(text, 0, None, cx.account.language), cx)
}

impl Envelope {
    fn of(person: String, account: String, callback: &Authentic) -> Self {
        Self {
            person,
            account,
            nonce: callback.nonce().to_owned(),
            sealed: callback.is_sealed(),
        }
    }

    fn answer(&self, text: &str, cx: &Context<'_>) -> WebhookAnswer {
        let content = format!("<Content>{}</Content>", cdata(text));
        let message = passive(&self.person, &self.account, "text", &content, cx);
        match &Settings::of(cx.account).keys {
            Some(keys) if self.sealed => keys.seal(&message, &self.nonce, cx),
            _ => xml_callback::answer(&message),
        }
    }
}

/// See [`PolledReplies`].
#[derive(Debug)]
pub(super) struct PassiveReplies;

impl PolledReplies for PassiveReplies {
    fn answer_poll(&self, asked: &PollRequest, reply: Option<&ReplyView>, cx: &Context<'_>) -> WebhookAnswer {
        let language = cx.account.language;
        let reply = reply.filter(|reply| reply.asker == asked.asker);
        match reply {
            Some(reply) if reply.stage == Stage::Final => {
                let full_text =
                    compose::full_text(&reply.text, &reply.files, (reply.notice, reply.reference), language);
                say(
                    asked,
                    &compose::last_piece(&full_text, 0, reply.link.as_deref(), language),
                    cx,
                )
            }
            Some(ReplyView { link: Some(link), .. }) => self.answer_unrecorded(asked, link, cx),
            Some(_) | None => say(asked, Notice::Thinking.text(language), cx),
        }
    }

    /// The answer will be available through the link.
    fn answer_unrecorded(&self, asked: &PollRequest, link: &str, cx: &Context<'_>) -> WebhookAnswer {
        let language = cx.account.language;
        let (thinking, whole) = (Notice::Thinking.text(language), Notice::RestBehindLink.text(language));
        say(asked, &format!("{thinking}\n\n{whole}{link}"), cx)
    }
}

fn say(asked: &PollRequest, text: &str, cx: &Context<'_>) -> WebhookAnswer {
    match serde_json::from_str::<Envelope>(&asked.note) {
        Ok(envelope) => envelope.answer(text, cx),
        Err(_) => success(),
    }
}
