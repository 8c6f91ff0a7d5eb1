//! Messages of bots: texts, edits, drafts, typing, answers to clicks.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::outbound::Bubble;
use crate::uploads::{self, Form};

use super::api::{Refused, bad, refuse};
use super::book::{Book, Bot, Chat, Sent};

/// Longest text, in UTF-16 code units.
const MAX_UNITS: usize = 4096;
/// How long a draft is shown.
const DRAFT_LIFE: Duration = Duration::from_secs(30);
/// Limit of messages and edits in a group: 20 a minute.
const GROUP_PACE: (usize, Duration) = (20, Duration::from_secs(60));
/// Limit in a private chat: one a second, with bursts allowed.
const PRIVATE_PACE: (usize, Duration) = (20, Duration::from_secs(10));

pub(super) fn call(token: &str, method: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    match method {
        "sendMessage" => send(token, body, book),
        "editMessageText" => edit(token, body, book),
        "sendMessageDraft" => draft(token, body, book),
        "sendChatAction" => {
            known_fields(method, body, &["action"], book);
            if body["action"] != "typing" {
                return Err(bad("wrong parameter action in request"));
            }
            let chat = chat_id(body, book)?;
            let bot = bot(token, book)?;
            may_speak(bot, chat, body)?;
            bot.typing += 1;
            Ok(json!(true))
        }
        "answerCallbackQuery" => answer_query(token, body, book),
        _ => {
            book.complaints.add(format!("{method}: no such method"));
            Err(refuse(404, "Not Found"))
        }
    }
}

fn bot<'a>(token: &str, book: &'a mut Book) -> Result<&'a mut Bot, Refused> {
    book.bots.get_mut(token).ok_or_else(|| refuse(401, "Unauthorized"))
}

/// The platform ignores unknown fields; here they are a complaint.
fn known_fields(method: &str, body: &Value, own: &[&str], book: &mut Book) {
    let common = [
        "chat_id",
        "message_thread_id",
        "text",
        "entities",
        "parse_mode",
        "link_preview_options",
        "reply_markup",
    ];
    let fields = body.as_object().into_iter().flatten();
    for (name, _) in fields.filter(|(name, _)| !common.contains(&name.as_str()) && !own.contains(&name.as_str())) {
        book.complaints.add(format!("{method}: unknown field {name}"));
    }
}

fn chat_id(body: &Value, book: &Book) -> Result<i64, Refused> {
    let chat = body["chat_id"]
        .as_i64()
        .or_else(|| body["chat_id"].as_str()?.parse().ok());
    let chat = chat.ok_or_else(|| bad("chat_id is empty"))?;
    match book.migrated.get(&chat) {
        Some(new) => Err(Refused {
            code: 400,
            text: "Bad Request: group chat was upgraded to a supergroup chat".to_owned(),
            parameters: json!({ "migrate_to_chat_id": new }),
        }),
        None => Ok(chat),
    }
}

/// The chat, if the bot may write in it.
fn may_speak<'a>(bot: &'a mut Bot, chat: i64, body: &Value) -> Result<&'a mut Chat, Refused> {
    let found = bot.chats.get_mut(&chat).ok_or_else(|| bad("chat not found"))?;
    if found.blocked {
        return Err(refuse(403, "Forbidden: bot was blocked by the user"));
    }
    let thread = body["message_thread_id"].as_i64();
    if thread.is_some_and(|thread| !found.topics.contains(&thread)) {
        return Err(bad("message thread not found"));
    }
    Ok(found)
}

/// Applies the rate limit of a chat, and complains if the bot doesn't wait as long as it was told.
fn in_pace(token: &str, chat: i64, book: &mut Book) -> Result<(), Refused> {
    let (most, per) = if chat < 0 { GROUP_PACE } else { PRIVATE_PACE };
    let bot = bot(token, book)?;
    let too_early = bot.throttled.remove(&chat).is_some_and(|until| Instant::now() < until);
    let found = bot.chats.get_mut(&chat).ok_or_else(|| bad("chat not found"))?;
    let paced = found.in_pace(most, per);
    if let Err(seconds) = paced {
        bot.throttled
            .insert(chat, Instant::now() + Duration::from_secs(seconds));
    }
    if too_early {
        book.complaints.add("called again before retry_after was over");
    }
    paced.map_err(|seconds| Refused {
        code: 429,
        text: format!("Too Many Requests: retry after {seconds}"),
        parameters: json!({ "retry_after": seconds }),
    })
}

/// The text of a call, as it is shown.
fn text(body: &Value) -> Result<String, Refused> {
    let text = body["text"].as_str().unwrap_or_default();
    if text.len() > 32_768 {
        return Err(bad("text is too long"));
    }
    let units: usize = text.chars().map(char::len_utf16).sum();
    if units > MAX_UNITS {
        return Err(bad("message is too long"));
    }
    check_entities(units, body)?;
    Ok(text.trim().to_owned())
}

/// Entities are inside the text and don't partly overlap.
fn check_entities(units: usize, body: &Value) -> Result<(), Refused> {
    let known = [
        "bold",
        "italic",
        "strikethrough",
        "code",
        "pre",
        "blockquote",
        "expandable_blockquote",
        "text_link",
        "underline",
        "spoiler",
    ];
    let entities = body["entities"].as_array().cloned().unwrap_or_default();
    if !entities.is_empty() && body["parse_mode"].is_string() {
        return Err(bad("can't parse entities: both parse_mode and entities"));
    }
    let mut ranges = Vec::new();
    for entity in &entities {
        let kind = entity["type"].as_str().unwrap_or_default();
        let (offset, length) = (entity["offset"].as_u64(), entity["length"].as_u64());
        let (Some(offset), Some(length)) = (offset, length) else {
            return Err(bad("can't parse entities: an entity without a range"));
        };
        let end = usize::try_from(offset + length).unwrap_or(usize::MAX);
        if !known.contains(&kind) || length == 0 || end > units {
            return Err(bad(format!("can't parse entities: {entity}")));
        }
        if kind == "text_link" && !entity["url"].as_str().is_some_and(|url| url.contains(':')) {
            return Err(bad("can't parse entities: a link without an address"));
        }
        ranges.push((usize::try_from(offset).unwrap_or_default(), end, kind));
    }
    for (at, (start, end, kind)) in ranges.iter().enumerate() {
        for (other_start, other_end, other) in &ranges[at + 1..] {
            let apart = other_start >= end || start >= other_end;
            let inside = (other_start >= start && other_end <= end) || (start >= other_start && end <= other_end);
            let is_code = |kind: &str| kind == "code" || kind == "pre";
            let is_quote = |kind: &str| ["blockquote", "expandable_blockquote"].contains(&kind);
            let clash = (is_code(kind) && !is_quote(other)) || (is_code(other) && !is_quote(kind));
            let nested_quotes = is_quote(kind) && is_quote(other);
            if !apart && (!inside || clash || nested_quotes) {
                return Err(bad(format!("can't parse entities: {kind} and {other} overlap")));
            }
        }
    }
    Ok(())
}

fn check_markup(body: &Value) -> Result<(), Refused> {
    let rows = body["reply_markup"]["inline_keyboard"].as_array().into_iter().flatten();
    for button in rows.filter_map(Value::as_array).flatten() {
        let is_right = match (button["callback_data"].as_str(), button["url"].as_str()) {
            (Some(data), None) => (1..=64).contains(&data.len()),
            (None, Some(url)) if !url.starts_with("https://") && !url.starts_with("http://") => {
                return Err(bad("BUTTON_URL_INVALID"));
            }
            (None, Some(_)) => true,
            // Exactly one of the optional fields is allowed.
            _ => false,
        };
        if !is_right || button["text"].as_str().is_none_or(str::is_empty) {
            return Err(bad("BUTTON_DATA_INVALID"));
        }
    }
    Ok(())
}

/// Sends a photo or a document that was uploaded with the call.
pub(super) fn send_file(
    token: &str,
    method: &str,
    body: &Value,
    form: Form,
    book: &mut Book,
) -> Result<Value, Refused> {
    if !book.bots.contains_key(token) {
        return Err(refuse(401, "Unauthorized"));
    }
    known_fields(method, body, &[], book);
    let is_photo = method == "sendPhoto";
    let (field, most) = if is_photo {
        ("photo", 10_000_000)
    } else {
        ("document", 50_000_000)
    };
    let chat = chat_id(body, book)?;
    let thread = body["message_thread_id"]
        .as_str()
        .and_then(|thread| thread.parse::<i64>().ok());
    may_speak(bot(token, book)?, chat, &json!({ "message_thread_id": thread }))?;
    if form.field != field {
        return Err(bad(format!("there is no {field} in the request")));
    }
    if form.bytes.is_empty() {
        return Err(bad("file must be non-empty"));
    }
    if form.bytes.len() > most {
        return Err(refuse(413, "Request Entity Too Large"));
    }
    if is_photo && !uploads::is_picture(&form.bytes) {
        return Err(bad("IMAGE_PROCESS_FAILED"));
    }
    in_pace(token, chat, book)?;
    let id = book.fresh();
    let text = format!("[{field}]");
    let bubble = show(None, token, chat, &text, book);
    book.bubbles[bubble].way = "message";
    book.bubbles[bubble].done = true;
    book.uploads.show(&chat.to_string(), is_photo, form);
    let username = bot(token, book)?.username.clone();
    Ok(message(id, chat, "", &username))
}

fn send(token: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    known_fields("sendMessage", body, &["reply_parameters", "disable_notification"], book);
    let chat = chat_id(body, book)?;
    let text = text(body)?;
    check_markup(body)?;
    may_speak(bot(token, book)?, chat, body)?;
    if text.is_empty() {
        return Err(bad("message text is empty"));
    }
    in_pace(token, chat, book)?;
    let id = book.fresh();
    let replied = body["reply_parameters"]["message_id"].as_i64();
    let found = may_speak(bot(token, book)?, chat, body)?;
    let answers = replied.filter(|id| found.heard.contains(id));
    if replied.is_some() && answers.is_none() && body["reply_parameters"]["allow_sending_without_reply"] != true {
        return Err(bad("message to be replied not found"));
    }
    let draft = found.draft.take().filter(|(_, until)| Instant::now() < *until);
    let bubble = show(draft.map(|(bubble, _)| bubble), token, chat, &text, book);
    book.bubbles[bubble].way = "message";
    book.bubbles[bubble].answers = answers.map(|id| id.to_string());
    book.bubbles[bubble].done = true;
    let sent = Sent {
        bubble,
        text: text.clone(),
        entities: body["entities"].clone(),
        markup: body["reply_markup"].clone(),
        gone: false,
    };
    let username = bot(token, book)?.username.clone();
    may_speak(bot(token, book)?, chat, body)?.sent.insert(id, sent);
    Ok(message(id, chat, &text, &username))
}

fn message(id: i64, chat: i64, text: &str, username: &str) -> Value {
    let kind = if chat < 0 { "supergroup" } else { "private" };
    json!({ "message_id": id, "date": super::now(), "chat": { "id": chat, "type": kind },
        "from": { "id": 0, "is_bot": true, "first_name": "Tieline", "username": username }, "text": text })
}

/// Shows a text in the known bubble, or in a new one.
fn show(known: Option<usize>, token: &str, chat: i64, text: &str, book: &mut Book) -> usize {
    let bubble = known.unwrap_or_else(|| {
        book.bubbles.push(Bubble {
            bot: token.to_owned(),
            chat: chat.to_string(),
            answers: None,
            way: "draft",
            states: Vec::new(),
            done: false,
        });
        book.bubbles.len() - 1
    });
    let states = &mut book.bubbles[bubble].states;
    if states.last().map(String::as_str) != Some(text) {
        states.push(text.to_owned());
    }
    bubble
}

fn edit(token: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    known_fields("editMessageText", body, &["message_id"], book);
    let chat = chat_id(body, book)?;
    let text = text(body)?;
    check_markup(body)?;
    if text.is_empty() {
        return Err(bad("message text is empty"));
    }
    let id = body["message_id"].as_i64().unwrap_or_default();
    let found = may_speak(bot(token, book)?, chat, &Value::Null)?;
    let sent = found.sent.get(&id).cloned().filter(|sent| !sent.gone);
    let Some(sent) = sent else {
        return Err(bad("message to edit not found"));
    };
    in_pace(token, chat, book)?;
    let (entities, markup) = (body["entities"].clone(), body["reply_markup"].clone());
    if sent.text == text && sent.entities == entities && sent.markup == markup {
        return Err(bad(
            "message is not modified: specified new message content and reply markup are exactly the same as a current content and reply markup of the message",
        ));
    }
    show(Some(sent.bubble), token, chat, &text, book);
    let username = bot(token, book)?.username.clone();
    let kept = may_speak(bot(token, book)?, chat, &Value::Null)?.sent.get_mut(&id);
    if let Some(kept) = kept {
        *kept = Sent {
            text: text.clone(),
            entities,
            markup,
            ..sent
        };
    }
    Ok(message(id, chat, &text, &username))
}

fn draft(token: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    known_fields(
        "sendMessageDraft",
        body,
        &["draft_id", "can_stop", "keep_on_stop"],
        book,
    );
    let chat = chat_id(body, book)?;
    let text = text(body)?;
    if chat < 0 {
        return Err(bad("TEXTDRAFT_PEER_INVALID"));
    }
    if body["draft_id"].as_i64().unwrap_or_default() == 0 {
        return Err(bad("draft_id must be non-zero"));
    }
    in_pace(token, chat, book)?;
    let found = may_speak(bot(token, book)?, chat, body)?;
    let known = found.draft.filter(|(_, until)| Instant::now() < *until);
    let bubble = show(known.map(|(bubble, _)| bubble), token, chat, &text, book);
    may_speak(bot(token, book)?, chat, body)?.draft = Some((bubble, Instant::now() + DRAFT_LIFE));
    Ok(json!(true))
}

fn answer_query(token: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let id = body["callback_query_id"].as_str().unwrap_or_default();
    let query = bot(token, book)?.queries.get_mut(id).filter(|query| !query.answered);
    let Some(query) = query else {
        return Err(bad(
            "query is too old and response timeout expired or query ID is invalid",
        ));
    };
    if body["text"].as_str().is_some_and(|text| text.chars().count() > 200) {
        return Err(bad("MESSAGE_TOO_LONG"));
    }
    query.answered = true;
    query.text = body["text"].as_str().unwrap_or_default().to_owned();
    Ok(json!(true))
}
