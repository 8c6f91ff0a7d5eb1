//! Converts a message to the robot to an event. The same over HTTP and over the long connection.

use serde::Deserialize as _;
use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{Chat, ChatKind, Event, Message, Part, PartKind, Quoted, Sender};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId};
use tieline_core::reply::ReplyTarget;
use tieline_core::timestamp::Timestamp;

use super::handle::Handle;
use super::settings;
use super::wire::{Content, RepliedMsg, RichItem, RobotMessage};
use crate::mentions::ends_name;

/// The message doesn't have the documented format.
pub(super) const UNREADABLE: Remark = Remark::Unreadable("the message does not have the documented shape");
/// The organization has used up its pushes: nothing is delivered until the month ends or more are bought.
const QUOTA_EXHAUSTED: Remark =
    Remark::Unreadable("the organization's monthly allowance of pushed messages is used up: code 20001");
const QUOTA_CODE: i64 = 20001;

/// Reads a message.
pub(super) fn message(data: &[u8], cx: &Context<'_>) -> Result<Event, Remark> {
    let wire: RobotMessage = serde_json::from_slice(data).map_err(|_| UNREADABLE)?;
    let (Some(id), Some(conversation)) = (&wire.msg_id, &wire.conversation_id) else {
        return Err(UNREADABLE);
    };
    let sender = wire
        .sender_staff_id
        .as_ref()
        .or(wire.sender_id.as_ref())
        .ok_or(UNREADABLE)?;
    check_for_errors(&wire)?;
    let chat = Chat {
        kind: kind_of(&wire),
        id: ChatId::new(conversation.as_str()),
        thread: None,
    };
    if chat.kind == ChatKind::Group && !is_for_us(&wire) {
        return Err(Remark::Ignored("the robot is not mentioned"));
    }
    let id = PlatformMessageId::new(id.as_str());
    let said = said(&wire, cx)?;
    Ok(Event::Message(Message {
        sender: Sender {
            id: SenderId::new(sender.as_str()),
            name: wire.sender_nick.clone(),
        },
        sent_at: wire.create_at.or(wire.create_a).map(Timestamp::from_millis),
        text: said.text,
        parts: said.parts,
        quoted: quoted(&wire, cx),
        chat_name: wire.conversation_title.clone().filter(|title| !title.is_empty()),
        refers_to: None,
        topic_root: None,
        album: None,
        target: target(&wire, &id, chat, sender, cx),
        id,
    }))
}

fn check_for_errors(wire: &RobotMessage) -> Result<(), Remark> {
    match wire.error_code.or(wire.err_code) {
        None | Some(0) => Ok(()),
        Some(QUOTA_CODE) => Err(QUOTA_EXHAUSTED),
        Some(_) => Err(Remark::Unreadable("the platform pushed an error in place of a message")),
    }
}

fn kind_of(wire: &RobotMessage) -> ChatKind {
    if wire.conversation_type.as_deref() == Some("1") {
        ChatKind::Direct
    } else {
        ChatKind::Group
    }
}

/// Whether the robot was mentioned or replied to. Assumed if the platform doesn't say: no other messages are pushed.
fn is_for_us(wire: &RobotMessage) -> bool {
    wire.is_in_at_list != Some(false) || quotes_us(wire)
}

fn quotes_us(wire: &RobotMessage) -> bool {
    let author = replied(wire).and_then(|replied| replied.sender_id);
    author.is_some() && author == wire.chatbot_user_id
}

fn target(wire: &RobotMessage, id: &PlatformMessageId, chat: Chat, asker: &str, cx: &Context<'_>) -> ReplyTarget {
    let handle = Handle {
        webhook: wire.session_webhook.clone(),
        webhook_until: wire.session_webhook_expired_time,
        robot: wire.robot_code.clone(),
        staff: wire.sender_staff_id.clone(),
    };
    let expires_at = handle.expires_at(&chat);
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat,
        asker: SenderId::new(asker),
        message: id.clone(),
        handle: handle.write(),
        expires_at,
    }
}

/// Content of a message: text and attachments.
#[derive(Default)]
struct Said {
    text: String,
    parts: Vec<Part>,
}

fn said(wire: &RobotMessage, cx: &Context<'_>) -> Result<Said, Remark> {
    let robot = robot_of(wire, cx);
    let content = || content_of(wire.content.as_ref()).ok_or(UNREADABLE);
    let said = match wire.msgtype.as_deref().unwrap_or_default() {
        "text" => Said {
            text: words_of_text(wire)?,
            parts: Vec::new(),
        },
        "richText" => {
            let items = content()?.rich_text.ok_or(UNREADABLE)?;
            let mut said = rich(&items, robot);
            said.text = without_mention(&said.text, wire).to_owned();
            said
        }
        "picture" => thing(PartKind::Image, &content()?, robot).ok_or(UNREADABLE)?,
        "audio" => thing(PartKind::Audio, &content()?, robot).ok_or(UNREADABLE)?,
        "video" => thing(PartKind::Video, &content()?, robot).ok_or(UNREADABLE)?,
        "file" => thing(PartKind::File, &content()?, robot).ok_or(UNREADABLE)?,
        "" => return Err(UNREADABLE),
        // Without text: the sender gets the notice that it can't be read.
        _ => return Ok(Said::default()),
    };
    let text = said.text.trim().to_owned();
    if text.is_empty() && said.parts.is_empty() && replied(wire).is_none() {
        return Err(Remark::Ignored("the message is empty"));
    }
    Ok(Said { text, ..said })
}

/// The platform removes the mention from a text, but leaves a space in its place.
fn words_of_text(wire: &RobotMessage) -> Result<String, Remark> {
    match (&wire.text, &wire.content) {
        (Some(text), _) => Ok(text.content.clone().unwrap_or_default()),
        (None, Some(Value::String(content))) => Ok(content.clone()),
        _ => Err(UNREADABLE),
    }
}

/// In rich text the mention may be part of the text. The robot's name isn't known here, but if only the robot is mentioned, a leading
/// mention can only be the robot's.
fn without_mention<'a>(text: &'a str, wire: &RobotMessage) -> &'a str {
    let text = text.trim();
    let users = wire.at_users.as_deref().unwrap_or_default();
    let alone = users.iter().all(|user| user.dingtalk_id == wire.chatbot_user_id);
    match text.strip_prefix('@') {
        Some(named) if kind_of(wire) == ChatKind::Group && alone && !users.is_empty() => {
            named.find(ends_name).map_or("", |end| &named[end..])
        }
        _ => text,
    }
}

fn rich(items: &[RichItem], robot: &str) -> Said {
    let mut said = Said::default();
    for item in items {
        let kind = item.kind.as_ref().or(item.msg_type.as_ref());
        let kind = kind.map(String::as_str).unwrap_or_default();
        if kind == "picture" {
            let code = item.download_code.as_ref().or(item.picture_download_code.as_ref());
            said.parts.extend(code.map(|code| part(PartKind::Image, code, robot)));
        } else if let Some(name) = item.at_name.as_deref().filter(|_| kind == "at") {
            said.text.push('@');
            said.text.push_str(name);
        } else if let Some(words) = item.text.as_ref().or(item.content.as_ref()) {
            said.text.push_str(words);
        }
    }
    said
}

/// A message that consists of one attachment. For a recording, the platform's transcript becomes the text.
fn thing(kind: PartKind, content: &Content, robot: &str) -> Option<Said> {
    let code = content
        .download_code
        .as_ref()
        .or(content.picture_download_code.as_ref())?;
    let mut part = part(kind, code, robot);
    part.name.clone_from(&content.file_name);
    if content.video_type.as_deref() == Some("mp4") {
        part.mime = Some("video/mp4".to_owned());
    }
    Some(Said {
        text: content.recognition.clone().unwrap_or_default(),
        parts: vec![part],
    })
}

fn part(kind: PartKind, code: &str, robot: &str) -> Part {
    Part {
        kind,
        name: None,
        mime: None,
        size: None,
        locator: json!({ "code": code, "robot": robot }),
    }
}

/// The quoted message, if it can be read: of a card only that it was one.
fn quoted(wire: &RobotMessage, cx: &Context<'_>) -> Option<Quoted> {
    let replied = replied(wire)?;
    let robot = robot_of(wire, cx);
    let said = match replied.content {
        Some(Value::String(text)) => Said {
            text,
            parts: Vec::new(),
        },
        content => quoted_content(replied.msg_type.as_deref(), &content_of(content.as_ref())?, robot),
    };
    let text = said.text.trim().to_owned();
    (!text.is_empty() || !said.parts.is_empty()).then_some(Quoted {
        text,
        parts: said.parts,
    })
}

fn quoted_content(msg_type: Option<&str>, content: &Content, robot: &str) -> Said {
    if let Some(items) = &content.rich_text {
        return rich(items, robot);
    }
    let kind = match msg_type {
        Some("picture") => PartKind::Image,
        Some("audio") => PartKind::Audio,
        Some("video") => PartKind::Video,
        _ => PartKind::File,
    };
    let mut said = thing(kind, content, robot).unwrap_or_default();
    if let Some(text) = content.text.as_ref().or(content.content.as_ref()) {
        said.text.clone_from(text);
    }
    said
}

fn replied(wire: &RobotMessage) -> Option<RepliedMsg> {
    let in_text = wire.text.as_ref().and_then(|text| text.replied_msg.as_ref());
    match in_text {
        Some(replied) => Some(replied.clone()),
        None => content_of(wire.content.as_ref())?.replied_msg,
    }
}

fn content_of(content: Option<&Value>) -> Option<Content> {
    Content::deserialize(content?).ok()
}

/// The robot that received the message: only this robot may fetch its attachments.
fn robot_of<'a>(wire: &'a RobotMessage, cx: &Context<'a>) -> &'a str {
    wire.robot_code
        .as_deref()
        .unwrap_or_else(|| settings::of(cx).robot_code.as_str())
}
