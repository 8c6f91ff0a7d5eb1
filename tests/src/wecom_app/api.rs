//! The application's API: tokens, messages, cards, media.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde_json::{Value, json};

use super::{AGENT, Answer, Book, Platform};
use crate::outbound::Bubble;
use crate::uploads::{self, Form};

/// Limit of a content; the platform cuts longer ones.
const MAX_CONTENT_BYTES: usize = 2048;
/// Limit of messages to a member in a minute; more are dropped with a success response.
const MAX_A_MINUTE: usize = 30;

/// A refusal.
struct Refused(i64, String);

fn refuse<T>(code: i64, text: impl Into<String>) -> Result<T, Refused> {
    Err(Refused(code, text.into()))
}

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query: HashMap<String, String> = url::form_urlencoded::parse(query).into_owned().collect();
    let name = match (&parts.method, parts.uri.path()) {
        (&Method::GET, "/cgi-bin/gettoken") => "token",
        (&Method::GET, "/cgi-bin/agent/get") => "agent",
        (&Method::GET, "/cgi-bin/media/get") => "media",
        (&Method::POST, "/cgi-bin/media/upload") => "upload",
        (&Method::POST, "/cgi-bin/message/send") => "send",
        (&Method::POST, "/cgi-bin/message/update_template_card") => "update",
        (method, path) => {
            platform.book().complaints.add(format!("{method} {path}: no such call"));
            return answer(&json!({ "errcode": 404, "errmsg": "no such call" }));
        }
    };
    let body = axum::body::to_bytes(body, 40 << 20).await.unwrap_or_default();
    let mut book = platform.book();
    book.calls.push(name);
    let fault = take_fault(&mut book, name);
    if let Some(Answer::Code(code)) = fault {
        return answer(&json!({ "errcode": code, "errmsg": "as the test wants it" }));
    }
    let done = match name {
        "token" => token(&query, &platform, &mut book),
        _ => called(name, &query, (&parts.headers, &body), &mut book),
    };
    match (done, fault) {
        (_, Some(Answer::Lost)) => lost(),
        (Ok(Reply::Json(body)), _) => answer(&body),
        (Ok(Reply::File(bytes)), _) => file(bytes),
        (Err(Refused(code, text)), _) => answer(&json!({ "errcode": code, "errmsg": text })),
    }
}

enum Reply {
    Json(Value),
    File(Vec<u8>),
}

fn take_fault(book: &mut Book, name: &str) -> Option<Answer> {
    let at = book.faults.iter().position(|(call, _)| *call == name)?;
    book.faults.remove(at).map(|(_, answer)| answer)
}

fn answer(body: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json; charset=UTF-8")
        .body(Body::from(body.to_string()))
        .expect("a response can be built")
}

fn file(bytes: Vec<u8>) -> Response {
    Response::builder()
        .header("content-disposition", "attachment; filename=\"picture.png\"")
        .body(Body::from(bytes))
        .expect("a response can be built")
}

/// A response that breaks off.
fn lost() -> Response {
    let broken: Result<Bytes, _> = Err(std::io::Error::other("the answer gets lost"));
    Response::new(Body::from_stream(futures_util::stream::iter([broken])))
}

fn token(query: &HashMap<String, String>, platform: &Platform, book: &mut Book) -> Result<Reply, Refused> {
    if query.get("corpid") != Some(&platform.corp) {
        return refuse(40013, "invalid corpid");
    }
    if query.get("corpsecret") != Some(&platform.secret) {
        return refuse(40001, "invalid credential");
    }
    // While it is valid, the same token is returned.
    let token = book.tokens.iter().next().cloned().unwrap_or_else(|| {
        book.n_tokens += 1;
        format!("token-{}", book.n_tokens)
    });
    book.tokens.insert(token.clone());
    Ok(Reply::Json(
        json!({ "errcode": 0, "errmsg": "ok", "access_token": token, "expires_in": 7200 }),
    ))
}

fn called(
    name: &str,
    query: &HashMap<String, String>,
    (headers, body): (&HeaderMap, &[u8]),
    book: &mut Book,
) -> Result<Reply, Refused> {
    let Some(token) = query.get("access_token") else {
        return refuse(41001, "access_token missing");
    };
    if !book.tokens.contains(token) {
        return refuse(42001, "access_token expired");
    }
    if book.distrusts_caller {
        return refuse(60020, "not allow to access from your ip");
    }
    match name {
        "agent" => match query.get("agentid").is_some_and(|id| *id == AGENT.to_string()) {
            true => Ok(Reply::Json(
                json!({ "errcode": 0, "errmsg": "ok", "agentid": AGENT, "name": "Helper" }),
            )),
            false => refuse(301_002, "no privilege to access this agent"),
        },
        "upload" => upload(query, headers, body, book),
        "media" => match query.get("media_id").and_then(|id| book.media.get(id)) {
            Some(bytes) => Ok(Reply::File(bytes.clone())),
            None => refuse(40007, "invalid media_id"),
        },
        _ => {
            let body: Value = serde_json::from_slice(body).or_else(|_| refuse(47001, "data format error"))?;
            match name {
                "send" => send(&body, book),
                _ => update(&body, book),
            }
        }
    }
    .inspect_err(|Refused(code, text)| {
        // Codes that a correct client never gets, whatever people do.
        if !matches!(code, 40007 | 81013) {
            book.complaints.add(format!("{name}: {code} {text}"));
        }
    })
}

fn upload(
    query: &HashMap<String, String>,
    headers: &HeaderMap,
    body: &[u8],
    book: &mut Book,
) -> Result<Reply, Refused> {
    let form = Form::read(headers, body).or_else(|error| refuse(41005, format!("{error:#}")))?;
    if form.field != "media" || !form.has_fields(&[]) {
        return refuse(41005, "media data missing");
    }
    let (is_picture, most) = match query.get("type").map(String::as_str) {
        Some("image") => (true, 10 << 20),
        Some("file") => (false, 20 << 20),
        _ => return refuse(40004, "invalid media type"),
    };
    let kind = query["type"].clone();
    if form.bytes.len() <= 5 || form.bytes.len() > most {
        return refuse(40009, "invalid media size");
    }
    if is_picture && !uploads::is_picture(&form.bytes) {
        return refuse(40005, "invalid file type");
    }
    book.n_uploads += 1;
    let key = format!("MEDIA-{}", book.n_uploads);
    book.uploads.keep("", &key, is_picture, form);
    Ok(Reply::Json(
        json!({ "errcode": 0, "errmsg": "ok", "type": kind, "media_id": key, "created_at": "1760000000" }),
    ))
}

fn only_fields(what: &str, object: &Value, known: &[&str], book: &mut Book) {
    for name in object.as_object().into_iter().flat_map(|object| object.keys()) {
        if !known.contains(&name.as_str()) {
            book.complaints.add(format!("{what}: unknown field {name}"));
        }
    }
}

fn send(body: &Value, book: &mut Book) -> Result<Reply, Refused> {
    let known = [
        "touser",
        "toparty",
        "totag",
        "msgtype",
        "agentid",
        "text",
        "markdown",
        "template_card",
        "image",
        "file",
        "safe",
        "enable_duplicate_check",
        "duplicate_check_interval",
    ];
    only_fields("send", body, &known, book);
    if body["agentid"] != json!(AGENT) {
        return refuse(40056, "invalid agentid");
    }
    let Some(member) = body["touser"].as_str().filter(|to| !to.is_empty() && !to.contains('|')) else {
        return refuse(40031, "one member is expected in touser");
    };
    if book.invisible.contains(member) {
        return refuse(81013, "user & party & tag all invalid");
    }
    let (way, text) = match body["msgtype"].as_str() {
        Some("text") => ("text", content(&body["text"], book)?),
        Some("markdown") => ("markdown", content(&body["markdown"], book)?),
        Some(kind @ ("image" | "file")) => {
            let key = body[kind]["media_id"].as_str().unwrap_or_default().to_owned();
            only_fields(kind, &body[kind], &["media_id"], book);
            // The duplicate check compares the content.
            if !is_duplicate(body, member, &key, book) && !book.uploads.send("", &key, kind == "image", member) {
                return refuse(40007, "invalid media_id");
            }
            (if kind == "image" { "image" } else { "file" }, key)
        }
        Some("template_card") => ("card", card(&body["template_card"], book)?),
        _ => return refuse(40008, "invalid message type"),
    };
    let sent = json!({ "errcode": 0, "errmsg": "ok", "invaliduser": "", "msgid": format!("m{}", book.bubbles.len()) });
    if is_duplicate(body, member, &text, book) || is_too_fast(member, book) {
        return Ok(Reply::Json(sent));
    }
    if way == "card" {
        let task = body["template_card"]["task_id"].as_str().unwrap_or_default().to_owned();
        let list = body["template_card"]["button_list"].as_array().into_iter().flatten();
        let word = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
        let keys = list.map(|button| (word(button, "text"), word(button, "key"))).collect();
        book.cards.insert(task, (book.bubbles.len(), keys));
    }
    book.contents.push((member.to_owned(), text.clone(), Instant::now()));
    book.bubbles.push(Bubble {
        bot: AGENT.to_string(),
        chat: member.to_owned(),
        answers: None,
        way,
        states: vec![text],
        done: true,
    });
    Ok(Reply::Json(sent))
}

fn content(message: &Value, book: &mut Book) -> Result<String, Refused> {
    only_fields("content", message, &["content"], book);
    let Some(content) = message["content"].as_str().filter(|text| !text.trim().is_empty()) else {
        return refuse(44004, "empty content");
    };
    if content.len() > MAX_CONTENT_BYTES {
        book.complaints
            .add(format!("content of {} bytes is cut", content.len()));
    }
    Ok(content.to_owned())
}

fn card(card: &Value, book: &mut Book) -> Result<String, Refused> {
    only_fields(
        "template_card",
        card,
        &["card_type", "main_title", "button_list", "task_id", "sub_title_text"],
        book,
    );
    if card["card_type"] != "button_interaction" {
        return refuse(42031, "card_type");
    }
    let task = card["task_id"].as_str().unwrap_or_default();
    let legal = |c: char| c.is_ascii_alphanumeric() || "_-@".contains(c);
    if task.is_empty() || task.len() > 128 || !task.chars().all(legal) || book.cards.contains_key(task) {
        return refuse(42014, "task_id invalid or used");
    }
    let buttons = card["button_list"].as_array().map(Vec::as_slice).unwrap_or_default();
    if buttons.is_empty() || buttons.len() > 6 {
        return refuse(42037, "button_list");
    }
    for button in buttons {
        let is_text = |name: &str| {
            button[name]
                .as_str()
                .is_some_and(|text| !text.is_empty() && text.len() <= 1024)
        };
        if !is_text("text") || !is_text("key") {
            return refuse(42038, "button");
        }
    }
    match card["main_title"]["title"].as_str() {
        Some(title) if !title.is_empty() => Ok(title.to_owned()),
        _ => refuse(42015, "main_title"),
    }
}

/// Whether the call requests the duplicate check, and is a duplicate.
fn is_duplicate(body: &Value, member: &str, text: &str, book: &mut Book) -> bool {
    if body["enable_duplicate_check"] != 1 {
        return false;
    }
    let interval_s = body["duplicate_check_interval"].as_u64().unwrap_or(1800);
    if interval_s > 4 * 3600 {
        book.complaints
            .add("duplicate_check_interval is longer than four hours");
    }
    let reach = Duration::from_secs(interval_s);
    let mut earlier = book.contents.iter();
    earlier.any(|(to, said, at)| to == member && said == text && at.elapsed() < reach)
}

/// Messages beyond the rate limit are dropped without an error.
fn is_too_fast(member: &str, book: &mut Book) -> bool {
    let sent_at = book.sent_at.entry(member.to_owned()).or_default();
    while sent_at.front().is_some_and(|at| at.elapsed() > Duration::from_secs(60)) {
        sent_at.pop_front();
    }
    sent_at.push_back(Instant::now());
    let is_too_fast = sent_at.len() > MAX_A_MINUTE;
    if is_too_fast {
        book.complaints.add("more than 30 messages a minute to a member");
    }
    is_too_fast
}

fn update(body: &Value, book: &mut Book) -> Result<Reply, Refused> {
    only_fields("update", body, &["userids", "agentid", "response_code", "button"], book);
    if body["agentid"] != json!(AGENT) {
        return refuse(40056, "invalid agentid");
    }
    let code = body["response_code"].as_str().unwrap_or_default();
    let Some(at) = book.response_codes.remove(code) else {
        return refuse(40073, "response_code is unknown or used");
    };
    let members = body["userids"].as_array().map(Vec::as_slice).unwrap_or_default();
    if !members.contains(&json!(book.bubbles[at].chat)) {
        return refuse(40031, "userids");
    }
    match body["button"]["replace_name"].as_str() {
        Some(name) if !name.is_empty() => book.bubbles[at].states.push(name.to_owned()),
        _ => return refuse(42017, "button"),
    }
    Ok(Reply::Json(json!({ "errcode": 0, "errmsg": "ok", "invaliduser": [] })))
}
