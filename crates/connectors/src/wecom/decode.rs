//! Converts authenticated callbacks to events. The same over HTTP and over the long connection.

use std::time::Duration;

use serde_json::{Map, Value};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{
    CardAction, Chat, ChatKind, Feedback, Message, Part, PartKind, Quoted, Rating, STALE_CLICK, Sender,
};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::mentions;
use super::settings::Settings;
use super::wire::{Callback, Content, EventBody, Link};

/// How long `response_url` is valid.
///
/// See [WeCom Docs/主动回复消息](https://developer.work.weixin.qq.com/document/path/101138).
const RESPONSE_URL_LIFE: Duration = Duration::from_secs(60 * 60);
/// How long a message can be answered by its `req_id`.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).
const REQ_ID_LIFE: Duration = Duration::from_secs(24 * 60 * 60);
/// How long the platform polls the state of a stream.
///
/// See [WeCom Docs/接收消息](https://developer.work.weixin.qq.com/document/path/100719), 流式消息刷新.
pub(super) const POLLED: Duration = Duration::from_secs(6 * 60);

/// Transport of a callback, which decides how it is answered.
#[derive(Debug, Clone, Copy)]
pub(super) enum Way<'a> {
    /// Over HTTP: the answer is polled.
    Webhook {
        /// Time of the request's signature.
        signed_at: Timestamp,
    },
    /// Over the socket: the answer has the same `req_id`.
    Socket {
        /// The callback's `req_id`.
        req_id: &'a str,
    },
}

/// A decoded callback.
#[derive(Debug, PartialEq)]
pub(super) enum Heard {
    /// A message.
    Message(Box<Message>),
    /// A poll for the latest state of a stream.
    Poll {
        /// The id that we chose for the stream.
        stream: String,
        /// The person on whose behalf the platform polls.
        asker: SenderId,
    },
    /// A person opened the direct chat, for the first time today.
    Entered,
    /// A person clicked on a card.
    Clicked(Box<CardAction>),
    /// A click on a card more than a day ago.
    ClickedLongAgo {
        /// The card.
        card: String,
    },
    /// A person rated an answer.
    Rated(Feedback),
    /// Another client has taken over the long connection.
    Kicked,
    /// Nothing to process.
    Nothing(Remark),
}

const IGNORED: fn(&'static str) -> Heard = |reason| Heard::Nothing(Remark::Ignored(reason));
const UNREADABLE: fn(&'static str) -> Heard = |reason| Heard::Nothing(Remark::Unreadable(reason));

/// Decodes the JSON of a callback.
pub(super) fn decode(json: &[u8], way: Way<'_>, cx: &Context<'_>) -> Heard {
    match std::str::from_utf8(json).map(serde_json::from_str) {
        Ok(Ok(callback)) => read(callback, way, cx),
        Ok(Err(_)) => Heard::Nothing(Remark::Unreadable("the callback does not have the documented shape")),
        Err(_) => Heard::Nothing(Remark::Unreadable("the callback is not UTF-8")),
    }
}

fn read(mut callback: Callback<'_>, way: Way<'_>, cx: &Context<'_>) -> Heard {
    let ours = Settings::of(cx).and_then(|parsed| parsed.bot_id.as_deref());
    if ours.is_some_and(|ours| callback.aibotid.some().is_some_and(|bot| bot != ours)) {
        return IGNORED("the callback is for another bot");
    }
    if let Way::Webhook { signed_at } = way {
        // Both times are the platform's own; the older one detects stale callbacks.
        let signed_at_s = signed_at.as_secs();
        callback.create_time = Some(callback.create_time.map_or(signed_at_s, |at| at.min(signed_at_s)));
    }
    let event = callback.event.take();
    if event
        .as_ref()
        .is_some_and(|event| event.eventtype.as_str() == "disconnected_event")
    {
        return Heard::Kicked;
    }
    let asker = match callback.from.as_ref().map(|from| from.userid.as_str()) {
        None | Some("") => return UNREADABLE("the callback has no sender"),
        Some("sys") => return IGNORED("the platform's own message"),
        Some(userid) => SenderId::new(userid),
    };
    match callback.msgtype.as_str() {
        "stream" => poll(&callback, asker),
        "event" => happened(&callback, event, asker, way, cx),
        _ => said(callback, asker, way, cx),
    }
}

fn poll(callback: &Callback<'_>, asker: SenderId) -> Heard {
    match callback.stream.as_ref().and_then(|stream| stream.id.some()) {
        Some(id) => Heard::Poll {
            stream: id.to_owned(),
            asker,
        },
        None => Heard::Nothing(Remark::Unreadable("the poll names no stream")),
    }
}

fn happened(
    callback: &Callback<'_>,
    event: Option<EventBody<'_>>,
    asker: SenderId,
    way: Way<'_>,
    cx: &Context<'_>,
) -> Heard {
    let Some(event) = event else {
        return UNREADABLE("the event has no body");
    };
    let Some(target) = target(callback, asker, way, cx) else {
        return UNREADABLE("the callback names no chat");
    };
    match event.eventtype.as_str() {
        "enter_chat" => Heard::Entered,
        "template_card_event" => {
            let click = event.into_card_click();
            let clicked_at = callback.create_time.map(Timestamp::from_secs);
            if clicked_at.is_some_and(|at| cx.now.since(at) > STALE_CLICK) {
                return Heard::ClickedLongAgo {
                    card: click.task_id.0.into_owned(),
                };
            }
            Heard::Clicked(Box::new(CardAction {
                id: target.message.clone(),
                sender: sender(&target),
                key: click.event_key.0.into_owned(),
                card: click.task_id.0.into_owned(),
                target: refused_streams(target),
            }))
        }
        "feedback_event" => {
            let rated = event.into_rated();
            let rating = match rated.kind.as_str() {
                "1" => Rating::Up,
                "2" => Rating::Down,
                "3" => Rating::Cleared,
                _ => return IGNORED("an unknown rating"),
            };
            Heard::Rated(Feedback {
                id: target.message,
                chat: target.chat,
                sender: target.asker,
                subject: rated.id.0.into_owned(),
                rating,
                comment: rated.content.0.into_owned(),
            })
        }
        _ => IGNORED("an event that we don't use"),
    }
}

/// A click's `req_id` accepts nothing but the card's update: an answer to it is a separate message.
///
/// See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463), error 846605.
fn refused_streams(target: ReplyTarget) -> ReplyTarget {
    let mut words = target.handle.value().as_object().cloned().unwrap_or_default();
    words.remove("reqId");
    ReplyTarget {
        handle: ReplyHandle::new(Value::Object(words)),
        ..target
    }
}

fn said(mut callback: Callback<'_>, asker: SenderId, way: Way<'_>, cx: &Context<'_>) -> Heard {
    if callback.msgid.is_empty() {
        return UNREADABLE("the message has no id");
    }
    let Some(target) = target(&callback, asker, way, cx) else {
        return UNREADABLE("the message names no chat");
    };
    let mut gathered = Gathered::default();
    if let Err(remark) = gathered.add(callback.take_content()) {
        return Heard::Nothing(remark);
    }
    let mut quoted = Gathered::default();
    // An unreadable quote only means less context.
    let quote = callback.quote.take().and_then(|content| quoted.add(content).ok());
    let text = match target.chat.kind {
        ChatKind::Direct => gathered.text,
        ChatKind::Group => {
            let name = Settings::of(cx).and_then(|parsed| parsed.bot_name.as_deref());
            mentions::strip(&gathered.text, name).into_owned()
        }
    };
    if text.trim().is_empty() && gathered.parts.is_empty() && quote.is_none() {
        return IGNORED("the message is empty");
    }
    Heard::Message(Box::new(Message {
        id: target.message.clone(),
        sender: sender(&target),
        sent_at: callback.create_time.map(Timestamp::from_secs),
        text,
        parts: gathered.parts,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
        quoted: quote.map(|()| Quoted {
            text: quoted.text,
            parts: quoted.parts,
        }),
        target,
    }))
}

fn sender(target: &ReplyTarget) -> Sender {
    Sender {
        id: target.asker.clone(),
        name: None,
    }
}

/// The reply target. `None` for a group without its id.
fn target(callback: &Callback<'_>, asker: SenderId, way: Way<'_>, cx: &Context<'_>) -> Option<ReplyTarget> {
    let chat = match (callback.chattype.as_str(), callback.chatid.some()) {
        ("group", None) => return None,
        ("single", _) | (_, None) => Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(asker.as_str()),
            thread: None,
        },
        (_, Some(id)) => Chat {
            kind: ChatKind::Group,
            id: ChatId::new(id),
            thread: None,
        },
    };
    let mut handle = Map::new();
    if let Some(url) = callback.response_url.some() {
        handle.insert("responseUrl".into(), url.into());
    }
    let life = match way {
        Way::Webhook { .. } if handle.is_empty() => POLLED,
        Way::Webhook { .. } => RESPONSE_URL_LIFE,
        Way::Socket { req_id } => {
            if !handle.is_empty() {
                let until = cx.now.after(RESPONSE_URL_LIFE).as_millis();
                handle.insert("responseUrlUntil".into(), until.into());
            }
            handle.insert("reqId".into(), req_id.into());
            REQ_ID_LIFE
        }
    };
    Some(ReplyTarget {
        integration: cx.account.integration.clone(),
        chat,
        asker,
        message: PlatformMessageId::new(callback.msgid.as_str()),
        handle: ReplyHandle::new(Value::Object(handle)),
        expires_at: Some(cx.now.after(life)),
    })
}

/// Text and files of a message, in the sender's order.
#[derive(Default)]
struct Gathered {
    text: String,
    parts: Vec<Part>,
}

impl Gathered {
    fn add(&mut self, content: Content<'_>) -> Result<(), Remark> {
        let missing = Remark::Unreadable("the message lacks the content of its type");
        match content.msgtype.as_str() {
            "text" => self.say(content.text.ok_or(missing)?.content.as_str()),
            "voice" => self.say(content.voice.ok_or(missing)?.content.as_str()),
            "image" => self.attach(PartKind::Image, &content.image.ok_or(missing)?),
            "file" => self.attach(PartKind::File, &content.file.ok_or(missing)?),
            "video" => self.attach(PartKind::Video, &content.video.ok_or(missing)?),
            "mixed" => {
                for item in content.mixed.ok_or(missing)?.msg_item {
                    // An invalid item doesn't affect the others.
                    let _ = self.add(item);
                }
            }
            _ => return Err(Remark::Ignored("a message type that we don't use")),
        }
        Ok(())
    }

    fn say(&mut self, text: &str) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
        self.text.push_str(text);
    }

    fn attach(&mut self, kind: PartKind, link: &Link<'_>) {
        let mut locator = Map::new();
        locator.insert("url".into(), link.url.as_str().into());
        if let Some(key) = link.aeskey.some() {
            locator.insert("key".into(), key.into());
        }
        self.parts.push(Part {
            kind,
            name: None,
            mime: None,
            size: None,
            locator: Value::Object(locator),
        });
    }
}
