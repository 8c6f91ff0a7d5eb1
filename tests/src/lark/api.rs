//! The open API: authentication, rate limits, and responses.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::socket;
use crate::uploads::{self, Form};

use super::book::{Answer, Book, Call, Fault};
use super::{Platform, gateway, kit, messages};

/// Limit of a request body.
const MAX_BODY_BYTES: usize = 40 << 20;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) code: i64,
    pub(super) text: String,
}

/// A refusal with HTTP 400, the status of most refusals.
pub(super) fn refuse(code: i64, text: impl Into<String>) -> Refused {
    Refused {
        status: 400,
        code,
        text: text.into(),
    }
}

/// A parsed call.
pub(super) struct Asked<'a> {
    pub(super) app: &'a str,
    pub(super) name: &'static str,
    pub(super) path: Vec<&'a str>,
    pub(super) query: &'a str,
    pub(super) body: &'a Value,
}

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    if request.uri().path() == "/ws/v2" {
        return gateway::connect(&platform, request);
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    let Some(name) = name(&parts.method, &path) else {
        platform
            .book()
            .complaints
            .add(format!("{} {path}: no such call", parts.method));
        return answer(404, &json!({ "code": 404, "msg": "not found" }), None);
    };
    let is_upload = name.starts_with("upload_");
    let body = match is_upload {
        true => Value::Null,
        false => read(name, &parts.headers, &bytes, &platform),
    };
    let caller = caller(&parts.headers, &platform.book());
    if let Some(app) = &caller {
        platform.book().check_reset(app, name);
    }
    if name == "token" {
        let latency = platform.book().faults.token_latencies.pop_front();
        sleep(latency.unwrap_or_default()).await;
    }
    let fault = take_fault(name, &mut platform.book());
    if let Some(Answer::Refused(status, code, reset)) = fault {
        if let Some((app, seconds)) = caller.zip(reset) {
            platform.book().told_reset(&app, name, seconds);
        }
        return answer(status, &json!({ "code": code, "msg": "refused" }), reset);
    }
    if let Some(Answer::Late(time)) = fault {
        sleep(time).await;
    }
    let done = match name {
        "bootstrap" => gateway::bootstrap(&body, &platform),
        "token" => token(&body, &mut platform.book()),
        _ if is_upload => upload(name, caller.as_deref(), &parts.headers, &bytes, &mut platform.book()),
        _ => call(name, &path, &query, &parts.headers, &body, &platform).await,
    };
    if let Some(Answer::Lost) = fault {
        return lost();
    }
    match done {
        Ok(Value::String(key)) => {
            let sent = platform.book().files.get(&key).cloned();
            Response::new(Body::from(
                sent.unwrap_or_else(|| format!("bytes of {key}").into_bytes()),
            ))
        }
        Ok(body) => answer(200, &body, None),
        Err(refused) => {
            let reset = (refused.code == 99_991_400).then_some(1);
            answer(
                refused.status,
                &json!({ "code": refused.code, "msg": refused.text, "error": { "log_id": "log1" } }),
                reset,
            )
        }
    }
}

fn name(method: &Method, path: &str) -> Option<&'static str> {
    let segments: Vec<&str> = path.trim_start_matches('/').split('/').collect();
    Some(match (method.as_str(), segments.as_slice()) {
        ("POST", ["callback", "ws", "endpoint"]) => "bootstrap",
        ("POST", ["open-apis", "auth", "v3", "tenant_access_token", "internal"]) => "token",
        ("GET", ["open-apis", "bot", "v3", "info"]) => "bot",
        ("GET", ["open-apis", "application", "v6", "scopes"]) => "scopes",
        ("GET", ["open-apis", "contact", "v3", "users", _]) => "user",
        ("GET", ["open-apis", "im", "v1", "chats", _]) => "chat",
        ("POST", ["open-apis", "im", "v1", "messages"]) => "send",
        ("POST", ["open-apis", "im", "v1", "messages", _, "reply"]) => "reply",
        ("POST", ["open-apis", "im", "v1", "images"]) => "upload_picture",
        ("POST", ["open-apis", "im", "v1", "files"]) => "upload_file",
        ("PATCH", ["open-apis", "im", "v1", "messages", _]) => "patch",
        ("GET", ["open-apis", "im", "v1", "messages", _]) => "read",
        ("GET", ["open-apis", "im", "v1", "messages", _, "resources", _]) => "download",
        ("POST", ["open-apis", "im", "v1", "messages", _, "reactions"]) => "react",
        ("DELETE", ["open-apis", "im", "v1", "messages", _, "reactions", _]) => "unreact",
        ("POST", ["open-apis", "cardkit", "v1", "cards"]) => "create_card",
        ("PUT", ["open-apis", "cardkit", "v1", "cards", _, "elements", _, "content"]) => "write_card",
        ("PATCH", ["open-apis", "cardkit", "v1", "cards", _, "settings"]) => "settings",
        ("PUT", ["open-apis", "cardkit", "v1", "cards", _]) => "replace_card",
        _ => return None,
    })
}

fn read(name: &str, headers: &HeaderMap, bytes: &Bytes, platform: &Platform) -> Value {
    if bytes.is_empty() {
        return Value::Null;
    }
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if !content_type.is_some_and(|it| it.starts_with("application/json")) {
        platform
            .book()
            .complaints
            .add(format!("{name}: a body that is not application/json"));
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        platform
            .book()
            .complaints
            .add(format!("{name}: a body that is not JSON"));
        Value::Null
    })
}

fn take_fault(name: &str, book: &mut Book) -> Option<Answer> {
    let at = book.faults.answers.iter().position(|fault| fault.call == name)?;
    let Fault { answer, .. } = book.faults.answers.remove(at)?;
    Some(answer)
}

fn token(body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let id = body["app_id"].as_str().unwrap_or_default().to_owned();
    let token = book.fresh("t-g1040");
    let app = book.apps.get_mut(&id);
    let app = app.filter(|app| body["app_secret"] == app.secret.as_str());
    let Some(app) = app else {
        return Err(Refused {
            status: 200,
            code: 10014,
            text: "app secret invalid".to_owned(),
        });
    };
    // More than half an hour is left: the same token is returned.
    let token = app.tokens.iter().next().cloned().unwrap_or(token);
    app.tokens.insert(token.clone());
    Ok(json!({ "code": 0, "msg": "ok", "tenant_access_token": token, "expire": 7200 }))
}

/// Accepts a picture or a file. Business errors have status 400.
fn upload(name: &str, app: Option<&str>, headers: &HeaderMap, bytes: &[u8], book: &mut Book) -> Result<Value, Refused> {
    let app = app.ok_or_else(|| refuse(99_991_663, "tenant access token invalid"))?;
    let form = Form::read(headers, bytes).map_err(|error| {
        book.complaints.add(format!("{name}: {error:#}"));
        refuse(234_001, "invalid request param")
    })?;
    let is_picture = name == "upload_picture";
    let word = |field: &str| form.fields.get(field).map(String::as_str);
    let (fields, file, most): (&[&str], _, _) = match is_picture {
        true => (&["image_type"], "image", 10 << 20),
        false => (&["file_type", "file_name"], "file", 30 << 20),
    };
    let kinds = ["opus", "mp4", "pdf", "doc", "xls", "ppt", "stream"];
    let is_right = match is_picture {
        true => word("image_type") == Some("message"),
        false => {
            word("file_type").is_some_and(|kind| kinds.contains(&kind))
                && word("file_name").is_some_and(|name| !name.is_empty())
        }
    };
    let done = match () {
        () if !form.has_fields(fields) || form.field != file || !is_right => {
            Err(refuse(234_001, "invalid request param"))
        }
        () if form.bytes.is_empty() => Err(refuse(234_010, "file's size can't be 0")),
        () if form.bytes.len() > most => Err(refuse(234_006, "the file size exceed the max value")),
        () if is_picture && !uploads::is_picture(&form.bytes) => {
            Err(refuse(234_011, "can't recognize the image format"))
        }
        () => Ok(()),
    };
    if let Err(refused) = done {
        complain("upload", &refused, book);
        return Err(refused);
    }
    let key = book.fresh(if is_picture { "img_v3_" } else { "file_v3_" });
    book.uploads.keep(app, &key, is_picture, form);
    let field = if is_picture { "image_key" } else { "file_key" };
    Ok(json!({ "code": 0, "msg": "success", "data": { field: key } }))
}

/// The app whose token a call carries.
fn caller(headers: &HeaderMap, book: &Book) -> Option<String> {
    let bearer = headers.get(header::AUTHORIZATION).and_then(|it| it.to_str().ok());
    let bearer = bearer.and_then(|it| it.strip_prefix("Bearer ")).unwrap_or_default();
    let mut apps = book.apps.iter();
    apps.find_map(|(id, app)| app.tokens.contains(bearer).then(|| id.clone()))
}

async fn call(
    name: &'static str,
    path: &str,
    query: &str,
    headers: &HeaderMap,
    body: &Value,
    platform: &Platform,
) -> Result<Value, Refused> {
    let app = caller(headers, &platform.book());
    let app = app.ok_or_else(|| refuse(99_991_663, "tenant access token invalid"))?;
    let latency = {
        let mut book = platform.book();
        book.calls.push(Call {
            app: app.clone(),
            name,
            path: path.to_owned(),
            body: body.clone(),
        });
        // Streaming into a card isn't counted.
        if name != "write_card" && !book.in_pace(&app, name, 50) {
            return Err(Refused {
                status: 429,
                code: 99_991_400,
                text: "request trigger frequency limit".to_owned(),
            });
        }
        book.faults.latency
    };
    let asked = Asked {
        app: &app,
        name,
        path: path.trim_start_matches('/').split('/').collect(),
        query,
        body,
    };
    let card = kit::enter(&asked, &mut platform.book());
    sleep(latency).await;
    let mut book = platform.book();
    kit::leave(&asked, card, &mut book);
    let done = match name {
        "bot" => Ok(bot(&app, &mut book)),
        "scopes" => Ok(scopes(&book)),
        "user" | "chat" => Ok(named(&asked, &book)),
        "create_card" | "write_card" | "settings" | "replace_card" => kit::call(&asked, &mut book),
        _ => messages::call(&asked, &mut book),
    };
    if let Err(refused) = &done {
        complain(name, refused, &mut book);
    }
    done
}

/// Refusals that a correct client may get at any time are no complaints.
fn complain(name: &str, refused: &Refused, book: &mut Book) {
    let free = [99_991_400, 230_020, 200_850, 300_309, 230_011, 230_110];
    if !free.contains(&refused.code) && refused.text != kit::REPEATED {
        book.complaints
            .add(format!("{name}: {} {}", refused.code, refused.text));
    }
}

/// The scopes that an app of this kind requests.
const SCOPES: [&str; 8] = [
    "im:message.p2p_msg:readonly",
    "im:message.group_at_msg:readonly",
    "im:message:readonly",
    "im:chat.access_event.bot_p2p_chat:read",
    "im:message:send_as_bot",
    "im:resource",
    "im:message.reactions:write_only",
    "cardkit:card:write",
];

fn scopes(book: &Book) -> Value {
    let status = |name: &str| if book.faults.not_granted.contains(&name) { 2 } else { 1 };
    let scope = |name: &&str| json!({ "scope_name": *name, "grant_status": status(name) });
    json!({ "code": 0, "msg": "success", "data": { "scopes": SCOPES.iter().map(scope).collect::<Vec<_>>() } })
}

/// Name of a person or a group, if the app has permission for it.
fn named(asked: &Asked<'_>, book: &Book) -> Value {
    let id = asked.path.last().copied().unwrap_or_default();
    let name = book.faults.names.get(id);
    match (asked.name, name) {
        ("user", Some(name)) => {
            json!({ "code": 0, "msg": "success", "data": { "user": { "open_id": id, "name": name } } })
        }
        ("user", None) => json!({ "code": 0, "msg": "success", "data": { "user": { "open_id": id } } }),
        (_, Some(name)) => json!({ "code": 0, "msg": "ok", "data": { "name": name } }),
        (_, None) => json!({ "code": 0, "msg": "ok", "data": {} }),
    }
}

fn bot(app: &str, book: &mut Book) -> Value {
    let open_id = book.app(app).bot.clone();
    json!({ "code": 0, "msg": "ok", "bot": { "activate_status": 2, "app_name": "Tieline", "avatar_url": "https://example.com/a.png",
            "ip_white_list": [], "open_id": open_id } })
}

fn answer(status: u16, body: &Value, reset: Option<u64>) -> Response {
    let mut response = Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))
        .header(header::CONTENT_TYPE, "application/json; charset=utf-8")
        .header("X-Tt-Logid", "log1");
    if let Some(reset) = reset {
        response = response.header("x-ogw-ratelimit-reset", reset);
    }
    response
        .body(Body::from(body.to_string()))
        .unwrap_or_else(|_| socket::refused(StatusCode::INTERNAL_SERVER_ERROR, &[]))
}

/// A response whose connection breaks before it is sent.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
    Response::new(Body::from_stream(broken))
}
