//! Card entities: a sequence number for each, one call at a time.

use std::time::Instant;

use serde_json::{Value, json};

use super::api::{Asked, Refused, refuse};
use super::book::{Book, Card};
use super::cards;

/// The error text for a repeated call with the same content: a client repeats a call whose response was lost.
pub(super) const REPEATED: &str = "the sequence of a repeated call";
/// Limit of changes of a card in a second.
const PER_SECOND: usize = 10;

/// Begins a call. Overlapping calls for one card would let its text go backwards. Returns the card, if the call has one.
pub(super) fn enter(asked: &Asked<'_>, book: &mut Book) -> Option<String> {
    let id = card_id(asked)?.to_owned();
    let card = book.app(asked.app).cards.get_mut(&id)?;
    if std::mem::replace(&mut card.busy, true) {
        book.complaints.add("two calls for one card at a time");
    }
    Some(id)
}

/// Ends a call.
pub(super) fn leave(asked: &Asked<'_>, card: Option<String>, book: &mut Book) {
    let card = card.and_then(|id| book.app(asked.app).cards.get_mut(&id));
    if let Some(card) = card {
        card.busy = false;
    }
}

fn card_id<'a>(asked: &Asked<'a>) -> Option<&'a str> {
    let kit = asked.path.get(1) == Some(&"cardkit");
    asked.path.get(4).copied().filter(|_| kit)
}

/// Executes a call.
pub(super) fn call(asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    if asked.name == "create_card" {
        return create(asked, book);
    }
    let id = card_id(asked).unwrap_or_default().to_owned();
    if !book.in_pace(asked.app, &format!("changes of {id}"), PER_SECOND) {
        return Err(refuse(99_991_400, "request trigger frequency limit"));
    }
    let life = book.faults.streaming_life;
    let card = book.app(asked.app).cards.get_mut(&id);
    let card = card.ok_or_else(|| refuse(200_740, "no such card of this app"))?;
    if card.open_since.is_some_and(|since| since.elapsed() > life) {
        card.open_since = None;
    }
    number(asked, card)?;
    let text = match asked.name {
        "write_card" => write(asked, card)?,
        "settings" => settings(asked, card)?,
        _ => replace(asked, card)?,
    };
    let (bubble, open) = (card.bubble, card.open_since.is_some());
    if let Some(bubble) = bubble.and_then(|it| book.bubbles.get_mut(it)) {
        bubble.done = !open;
        if bubble.text() != text {
            bubble.states.push(text);
        }
    }
    Ok(json!({ "code": 0, "msg": "success", "data": {} }))
}

fn create(asked: &Asked<'_>, book: &mut Book) -> Result<Value, Refused> {
    if asked.body["type"] != "card_json" {
        return Err(refuse(10002, "type"));
    }
    let card = card_json(&asked.body["data"])?;
    cards::check(&card)?;
    let id = format!("75619{:013}", book.number());
    let open = card["config"]["streaming_mode"] == true;
    let entity = Card {
        json: card,
        sequence: 0,
        uuids: std::collections::HashMap::new(),
        open_since: open.then(Instant::now),
        bubble: None,
        busy: false,
    };
    book.app(asked.app).cards.insert(id.clone(), entity);
    Ok(json!({ "code": 0, "msg": "success", "data": { "card_id": id } }))
}

fn card_json(data: &Value) -> Result<Value, Refused> {
    let data = data.as_str();
    let data = data.ok_or_else(|| refuse(10002, "data is a string that holds JSON"))?;
    serde_json::from_str(data).map_err(|_| refuse(200_621, "invalid JSON"))
}

/// The sequence must grow, and a `uuid` must belong to one operation.
fn number(asked: &Asked<'_>, card: &mut Card) -> Result<(), Refused> {
    let sequence = asked.body["sequence"].as_i64().unwrap_or_default();
    let uuid = asked.body["uuid"].as_str().unwrap_or_default();
    if !(1..=i64::from(i32::MAX)).contains(&sequence) || uuid.is_empty() || uuid.len() > 64 {
        return Err(refuse(10002, "sequence or uuid"));
    }
    match card.uuids.get(uuid) {
        Some(body) if body == asked.body => return Err(refuse(300_317, REPEATED)),
        Some(_) => return Err(refuse(200_770, "uuid conflict")),
        None => {}
    }
    if sequence <= card.sequence {
        return Err(refuse(300_317, "the sequence must increase consecutively"));
    }
    card.sequence = sequence;
    card.uuids.insert(uuid.to_owned(), asked.body.clone());
    Ok(())
}

fn write(asked: &Asked<'_>, card: &mut Card) -> Result<String, Refused> {
    if card.open_since.is_none() {
        return Err(refuse(300_309, "streaming mode is closed"));
    }
    let content = asked.body["content"].as_str().unwrap_or_default();
    if content.is_empty() || content.chars().count() > 100_000 {
        return Err(refuse(10002, "content"));
    }
    cards::check_markdown(content)?;
    let id = asked.path.get(6).copied().unwrap_or_default();
    let element = cards::element(&mut card.json, id);
    let element = element.filter(|element| element["tag"] == "markdown");
    let element = element.ok_or_else(|| refuse(300_310, "not a text element"))?;
    element["content"] = content.into();
    if card.json.to_string().len() > cards::MAX_CARD_BYTES {
        return Err(refuse(200_860, "the card is larger than 30 KB"));
    }
    cards::check(&card.json)
}

fn settings(asked: &Asked<'_>, card: &mut Card) -> Result<String, Refused> {
    let settings = card_json(&asked.body["settings"])?;
    for (name, value) in settings["config"].as_object().into_iter().flatten() {
        card.json["config"][name] = value.clone();
    }
    let open = card.json["config"]["streaming_mode"] == true;
    card.open_since = open.then(Instant::now);
    cards::check(&card.json)
}

fn replace(asked: &Asked<'_>, card: &mut Card) -> Result<String, Refused> {
    if asked.body["card"]["type"] != "card_json" {
        return Err(refuse(10002, "type"));
    }
    let json = card_json(&asked.body["card"]["data"])?;
    let text = cards::check(&json)?;
    let open = json["config"]["streaming_mode"] == true;
    card.open_since = open.then(Instant::now);
    card.json = json;
    Ok(text)
}
