//! The account's API: tokens, customer-service messages, typing.

use std::collections::HashMap;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method};
use axum::response::Response;
use serde_json::{Value, json};

use super::{Book, Platform};
use crate::uploads::{self, Form};

/// Longest content.
const MAX_CONTENT_BYTES: usize = 2048;

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let name = match (&parts.method, parts.uri.path()) {
        (&Method::POST, "/cgi-bin/stable_token") => "token",
        (&Method::GET, "/cgi-bin/token") => "older token",
        (&Method::POST, "/cgi-bin/message/custom/send") => "send",
        (&Method::POST, "/cgi-bin/media/upload") => "upload",
        (&Method::POST, "/cgi-bin/message/custom/typing") => "typing",
        (&Method::GET, "/cgi-bin/media/get") => "media",
        (method, path) => {
            platform.book().complaints.add(format!("{method} {path}: no such call"));
            return answer(&json!({ "errcode": 404, "errmsg": "no such call" }));
        }
    };
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    let query: HashMap<String, String> = url::form_urlencoded::parse(query).into_owned().collect();
    let body = axum::body::to_bytes(body, 40 << 20).await.unwrap_or_default();
    let bytes = body.clone();
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut book = platform.book();
    book.calls.push(name);
    if let Some(at) = book.faults.iter().position(|(call, _)| *call == name) {
        let code = book.faults.remove(at).map_or(0, |(_, code)| code);
        return answer(&json!({ "errcode": code, "errmsg": "as the test wants it" }));
    }
    if name == "media" {
        return media(&query, &book);
    }
    let done = match name {
        "upload" => upload(&query, (&parts.headers, &bytes), &mut book),
        "token" => token(&body, &platform, &mut book),
        "older token" => older_token(&query, &platform, &mut book),
        _ => called(name, &query, &body, &platform, &mut book),
    };
    match done {
        Ok(body) => answer(&body),
        Err(code) => answer(&json!({ "errcode": code, "errmsg": "refused" })),
    }
}

fn answer(body: &Value) -> Response {
    Response::builder()
        .header("content-type", "application/json; encoding=utf-8")
        .body(Body::from(body.to_string()))
        .expect("a response can be built")
}

/// A file's bytes. Errors have status 200 too, as JSON.
fn media(query: &HashMap<String, String>, book: &Book) -> Response {
    let has_token = query.get("access_token").is_some_and(|it| book.tokens.contains(it));
    let found = query.get("media_id").and_then(|id| book.media.get(id));
    match found {
        _ if !has_token => answer(&json!({ "errcode": 42001, "errmsg": "access_token expired" })),
        None => answer(&json!({ "errcode": 40007, "errmsg": "invalid media_id" })),
        Some(bytes) => Response::builder()
            .header("content-type", "image/jpeg")
            .header("content-disposition", "attachment; filename=\"media.jpg\"")
            .body(Body::from(bytes.clone()))
            .expect("a response can be built"),
    }
}

/// Takes a picture.
fn upload(
    query: &HashMap<String, String>,
    (headers, body): (&HeaderMap, &[u8]),
    book: &mut Book,
) -> Result<Value, i64> {
    if !query.get("access_token").is_some_and(|it| book.tokens.contains(it)) {
        return Err(42001);
    }
    let form = Form::read(headers, body).map_err(|error| {
        book.complaints.add(format!("upload: {error:#}"));
        41005
    })?;
    let is_right = form.field == "media" && form.has_fields(&[]);
    let code = match query.get("type").map(String::as_str) {
        Some("image") if !is_right => 41005,
        Some("image") if form.bytes.len() > 10 << 20 => 40009,
        Some("image") if !uploads::is_picture(&form.bytes) => 40005,
        Some("image") => 0,
        _ => 40004,
    };
    if code != 0 {
        book.complaints.add(format!("upload: {code}"));
        return Err(code);
    }
    book.n_uploads += 1;
    let key = format!("MEDIA_{}", book.n_uploads);
    book.uploads.keep("", &key, true, form);
    Ok(json!({ "type": "image", "media_id": key, "created_at": 1_760_000_000 }))
}

fn token(body: &Value, platform: &Platform, book: &mut Book) -> Result<Value, i64> {
    if body["grant_type"] != "client_credential" {
        return Err(40002);
    }
    if book.distrusts_caller {
        return Err(40164);
    }
    if body["appid"] != json!(platform.app) {
        return Err(40013);
    }
    if body["secret"] != json!(platform.secret) {
        return Err(40125);
    }
    if body["force_refresh"] == true {
        book.complaints.add("a forced renewal takes the token from others");
    }
    // While it is valid, the same token is returned.
    let token = book.tokens.iter().next().cloned().unwrap_or_else(|| {
        book.n_tokens += 1;
        format!("token-{}", book.n_tokens)
    });
    book.tokens.insert(token.clone());
    Ok(json!({ "access_token": token, "expires_in": 7200 }))
}

/// The older call, whose parameters are in the query and which invalidates the token that it returned before.
fn older_token(query: &HashMap<String, String>, platform: &Platform, book: &mut Book) -> Result<Value, i64> {
    let given = token(&json!(query), platform, book)?;
    let voided = given["access_token"].as_str().unwrap_or_default();
    book.n_tokens += 1;
    let fresh = format!("token-{}", book.n_tokens);
    book.tokens.remove(voided);
    book.tokens.insert(fresh.clone());
    Ok(json!({ "access_token": fresh, "expires_in": 7200 }))
}

fn called(
    name: &str,
    query: &HashMap<String, String>,
    body: &Value,
    platform: &Platform,
    book: &mut Book,
) -> Result<Value, i64> {
    let token = query.get("access_token").ok_or(41001)?;
    if !book.tokens.contains(token) {
        return Err(42001);
    }
    if !platform.has_customer_service {
        return Err(48001);
    }
    let person = body["touser"].as_str().unwrap_or_default();
    match name {
        "typing" => typing(person, body, book),
        _ => send(person, body, book),
    }
}

fn typing(person: &str, body: &Value, book: &mut Book) -> Result<Value, i64> {
    if body["command"] != "Typing" && body["command"] != "CancelTyping" {
        return Err(45072);
    }
    if !book.quotas.contains_key(person) {
        return Err(40003);
    }
    book.n_typing += 1;
    Ok(json!({ "errcode": 0, "errmsg": "ok" }))
}

fn send(person: &str, body: &Value, book: &mut Book) -> Result<Value, i64> {
    for name in body.as_object().into_iter().flat_map(|body| body.keys()) {
        if !["touser", "msgtype", "text", "image"].contains(&name.as_str()) {
            book.complaints.add(format!("send: unknown field {name}"));
        }
    }
    let picture = (body["msgtype"] == "image").then(|| body["image"]["media_id"].as_str().unwrap_or_default());
    if body["msgtype"] != "text" && picture.is_none() {
        return Err(40008);
    }
    let content = match picture {
        Some(_) => "[image]".to_owned(),
        None => body["text"]["content"].as_str().unwrap_or_default().to_owned(),
    };
    if content.trim().is_empty() {
        return Err(44004);
    }
    if content.len() > MAX_CONTENT_BYTES {
        book.complaints.add(format!("content of {} bytes", content.len()));
        return Err(45002);
    }
    match book.quotas.get_mut(person) {
        None => return Err(45015),
        Some(0) => {
            book.complaints.add("more messages than a message of the person allows");
            return Err(45047);
        }
        Some(left) => *left -= 1,
    }
    if let Some(key) = picture
        && !book.uploads.send("", key, true, person)
    {
        return Err(40007);
    }
    book.show(person, "customer_service", content);
    Ok(json!({ "errcode": 0, "errmsg": "ok" }))
}
