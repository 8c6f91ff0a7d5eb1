//! The HTTP side: tokens and files.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{RawQuery, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde_json::{Value, json};

use super::Platform;
use super::book::SentFile;

/// Largest file.
const MAX_FILE_BYTES: usize = 5 * 1024 * 1024;

/// Issues a token to an app.
pub(super) async fn token(State(platform): State<Platform>, headers: HeaderMap, body: Bytes) -> Response {
    let body: Value = serde_json::from_slice(&body).unwrap_or_default();
    let mut book = platform.book();
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if !kind.is_some_and(|kind| kind.starts_with("application/json")) {
        book.complaints.add("token: not JSON");
    }
    if body.as_object().is_none_or(|it| it.keys().ne(["app_id", "app_secret"])) {
        book.complaints.add("token: other fields than app_id and app_secret");
    }
    let (Some(id), Some(secret)) = (body["app_id"].as_str(), body["app_secret"].as_str()) else {
        return answer(
            400,
            &json!({ "code": 4001, "message": "app_id and app_secret are required" }),
        );
    };
    let number = book.number();
    let fault = book.faults.token_answers.pop_front();
    let Some(app) = book.apps.get_mut(id) else {
        return answer(401, &json!({ "code": 4002, "message": "Invalid credentials" }));
    };
    app.n_token_requests += 1;
    if let Some((status, body)) = fault {
        return answer(status, &body);
    }
    if app.secret != secret {
        return answer(401, &json!({ "code": 4002, "message": "Invalid credentials" }));
    }
    // Like a JWT, with characters that a query must encode.
    let token = format!("T{number}.a+b/c=&d");
    app.tokens.push(token.clone());
    let data = json!({ "token": token, "uid": 6_808_810_981_u64, "expire_in": 7200 });
    answer(200, &json!({ "code": 0, "message": "success", "data": data }))
}

/// Sends a file to the owner of the app that the token belongs to.
pub(super) async fn send_file(
    State(platform): State<Platform>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    let query = query.unwrap_or_default();
    let field = |name: &str| {
        let mut pairs = url::form_urlencoded::parse(query.as_bytes());
        pairs.find(|(key, _)| key == name).map(|(_, value)| value.into_owned())
    };
    let mut book = platform.book();
    if let Some((status, body)) = book.faults.file_answers.pop_front() {
        return answer(status, &body);
    }
    let Some(id) = field("token").and_then(|token| book.app_of(&token).map(str::to_owned)) else {
        return answer(200, &json!({ "code": 40100, "message": "Invalid or expired token" }));
    };
    let kind = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if kind != Some("application/octet-stream") {
        book.complaints.add("send_file: not application/octet-stream");
    }
    let Some(name) = field("fileName").filter(|name| !name.is_empty()) else {
        return answer(400, &json!({ "code": 40000, "message": "fileName is required" }));
    };
    if body.is_empty() || body.len() > MAX_FILE_BYTES {
        book.complaints.add("send_file: empty or too large");
    }
    let fid = book.number();
    let owner = book.apps[&id].owner.clone();
    book.messages.add_file(&id, &owner, &name);
    let bytes = body.to_vec();
    book.apps.entry(id).or_default().files.push(SentFile { name, bytes });
    let data = json!({ "fid": fid, "message_id": format!("52013140000{fid}") });
    answer(200, &json!({ "code": 0, "data": data }))
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
    (status, Json(body.clone())).into_response()
}
