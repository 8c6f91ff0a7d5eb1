//! Converts authentic payloads to events, and builds the responses to the platform.

use serde::Deserialize as _;
use serde_json::{Map, Value, json};
use tieline_core::connector::{Context, Remark, Unaddressed};
use tieline_core::event::{
    CardAction, Chat, ChatKind, Event, Message, NEW_SESSION_KEY, Recalled, STALE_CLICK, Sender, WELCOME_KEY,
};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId, ThreadId, digest};
use tieline_core::notice::{Language, Notice};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::card_action::Button;
use super::settings::Settings;
use super::verify::Authentic;
use super::{content, mentions, wire};

/// A decoded payload.
#[derive(Debug, PartialEq)]
pub(super) struct Decoded {
    pub kind: Kind,
    /// The event, or the reason for none.
    pub event: Result<Event, Remark>,
}

/// Kinds of payloads, by the response that the platform expects.
#[derive(Debug, PartialEq)]
pub(super) enum Kind {
    /// A URL check: the challenge is returned.
    Check(String),
    /// An event: it is acknowledged.
    Event,
    /// A callback: this response is sent at once.
    Callback(Value),
}

pub(super) fn decode(payload: Authentic, cx: &Context<'_>) -> Decoded {
    let payload = payload.payload();
    let word = |field: &str| payload.get(field).and_then(Value::as_str).unwrap_or_default();
    if word("type") == "url_verification" {
        let challenge = word("challenge").to_owned();
        return Decoded {
            kind: Kind::Check(challenge),
            event: Err(Remark::Ignored("URL check")),
        };
    }
    if word("schema") == "2.0" {
        return envelope(payload, cx);
    }
    let remark = if word("type") == "event_callback" {
        Remark::Ignored("event of version 1.0")
    } else {
        Remark::Unreadable("payload is neither an event nor a callback")
    };
    Decoded {
        kind: Kind::Event,
        event: Err(remark),
    }
}

fn envelope(payload: Map<String, Value>, cx: &Context<'_>) -> Decoded {
    let Ok(envelope) = wire::Envelope::deserialize(Value::Object(payload)) else {
        return Decoded {
            kind: Kind::Event,
            event: Err(Remark::Unreadable("envelope does not have the documented shape")),
        };
    };
    match envelope.header.event_type.as_str() {
        "im.message.receive_v1" => Decoded {
            kind: Kind::Event,
            event: message(envelope.event, cx),
        },
        "im.chat.access_event.bot_p2p_chat_entered_v1" => Decoded {
            kind: Kind::Event,
            event: entered(envelope.event, cx),
        },
        "im.message.recalled_v1" => Decoded {
            kind: Kind::Event,
            event: recalled(envelope.event),
        },
        "card.action.trigger" => card(envelope, cx),
        "url.preview.get" => Decoded {
            kind: Kind::Callback(json!({})),
            event: Err(Remark::Ignored("link preview")),
        },
        _ => Decoded {
            kind: Kind::Event,
            event: Err(Remark::Ignored("event type that is not used")),
        },
    }
}

fn message(event: Value, cx: &Context<'_>) -> Result<Event, Remark> {
    let event = wire::MessageEvent::deserialize(event)
        .map_err(|_| Remark::Unreadable("message does not have the documented shape"))?;
    let bot = Settings::of(cx.account).bot.as_deref();
    let (sender, message) = (event.sender, event.message);
    if sender.sender_type != "user" || Some(sender.sender_id.open_id.as_str()) == bot {
        return Err(Remark::Ignored("message of a bot"));
    }
    if message.message_type == "system" {
        return Err(Remark::Ignored("system message"));
    }
    let kind = chat_kind(&message.chat_type);
    let mentioned = message.mentions.iter().any(|mention| mentions::is_bot(mention, bot));
    let is_addressed = kind == ChatKind::Direct || mentioned;
    if !is_addressed && cx.unaddressed == Unaddressed::Ignored {
        return Err(Remark::Ignored("group message that doesn't mention the bot"));
    }
    let content = content::read(&message.message_id, &message.message_type, &message.content)
        .ok_or(Remark::Unreadable("message content does not have the documented shape"))?;
    let asker = person(&sender.sender_id).ok_or(Remark::Unreadable("message without a sender"))?;
    let said = Message {
        id: PlatformMessageId::new(message.message_id.clone()),
        sender: Sender {
            id: asker.clone(),
            name: None,
        },
        sent_at: message.create_time.parse().ok().map(Timestamp::from_millis),
        text: mentions::named(&content.text, &message.mentions, bot),
        parts: content.parts,
        quoted: None,
        chat_name: None,
        refers_to: refers_to(&message),
        topic_root: topic_root(&message),
        album: None,
        target: target(&message, kind, asker, cx),
    };
    Ok(cx.event(said, is_addressed))
}

/// The id of a quoted message or, for forwarded messages, of their container: the event has nothing more.
fn refers_to(message: &wire::Message) -> Option<PlatformMessageId> {
    let id = match message.message_type.as_str() {
        "merge_forward" => &message.message_id,
        // It is in the topic, which is not a quote.
        _ if topic_root(message).is_some() => return None,
        _ => &message.parent_id,
    };
    (!id.is_empty()).then(|| PlatformMessageId::new(id.clone()))
}

/// The first message of the topic: every message inside has it as its parent, unless it quotes another one.
fn topic_root(message: &wire::Message) -> Option<PlatformMessageId> {
    let root = &message.root_id;
    let is_inside = !message.thread_id.is_empty() && message.parent_id == *root && message.message_id != *root;
    (is_inside && !root.is_empty()).then(|| PlatformMessageId::new(root.clone()))
}

/// A person opened the chat with the bot. The platform reports this every time, so the event id consists of the chat and the day, and only
/// the first time of a day is processed.
fn entered(event: Value, cx: &Context<'_>) -> Result<Event, Remark> {
    if cx.welcome.is_none_or(|welcome| welcome.trim().is_empty()) {
        return Err(Remark::Ignored("chat was opened, and there is no welcome text"));
    }
    let unreadable = Remark::Unreadable("opening of a chat does not have the documented shape");
    let event = wire::EnteredEvent::deserialize(event).map_err(|_| unreadable)?;
    let person = person(&event.operator_id).ok_or(unreadable)?;
    if event.chat_id.is_empty() {
        return Err(unreadable);
    }
    let day = cx.now.as_secs().div_euclid(24 * 3600).to_string();
    Ok(Event::CardAction(CardAction {
        id: PlatformMessageId::new(digest(&["entered", &event.chat_id, &day])),
        sender: Sender {
            id: person.clone(),
            name: None,
        },
        key: WELCOME_KEY.to_owned(),
        card: String::new(),
        target: ReplyTarget {
            integration: cx.account.integration.clone(),
            chat: Chat {
                kind: ChatKind::Direct,
                id: ChatId::new(event.chat_id),
                thread: None,
            },
            asker: person,
            // No message is replied to.
            message: PlatformMessageId::new(""),
            handle: handle(""),
            expires_at: None,
        },
    }))
}

/// A message was recalled. The platform tells neither the kind of its chat nor its topic, nor who recalled it.
fn recalled(event: Value) -> Result<Event, Remark> {
    let unreadable = Remark::Unreadable("recall of a message does not have the documented shape");
    let event = wire::RecalledEvent::deserialize(event).map_err(|_| unreadable)?;
    if event.message_id.is_empty() || event.chat_id.is_empty() {
        return Err(unreadable);
    }
    Ok(Event::Recalled(Recalled {
        message: PlatformMessageId::new(event.message_id),
        chat: Chat {
            kind: ChatKind::Group,
            id: ChatId::new(event.chat_id),
            thread: None,
        },
        sender: SenderId::new(""),
    }))
}

/// Anything that isn't a direct chat has more than two members.
fn chat_kind(chat_type: &str) -> ChatKind {
    if chat_type == "p2p" {
        ChatKind::Direct
    } else {
        ChatKind::Group
    }
}

fn person(id: &wire::UserId) -> Option<SenderId> {
    let known = [&id.open_id, &id.union_id, &id.user_id];
    let id = known.into_iter().find(|id| !id.is_empty())?;
    Some(SenderId::new(id.clone()))
}

fn target(message: &wire::Message, kind: ChatKind, asker: SenderId, cx: &Context<'_>) -> ReplyTarget {
    let thread = &message.thread_id;
    // If the message itself is withdrawn, the first message of its topic still leads into the topic.
    let root = if thread.is_empty() { "" } else { &message.root_id };
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat: Chat {
            kind,
            id: ChatId::new(message.chat_id.clone()),
            thread: (!thread.is_empty()).then(|| ThreadId::new(thread.clone())),
        },
        asker,
        message: PlatformMessageId::new(message.message_id.clone()),
        handle: handle(root),
        expires_at: None,
    }
}

fn handle(root: &str) -> ReplyHandle {
    ReplyHandle::new(if root.is_empty() {
        json!({})
    } else {
        json!({ "root": root })
    })
}

fn card(envelope: wire::Envelope, cx: &Context<'_>) -> Decoded {
    let stale = is_stale(&envelope.header.create_time, cx);
    let button = envelope.event.pointer("/action/value").and_then(Button::read);
    let label = button
        .as_ref()
        .map(|it| it.label.clone())
        .filter(|label| !label.is_empty());
    let event = click(envelope, cx);
    let (event, answer) = match event {
        Ok(Event::CardAction(_)) if stale => (
            Err(Remark::Ignored("click of more than a day ago")),
            toast("warning", Notice::StaleClick, cx.account.language),
        ),
        Ok(Event::CardAction(action)) if action.key == NEW_SESSION_KEY => {
            let answer = toast("success", Notice::NewSession, cx.account.language);
            (Ok(Event::CardAction(action)), answer)
        }
        Ok(Event::CardAction(action)) if button.as_ref().is_some_and(|it| !it.is_for(action.sender.id.as_str())) => (
            Err(Remark::Ignored("button of another person's answer")),
            toast("warning", Notice::NotYourButton, cx.account.language),
        ),
        Ok(event) if let Some(label) = label => (Ok(event), chosen(&label)),
        event => (event, json!({})),
    };
    Decoded {
        kind: Kind::Callback(answer),
        event,
    }
}

/// `create_time` of a callback is documented in microseconds, that of other events in milliseconds: distinguished by size.
const LEAST_MICROS: i64 = 100_000_000_000_000;

/// Time of the click that a callback with this `create_time` is about.
fn clicked_at(create_time: &str) -> Option<Timestamp> {
    let time = create_time.parse::<i64>().ok()?;
    let millis = if time >= LEAST_MICROS { time / 1000 } else { time };
    Some(Timestamp::from_millis(millis))
}

/// Whether a callback with this `create_time` is about an old click.
fn is_stale(create_time: &str, cx: &Context<'_>) -> bool {
    clicked_at(create_time).is_some_and(|at| cx.now.since(at) > STALE_CLICK)
}

/// Period in which clicks of a person on a button count once.
const ONE_CLICK_MS: i64 = 10_000;

/// Idempotency key of a click. A double click is two events with different ids, so it is derived from the person, the button and the
/// period; a redelivered event has the time of the first delivery. Clicks around the end of a period still count twice. Without a time it
/// is the event's id.
fn click_id(header: wire::EnvelopeHeader, message: &str, clicker: &SenderId, button: &Button) -> PlatformMessageId {
    let Some(at) = clicked_at(&header.create_time) else {
        return PlatformMessageId::new(header.event_id);
    };
    let period = at.as_millis().div_euclid(ONE_CLICK_MS).to_string();
    PlatformMessageId::new(digest(&[
        "click",
        message,
        clicker.as_str(),
        &button.card,
        &button.key,
        &period,
    ]))
}

fn click(envelope: wire::Envelope, cx: &Context<'_>) -> Result<Event, Remark> {
    let unreadable = Remark::Unreadable("card callback does not have the documented shape");
    let event = wire::CardEvent::deserialize(envelope.event).map_err(|_| unreadable)?;
    let button = Button::read(&event.action.value).ok_or(Remark::Ignored("click on a card that isn't ours"))?;
    let clicker = person(&event.operator).ok_or(unreadable)?;
    let context = event.context;
    if envelope.header.event_id.is_empty() || context.open_chat_id.is_empty() || context.open_message_id.is_empty() {
        return Err(unreadable);
    }
    Ok(Event::CardAction(CardAction {
        id: click_id(envelope.header, &context.open_message_id, &clicker, &button),
        sender: Sender {
            id: clicker.clone(),
            name: None,
        },
        key: button.action().to_owned(),
        card: button.card,
        target: ReplyTarget {
            integration: cx.account.integration.clone(),
            chat: Chat {
                kind: button.chat,
                id: ChatId::new(context.open_chat_id),
                thread: button.thread.map(ThreadId::new),
            },
            asker: clicker,
            message: PlatformMessageId::new(context.open_message_id),
            handle: handle(""),
            expires_at: None,
        },
    }))
}

/// The toast that confirms which button of a card was clicked.
fn chosen(label: &str) -> Value {
    json!({ "toast": { "type": "success", "content": format!("✓ {label}") } })
}

/// A toast over the chat, shown at once. The action itself is queued like every event.
///
/// See [Feishu Docs/卡片回传交互回调](https://open.feishu.cn/document/uAjLw4CM/ukzMukzMukzM/feishu-cards/card-callback-communication).
fn toast(kind: &str, notice: Notice, language: Language) -> Value {
    json!({ "toast": {
        "type": kind,
        "content": notice.text(language),
        "i18n": { "zh_cn": notice.text(Language::Chinese), "en_us": notice.text(Language::English) },
    }})
}
