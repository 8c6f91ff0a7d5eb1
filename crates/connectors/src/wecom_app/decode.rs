//! Converts authenticated callbacks to events.
//!
//! See [WeCom Docs/消息格式](https://developer.work.weixin.qq.com/document/path/90239) and
//! [WeCom Docs/事件格式](https://developer.work.weixin.qq.com/document/path/90240).

use std::time::Duration;

use serde_json::json;
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{CardAction, Event, Message, NEW_SESSION_KEY, Part, PartKind, WELCOME_KEY};
use tieline_core::ids::{PlatformMessageId, digest};
use tieline_core::reply::ReplyTarget;
use tieline_core::timestamp::Timestamp;

use super::settings::Settings;
use super::verify::Authentic;
use crate::xml::{self, Fields};
use crate::xml_message;

/// Age from which a click is ignored.
const MAX_CLICK_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// A decoded callback.
pub(super) enum Decoded {
    /// An event for the agent or for the dispatcher.
    Event(Box<Event>),
    /// A click that arrived much too late.
    LateClick {
        /// The member who clicked.
        clicker: String,
    },
    /// Nothing to process.
    Nothing(Remark),
}

const IGNORED: fn(&'static str) -> Decoded = |reason| Decoded::Nothing(Remark::Ignored(reason));
const UNREADABLE: fn(&'static str) -> Decoded = |reason| Decoded::Nothing(Remark::Unreadable(reason));

/// Decodes a callback.
pub(super) fn decode(authentic: &Authentic, cx: &Context<'_>) -> Decoded {
    let Ok(fields) = xml::read(authentic.message()) else {
        return UNREADABLE("the callback is not the documented XML");
    };
    let ours = Settings::of(cx.account).agent_id;
    if fields.some("AgentID").is_some_and(|id| id.parse() != Ok(ours)) {
        return IGNORED("the callback is for another application");
    }
    let Some(member) = fields.some("FromUserName") else {
        return UNREADABLE("the callback has no sender");
    };
    let callback = Callback {
        fields: &fields,
        member,
        // Both times are the platform's own; the older one detects stale callbacks.
        sent_at: xml_message::created_at(&fields).map_or(authentic.signed_at(), |at| at.min(authentic.signed_at())),
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
    member: &'a str,
    sent_at: Timestamp,
    cx: &'a Context<'a>,
}

impl Callback<'_> {
    fn message(&self, kind: &str) -> Decoded {
        let Some(id) = self.fields.some("MsgId") else {
            return UNREADABLE("the message has no id");
        };
        let id = PlatformMessageId::new(id);
        Decoded::Event(Box::new(Event::Message(Message {
            sender: xml_message::sender(self.member),
            sent_at: Some(self.sent_at),
            // A message of an unsupported type has neither text nor parts, of which the sender is notified.
            text: xml_message::text(self.fields, kind),
            parts: self.part(kind).into_iter().collect(),
            quoted: None,
            chat_name: None,
            refers_to: None,
            topic_root: None,
            album: None,
            target: self.target(id.clone(), json!({})),
            id,
        })))
    }

    fn part(&self, kind: &str) -> Option<Part> {
        let (kind, mime) = match kind {
            "image" => (PartKind::Image, None),
            "voice" => (PartKind::Audio, xml_message::voice_type(self.fields)),
            "video" => (PartKind::Video, None),
            _ => return None,
        };
        Some(Part {
            kind,
            name: None,
            mime: mime.map(str::to_owned),
            size: None,
            locator: json!({ "media": self.fields.some("MediaId")? }),
        })
    }

    fn event(&self) -> Decoded {
        let key = self.fields.text("EventKey");
        match self.fields.text("Event") {
            "enter_agent" => self.entered(),
            "template_card_event" if self.cx.now.since(self.sent_at) > MAX_CLICK_AGE => Decoded::LateClick {
                clicker: self.member.to_owned(),
            },
            "template_card_event" => self.action(key, json!({ "responseCode": self.fields.text("ResponseCode") })),
            // An entry of the application's menu may have our key.
            "click" if key == NEW_SESSION_KEY => self.action(key, json!({})),
            _ => IGNORED("an event that we don't use"),
        }
    }

    /// The platform reports every opening of the chat; the event id consists of member and day, so only the first of a day is answered.
    fn entered(&self) -> Decoded {
        if self.cx.welcome.is_none_or(|welcome| welcome.trim().is_empty()) {
            return IGNORED("chat was opened, and the trigger has no welcome");
        }
        let day = self.cx.now.as_secs().div_euclid(24 * 60 * 60).to_string();
        let id = PlatformMessageId::new(digest(&["entered", self.member, &day]));
        Decoded::Event(Box::new(Event::CardAction(CardAction {
            id,
            sender: xml_message::sender(self.member),
            key: WELCOME_KEY.to_owned(),
            card: String::new(),
            // No message is replied to.
            target: self.target(PlatformMessageId::new(""), json!({})),
        })))
    }

    fn action(&self, key: &str, handle: serde_json::Value) -> Decoded {
        // Events have no id, so one is derived. Two events of the same second may differ in any of these.
        let names = ["FromUserName", "CreateTime", "AgentID", "Event", "EventKey", "TaskId"];
        let id = PlatformMessageId::new(digest(&names.map(|name| self.fields.text(name))));
        Decoded::Event(Box::new(Event::CardAction(CardAction {
            sender: xml_message::sender(self.member),
            key: key.to_owned(),
            card: self.fields.text("TaskId").to_owned(),
            target: self.target(id.clone(), handle),
            id,
        })))
    }

    fn target(&self, message: PlatformMessageId, handle: serde_json::Value) -> ReplyTarget {
        xml_message::target(self.member, message, handle, None, self.cx)
    }
}
