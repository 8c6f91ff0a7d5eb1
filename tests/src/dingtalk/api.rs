//! Both open APIs: who calls, how often, and what is answered.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};
use tokio::time::sleep;

use crate::socket;

use super::book::{Answer, Book, Call};
use super::{Platform, cards, gateway, messages};

/// Largest body that a test's platform reads.
const MAX_BODY_BYTES: usize = 4 << 20;
/// Calls of one API in a second.
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
    let body = read(name, &parts.headers, &bytes, &platform);
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
    // Within its life the same one again.
    let token = app.tokens.iter().next().cloned().unwrap_or(token);
    app.tokens.insert(token.clone());
    Ok(json!({ "accessToken": token, "expireIn": 7200 }))
}

/// The same of the old API, which says what went wrong in its body.
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

/// An answer whose connection breaks before it is there.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
    Response::new(Body::from_stream(broken))
}
