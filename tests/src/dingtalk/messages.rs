//! Messages: by `sessionWebhook`, to a person, to a group.

use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use serde_json::{Value, json};

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::socket;

use super::api::{Refused, refuse};
use super::book::Book;
use super::cards;

/// Limit of the body sent to a `sessionWebhook`.
const MAX_SESSION_BYTES: usize = 20_000;
/// The signature in the addresses of files.
const SIGNATURE: &str = "Expires=1790000000&OSSAccessKeyId=k&Signature=s%2B%2F%3D";
/// Limit of `msgParam`.
const MAX_PARAM_BYTES: usize = 15_000;

/// The status is always 200; errors are in the code.
pub(super) fn session(query: &str, body: &Value, n_bytes: usize, book: &mut Book) -> Value {
    match by_session(query, body, n_bytes, book) {
        Ok(()) => json!({ "errcode": 0, "errmsg": "ok" }),
        Err((code, text)) => {
            if code != 300_001 && code != 410_100 {
                book.complaints.add(format!("session: {code} {text}"));
            }
            json!({ "errcode": code, "errmsg": text })
        }
    }
}

fn by_session(query: &str, body: &Value, n_bytes: usize, book: &mut Book) -> Result<(), (i64, &'static str)> {
    let session = query.strip_prefix("session=").unwrap_or_default();
    let webhook = book.webhooks.get(session).cloned();
    let webhook = webhook.filter(|webhook| webhook.until > Instant::now());
    let webhook = webhook.ok_or((300_001, "session does not exist"))?;
    if n_bytes > MAX_SESSION_BYTES {
        return Err((460_101, "the body is too large"));
    }
    let text = match body["msgtype"].as_str() {
        Some("text") => body["text"]["content"].as_str(),
        Some("markdown") => {
            let title = body["markdown"]["title"].as_str().unwrap_or_default();
            if title.trim().is_empty() {
                return Err((40035, "no title"));
            }
            body["markdown"]["text"].as_str()
        }
        Some("actionCard") => {
            let card = &body["actionCard"];
            if card["title"].as_str().is_none_or(|title| title.trim().is_empty()) {
                return Err((40035, "no title"));
            }
            let list = card["btns"].as_array().into_iter().flatten();
            let mut links: Vec<_> = list.map(|button| (&button["title"], &button["actionURL"])).collect();
            if card["btns"].is_null() {
                links.push((&card["singleTitle"], &card["singleURL"]));
            }
            keep_links(&webhook.to, &links, book).ok_or((40035, "a button without title or address"))?;
            card["text"].as_str()
        }
        _ => return Err((400_105, "msgtype")),
    };
    let text = text.filter(|text| !text.trim().is_empty());
    let text = text.ok_or((40035, "no text"))?;
    let pace = format!("session {}", webhook.to.chat());
    if !book.in_pace(&webhook.app, &pace, 20, Duration::from_secs(60)) {
        return Err((410_100, "too fast"));
    }
    let bubble = bubble(&webhook.app, &webhook.to, Some(&webhook.answers), "session", text);
    book.bubbles.push(bubble);
    Ok(())
}

/// Records the buttons of an action card. `None` if one lacks its title or its address.
fn keep_links(to: &Speaker, links: &[(&Value, &Value)], book: &mut Book) -> Option<()> {
    let word = |value: &Value| value.as_str().filter(|word| !word.trim().is_empty()).map(str::to_owned);
    for (title, address) in links {
        let button = ShownButton::new(&word(title)?, &word(address)?);
        book.buttons.push((to.chat().to_owned(), button));
    }
    (!links.is_empty()).then_some(())
}

fn bubble(app: &str, to: &Speaker, answers: Option<&str>, way: &'static str, text: &str) -> Bubble {
    Bubble {
        bot: app.to_owned(),
        chat: to.chat().to_owned(),
        answers: answers.map(str::to_owned),
        way,
        states: vec![text.to_owned()],
        done: true,
    }
}

/// Returns the signed address of a file.
pub(super) fn locate(app: &str, body: &Value, url: &str, book: &mut Book) -> Result<Value, Refused> {
    if body["robotCode"] != app {
        return Err(refuse("invalidParameter.robotCode.auth"));
    }
    let code = body["downloadCode"].as_str().unwrap_or_default();
    let file = book.files.get(code).filter(|(of, _)| of == app).cloned();
    let file = file.ok_or_else(|| refuse("invalidParameter.downloadCode.invalid"))?;
    let name = book.fresh("0a1b");
    book.files.insert(name.clone(), file);
    Ok(json!({ "downloadUrl": format!("{url}/files/{name}?{SIGNATURE}") }))
}

/// The storage behind that address: a signed request must not have an authentication header.
pub(super) fn fetch(name: &str, query: &str, headers: &HeaderMap, book: &mut Book) -> Response {
    let has_more = headers.contains_key("x-acs-dingtalk-access-token") || headers.contains_key("authorization");
    if query != SIGNATURE || has_more {
        book.complaints
            .add(format!("file: a request that is not as it was signed: {query}"));
        return socket::refused(StatusCode::FORBIDDEN, &[]);
    }
    match book.files.get(name) {
        Some((_, bytes)) => Response::new(Body::from(bytes.clone())),
        None => socket::refused(StatusCode::NOT_FOUND, &[]),
    }
}

/// Sends to people.
pub(super) fn direct(app: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let text = param(app, body)?;
    let users: Vec<&str> = body["userIds"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .collect();
    if users.is_empty() || users.len() > 20 {
        return Err(refuse("invalidParameter.userIds"));
    }
    let mut invalid = Vec::new();
    for user in users {
        match cards::known(app, user, false, book) {
            Ok(to) => {
                send_file(app, &to, body, book)?;
                keep_links_of(&to, body, book)?;
                let bubble = bubble(app, &to, None, "direct", &text);
                book.bubbles.push(bubble);
            }
            Err(_) => invalid.push(user),
        }
    }
    if !invalid.is_empty() {
        book.complaints.add("a direct message to an unknown person");
    }
    let key = book.fresh("pqk");
    Ok(json!({ "processQueryKey": key, "invalidStaffIdList": invalid, "flowControlledStaffIdList": [] }))
}

/// Sends to a group.
pub(super) fn group(app: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let text = param(app, body)?;
    let id = body["openConversationId"].as_str().unwrap_or_default();
    let to = cards::known(app, id, true, book)?;
    send_file(app, &to, body, book)?;
    keep_links_of(&to, body, book)?;
    let bubble = bubble(app, &to, None, "group", &text);
    book.bubbles.push(bubble);
    let key = book.fresh("pqk");
    Ok(json!({ "processQueryKey": key }))
}

/// The buttons of `sampleActionCard`, which has one, and of `sampleActionCard2` to `5`, which have as many as their name says.
fn keep_links_of(to: &Speaker, body: &Value, book: &mut Book) -> Result<(), Refused> {
    let Some(count) = body["msgKey"]
        .as_str()
        .and_then(|key| key.strip_prefix("sampleActionCard"))
    else {
        return Ok(());
    };
    let param: Value = serde_json::from_str(body["msgParam"].as_str().unwrap_or_default()).unwrap_or_default();
    let links: Vec<_> = match count {
        "" => vec![(&param["singleTitle"], &param["singleURL"])],
        count => (1..=count.parse().unwrap_or(0))
            .map(|n: usize| (&param[format!("actionTitle{n}")], &param[format!("actionURL{n}")]))
            .collect(),
    };
    keep_links(to, &links, book).ok_or_else(|| refuse("invalidParameter.msgParam.invalid"))
}

/// The picture or file of `sampleImageMsg` and `sampleFile`.
fn send_file(app: &str, to: &Speaker, body: &Value, book: &mut Book) -> Result<(), Refused> {
    let param: Value = serde_json::from_str(body["msgParam"].as_str().unwrap_or_default()).unwrap_or_default();
    let (key, is_picture) = match body["msgKey"].as_str() {
        Some("sampleImageMsg") => (&param["photoURL"], true),
        Some("sampleFile") => (&param["mediaId"], false),
        _ => return Ok(()),
    };
    let is_known = book
        .uploads
        .send(app, key.as_str().unwrap_or_default(), is_picture, to.chat());
    is_known
        .then_some(())
        .ok_or_else(|| refuse("invalidParameter.msgParam.invalid"))
}

fn param(app: &str, body: &Value) -> Result<String, Refused> {
    if body["robotCode"] != app {
        return Err(refuse("invalidParameter.robotCode.auth"));
    }
    let raw = body["msgParam"]
        .as_str()
        .ok_or_else(|| refuse("invalidParameter.msgParam.invalid"))?;
    if raw.len() > MAX_PARAM_BYTES {
        return Err(refuse("invalidParameter.msgParam.tooLong"));
    }
    let param: Value = serde_json::from_str(raw).map_err(|_| refuse("invalidParameter.msgParam.invalid"))?;
    let text = match body["msgKey"].as_str() {
        Some("sampleText") => &param["content"],
        Some("sampleImageMsg") => return Ok("[image]".to_owned()),
        Some("sampleFile") => {
            let has = |field: &str| param[field].as_str().is_some_and(|word| !word.is_empty());
            let kinds = ["xlsx", "pdf", "zip", "rar", "doc", "docx"];
            let is_kind = param["fileType"].as_str().is_some_and(|kind| kinds.contains(&kind));
            return match is_kind && has("fileName") {
                true => Ok("[file]".to_owned()),
                false => Err(refuse("invalidParameter.msgParam.invalid")),
            };
        }
        Some(
            "sampleMarkdown" | "sampleActionCard" | "sampleActionCard2" | "sampleActionCard3" | "sampleActionCard4"
            | "sampleActionCard5",
        ) if param["title"].as_str().is_some_and(|title| !title.trim().is_empty()) => &param["text"],
        Some(key) if key.starts_with("sample") => return Err(refuse("miss.param.markdownTotitle")),
        _ => return Err(refuse("invalidParameter.msgKey.invalid")),
    };
    let text = text.as_str().filter(|text| !text.trim().is_empty());
    Ok(text
        .ok_or_else(|| refuse("invalidParameter.msgParam.invalid"))?
        .to_owned())
}
