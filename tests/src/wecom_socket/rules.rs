//! The platform's rules for a client's frames.

use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Speaker};

use super::book::{Book, Faults, Kind, Stream};
use super::connection::{Response, response};
use super::refusal::{Refusal, refusal, shape};
use super::uploads;

/// Limit of the text of a stream or a Markdown message.
const MAX_CONTENT_BYTES: usize = 20_480;
/// Limit of a request id and a feedback id.
const MAX_ID_BYTES: usize = 256;
/// How long a message can be answered.
const REPLY_WITHIN: Duration = Duration::from_secs(24 * 3600);
/// How long a welcome or a card's update is accepted.
const ANSWER_WITHIN: Duration = Duration::from_secs(5);
/// Limit of messages to a conversation in a minute.
const PER_MINUTE: usize = 30;

/// Handles a frame. `bot` is the bot that the client is subscribed for.
pub(super) fn take(text: &str, bot: Option<&str>, book: &mut Book) -> Response {
    let Ok(frame) = serde_json::from_str::<Value>(text) else {
        book.complaints.add("a frame that is not JSON");
        return Response::Lost;
    };
    let req_id = frame["headers"]["req_id"].as_str().map(str::to_owned);
    if let Err(wrong) = envelope(&frame) {
        book.complaints.add(wrong.text.clone());
        return now(response(None, wrong.code, &wrong.text, None));
    }
    let (cmd, req_id) = (frame["cmd"].as_str().unwrap_or_default(), req_id.unwrap_or_default());
    match (cmd, bot) {
        ("aibot_subscribe", None) => subscribe(&frame, &req_id, book),
        (_, None) => {
            book.complaints.add(format!("{cmd} before the subscription"));
            now(response(Some(&req_id), 846_609, "aibot websocket not subscribed", None))
        }
        ("ping", Some(bot)) => {
            spend(&req_id, bot, book);
            if frame.get("body").is_some() {
                book.complaints.add("a ping with a body");
            }
            now(response(Some(&req_id), 0, "ok", None))
        }
        (_, Some(bot)) => {
            book.frames.push((bot.to_owned(), frame.clone()));
            business(&frame, cmd, &req_id, bot, book)
        }
    }
}

fn now(frame: Value) -> Response {
    Response::Later {
        frame,
        after: Duration::ZERO,
        frees: None,
    }
}

fn envelope(frame: &Value) -> Result<(), Refusal> {
    let fields = frame.as_object().ok_or_else(|| shape("a frame is an object"))?;
    if let Some(unknown) = fields
        .keys()
        .find(|name| !["cmd", "headers", "body"].contains(&name.as_str()))
    {
        return Err(shape(format!("unknown field {unknown} of a frame")));
    }
    let req_id = frame["headers"]["req_id"].as_str().unwrap_or_default();
    if !frame["cmd"].is_string() || req_id.is_empty() || req_id.len() > MAX_ID_BYTES {
        return Err(shape("missing field cmd or headers.req_id"));
    }
    Ok(())
}

fn subscribe(frame: &Value, req_id: &str, book: &mut Book) -> Response {
    let body = &frame["body"];
    let id = body["bot_id"].as_str().unwrap_or_default().to_owned();
    let fields = body.as_object().map_or(0, serde_json::Map::len);
    if fields != 2 {
        book.complaints
            .add("a subscription with other fields than bot_id and secret");
    }
    let refused = book.faults.refuse_subscription;
    let known = book.bots.get_mut(&id);
    let right = known.is_some_and(|bot| {
        bot.asked += 1;
        body["secret"] == bot.secret.as_str()
    });
    match refused {
        Some(code) => now(response(Some(req_id), code, "refused", None)),
        None if !right => now(response(Some(req_id), 853_000, "invalid bot_id or secret", None)),
        None => {
            book.bot(&id).subscribed += 1;
            Response::Subscribed {
                frame: response(Some(req_id), 0, "ok", None),
                bot: id,
            }
        }
    }
}

/// Checks that an id of the client's own is new.
fn spend(req_id: &str, bot: &str, book: &mut Book) {
    if !book.bot(bot).spent.insert(req_id.to_owned()) {
        book.complaints.add("a request id that was used before");
    }
}

fn business(frame: &Value, cmd: &str, req_id: &str, bot: &str, book: &mut Book) -> Response {
    let replies = cmd == "aibot_respond_msg";
    let frees = replies.then(|| (bot.to_owned(), req_id.to_owned()));
    let after = book.faults.ack_after;
    if let Some(code) = book.faults.codes.pop_front().filter(|code| *code != 0) {
        return Response::Later {
            frame: response(Some(req_id), code, "refused", None),
            after,
            frees: None,
        };
    }
    match obey(cmd, req_id, &frame["body"], bot, book) {
        Ok(_) if is_lost(&frame["body"], &mut book.faults) => Response::Lost,
        Ok(body) => {
            let bot = book.bot(bot);
            let number = bot.connection_number();
            if let Some(callback) = bot.callbacks.get_mut(req_id).filter(|_| replies) {
                callback.unacknowledged_on = number;
            }
            Response::Later {
                frame: response(Some(req_id), 0, "ok", body),
                after,
                frees,
            }
        }
        Err(refused) => {
            // Refusals that a correct client may get at any time are no complaints.
            if !matches!(refused.code, 846_608 | 45009) {
                book.complaints.add(format!("{cmd}: {} {}", refused.code, refused.text));
            }
            let named = refused.names_request.then_some(req_id);
            Response::Later {
                frame: response(named, refused.code, &refused.text, None),
                after,
                frees: None,
            }
        }
    }
}

fn is_lost(body: &Value, faults: &mut Faults) -> bool {
    let last = body["stream"]["finish"] == true;
    let left = if last && faults.lost_last_acks > 0 {
        &mut faults.lost_last_acks
    } else {
        &mut faults.lost_acks
    };
    let lost = *left > 0;
    *left = left.saturating_sub(1);
    lost
}

fn obey(cmd: &str, req_id: &str, body: &Value, bot: &str, book: &mut Book) -> Result<Option<Value>, Refusal> {
    match cmd {
        "aibot_respond_msg" => reply(req_id, body, bot, book).map(|()| None),
        "aibot_respond_welcome_msg" => welcome(req_id, body, bot, book).map(|()| None),
        "aibot_respond_update_msg" => update(req_id, body, bot, book).map(|()| None),
        _ => {
            spend(req_id, bot, book);
            match cmd {
                "aibot_send_msg" => push(body, bot, book).map(|()| None),
                "aibot_upload_media_init" => uploads::init(body, bot, book).map(Some),
                "aibot_upload_media_chunk" => uploads::chunk(body, bot, book).map(|()| None),
                "aibot_upload_media_finish" => uploads::finish(body, bot, book).map(Some),
                _ => Err(shape(format!("unknown cmd {cmd}"))),
            }
        }
    }
}

fn reply(req_id: &str, body: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let of_another = book
        .bots
        .iter()
        .any(|(id, other)| id != bot && other.callbacks.contains_key(req_id));
    if of_another {
        return Err(refusal(846_605, "the req_id belongs to another bot"));
    }
    let bot_book = book.bot(bot);
    let number = bot_book.connection_number();
    let callback = bot_book.callbacks.get(req_id);
    let callback = callback.ok_or_else(|| refusal(846_605, "invalid req_id"))?;
    if callback.kind != Kind::Message {
        return Err(refusal(846_605, "a reply to an event"));
    }
    if callback.at.elapsed() > REPLY_WITHIN {
        return Err(refusal(846_604, "req_id expired"));
    }
    if callback.unacknowledged_on.is_some() && callback.unacknowledged_on == number {
        return Err(refusal(6000, "a frame is still in flight for this req_id"));
    }
    let (from, id) = (callback.from.clone(), callback.id().to_owned());
    match body["msgtype"].as_str() {
        Some("stream") => stream(req_id, &body["stream"], bot, book),
        Some("markdown" | "template_card" | "image" | "file" | "voice" | "video") => {
            let text = content(body, bot, book)?;
            let bubble = bubble(bot, &from, Some(&id), "reply", text);
            pace(bot, &from, book)?;
            book.show(bubble);
            Ok(())
        }
        other => Err(refusal(40008, format!("invalid message type {other:?}"))),
    }
}

fn bubble(bot: &str, to: &Speaker, answers: Option<&str>, way: &'static str, text: String) -> Bubble {
    Bubble {
        bot: bot.to_owned(),
        chat: to.chat().to_owned(),
        answers: answers.map(str::to_owned),
        way,
        states: vec![text],
        done: true,
    }
}

fn stream(req_id: &str, stream: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let fields = stream.as_object().ok_or_else(|| shape("missing field stream"))?;
    if let Some(unknown) = fields
        .keys()
        .find(|name| !["id", "finish", "content", "feedback"].contains(&name.as_str()))
    {
        return Err(shape(format!("field {unknown} of a stream")));
    }
    let id = stream["id"].as_str().unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if id.is_empty() || id.len() > 64 || !id.chars().all(legal) {
        return Err(shape(format!("stream id {id:?}")));
    }
    let (Some(finish), Some(content)) = (stream["finish"].as_bool(), stream["content"].as_str()) else {
        return Err(shape("missing field finish or content"));
    };
    if content.len() > MAX_CONTENT_BYTES {
        return Err(shape(format!("content of {} bytes", content.len())));
    }
    if finish && content.trim().is_empty() {
        book.complaints
            .add("a last frame without visible text: the bubble spins for ever");
    }
    let life = book.faults.stream_life;
    let callback = book.bot(bot).callbacks.get(req_id).cloned();
    let callback = callback.ok_or_else(|| refusal(846_605, "invalid req_id"))?;
    let feedback = stream["feedback"]["id"].as_str();
    match callback.streams.get(id) {
        None => {
            if stream.get("feedback").is_some() && feedback.is_none_or(|it| it.is_empty() || it.len() > MAX_ID_BYTES) {
                return Err(shape("feedback.id"));
            }
            pace(bot, &callback.from, book)?;
            let mut shown = bubble(bot, &callback.from, Some(callback.id()), "stream", content.to_owned());
            shown.done = finish;
            let bubble = book.show(shown);
            let stream = Stream {
                began: Instant::now(),
                bubble,
                finished: finish,
            };
            if let Some(callback) = book.bot(bot).callbacks.get_mut(req_id) {
                callback.streams.insert(id.to_owned(), stream);
            }
            Ok(())
        }
        // The first frame may be repeated if its acknowledgement was lost.
        Some(known) if feedback.is_some() && book.bubbles[known.bubble].states != [content] => {
            Err(shape("feedback in a later frame"))
        }
        // Accepted, and not shown.
        Some(known) if known.finished => {
            let same = book.bubbles[known.bubble].text() == content;
            if !(finish && same) {
                book.complaints.add("a frame for a stream that is finished");
            }
            Ok(())
        }
        Some(known) if known.began.elapsed() > life => {
            // The platform has ended it by itself.
            book.bubbles[known.bubble].done = true;
            Err(refusal(846_608, "stream expired"))
        }
        Some(known) => {
            let bubble = &mut book.bubbles[known.bubble];
            if bubble.text() != content {
                bubble.states.push(content.to_owned());
            }
            bubble.done = finish;
            let stream = book.bot(bot).callbacks.get_mut(req_id);
            if let Some(stream) = stream.and_then(|it| it.streams.get_mut(id)) {
                stream.finished = finish;
            }
            Ok(())
        }
    }
}

fn push(body: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let Some(chat) = body["chatid"].as_str().filter(|chat| !chat.is_empty()) else {
        return Err(refusal(86201, "chatid missing"));
    };
    let group = match body["chat_type"].as_u64() {
        Some(1) => false,
        Some(2) => true,
        _ => {
            book.complaints
                .add("a push without a chat_type: the platform would guess");
            true
        }
    };
    let known = &book.bot(bot).acquaintances;
    if known.contains(&(chat.to_owned(), !group)) {
        return Err(refusal(93006, "chat_type of another chat"));
    }
    if !known.contains(&(chat.to_owned(), group)) {
        return Err(refusal(846_607, "no message to the bot came from that chat"));
    }
    let to = if group {
        Speaker::in_group("", chat)
    } else {
        Speaker::alone(chat)
    };
    match body["msgtype"].as_str() {
        Some("markdown" | "template_card" | "image" | "file" | "voice" | "video") => {
            let text = content(body, bot, book)?;
            pace(bot, &to, book)?;
            let bubble = bubble(bot, &to, None, "push", text);
            book.show(bubble);
            Ok(())
        }
        other => Err(refusal(40008, format!("invalid message type {other:?}"))),
    }
}

/// The text of a message. Cards and media are shown as a word in brackets.
fn content(body: &Value, bot: &str, book: &mut Book) -> Result<String, Refusal> {
    let kind = body["msgtype"].as_str().unwrap_or_default();
    match kind {
        "markdown" => {
            let content = body["markdown"]["content"].as_str().unwrap_or_default();
            if content.trim().is_empty() || content.len() > MAX_CONTENT_BYTES {
                return Err(shape(format!("content of {} bytes", content.len())));
            }
            Ok(content.to_owned())
        }
        "template_card" => {
            let task = body["template_card"]["task_id"].as_str().unwrap_or_default();
            if !task.is_empty() && !book.bot(bot).task_ids.insert(task.to_owned()) {
                return Err(refusal(42014, "task_id was used before"));
            }
            let card = &body["template_card"];
            if card["card_type"] == "button_interaction" {
                check_buttons(card)?;
            }
            book.bot(bot).cards.push(card.clone());
            Ok("[card]".to_owned())
        }
        media => {
            let id = body[media]["media_id"].as_str();
            let id = id.ok_or_else(|| shape("missing field media_id"))?;
            if !book.bot(bot).media.contains(id) {
                return Err(refusal(40007, "invalid media_id"));
            }
            Ok(format!("[{media}]"))
        }
    }
}

/// The requirements of a card with buttons. Limits of texts are display advice, those of keys and lists are hard.
fn check_buttons(card: &Value) -> Result<(), Refusal> {
    let task = card["task_id"].as_str().unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-@".contains(c);
    if task.is_empty() || task.len() > 128 || !task.chars().all(legal) {
        return Err(refusal(42014, "task_id invalid"));
    }
    if card["main_title"]["title"].as_str().is_none_or(str::is_empty) {
        return Err(refusal(42015, "main_title"));
    }
    let buttons = card["button_list"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !(1..=6).contains(&buttons.len()) {
        return Err(refusal(42037, "button_list"));
    }
    let word = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
    let mut keys = std::collections::HashSet::new();
    for button in buttons {
        let key = word(button, "key");
        let fits = (1..=1024).contains(&key.len()) && keys.insert(key);
        if word(button, "text").is_empty() || !fits || !button["url"].is_null() {
            return Err(refusal(42038, "a button's text or key"));
        }
    }
    Ok(())
}

/// Applies the limit of thirty messages a minute in a conversation.
fn pace(bot: &str, to: &Speaker, book: &mut Book) -> Result<(), Refusal> {
    let said = book.bot(bot).said_at.entry(to.chat().to_owned()).or_default();
    while said
        .front()
        .is_some_and(|first| first.elapsed() > Duration::from_secs(60))
    {
        said.pop_front();
    }
    if said.len() >= PER_MINUTE {
        return Err(refusal(45009, "too many messages in this conversation"));
    }
    said.push_back(Instant::now());
    Ok(())
}

fn welcome(req_id: &str, body: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let from = answerable(req_id, bot, book, &|kind| *kind == Kind::Entered)?;
    let text = match body["msgtype"].as_str() {
        Some("text") => body["text"]["content"].as_str().unwrap_or_default().to_owned(),
        Some("template_card") => content(body, bot, book)?,
        other => return Err(refusal(40008, format!("invalid message type {other:?}"))),
    };
    if text.is_empty() {
        return Err(shape("missing field content"));
    }
    let bubble = bubble(bot, &from, None, "welcome", text);
    book.show(bubble);
    Ok(())
}

fn update(req_id: &str, body: &Value, bot: &str, book: &mut Book) -> Result<(), Refusal> {
    let task = body["template_card"]["task_id"].as_str().unwrap_or_default().to_owned();
    let from = answerable(req_id, bot, book, &|kind| matches!(kind, Kind::Clicked { .. }))?;
    let clicked = Kind::Clicked { task };
    let right = book
        .bot(bot)
        .callbacks
        .get(req_id)
        .is_some_and(|callback| callback.kind == clicked);
    if body["response_type"] != "update_template_card" || !right {
        return Err(refusal(846_625, "bad task_id in update"));
    }
    let bubble = bubble(bot, &from, None, "update", "[card]".to_owned());
    book.show(bubble);
    Ok(())
}

/// The sender of an event that may be answered in this way: once, and within five seconds.
fn answerable(req_id: &str, bot: &str, book: &mut Book, legal: &dyn Fn(&Kind) -> bool) -> Result<Speaker, Refusal> {
    let callback = book.bot(bot).callbacks.get_mut(req_id);
    let callback = callback.filter(|callback| legal(&callback.kind));
    let callback = callback.ok_or_else(|| refusal(846_605, "invalid req_id for this cmd"))?;
    if callback.at.elapsed() > ANSWER_WITHIN {
        return Err(refusal(846_604, "req_id expired"));
    }
    if std::mem::replace(&mut callback.answered, true) {
        return Err(refusal(846_606, "duplicate reply"));
    }
    Ok(callback.from.clone())
}
