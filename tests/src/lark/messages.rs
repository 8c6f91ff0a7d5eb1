//! Messages and reactions.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::outbound::{Bubble, Speaker};

use super::api::{Asked, Refused, refuse};
use super::book::{Book, Said};
use super::cards;

/// The same `uuid` creates one message within an hour.
const ONCE: Duration = Duration::from_secs(3600);
/// Limit of messages to a chat in a second.
const PER_SECOND: usize = 5;

/// Executes a call.
pub(super) fn call(asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let id = asked.path.get(4).copied().unwrap_or_default();
    match asked.name {
        "send" => send(asked, book),
        "reply" => reply(id, asked, book),
        "patch" => patch(id, asked, book),
        "react" => react(id, asked, book),
        "unreact" => unreact(id, asked, book),
        "download" => download(id, asked, book),
        _ => tell(id, asked, book),
    }
}

/// The file of a message. Key and message must belong together.
fn download(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let said = of_app(id, asked, book)?;
    let key = asked.path.last().copied().unwrap_or_default();
    let query = if said.kind == "image" {
        "type=image"
    } else {
        "type=file"
    };
    if asked.query != query || !said.content.contains(key) {
        return Err(refuse(234_003, "the key is not of this message"));
    }
    Ok(json!(key))
}

/// The content of a message; for a forwarded one, also the messages in it.
fn tell(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let said = of_app(id, asked, book)?;
    if said.gone {
        return Err(refuse(230_110, "the message was deleted"));
    }
    let mut items = vec![item(id, "", &said)];
    for child in &said.forwarded {
        items.push(item(child, id, &of_app(child, asked, book)?));
    }
    Ok(json!({ "code": 0, "msg": "success", "data": { "items": items } }))
}

fn item(id: &str, upper: &str, said: &Said) -> Value {
    let sender = json!({ "id": said.by.user, "id_type": "open_id", "sender_type": "user", "tenant_key": "t" });
    let mut item = json!({ "message_id": id, "msg_type": said.kind, "chat_id": said.chat_id, "deleted": false, "updated": false,
        "sender": sender, "body": { "content": said.content } });
    if !upper.is_empty() {
        item["upper_message_id"] = json!(upper);
    }
    item
}

fn send(asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let id = asked.body["receive_id"].as_str().unwrap_or_default();
    let id = &match asked.query.strip_prefix("receive_id_type=") {
        Some("chat_id") => id.to_owned(),
        Some("open_id" | "user_id") => super::Platform::chat_id(asked.app, &Speaker::alone(id)),
        _ => return Err(refuse(99_992_402, "receive_id_type")),
    };
    let chat = book
        .app(asked.app)
        .messages
        .values()
        .find(|said| said.chat_id == *id)
        .map(|said| said.by.clone());
    let chat = chat.ok_or_else(|| refuse(230_034, "the bot knows no such chat"))?;
    make(asked, &chat, id, None, book)
}

fn reply(to: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let said = of_app(to, asked, book)?;
    if said.gone {
        return Err(refuse(230_011, "the message was recalled"));
    }
    if !asked.body["reply_in_thread"].is_boolean() && !asked.body["reply_in_thread"].is_null() {
        return Err(refuse(99_992_402, "reply_in_thread"));
    }
    make(asked, &said.by, &said.chat_id, Some(to), book)
}

/// A message that the app may refer to. Ids of other apps are unknown to it.
fn of_app(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Said, Refused> {
    let found = book.app(asked.app).messages.get(id).cloned();
    found.ok_or_else(|| refuse(99_992_354, format!("no message {id} of this app")))
}

fn make(
    asked: &Asked<'_>,
    to: &Speaker,
    chat_id: &str,
    answers: Option<&str>,
    book: &mut Book,
) -> Result<Value, Refused> {
    let uuid = asked.body["uuid"].as_str().unwrap_or_default().to_owned();
    if uuid.is_empty() || uuid.len() > 50 {
        return Err(refuse(230_001, "uuid"));
    }
    if let Some((at, made, body)) = book
        .app(asked.app)
        .sent
        .get(&uuid)
        .cloned()
        .filter(|(at, ..)| at.elapsed() < ONCE)
    {
        if body != *asked.body {
            book.complaints.add(format!(
                "{}: a uuid for two messages, {:?} later",
                asked.name,
                at.elapsed()
            ));
        }
        return Ok(made_it(&made, chat_id));
    }
    let kind = asked.body["msg_type"].as_str().unwrap_or_default().to_owned();
    let shown = content(&kind, asked, book)?;
    if !book.in_pace(asked.app, &format!("messages to {chat_id}"), PER_SECOND) {
        return Err(refuse(230_020, "message frequency limit"));
    }
    if ["image", "file"].contains(&kind.as_str()) {
        let key: Value = serde_json::from_str(asked.body["content"].as_str().unwrap_or_default()).unwrap_or_default();
        let key = key[format!("{kind}_key")].as_str().unwrap_or_default();
        if !book.uploads.send(asked.app, key, kind == "image", to.chat()) {
            return Err(refuse(230_055, "the key is of no upload of this app"));
        }
    }
    let id = book.fresh("om_");
    let bubble = Bubble {
        bot: asked.app.to_owned(),
        chat: to.chat().to_owned(),
        answers: answers.map(str::to_owned),
        way: if answers.is_some() { "reply" } else { "send" },
        states: vec![shown.text],
        done: !shown.grows,
    };
    book.bubbles.push(bubble);
    let bubble = book.bubbles.len() - 1;
    if let Some(card) = shown
        .card
        .as_ref()
        .and_then(|card| book.app(asked.app).cards.get_mut(card))
    {
        card.bubble = Some(bubble);
    }
    let said = Said {
        by: to.clone(),
        chat_id: chat_id.to_owned(),
        bubble: Some(bubble),
        kind,
        content: asked.body["content"].as_str().unwrap_or_default().to_owned(),
        forwarded: Vec::new(),
        card: shown.card,
        buttons: shown.buttons,
        at: Instant::now(),
        gone: false,
    };
    let app = book.app(asked.app);
    app.messages.insert(id.clone(), said);
    app.sent.insert(uuid, (Instant::now(), id.clone(), asked.body.clone()));
    Ok(made_it(&id, chat_id))
}

fn made_it(id: &str, chat_id: &str) -> Value {
    json!({ "code": 0, "msg": "success", "data": { "message_id": id, "chat_id": chat_id, "deleted": false, "updated": false } })
}

/// The visible form of a message.
struct Shown {
    text: String,
    card: Option<String>,
    buttons: Vec<Value>,
    grows: bool,
}

fn content(kind: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Shown, Refused> {
    let raw = asked.body["content"].as_str();
    let raw = raw.ok_or_else(|| refuse(230_001, "content is a string that holds JSON"))?;
    let content: Value = serde_json::from_str(raw).map_err(|_| refuse(230_001, "content is not JSON"))?;
    let most = if kind == "text" { 150_000 } else { cards::MAX_CARD_BYTES };
    if asked.body.to_string().len() > most {
        return Err(refuse(230_025, "the message is too long"));
    }
    let still = |text: String| Shown {
        text,
        card: None,
        buttons: Vec::new(),
        grows: false,
    };
    match kind {
        "text" => Ok(still(words(&content["text"])?)),
        "post" => {
            let rows = content["zh_cn"]["content"].as_array();
            let rows = rows.ok_or_else(|| refuse(230_001, "a post needs a locale"))?;
            let nodes = rows.iter().filter_map(Value::as_array).flatten();
            let texts: Vec<&str> = nodes.filter_map(|node| node["text"].as_str()).collect();
            Ok(still(words(&json!(texts.join("\n")))?))
        }
        "interactive" if content["type"] == "card" => entity(&content, asked, book),
        "interactive" => Ok(Shown {
            buttons: cards::buttons(&content),
            ..still(cards::check(&content)?)
        }),
        "image" | "file" => Ok(still(format!("[{kind}]"))),
        other => Err(refuse(230_054, format!("msg_type {other}"))),
    }
}

fn words(text: &Value) -> Result<String, Refused> {
    match text.as_str() {
        Some(text) if !text.trim().is_empty() => Ok(text.to_owned()),
        _ => Err(refuse(230_001, "a message without text")),
    }
}

fn entity(content: &Value, asked: &Asked<'_>, book: &mut Book) -> Result<Shown, Refused> {
    let id = content["data"]["card_id"].as_str().unwrap_or_default().to_owned();
    let card = book.app(asked.app).cards.get(&id);
    let card = card.ok_or_else(|| refuse(200_740, "no such card of this app"))?;
    if card.bubble.is_some() {
        return Err(refuse(230_001, "a card entity can be sent once"));
    }
    Ok(Shown {
        text: cards::check(&card.json)?,
        buttons: cards::buttons(&card.json),
        grows: card.open_since.is_some(),
        card: Some(id),
    })
}

fn patch(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let said = of_app(id, asked, book)?;
    let bubble = said.bubble.ok_or_else(|| refuse(230_017, "not the owner"))?;
    if said.kind != "interactive" || said.card.is_some() {
        return Err(refuse(230_001, "only cards that were sent as JSON are patched"));
    }
    if !book.in_pace(asked.app, &format!("patches of {id}"), PER_SECOND) {
        return Err(refuse(230_020, "message frequency limit"));
    }
    let shown = content("interactive", asked, book)?;
    book.bubbles[bubble].states.push(shown.text);
    if let Some(said) = book.app(asked.app).messages.get_mut(id) {
        said.buttons = shown.buttons;
    }
    Ok(json!({ "code": 0, "msg": "success", "data": {} }))
}

fn react(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let known = ["Typing", "THINKING", "OnIt", "OneSecond", "Get", "GLANCE", "OK", "DONE"];
    let kind = asked.body["reaction_type"]["emoji_type"].as_str().unwrap_or_default();
    if !known.contains(&kind) {
        return Err(refuse(231_001, "emoji_type"));
    }
    of_app(id, asked, book)?;
    let reaction = book.fresh("react");
    book.app(asked.app).reactions.insert(reaction.clone(), id.to_owned());
    Ok(
        json!({ "code": 0, "msg": "success", "data": { "reaction_id": reaction, "reaction_type": { "emoji_type": kind } } }),
    )
}

fn unreact(id: &str, asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    let reaction = asked.path.last().copied().unwrap_or_default();
    match book.app(asked.app).reactions.remove(reaction) {
        Some(of) if of == id => Ok(json!({ "code": 0, "msg": "success", "data": {} })),
        _ => Err(refuse(231_010, "no such reaction")),
    }
}
