//! AI cards.

use std::collections::HashSet;

use serde_json::{Value, json};

use crate::outbound::{Bubble, Speaker};

use super::api::{Refused, refuse};
use super::book::{Book, Card};

/// Templates whose text is in `msgContent` and whose state is a variable.
const PUBLIC: [&str; 2] = [
    "02fcf2f4-5e02-4a85-b672-46d1f715543e.schema",
    "382e4302-551d-4880-bf29-a30acfab2e71.schema",
];
/// Above this limit, cards were observed to go blank.
const MAX_CHARS: usize = 3000;

/// Begins a call: calls for one card must not overlap.
pub(super) fn enter(app: &str, body: &Value, book: &mut Book) {
    if let Some(card) = card(app, body, book)
        && std::mem::replace(&mut card.busy, true)
    {
        book.complaints.add("two calls for one card at a time");
    }
}

/// Ends a call.
pub(super) fn leave(app: &str, body: &Value, book: &mut Book) {
    if let Some(card) = card(app, body, book) {
        card.busy = false;
    }
}

fn card<'a>(app: &str, body: &Value, book: &'a mut Book) -> Option<&'a mut Card> {
    let id = body["outTrackId"].as_str()?;
    book.app(app).cards.get_mut(id)
}

/// Creates a card and delivers it.
pub(super) fn create(app: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let id = body["outTrackId"].as_str().unwrap_or_default().to_owned();
    let template = body["cardTemplateId"].as_str().unwrap_or_default();
    if id.is_empty() || !body["cardData"]["cardParamMap"].is_object() {
        return Err(refuse("param.empty"));
    }
    if !template.ends_with(".schema") {
        return Err(refuse("param.templateNotExist"));
    }
    if book.app(app).cards.contains_key(&id) {
        return Err(refuse("param.cardAlreadyExist"));
    }
    let to = space(app, body, book)?;
    let variables = strings(&body["cardData"]["cardParamMap"])?;
    let key = if PUBLIC.contains(&template) {
        "msgContent"
    } else {
        "content"
    };
    if !variables.contains(&key) || key == "msgContent" && body["cardData"]["cardParamMap"]["flowStatus"] != "1" {
        book.complaints.add("a card that doesn't begin with its state and text");
    }
    if book
        .app(app)
        .cards
        .values()
        .any(|card| !card.callback.is_empty() && body["callbackType"].is_null())
    {
        book.complaints.add("a card without the callbackType of the others");
    }
    let bubble = Bubble {
        bot: app.to_owned(),
        chat: to.chat().to_owned(),
        answers: None,
        way: "card",
        states: vec![text(&body["cardData"]["cardParamMap"], key)],
        done: false,
    };
    book.bubbles.push(bubble);
    let card = Card {
        bubble: book.bubbles.len() - 1,
        key,
        guids: HashSet::new(),
        finalized: false,
        busy: false,
        callback: body["callbackType"].as_str().unwrap_or_default().to_owned(),
    };
    book.app(app).cards.insert(id.clone(), card);
    let carrier = book.fresh("carrier");
    let delivered =
        json!({ "spaceType": "IM", "spaceId": to.chat(), "success": true, "carrierId": carrier, "errorMsg": "" });
    Ok(json!({ "success": true, "result": { "outTrackId": id, "deliverResults": [delivered] } }))
}

/// The target chat; the card's space models must be those of the space.
fn space(app: &str, body: &Value, book: &mut Book) -> Result<Speaker, Refused> {
    let space = body["openSpaceId"]
        .as_str()
        .and_then(|it| it.strip_prefix("dtv1.card//"));
    let (kind, id) = space
        .and_then(|it| it.split_once('.'))
        .ok_or_else(|| refuse("param.openSpaceIdInvalid"))?;
    let (models, group) = match kind {
        "IM_GROUP" => (["imGroupOpenSpaceModel", "imGroupOpenDeliverModel"], true),
        "IM_ROBOT" => (["imRobotOpenSpaceModel", "imRobotOpenDeliverModel"], false),
        _ => return Err(refuse("param.openSpaceIdInvalid")),
    };
    let [space, deliver] = models.map(|model| &body[model]);
    if !space["supportForward"].is_boolean() || !deliver.is_object() {
        return Err(refuse("param.openDeliverModelEmpty"));
    }
    if deliver["robotCode"] != app || !group && deliver["spaceType"] != "IM_ROBOT" {
        return Err(refuse("param.openDeliverModelEmpty"));
    }
    known(app, id, group, book)
}

/// A chat that the robot knows, by the group's or the person's id.
pub(super) fn known(app: &str, id: &str, group: bool, book: &mut Book) -> Result<Speaker, Refused> {
    let chats = &book.app(app).chats;
    let found = chats.values().find(|chat| {
        if group {
            chat.group.as_deref() == Some(id)
        } else {
            chat.user == id
        }
    });
    match found {
        Some(_) if group => Ok(Speaker::in_group("", id)),
        Some(_) => Ok(Speaker::alone(id)),
        None => Err(refuse("invalid.openConversationId")),
    }
}

fn strings(variables: &Value) -> Result<Vec<&str>, Refused> {
    let variables = variables
        .as_object()
        .ok_or_else(|| refuse("param.cardDataAndPrivateDataBothEmpty"))?;
    match variables.values().all(Value::is_string) {
        true => Ok(variables.keys().map(String::as_str).collect()),
        false => Err(refuse("param.cardParamMap.notString")),
    }
}

fn text(variables: &Value, key: &str) -> String {
    variables[key].as_str().unwrap_or_default().to_owned()
}

/// Shows text in a card.
pub(super) fn stream(app: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let guid = body["guid"].as_str().unwrap_or_default().to_owned();
    let content = body["content"].as_str().unwrap_or_default().to_owned();
    if guid.is_empty() {
        return Err(refuse("param.stream.guidEmpty"));
    }
    if content.is_empty() {
        return Err(refuse("param.stream.contentEmpty"));
    }
    if body["isFull"] != true || !body["isFinalize"].is_boolean() || !body["isError"].is_boolean() {
        return Err(refuse("param.stream.isFull"));
    }
    if content.chars().count() > MAX_CHARS {
        return Err(refuse("param.stream.content"));
    }
    let mut wrong = Vec::new();
    let card = card(app, body, book).ok_or_else(|| refuse("param.stream.outTrackId"))?;
    if body["key"] != card.key {
        return Err(Refused {
            status: 500,
            code: "unknownError".to_owned(),
        });
    }
    if !card.guids.insert(guid) {
        wrong.push("a guid that was used before");
    }
    if card.finalized {
        wrong.push("text for a card that is finished");
    }
    let last = body["isFinalize"] == true || body["isError"] == true;
    card.finalized |= last;
    let (bubble, own) = (card.bubble, card.key == "content");
    let bubble = &mut book.bubbles[bubble];
    if bubble.text() != content {
        bubble.states.push(content);
    }
    // The public templates end by their state variable.
    bubble.done |= last && own;
    for wrong in wrong {
        book.complaints.add(wrong);
    }
    Ok(json!({ "success": true, "result": true }))
}

/// Sets a card's variables.
pub(super) fn update(app: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let variables = &body["cardData"]["cardParamMap"];
    strings(variables)?;
    if body["cardUpdateOptions"]["updateCardDataByKey"] != true {
        book.complaints.add("an update that wipes all other variables");
    }
    let card = card(app, body, book).ok_or_else(|| refuse("param.cardNotExist"))?;
    let (bubble, key) = (card.bubble, card.key);
    let state = variables["flowStatus"].as_str().unwrap_or_default();
    let ended = matches!(state, "3" | "5");
    card.finalized |= ended;
    let shown = text(variables, key);
    let bubble = &mut book.bubbles[bubble];
    if bubble.text() != shown && !shown.is_empty() {
        bubble.states.push(shown);
    }
    bubble.done |= ended;
    Ok(json!({ "success": true, "result": true }))
}
