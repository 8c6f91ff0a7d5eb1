//! Common fields of WeChat and WeCom messages, in their callbacks' XML.

use serde_json::Value;
use tieline_core::connector::Context;
use tieline_core::event::{Chat, ChatKind, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use crate::xml::Fields;

/// Time of the person's action, if the callback contains it.
pub(crate) fn created_at(fields: &Fields) -> Option<Timestamp> {
    fields.text("CreateTime").parse().ok().map(Timestamp::from_secs)
}

/// The text of a message. A message of an unsupported type has none.
pub(crate) fn text(fields: &Fields, kind: &str) -> String {
    let text = |name| fields.text(name);
    match kind {
        "text" => text("Content").to_owned(),
        "location" => format!("{} ({}, {})", text("Label"), text("Location_X"), text("Location_Y"))
            .trim_start()
            .to_owned(),
        "link" => {
            let lines = [text("Title"), text("Description"), text("Url")];
            let lines: Vec<_> = lines.into_iter().filter(|line| !line.is_empty()).collect();
            lines.join("\n")
        }
        _ => String::new(),
    }
}

/// The MIME type of a recording.
pub(crate) fn voice_type(fields: &Fields) -> Option<&'static str> {
    Some("audio/amr").filter(|_| fields.text("Format") == "amr")
}

/// The sender of a message.
pub(crate) fn sender(person: &str) -> Sender {
    Sender {
        id: SenderId::new(person),
        name: None,
    }
}

/// The reply target for a person: there are direct chats only.
pub(crate) fn target(
    person: &str,
    message: PlatformMessageId,
    handle: Value,
    expires_at: Option<Timestamp>,
    cx: &Context<'_>,
) -> ReplyTarget {
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat: Chat {
            kind: ChatKind::Direct,
            id: ChatId::new(person),
            thread: None,
        },
        asker: SenderId::new(person),
        message,
        handle: ReplyHandle::new(handle),
        expires_at,
    }
}
