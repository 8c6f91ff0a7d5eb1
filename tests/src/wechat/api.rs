//! The API: authentication, headers, and responses.

use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::HeaderMap;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};
use url::form_urlencoded;

use super::Platform;
use super::book::Book;

const MAX_BODY_BYTES: usize = 1 << 20;
/// Limit of a client's name.
const MOST_AGENT_BYTES: usize = 256;
/// How long a call is held if there is no news.
const HOLD: Duration = Duration::from_millis(800);
const LOOK: Duration = Duration::from_millis(20);

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let query: Vec<(String, String)> = form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
        .into_owned()
        .collect();
    let value = |name: &str| {
        query
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    };
    let path = parts.uri.path().trim_start_matches('/');
    let method = parts.method.as_str();
    if (method, path) == ("GET", "c2c/download") {
        return download(value("encrypted_query_param").unwrap_or_default(), &mut platform.book());
    }
    let name = path.rsplit('/').next().unwrap_or_default().to_owned();
    check_app(&name, &parts.headers, &mut platform.book());
    if (method, &*name) == ("GET", "get_qrcode_status") {
        let code = value("qrcode").unwrap_or_default();
        return json_answer(&code_status(&platform, code, value("verify_code")).await);
    }
    let body: Value = serde_json::from_slice(&bytes).unwrap_or_default();
    check_post(&name, method, &parts.headers, &body, &mut platform.book());
    if name == "get_bot_qrcode" {
        if value("bot_type") != Some("3") {
            platform.book().complaints.add("get_bot_qrcode: bot_type is not 3");
        }
        return json_answer(&platform.book().make_code(&body));
    }
    let token = bearer(&parts.headers).unwrap_or_default().to_owned();
    let alive = platform.book().bots.get(&token).is_some_and(|bot| !bot.ended);
    if !alive {
        return json_answer(&json!({ "errcode": -14, "errmsg": "session timeout" }));
    }
    if name == "getupdates" {
        return poll(&platform, &token, &body).await;
    }
    let mut book = platform.book();
    let answer = match &*name {
        "notifystart" | "notifystop" => json!({ "ret": 0 }),
        "sendmessage" => book.send(&token, &body),
        "getconfig" => book.config(&token, &body),
        "sendtyping" => book.show_typing(&token, &body),
        _ => {
            book.complaints.add(format!("{method} {path}: no such call"));
            json!({ "ret": -1 })
        }
    };
    json_answer(&answer)
}

fn check_app(name: &str, headers: &HeaderMap, book: &mut Book) {
    let is = |header: &str, value: &str| headers.get(header).is_some_and(|found| found == value);
    if !is("ilink-app-id", "bot") || !is("ilink-app-clientversion", "132105") {
        book.complaints.add(format!("{name}: iLink-App headers"));
    }
}

fn check_post(name: &str, method: &str, headers: &HeaderMap, body: &Value, book: &mut Book) {
    let mut wrong = |what: &str| book.complaints.add(format!("{name}: {what}"));
    if method != "POST" {
        wrong("is no POST");
    }
    if headers
        .get("authorizationtype")
        .is_none_or(|it| it != "ilink_bot_token")
    {
        wrong("AuthorizationType");
    }
    let is_json = headers.get("content-type").and_then(|it| it.to_str().ok());
    if !is_json.is_some_and(|it| it.starts_with("application/json")) {
        wrong("Content-Type");
    }
    let uin = headers.get("x-wechat-uin").and_then(|uin| STANDARD.decode(uin).ok());
    let number = uin.and_then(|uin| String::from_utf8(uin).ok()?.parse::<u32>().ok());
    if number.is_none() {
        wrong("X-WECHAT-UIN");
    }
    let first = name == "get_bot_qrcode";
    if first != bearer(headers).is_none() {
        wrong("Authorization");
    }
    let base = &body["base_info"];
    let agent = base["bot_agent"].as_str().unwrap_or_default();
    let is_agent = (1..=MOST_AGENT_BYTES).contains(&agent.len());
    if first != base.is_null() || !first && (base["channel_version"] != "2.4.9" || !is_agent) {
        wrong("base_info");
    }
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    headers.get("authorization")?.to_str().ok()?.strip_prefix("Bearer ")
}

async fn code_status(platform: &Platform, code: &str, digits: Option<&str>) -> Value {
    let until = Instant::now() + HOLD;
    loop {
        let status = platform.book().code_status(code, digits);
        match status {
            Some(status) => return status,
            None if Instant::now() >= until => return json!({ "status": "wait" }),
            None => sleep(LOOK).await,
        }
    }
}

/// Counts a poll for as long as it is held, even if its client disconnects.
struct Held<'a>(&'a Platform, &'a str);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        if let Some(bot) = self.0.book().bots.get_mut(self.1) {
            bot.polls -= 1;
        }
    }
}

async fn poll(platform: &Platform, token: &str, body: &Value) -> Response {
    platform.book().begin_poll(token, body["get_updates_buf"].as_str());
    let _held = Held(platform, token);
    let until = Instant::now() + HOLD;
    loop {
        if let Some(status) = platform.book().faults.poll_status {
            return status_answer(status);
        }
        let is_over = Instant::now() >= until;
        if let Some(answer) = platform.book().updates(token, is_over) {
            return json_answer(&answer);
        }
        sleep(LOOK).await;
    }
}

fn download(param: &str, book: &mut Book) -> Response {
    match book.files.get(param) {
        Some(bytes) => Response::new(Body::from(bytes.clone())),
        None => {
            book.complaints.add(format!("download: no file {param}"));
            status_answer(404)
        }
    }
}

fn status_answer(status: u16) -> Response {
    Response::builder()
        .status(status)
        .body(Body::from("<html>"))
        .expect("the status is one")
}

fn json_answer(body: &Value) -> Response {
    Response::new(Body::from(body.to_string()))
}
