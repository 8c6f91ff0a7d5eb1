//! JSON of the interface. Described for its users in `docs/platforms/custom.md`.

use std::borrow::Cow;

use serde::Serialize;
use serde_json::Value;
use tieline_core::card::Button;
use tieline_core::event::{ChatKind, PartKind};
use tieline_core::http_types::{WebhookAnswer, WebhookRequest};
use tieline_core::ids::{MessageId, ReplyId};
use tieline_core::json_depth::is_deeper;
use tieline_core::notice::Notice;
use tieline_core::reply::ReplyFile;
use tieline_core::timestamp::Timestamp;

use super::fields::{MAX_ID, Mistake, Object};

const MAX_NAME: usize = 512;
const MAX_URL: usize = 4096;
const MAX_HANDLE: usize = 4096;
/// Deepest nesting of a reply handle.
const MAX_HANDLE_DEPTH: usize = 32;
/// Largest number of attachments of a message, and of a quoted message.
const MAX_PARTS: usize = 20;

/// Kinds of requests.
#[derive(Debug)]
pub(super) enum Request {
    /// A person sent a message. With the names of unknown fields.
    Message(Box<Said>, Vec<String>),
    /// A person clicked on a button of a reply. With the names of unknown fields.
    Click(Box<Click>, Vec<String>),
    /// A poll for the latest state of a reply.
    Poll(Poll),
}

/// A person's message.
#[derive(Debug)]
pub(super) struct Said {
    pub(super) id: String,
    pub(super) text: String,
    pub(super) parts: Vec<Attachment>,
    pub(super) chat: ChatId,
    pub(super) sender_id: String,
    pub(super) sender_name: Option<String>,
    pub(super) mentioned: bool,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) quoted: Option<(String, Vec<Attachment>)>,
    pub(super) reply_handle: Option<Value>,
}

/// A click on a button that sends a text to the agent.
#[derive(Debug)]
pub(super) struct Click {
    pub(super) id: String,
    pub(super) reply: String,
    /// Index of the reply's button, from 0.
    pub(super) button: usize,
    pub(super) chat: ChatId,
    pub(super) sender_id: String,
    pub(super) sender_name: Option<String>,
    pub(super) sent_at: Option<Timestamp>,
    pub(super) reply_handle: Option<Value>,
}

/// The chat of a message.
#[derive(Debug)]
pub(super) struct ChatId {
    pub(super) id: String,
    pub(super) kind: ChatKind,
    pub(super) thread: Option<String>,
    pub(super) name: Option<String>,
}

/// An attachment of a message.
#[derive(Debug)]
pub(super) struct Attachment {
    pub(super) kind: PartKind,
    pub(super) name: Option<String>,
    pub(super) mime: Option<String>,
    pub(super) size: Option<u64>,
    pub(super) content: AttachmentContent,
}

/// Location of an attachment's bytes.
#[derive(Debug)]
pub(super) enum AttachmentContent {
    /// At a URL.
    Url(String),
    /// Inline, in base64.
    Data(String),
}

/// A poll for the latest state of a reply.
#[derive(Debug)]
pub(super) struct Poll {
    pub(super) reply: String,
    /// Wait for a version newer than this.
    pub(super) after: Option<u64>,
}

/// Parses an authenticated request.
pub(super) fn read(request: &WebhookRequest) -> Result<Request, Mistake> {
    if request.method == "GET" {
        return poll_in_query(request).map(Request::Poll);
    }
    let mut body = Object::of_body(&request.body)?;
    if body.number("version")?.is_some_and(|version| version != 1) {
        return Err(body.mistake("version", "must be 1"));
    }
    match body.text("type", MAX_ID)?.as_deref() {
        None | Some("message") => message(body),
        Some("click") => click(body),
        Some("poll") => Ok(Request::Poll(Poll {
            reply: body.id("replyId")?,
            after: body.number("after")?,
        })),
        Some(_) => Err(body.mistake("type", "must be `message`, `click` or `poll`")),
    }
}

fn poll_in_query(request: &WebhookRequest) -> Result<Poll, Mistake> {
    let mistake = |field: &str, rule| Mistake {
        field: field.to_owned(),
        rule,
    };
    let reply = request
        .query_value("replyId")
        .filter(|id| !id.is_empty() && id.len() <= MAX_ID);
    let after = request.query_value("after").map(|after| after.parse());
    Ok(Poll {
        reply: reply.ok_or_else(|| mistake("replyId", "is required"))?,
        after: after
            .transpose()
            .map_err(|_| mistake("after", "must be a whole number"))?,
    })
}

fn message(mut body: Object) -> Result<Request, Mistake> {
    let mut unread = Vec::new();
    let (mut sender, chat) = (body.required_object("sender")?, body.required_object("chat")?);
    let sent_at = sent_at(&mut body)?;
    let reply_handle = reply_handle(&mut body)?;
    let quoted = match body.object("quoted")? {
        Some(mut quoted) => {
            let text = quoted.text("text", usize::MAX)?.unwrap_or_default();
            let parts = attachments(&mut quoted, &mut unread)?;
            quoted.report_rest(&mut unread);
            Some((text, parts))
        }
        None => None,
    };
    let said = Said {
        id: body.id("id")?,
        text: body.text("text", usize::MAX)?.unwrap_or_default(),
        parts: attachments(&mut body, &mut unread)?,
        chat: chat_of(chat, &mut unread)?,
        sender_id: sender.id("id")?,
        sender_name: sender.text("name", MAX_NAME)?,
        mentioned: body.flag("mentioned")?.unwrap_or(false),
        sent_at,
        quoted,
        reply_handle,
    };
    if said.text.trim().is_empty() && said.parts.is_empty() {
        return Err(body.mistake("text", "must not be empty without parts"));
    }
    sender.report_rest(&mut unread);
    body.report_rest(&mut unread);
    Ok(Request::Message(Box::new(said), unread))
}

fn click(mut body: Object) -> Result<Request, Mistake> {
    let mut unread = Vec::new();
    let (mut sender, chat) = (body.required_object("sender")?, body.required_object("chat")?);
    let button = body
        .number("button")?
        .ok_or_else(|| body.mistake("button", "is required"))?;
    let clicked = Click {
        id: body.id("id")?,
        reply: body.id("replyId")?,
        button: usize::try_from(button).map_err(|_| body.mistake("button", "is too large"))?,
        sent_at: sent_at(&mut body)?,
        reply_handle: reply_handle(&mut body)?,
        chat: chat_of(chat, &mut unread)?,
        sender_id: sender.id("id")?,
        sender_name: sender.text("name", MAX_NAME)?,
    };
    sender.report_rest(&mut unread);
    body.report_rest(&mut unread);
    Ok(Request::Click(Box::new(clicked), unread))
}

fn sent_at(body: &mut Object) -> Result<Option<Timestamp>, Mistake> {
    let Some(time) = body.text("sentAt", MAX_ID)? else {
        return Ok(None);
    };
    let read = Timestamp::parse(&time).ok_or_else(|| body.mistake("sentAt", "must be a time in RFC 3339"))?;
    Ok(Some(read))
}

fn reply_handle(body: &mut Object) -> Result<Option<Value>, Mistake> {
    let handle = body.any("replyHandle");
    match &handle {
        Some(value) if is_deeper(value, MAX_HANDLE_DEPTH) => Err(body.mistake("replyHandle", "is nested too deeply")),
        Some(value) if value.to_string().len() > MAX_HANDLE => Err(body.mistake("replyHandle", "is too long")),
        _ => Ok(handle),
    }
}

fn chat_of(mut chat: Object, unread: &mut Vec<String>) -> Result<ChatId, Mistake> {
    let kind = match chat.text("kind", MAX_ID)?.as_deref() {
        None | Some("direct") => ChatKind::Direct,
        Some("group") => ChatKind::Group,
        Some(_) => return Err(chat.mistake("kind", "must be `direct` or `group`")),
    };
    let found = ChatId {
        id: chat.id("id")?,
        kind,
        thread: chat.optional_id("thread")?.filter(|thread| !thread.is_empty()),
        name: chat.text("name", MAX_NAME)?.filter(|name| !name.is_empty()),
    };
    chat.report_rest(unread);
    Ok(found)
}

fn attachments(of: &mut Object, unread: &mut Vec<String>) -> Result<Vec<Attachment>, Mistake> {
    let parts = of.objects("parts", MAX_PARTS)?;
    parts.into_iter().map(|part| attachment(part, unread)).collect()
}

fn attachment(mut part: Object, unread: &mut Vec<String>) -> Result<Attachment, Mistake> {
    let kind = match part.text("kind", MAX_ID)?.as_deref() {
        Some("image") => PartKind::Image,
        Some("audio") => PartKind::Audio,
        Some("video") => PartKind::Video,
        None | Some("file") => PartKind::File,
        Some(_) => return Err(part.mistake("kind", "must be `image`, `audio`, `video` or `file`")),
    };
    let content = match (part.text("url", MAX_URL)?, part.text("data", usize::MAX)?) {
        (Some(url), None) => AttachmentContent::Url(url),
        (None, Some(data)) => AttachmentContent::Data(data),
        _ => return Err(part.mistake("url", "or `data` is required, and not both")),
    };
    let attachment = Attachment {
        kind,
        name: part.text("name", MAX_NAME)?,
        mime: part.text("mime", MAX_ID)?,
        size: part.number("size")?,
        content,
    };
    part.report_rest(unread);
    Ok(attachment)
}

/// The response to an accepted message.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Accepted<'a> {
    accepted: bool,
    message_id: MessageId,
    reply_id: ReplyId,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    ignored: &'a [String],
}

pub(super) fn accepted(message_id: MessageId, reply_id: ReplyId, unread: &[String]) -> WebhookAnswer {
    WebhookAnswer::json(&Accepted {
        accepted: true,
        message_id,
        reply_id,
        ignored: unread,
    })
}

/// The response to an authenticated request that is ignored. Its status is success, since sending the request again would change nothing.
pub(super) fn not_accepted(code: &str, mistake: Option<&Mistake>) -> WebhookAnswer {
    let mut answer = serde_json::json!({ "accepted": false, "code": code });
    if let Some(Mistake { field, rule }) = mistake {
        let subject = if field.is_empty() {
            "The body".to_owned()
        } else {
            format!("`{field}`")
        };
        answer["field"] = (!field.is_empty()).then_some(field.as_str()).into();
        answer["title"] = format!("{subject} {rule}.").into();
    }
    WebhookAnswer::json(&answer)
}

/// A state of a reply's text, polled or pushed.
#[derive(Serialize)]
pub(super) struct State<'a> {
    pub(super) text: Cow<'a, str>,
    /// The agent's reasoning, until the text begins.
    #[serde(skip_serializing_if = "str::is_empty")]
    pub(super) reasoning: &'a str,
    pub(super) done: bool,
    pub(super) version: u64,
    pub(super) files: &'a [ReplyFile],
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) notice: Option<Notice>,
}

/// A reply as it is posted to the program.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct PostedReply<'a> {
    /// `reply`, or `message` if it answers none.
    #[serde(rename = "type")]
    pub(super) kind: &'static str,
    pub(super) reply_id: &'a str,
    #[serde(flatten)]
    pub(super) state: State<'a>,
    /// Buttons of a card. They are also lines of the text, for programs that show no buttons.
    #[serde(skip_serializing_if = "<[Button]>::is_empty")]
    pub(super) buttons: &'a [Button],
    pub(super) chat: PostedChat<'a>,
    pub(super) thread: Option<&'a str>,
    pub(super) asker: &'a str,
    pub(super) in_reply_to: Option<&'a str>,
    pub(super) reply_handle: &'a Value,
}

/// The chat that a reply belongs to.
#[derive(Serialize)]
pub(super) struct PostedChat<'a> {
    pub(super) id: &'a str,
    pub(super) kind: ChatKind,
}
