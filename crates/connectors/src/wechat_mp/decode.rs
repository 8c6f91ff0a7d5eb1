//! Converts authenticated callbacks to events.
//!
//! See [WeChat Docs/接收普通消息](https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_standard_messages.html) and
//! [WeChat Docs/接收事件推送](https://developers.weixin.qq.com/doc/offiaccount/Message_Management/Receiving_event_pushes.html).

use std::time::Duration;

use serde_json::{Map, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{CardAction, Event, Message, NEW_SESSION_KEY, Part, PartKind};
use tieline_core::ids::{PlatformMessageId, digest};
use tieline_core::reply::ReplyTarget;
use tieline_core::timestamp::Timestamp;

use super::verify::Authentic;
use crate::xml::{self, Fields};
use crate::xml_message;

/// How long, and with how many messages, an action of a person may be answered.
///
/// See [WeChat Docs/客服消息](https://developers.weixin.qq.com/doc/offiaccount/Customer_Service/Customer_Service_Messages.html).
#[derive(Clone, Copy)]
struct Window {
    life: Duration,
    messages: u32,
}

const AFTER_MESSAGE: Window = Window {
    life: Duration::from_secs(48 * 60 * 60),
    messages: 5,
};
const AFTER_CLICK: Window = Window {
    life: Duration::from_secs(60),
    messages: 3,
};

/// A decoded callback.
pub(super) enum Decoded {
    /// An event for the agent or for the dispatcher.
    Event(Box<Event>),
    /// A person has started to follow the account.
    Followed {
        /// The person.
        follower: String,
        /// The account's id on the platform.
        account: String,
    },
    /// Nothing to process.
    Nothing(Remark),
}

const IGNORED: fn(&'static str) -> Decoded = |reason| Decoded::Nothing(Remark::Ignored(reason));
const UNREADABLE: fn(&'static str) -> Decoded = |reason| Decoded::Nothing(Remark::Unreadable(reason));

/// Ids of the two sides of a callback: the person's and the account's.
pub(super) fn sides(callback: &Authentic) -> (String, String) {
    let fields = xml::read(callback.message()).unwrap_or_default();
    let side = |name: &str| fields.text(name).to_owned();
    (side("FromUserName"), side("ToUserName"))
}

/// Time of the person's action, if the callback contains it.
pub(super) fn created_at(callback: &Authentic) -> Option<Timestamp> {
    let fields = xml::read(callback.message()).ok()?;
    xml_message::created_at(&fields)
}

/// Decodes a callback.
pub(super) fn decode(authentic: &Authentic, cx: &Context<'_>) -> Decoded {
    let Ok(fields) = xml::read(authentic.message()) else {
        return UNREADABLE("the callback is not the documented XML");
    };
    if fields.some("Encrypt").is_some() && fields.some("MsgType").is_none() {
        return UNREADABLE("the callback is sealed, and the integration has no encodingAesKey");
    }
    let Some(person) = fields.some("FromUserName") else {
        return UNREADABLE("the callback has no sender");
    };
    let callback = Callback {
        fields: &fields,
        person,
        cx,
    };
    match fields.text("MsgType") {
        "" => UNREADABLE("the callback has no type"),
        "event" => callback.event(),
        kind => callback.message(kind),
    }
}

struct Callback<'a> {
    fields: &'a Fields,
    person: &'a str,
    cx: &'a Context<'a>,
}

impl Callback<'_> {
    fn message(&self, kind: &str) -> Decoded {
        let Some(id) = self.fields.some("MsgId") else {
            return UNREADABLE("the message has no id");
        };
        let id = PlatformMessageId::new(id);
        Decoded::Event(Box::new(Event::Message(Message {
            sender: xml_message::sender(self.person),
            sent_at: xml_message::created_at(self.fields),
            text: self.words(kind),
            parts: self.part(kind).into_iter().collect(),
            quoted: None,
            chat_name: None,
            refers_to: None,
            topic_root: None,
            album: None,
            target: self.target(id.clone(), AFTER_MESSAGE),
            id,
        })))
    }

    /// Text of a message. A message of an unsupported type has neither text nor parts, of which the sender is notified.
    fn words(&self, kind: &str) -> String {
        match kind {
            "voice" => self.fields.text("Recognition").to_owned(),
            _ => xml_message::text(self.fields, kind),
        }
    }

    /// Attachment of a message. A recording that the platform has transcribed counts as text.
    fn part(&self, kind: &str) -> Option<Part> {
        let (kind, mime) = match kind {
            "image" => (PartKind::Image, None),
            "voice" if self.fields.some("Recognition").is_some() => return None,
            "voice" => (PartKind::Audio, xml_message::voice_type(self.fields)),
            "video" | "shortvideo" => (PartKind::Video, None),
            _ => return None,
        };
        let mut locator = Map::new();
        locator.insert("media".to_owned(), json!(self.fields.some("MediaId")?));
        if let Some(picture) = self.fields.some("PicUrl") {
            locator.insert("picture".to_owned(), json!(picture));
        }
        Some(Part {
            kind,
            name: None,
            mime: mime.map(str::to_owned),
            size: None,
            locator: locator.into(),
        })
    }

    fn event(&self) -> Decoded {
        let key = self.fields.text("EventKey");
        match self.fields.text("Event") {
            "subscribe" => Decoded::Followed {
                follower: self.person.to_owned(),
                account: self.fields.text("ToUserName").to_owned(),
            },
            // An entry of the account's menu may have our key.
            "CLICK" if key == NEW_SESSION_KEY => self.action(key),
            _ => IGNORED("an event that we don't use"),
        }
    }

    fn action(&self, key: &str) -> Decoded {
        // Events have no id, so one is derived.
        let names = ["FromUserName", "CreateTime", "Event", "EventKey"];
        let id = PlatformMessageId::new(digest(&names.map(|name| self.fields.text(name))));
        Decoded::Event(Box::new(Event::CardAction(CardAction {
            sender: xml_message::sender(self.person),
            key: key.to_owned(),
            card: String::new(),
            target: self.target(id.clone(), AFTER_CLICK),
            id,
        })))
    }

    fn target(&self, message: PlatformMessageId, window: Window) -> ReplyTarget {
        let handle = json!({ "messages": window.messages });
        let expires_at = Some(self.cx.now.after(window.life));
        xml_message::target(self.person, message, handle, expires_at, self.cx)
    }
}
