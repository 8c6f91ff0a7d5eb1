//! Converts updates to events.

use serde::Deserialize as _;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tieline_core::card::read_choice_key;
use tieline_core::connector::{Context, Remark, Unaddressed};
use tieline_core::event::{
    CardAction, Chat, ChatKind, ChatMoved, Event, Message, NEW_SESSION_KEY, Quoted, Sender, WELCOME_KEY,
};
use tieline_core::ids::{ChatId, PlatformMessageId, SenderId, ThreadId};
use tieline_core::reply::{ReplyHandle, ReplyTarget};
use tieline_core::timestamp::Timestamp;

use super::settings::Settings;
use super::{content, mentions, wire};

/// Command that clients send when a person opens the bot for the first time.
///
/// See [Bot features/Global commands](https://core.telegram.org/bots/features#global-commands).
const START: &str = "/start";
/// Command of a draft's Stop button.
const STOP: &str = "/stop";
/// Field of a reply handle: the callback query that must be answered first.
pub(super) const CALLBACK: &str = "callback";
/// Field of a reply handle of an earlier version: the text for answering the callback query.
pub(super) const CHOSEN: &str = "chosen";
/// Longest label of a pressed button in that text: 200 characters are allowed, and the label comes from the client.
///
/// See [Bot API/answerCallbackQuery](https://core.telegram.org/bots/api#answercallbackquery).
const MAX_LABEL: usize = 60;

/// A decoded update.
#[derive(Debug)]
pub(super) struct Decoded {
    /// `None` if the update has no id, so it can't be confirmed.
    pub update_id: Option<i64>,
    /// The event, or the reason for none.
    pub event: Result<Event, Remark>,
    /// A button press that is answered at once.
    pub unanswered_query: Option<UnansweredQuery>,
}

/// A button press: the client shows a progress bar until it is answered, and the platform accepts only an early answer.
#[derive(Debug)]
pub(super) struct UnansweredQuery {
    id: String,
    /// Text for a toast over the chat.
    text: Option<String>,
}

impl UnansweredQuery {
    /// Parameters of `answerCallbackQuery`.
    pub(super) fn answer(&self) -> Value {
        let mut parameters = json!({ "callback_query_id": self.id });
        if let Some(text) = &self.text {
            parameters["text"] = json!(text);
        }
        parameters
    }
}

impl Decoded {
    fn without_event(update_id: Option<i64>, remark: Remark) -> Self {
        Self {
            update_id,
            event: Err(remark),
            unanswered_query: None,
        }
    }
}

/// Decodes one update. Never fails: a refused update would be delivered again and block its chat.
pub(super) fn update(update: Value, cx: &Context<'_>) -> Decoded {
    let update_id = update.get("update_id").and_then(Value::as_i64);
    let Ok(update) = wire::Update::deserialize(update) else {
        return Decoded::without_event(
            update_id,
            Remark::Unreadable("update does not have the documented shape"),
        );
    };
    let id = PlatformMessageId::new(update.update_id.to_string());
    if let Some(query) = update.callback_query {
        return Decoded {
            update_id,
            ..pressed(id, query, cx)
        };
    }
    let event = if let Some(message) = update.message {
        parsed(message, "message does not have the documented shape").and_then(|it| self::message(id, it, cx))
    } else if let Some(stopped) = update.stopped_message_generation {
        parsed(stopped, "stopped draft does not have the documented shape").map(|it| self::stopped(id, &it, cx))
    } else if let Some(member) = update.my_chat_member {
        Err(membership(member))
    } else if update.edited_message.is_some() {
        Err(Remark::Ignored("edited message"))
    } else {
        Err(Remark::Ignored("kind of update that is not used"))
    };
    Decoded {
        update_id,
        event,
        unanswered_query: None,
    }
}

fn parsed<T: DeserializeOwned>(value: Value, error: &'static str) -> Result<T, Remark> {
    T::deserialize(value).map_err(|_| Remark::Unreadable(error))
}

fn message(id: PlatformMessageId, message: wire::Message, cx: &Context<'_>) -> Result<Event, Remark> {
    if message.business_connection_id.is_some() || message.guest_query_id.is_some() {
        // The chat's id is that of the person's own chat with the bot, but it isn't that chat.
        return Err(Remark::Ignored("message of a business or guest chat"));
    }
    let kind = chat_kind(&message.chat).ok_or(Remark::Ignored("message in a channel"))?;
    if let Some(moved) = chat_moved(&id, &message) {
        return Ok(Event::ChatMoved(moved));
    }
    let sender = sender(&message)?;
    let bot = Settings::of(cx.account);
    let (text, entities) = content::text(&message);
    let addressed = mentions::read(text, entities, bot);
    if addressed.for_other {
        return Err(Remark::Ignored("command for another bot"));
    }
    let is_reply = replied(&message).is_some_and(|to| is_own(to, bot));
    let is_addressed = kind == ChatKind::Direct || addressed.mentioned || is_reply;
    // In an album only the part with the caption mentions the bot.
    if !is_addressed && cx.unaddressed == Unaddressed::Ignored && message.media_group_id.is_none() {
        return Err(Remark::Ignored("group message that doesn't mention the bot"));
    }
    let text = if text.is_empty() {
        content::in_words(&message.content)
    } else {
        addressed.text
    };
    let parts = content::parts(&message.content);
    let quoted = quoted(&message);
    // The sender is told that it can't be read. In groups and of service messages that would be noise.
    let is_unreadable = kind == ChatKind::Direct && message.content.is_unreadable();
    if text.is_empty() && parts.is_empty() && quoted.is_none() && !is_unreadable {
        return Err(Remark::Ignored("message without text or media"));
    }
    let target = target(
        chat(kind, &message),
        &sender,
        message.message_id.to_string(),
        json!({}),
        cx,
    );
    if kind == ChatKind::Direct && text == START && is_welcoming(cx) {
        return Ok(Event::CardAction(CardAction {
            id,
            sender,
            key: WELCOME_KEY.to_owned(),
            card: String::new(),
            target,
        }));
    }
    let said = Message {
        id,
        sender,
        sent_at: Some(Timestamp::from_secs(message.date)),
        text,
        parts,
        quoted,
        chat_name: message.chat.title.clone().filter(|title| !title.is_empty()),
        refers_to: None,
        topic_root: None,
        album: message.media_group_id,
        target,
    };
    Ok(cx.event(said, is_addressed))
}

fn is_welcoming(cx: &Context<'_>) -> bool {
    cx.welcome.is_some_and(|welcome| !welcome.trim().is_empty())
}

const fn chat_kind_of(kind: &str) -> Option<ChatKind> {
    match kind.as_bytes() {
        b"private" => Some(ChatKind::Direct),
        b"group" | b"supergroup" => Some(ChatKind::Group),
        _ => None,
    }
}

fn chat_kind(chat: &wire::Chat) -> Option<ChatKind> {
    chat_kind_of(&chat.kind)
}

/// A group that has become a supergroup. Both are told: the group, and the supergroup.
fn chat_moved(id: &PlatformMessageId, message: &wire::Message) -> Option<ChatMoved> {
    let here = message.chat.id;
    let (from, to) = match (message.migrate_to_chat_id, message.migrate_from_chat_id) {
        (Some(to), _) => (here, to),
        (None, Some(from)) => (from, here),
        (None, None) => return None,
    };
    Some(ChatMoved {
        id: id.clone(),
        from: ChatId::new(from.to_string()),
        chat: Chat {
            kind: ChatKind::Group,
            id: ChatId::new(to.to_string()),
            thread: None,
        },
        sender: sender(message).map_or_else(|_| SenderId::new(""), |sender| sender.id),
    })
}

/// The chat. The thread id is used only for topics: elsewhere the field identifies a chain of replies.
fn chat(kind: ChatKind, message: &wire::Message) -> Chat {
    let topic = message.is_topic_message.unwrap_or_default();
    let thread = message.message_thread_id.filter(|_| topic);
    Chat {
        kind,
        id: ChatId::new(message.chat.id.to_string()),
        thread: thread.map(|thread| ThreadId::new(thread.to_string())),
    }
}

/// The sender. An anonymous administrator is represented by their chat, since the user is the same for all of them.
fn sender(message: &wire::Message) -> Result<Sender, Remark> {
    if let Some(chat) = &message.sender_chat {
        return Ok(Sender {
            id: SenderId::new(chat.id.to_string()),
            name: chat.title.clone(),
        });
    }
    let user = message
        .from
        .as_ref()
        .ok_or(Remark::Ignored("message without a sender"))?;
    if user.is_bot {
        return Err(Remark::Ignored("message of a bot"));
    }
    Ok(person(user))
}

fn person(user: &wire::User) -> Sender {
    let names = [&user.first_name, &user.last_name].into_iter().flatten();
    let name = names
        .map(|name| name.trim())
        .filter(|name| !name.is_empty())
        .collect::<Vec<_>>()
        .join(" ");
    Sender {
        id: SenderId::new(user.id.to_string()),
        name: Some(name)
            .filter(|name| !name.is_empty())
            .or_else(|| user.username.clone()),
    }
}

/// The message that is replied to. Every message of a topic refers to the message that created the topic, which is not a reply.
fn replied(message: &wire::Message) -> Option<&wire::Message> {
    let replied = message.reply_to_message.as_deref()?;
    replied.forum_topic_created.is_none().then_some(replied)
}

fn is_own(message: &wire::Message, bot: &Settings) -> bool {
    let author = message.from.as_ref().map(|user| user.id);
    author.is_some() && author == bot.bot_id
}

fn quoted(message: &wire::Message) -> Option<Quoted> {
    let replied = replied(message);
    let text = match (&message.quote, replied, &message.external_reply) {
        (Some(quote), _, _) => quote.text.clone(),
        (None, Some(replied), _) => content::words(replied),
        (None, None, Some(elsewhere)) => content::in_words(elsewhere),
        (None, None, None) => return None,
    };
    let quoted = replied.map(|it| &it.content).or(message.external_reply.as_ref());
    let parts = quoted.map(content::parts).unwrap_or_default();
    (!text.is_empty() || !parts.is_empty()).then_some(Quoted { text, parts })
}

fn target(chat: Chat, asker: &Sender, message: String, handle: Value, cx: &Context<'_>) -> ReplyTarget {
    ReplyTarget {
        integration: cx.account.integration.clone(),
        chat,
        asker: asker.id.clone(),
        message: PlatformMessageId::new(message),
        handle: ReplyHandle::new(handle),
        expires_at: None,
    }
}

/// A button press. It is answered at once, since its reply may have to wait for an earlier one or be merged with it; only that of the button for
/// a new session is answered by the first call of its reply, which never waits.
fn pressed(id: PlatformMessageId, query: Value, cx: &Context<'_>) -> Decoded {
    let query: wire::CallbackQuery = match parsed(query, "button press does not have the documented shape") {
        Ok(query) => query,
        Err(remark) => return Decoded::without_event(None, remark),
    };
    let is_new_session = query.data == NEW_SESSION_KEY;
    let unanswered_query = Some(UnansweredQuery {
        id: query.id.clone(),
        text: query.message.as_ref().and_then(|message| chosen(message, &query.data)),
    });
    let pressed_at = query.message.filter(|_| !query.data.is_empty());
    let placed = pressed_at.and_then(|message| Some((chat(chat_kind(&message.chat)?, &message), message.message_id)));
    let Some((chat, message)) = placed else {
        return Decoded {
            update_id: None,
            event: Err(Remark::Ignored("press of a button outside of a chat")),
            unanswered_query,
        };
    };
    let sender = person(&query.from);
    let handle = if is_new_session {
        json!({ CALLBACK: query.id })
    } else {
        json!({})
    };
    Decoded {
        update_id: None,
        event: Ok(Event::CardAction(CardAction {
            id,
            target: target(chat, &sender, message.to_string(), handle, cx),
            sender,
            key: query.data,
            card: String::new(),
        })),
        unanswered_query: unanswered_query.filter(|_| !is_new_session),
    }
}

/// Label of a card's pressed button, for the toast over the chat. `None` for other buttons.
fn chosen(message: &wire::Message, data: &str) -> Option<String> {
    read_choice_key(data)?;
    let mut buttons = message.reply_markup.as_ref()?.inline_keyboard.iter().flatten();
    let pressed = buttons.find(|button| button.callback_data == data)?;
    Some(format!(
        "✓ {}",
        pressed.text.chars().take(MAX_LABEL).collect::<String>()
    ))
}

/// A press of a draft's Stop button acts as the command. Drafts exist in private chats only, whose id is the person's.
fn stopped(id: PlatformMessageId, stopped: &wire::MessageGenerationStopped, cx: &Context<'_>) -> Event {
    let sender = Sender {
        id: SenderId::new(stopped.chat.id.to_string()),
        name: None,
    };
    let chat = Chat {
        kind: ChatKind::Direct,
        id: ChatId::new(stopped.chat.id.to_string()),
        thread: stopped
            .message_thread_id
            .map(|thread| ThreadId::new(thread.to_string())),
    };
    Event::Message(Message {
        id,
        target: target(chat, &sender, String::new(), json!({}), cx),
        sender,
        sent_at: None,
        text: STOP.to_owned(),
        parts: Vec::new(),
        quoted: None,
        chat_name: None,
        refers_to: None,
        topic_root: None,
        album: None,
    })
}

/// A change of the bot's membership in a chat.
fn membership(member: Value) -> Remark {
    let Ok(member) = parsed::<wire::ChatMemberUpdated>(member, "") else {
        return Remark::Unreadable("membership does not have the documented shape");
    };
    let direct = chat_kind(&member.chat) == Some(ChatKind::Direct);
    Remark::Ignored(match (member.new_chat_member.status.as_str(), direct) {
        ("kicked", true) => "a person blocked the bot",
        (_, true) => "a person started or unblocked the bot",
        ("kicked" | "left", false) => "bot was removed from a group",
        (_, false) => "bot was added to a group or its rights changed",
    })
}
