//! The REST API: authentication and responses.

use anyhow::ensure;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State as Served};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::uploads::Form;

use super::interactions::ByToken;
use super::rules::{Refused, refuse};
use super::state::{Call, State};
use super::{Platform, application, gateway, interactions, messages};

/// Limit of a request body.
const MAX_BODY_BYTES: usize = 26 << 20;
/// Calls that show text.
const SHOWING: [&str; 4] = ["send", "follow_up", "edit_original", "edit"];

/// The call that a path names.
#[derive(Debug, Clone, Copy)]
enum Route<'a> {
    Gateway,
    Application,
    EditApplication,
    Commands(&'a str),
    OpenDirect,
    Typing(&'a str),
    Send(&'a str),
    Edit(&'a str, &'a str),
    Callback(&'a str, &'a str),
    Token(&'a str, &'a str, ByToken<'a>),
}

impl<'a> Route<'a> {
    fn of(method: &Method, path: &'a str) -> Option<Self> {
        let path = path.strip_prefix("/api/v10/")?;
        let segments: Vec<&str> = path.split('/').collect();
        Some(match (method.as_str(), segments.as_slice()) {
            ("GET", ["gateway", "bot"]) => Self::Gateway,
            ("GET", ["applications", "@me"]) => Self::Application,
            ("PATCH", ["applications", "@me"]) => Self::EditApplication,
            ("PUT", ["applications", app, "commands"]) => Self::Commands(app),
            ("POST", ["users", "@me", "channels"]) => Self::OpenDirect,
            ("POST", ["channels", channel, "typing"]) => Self::Typing(channel),
            ("POST", ["channels", channel, "messages"]) => Self::Send(channel),
            ("PATCH", ["channels", channel, "messages", id]) => Self::Edit(channel, id),
            ("POST", ["interactions", id, token, "callback"]) => Self::Callback(id, token),
            ("POST", ["webhooks", app, token]) => Self::Token(app, token, ByToken::FollowUp),
            ("PATCH", ["webhooks", app, token, "messages", "@original"]) => {
                Self::Token(app, token, ByToken::EditOriginal)
            }
            ("PATCH", ["webhooks", app, token, "messages", id]) => Self::Token(app, token, ByToken::Edit(id)),
            _ => return None,
        })
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Gateway => "gateway",
            Self::Application => "application",
            Self::EditApplication => "edit_application",
            Self::Commands(_) => "commands",
            Self::OpenDirect => "open_direct",
            Self::Typing(_) => "typing",
            Self::Send(_) => "send",
            Self::Edit(..) | Self::Token(_, _, ByToken::Edit(_)) => "edit",
            Self::Callback(..) => "callback",
            Self::Token(_, _, ByToken::FollowUp) => "follow_up",
            Self::Token(_, _, ByToken::EditOriginal) => "edit_original",
        }
    }

    /// Whether the token in the address is the credential.
    const fn is_by_token(self) -> bool {
        matches!(self, Self::Callback(..) | Self::Token(..))
    }
}

/// Serves every request.
pub(super) async fn serve(Served(platform): Served<Platform>, request: Request) -> Response {
    if request.headers().contains_key(header::UPGRADE) {
        return gateway::connect(&platform, request);
    }
    if request.uri().path().starts_with("/cdn/") {
        return messages::fetch(&mut platform.state(), request.uri(), request.headers());
    }
    let (parts, body) = request.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let path = parts.uri.path().to_owned();
    let Some(route) = Route::of(&parts.method, &path) else {
        let what = format!("{} {path}: no such call", parts.method);
        platform.state().complaints.add(what);
        return answer(404, &json!({ "message": "404: Not Found", "code": 0 }));
    };
    let is_form = parts
        .headers
        .get(header::CONTENT_TYPE)
        .is_some_and(|kind| kind.as_bytes().starts_with(b"multipart/"));
    let (body, file) = match is_form {
        false => (read(&parts.headers, &bytes, &platform), None),
        true => match with_file(&parts.headers, &bytes) {
            Ok((body, form)) => (body, Some(form)),
            Err(error) => {
                platform.state().complaints.add(format!("{}: {error:#}", route.name()));
                return answer(400, &json!({ "message": "Invalid Form Body", "code": 50035 }));
            }
        },
    };
    let lost = match before(route, &path, &parts.headers, &body, &mut platform.state()) {
        Ok(lost) => lost,
        Err(refused) => return answer(refused.status, &refused.body),
    };
    let done = match file.as_ref().is_some_and(|file| file.bytes.len() > 10 << 20) {
        true => Err(refuse(413, 40005, "Request entity too large")),
        false => call(route, &parts.headers, &body, &platform).await,
    };
    if let (Ok(made), Some(file)) = (&done, file) {
        messages::attach(&mut platform.state(), made["id"].as_str().unwrap_or_default(), file);
    }
    if lost {
        return answer(502, &json!({ "message": "502: Bad Gateway", "code": 0 }));
    }
    match done {
        Ok(Value::Null) => answer(204, &Value::Null),
        Ok(body) => answer(200, &body),
        Err(refused) => answer(refused.status, &refused.body),
    }
}

/// A message that has a file, which it must announce.
fn with_file(headers: &HeaderMap, bytes: &[u8]) -> anyhow::Result<(Value, Form)> {
    let form = Form::read(headers, bytes)?;
    ensure!(form.has_fields(&["payload_json"]), "other fields than payload_json");
    ensure!(form.field == "files[0]", "the file is in {}", form.field);
    let body: Value = serde_json::from_str(&form.fields["payload_json"])?;
    let announced = json!([{ "id": 0, "filename": form.name }]);
    ensure!(body["attachments"] == announced, "attachments {}", body["attachments"]);
    Ok((body, form))
}

fn read(headers: &HeaderMap, bytes: &Bytes, platform: &Platform) -> Value {
    let text = |name| {
        headers
            .get(name)
            .and_then(|value| value.to_str().ok())
            .unwrap_or_default()
    };
    let mut state = platform.state();
    if !text(header::USER_AGENT).starts_with("DiscordBot (http") {
        let what = format!("a User-Agent {:?}", text(header::USER_AGENT));
        state.complaints.add(what);
    }
    if bytes.is_empty() {
        return Value::Null;
    }
    if !text(header::CONTENT_TYPE).starts_with("application/json") {
        state.complaints.add("a body that isn't announced as JSON");
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        state.complaints.add("a body that isn't JSON");
        Value::Null
    })
}

/// Checks before every call: limits, faults, the token. Returns `true` if the response is to be lost.
fn before(route: Route<'_>, path: &str, headers: &HeaderMap, body: &Value, state: &mut State) -> Result<bool, Refused> {
    let name = route.name();
    let now = std::time::Instant::now();
    if state.limits.get(path).is_some_and(|until| now < *until) {
        state.complaints.add(format!("{name} before its rate limit was reset"));
    }
    state.calls.push(Call {
        name,
        path: path.to_owned(),
        body: body.clone(),
    });
    let shows = SHOWING.contains(&name);
    let due = |wanted: &str| wanted == name || (wanted == "show" && shows);
    if let Some(at) = state.faults.answers.iter().position(|(wanted, ..)| due(wanted)) {
        let (_, status, body) = state.faults.answers.remove(at).unwrap_or_default();
        if let Some(wait) = body["retry_after"].as_f64() {
            let until = now + std::time::Duration::from_secs_f64(wait);
            state.limits.insert(path.to_owned(), until);
        }
        return Err(Refused { status, body });
    }
    if !route.is_by_token() && caller(headers, state).is_none() {
        return Err(refuse(401, 0, "401: Unauthorized"));
    }
    if route.is_by_token() && headers.contains_key(header::AUTHORIZATION) {
        state
            .complaints
            .add(format!("{name} with the bot's token, which it needs not"));
    }
    let lost = state.faults.lost.iter().position(|wanted| due(wanted));
    Ok(lost.is_some_and(|at| state.faults.lost.remove(at).is_some()))
}

fn caller(headers: &HeaderMap, state: &State) -> Option<String> {
    let token = headers
        .get(header::AUTHORIZATION)?
        .to_str()
        .ok()?
        .strip_prefix("Bot ")?;
    let app = state.apps.values().find(|app| app.token == token)?;
    Some(app.id.clone())
}

async fn call(route: Route<'_>, headers: &HeaderMap, body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let app = caller(headers, &platform.state()).unwrap_or_default();
    if let Route::EditApplication = route {
        return application::edit(platform, &app, body).await;
    }
    let mut state = platform.state();
    let state = &mut *state;
    match route {
        Route::Gateway => {
            let host = headers.get(header::HOST).and_then(|host| host.to_str().ok());
            Ok(application::gateway(state, host.unwrap_or_default()))
        }
        Route::Application | Route::EditApplication => Ok(application::view(state, &app)),
        Route::Commands(of) if of == app => application::overwrite(state, &app, body),
        Route::Commands(_) => Err(refuse(403, 20012, "You are not authorized to perform this action")),
        Route::OpenDirect => {
            let user = body["recipient_id"].as_str().unwrap_or_default();
            let channel = state.direct_channel(user);
            let channel = channel.ok_or_else(|| refuse(400, 50035, "Invalid Form Body"))?;
            Ok(json!({ "id": channel, "type": 1 }))
        }
        Route::Typing(channel) => messages::typing(state, channel),
        Route::Send(channel) => messages::create(state, &app, channel, body),
        Route::Edit(channel, id) => messages::edit(state, &app, channel, id, body),
        Route::Callback(id, token) => interactions::callback(state, id, token, body),
        Route::Token(app, token, what) => interactions::by_token(state, app, token, what, body),
    }
}

fn answer(status: u16, body: &Value) -> Response {
    let status = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let mut response = Response::builder().status(status);
    if let Some(wait) = body["retry_after"].as_f64() {
        // Whole seconds, rounded up.
        response = response.header(header::RETRY_AFTER, format!("{:.0}", wait.ceil()));
    }
    let body = if body.is_null() {
        Body::empty()
    } else {
        response = response.header(header::CONTENT_TYPE, "application/json");
        Body::from(body.to_string())
    };
    response.body(body).expect("these headers are legal")
}
