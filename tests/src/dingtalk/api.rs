//! Both open APIs: authentication, rate limits, and responses.

use std::collections::HashMap;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::socket;
use crate::uploads::{self, Form};

use super::book::{Answer, Book, Call};
use super::{Platform, cards, gateway, messages};

/// Limit of a request body.
const MAX_BODY_BYTES: usize = 40 << 20;
/// Limit of an API's calls in a second.
const PER_SECOND: usize = 20;

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) code: String,
}

/// A refusal with HTTP 400.
pub(super) fn refuse(code: impl Into<String>) -> Refused {
    Refused {
        status: 400,
        code: code.into(),
    }
}

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    if request.uri().path() == "/connect" {
        return gateway::connect(&platform, request);
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let query = parts.uri.query().unwrap_or_default().to_owned();
    if let Some(file) = path.strip_prefix("/files/") {
        return messages::fetch(file, &query, &parts.headers, &mut platform.book());
    }
    let Some(name) = name(&parts.method, &path) else {
        platform
            .book()
            .complaints
            .add(format!("{} {path}: no such call", parts.method));
        return answer(404, &json!({ "code": "NotFound", "message": "not found" }));
    };
    let body = match name {
        "upload" => Value::Null,
        _ => read(name, &parts.headers, &bytes, &platform),
    };
    let fault = take_fault(name, &mut platform.book());
    match fault {
        Some(Answer::Refused(200, code)) => {
            return answer(
                200,
                &json!({ "errcode": code.parse::<i64>().unwrap_or(-1), "errmsg": code }),
            );
        }
        Some(Answer::Refused(status, code)) => {
            return answer(
                status,
                &json!({ "code": code, "message": "refused", "requestid": "r1" }),
            );
        }
        Some(Answer::Undelivered) => {
            let result = json!({ "success": false, "errorMsg": "no such space" });
            return answer(
                200,
                &json!({ "success": true, "result": { "deliverResults": [result] } }),
            );
        }
        Some(Answer::Lost) | None => {}
    }
    let done = match name {
        "open" => gateway::open(&body, &parts.headers, &platform),
        "token" => token(&body, &mut platform.book()),
        "old_token" => Ok(old_token(&query, &mut platform.book())),
        "upload" => Ok(upload(&query, &parts.headers, &bytes, &mut platform.book())),
        "session" => Ok(messages::session(&query, &body, bytes.len(), &mut platform.book())),
        _ => call(name, &parts.headers, &body, &platform).await,
    };
    if let Some(Answer::Lost) = fault {
        return lost();
    }
    match done {
        Ok(body) => answer(200, &body),
        Err(refused) => answer(
            refused.status,
            &json!({ "code": refused.code, "message": "refused", "requestid": "r1" }),
        ),
    }
}

fn name(method: &Method, path: &str) -> Option<&'static str> {
    Some(match (method.as_str(), path) {
        ("POST", "/v1.0/gateway/connections/open") => "open",
        ("POST", "/v1.0/oauth2/accessToken") => "token",
        ("GET", "/gettoken") => "old_token",
        ("POST", "/v1.0/card/instances/createAndDeliver") => "create_card",
        ("PUT", "/v1.0/card/streaming") => "stream",
        ("PUT", "/v1.0/card/instances") => "update_card",
        ("POST", "/v1.0/card/callbacks/register") => "register",
        ("POST", "/v1.0/robot/oToMessages/batchSend") => "direct",
        ("POST", "/v1.0/robot/groupMessages/send") => "group",
        ("POST", "/v1.0/robot/messageFiles/download") => "locate",
        ("POST", "/media/upload") => "upload",
        ("POST", "/robot/sendBySession") => "session",
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
    book.faults.answers.remove(at).map(|fault| fault.answer)
}

fn token(body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let id = body["appKey"].as_str().unwrap_or_default().to_owned();
    let token = book.fresh("tok");
    let app = book.apps.get_mut(&id);
    let app = app.filter(|app| body["appSecret"] == app.secret.as_str());
    let app = app.ok_or_else(|| refuse("invalidClientIdOrSecret"))?;
    // While the token is valid, the same one is returned.
    let token = app.tokens.iter().next().cloned().unwrap_or(token);
    app.tokens.insert(token.clone());
    Ok(json!({ "accessToken": token, "expireIn": 7200 }))
}

/// Like the token call of the new API; the old API returns errors in the body.
fn old_token(query: &str, book: &mut Book) -> Value {
    let field = |name: &str| {
        query
            .split('&')
            .find_map(|pair| pair.strip_prefix(name))
            .unwrap_or_default()
    };
    let body = json!({ "appKey": field("appkey="), "appSecret": field("appsecret=") });
    match token(&body, book) {
        Ok(got) => json!({ "errcode": 0, "errmsg": "ok", "access_token": got["accessToken"], "expires_in": 7200 }),
        Err(_) => json!({ "errcode": 40089, "errmsg": "invalid" }),
    }
}

/// Accepts a file. The old API returns errors in the body.
fn upload(query: &str, headers: &HeaderMap, bytes: &[u8], book: &mut Book) -> Value {
    let query: HashMap<String, String> = url::form_urlencoded::parse(query.as_bytes()).into_owned().collect();
    let token = query.get("access_token").cloned().unwrap_or_default();
    let app = book.apps.iter().find(|(_, app)| app.tokens.contains(&token));
    let Some(app) = app.map(|(id, _)| id.clone()) else {
        return json!({ "errcode": 40014, "errmsg": "invalid access_token" });
    };
    let (types, is_picture): (&[&str], _) = match query.get("type").map(String::as_str) {
        Some("image") => (&["jpg", "jpeg", "png", "gif", "bmp"], true),
        Some("file") => (
            &["doc", "docx", "xls", "xlsx", "ppt", "pptx", "zip", "pdf", "rar"],
            false,
        ),
        _ => return json!({ "errcode": 40004, "errmsg": "invalid type" }),
    };
    let (code, why) = match Form::read(headers, bytes) {
        Err(error) => (41005, format!("{error:#}")),
        Ok(form) => {
            let extension = form.name.rsplit_once('.').map(|(_, it)| it.to_lowercase());
            if form.field != "media" || !form.has_fields(&[]) {
                (41005, format!("other fields than media: {form:?}"))
            } else if form.bytes.is_empty() || form.bytes.len() > 20 << 20 {
                (40009, format!("a file of {} bytes", form.bytes.len()))
            } else if is_picture && !uploads::is_picture(&form.bytes) {
                (40005, "no picture".to_owned())
            } else if extension.is_none_or(|it| !types.contains(&it.as_str())) {
                (40005, format!("the name is {}", form.name))
            } else {
                let key = book.fresh("@lADP");
                book.uploads.keep(&app, &key, is_picture, form);
                return json!({ "errcode": 0, "errmsg": "ok", "media_id": key, "type": query["type"] });
            }
        }
    };
    book.complaints.add(format!("upload: {code} {why}"));
    json!({ "errcode": code, "errmsg": why })
}

async fn call(name: &'static str, headers: &HeaderMap, body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let token = headers
        .get("x-acs-dingtalk-access-token")
        .and_then(|it| it.to_str().ok());
    let token = token.unwrap_or_default();
    let app = platform
        .book()
        .apps
        .iter()
        .find_map(|(id, app)| app.tokens.contains(token).then(|| id.clone()));
    let app = app.ok_or_else(|| refuse("InvalidAuthentication"))?;
    let latency = {
        let mut book = platform.book();
        book.calls.push(Call {
            app: app.clone(),
            name,
            body: body.clone(),
        });
        if !book.in_pace(&app, name, PER_SECOND, Duration::from_secs(1)) {
            return Err(Refused {
                status: 403,
                code: "Forbidden.AccessDenied.QpsLimitForAppkeyAndApi".to_owned(),
            });
        }
        cards::enter(&app, body, &mut book);
        book.faults.latency
    };
    sleep(latency).await;
    let mut book = platform.book();
    cards::leave(&app, body, &mut book);
    let done = match name {
        "create_card" => cards::create(&app, body, &mut book),
        "stream" => cards::stream(&app, body, &mut book),
        "update_card" => cards::update(&app, body, &mut book),
        "register" => Ok(register(&app, body, &mut book)),
        "locate" => messages::locate(&app, body, &platform.url(), &mut book),
        "direct" => messages::direct(&app, body, &mut book),
        _ => messages::group(&app, body, &mut book),
    };
    if let Err(refused) = &done {
        book.complaints.add(format!("{name}: {}", refused.code));
    }
    done
}

fn register(app: &str, body: &Value, book: &mut Book) -> Value {
    let field = |name: &str| body[name].as_str().unwrap_or_default().to_owned();
    let route = (field("callbackUrl"), field("apiSecret"));
    book.app(app).routes.insert(field("callbackRouteKey"), route);
    json!({ "success": true, "result": { "callbackUrl": field("callbackUrl") } })
}

fn answer(status: u16, body: &Value) -> Response {
    Response::builder()
        .status(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST))
        .header(header::CONTENT_TYPE, "application/json;charset=utf-8")
        .body(Body::from(body.to_string()))
        .unwrap_or_else(|_| socket::refused(StatusCode::INTERNAL_SERVER_ERROR, &[]))
}

/// A response whose connection breaks before it is sent.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
    Response::new(Body::from_stream(broken))
}
