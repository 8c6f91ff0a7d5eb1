//! The Bot API over HTTP: authentication, calls, and responses.

use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::uploads::Form;

use super::book::{Answer, Book, Call, Webhook};
use super::{Platform, messages, updates};

/// Limit of a request body.
const MAX_BODY_BYTES: usize = 60 << 20;

/// A refusal.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Refused {
    pub(super) code: u16,
    pub(super) text: String,
    pub(super) parameters: Value,
}

/// A refusal with code 400.
pub(super) fn bad(text: impl Into<String>) -> Refused {
    refuse(400, format!("Bad Request: {}", text.into()))
}

pub(super) fn refuse(code: u16, text: impl Into<String>) -> Refused {
    Refused {
        code,
        text: text.into(),
        parameters: Value::Null,
    }
}

/// Serves every request.
pub(super) async fn serve(State(platform): State<Platform>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    // Some clients escape the colon of the token.
    let path = parts.uri.path().trim_start_matches('/').replace("%3A", ":");
    if let Some(file) = path.strip_prefix("file/bot") {
        return download(file, &platform);
    }
    let bytes = axum::body::to_bytes(body, MAX_BODY_BYTES).await.unwrap_or_default();
    let named = path.strip_prefix("bot").and_then(|rest| rest.split_once('/'));
    let Some((token, method)) = named else {
        return answer(Err(refuse(404, "Not Found")));
    };
    let form = ["sendPhoto", "sendDocument"]
        .contains(&method)
        .then(|| Form::read(&parts.headers, &bytes));
    let body = match &form {
        Some(Ok(form)) => json!(form.fields),
        Some(Err(error)) => {
            platform.book().complaints.add(format!("{method}: {error:#}"));
            return answer(Err(bad("there is no document in the request")));
        }
        None => parameters(method, &parts.headers, &bytes, &platform),
    };
    let fault = take_fault(method, &mut platform.book());
    if let Some(Answer::Refused(code, text, parameters)) = fault {
        return answer(Err(Refused {
            code,
            text: text.to_owned(),
            parameters,
        }));
    }
    let done = match form {
        Some(Ok(form)) => {
            let done = messages::send_file(token, method, &body, form, &mut platform.book());
            done.inspect_err(|refused| complain(method, refused, &mut platform.book()))
        }
        _ => call(token, method, body, &platform).await,
    };
    if let Some(Answer::Lost) = fault {
        return lost();
    }
    answer(done)
}

/// Executes a call, which may also be in the response of a webhook.
pub(super) async fn call(token: &str, method: &str, body: Value, platform: &Platform) -> Result<Value, Refused> {
    if !platform.book().bots.contains_key(token) {
        return Err(refuse(401, "Unauthorized"));
    }
    platform.book().calls.push(Call {
        bot: token.to_owned(),
        method: method.to_owned(),
        body: body.clone(),
    });
    let done = match method {
        "getUpdates" => updates::fetch(token, &body, platform).await,
        "getMe" => me(token, &platform.book()),
        "setWebhook" => set_webhook(token, &body, platform),
        "deleteWebhook" => delete_webhook(token, &body, platform),
        "getWebhookInfo" => Ok(webhook_info(token, &platform.book())),
        "setMyCommands" => set_commands(token, &body, &mut platform.book()),
        "getFile" => get_file(&body),
        _ => messages::call(token, method, &body, &mut platform.book()),
    };
    if let Err(refused) = &done {
        complain(method, refused, &mut platform.book());
    }
    done
}

/// Refusals that a correct client may get at any time are no complaints.
fn complain(method: &str, refused: &Refused, book: &mut Book) {
    let free = [
        "not modified",
        "not found",
        "query is too old",
        "upgraded to a supergroup",
        "can't be edited",
    ];
    let is_free = refused.code != 400 || free.iter().any(|text| refused.text.contains(text));
    if !is_free {
        book.complaints.add(format!("{method}: {}", refused.text));
    }
}

fn parameters(method: &str, headers: &HeaderMap, bytes: &Bytes, platform: &Platform) -> Value {
    let content_type = headers.get(header::CONTENT_TYPE).and_then(|it| it.to_str().ok());
    if bytes.is_empty() {
        return json!({});
    }
    if content_type.is_some_and(|it| it.starts_with("application/x-www-form-urlencoded")) {
        let fields = url::form_urlencoded::parse(bytes);
        return fields
            .map(|(name, value)| (name.into_owned(), form_value(&value)))
            .collect::<serde_json::Map<_, _>>()
            .into();
    }
    if !content_type.is_some_and(|it| it.starts_with("application/json")) {
        platform
            .book()
            .complaints
            .add(format!("{method}: a body that is not application/json"));
    }
    serde_json::from_slice(bytes).unwrap_or_else(|_| {
        platform
            .book()
            .complaints
            .add(format!("{method}: a body that is not JSON"));
        json!({})
    })
}

/// In forms every value but text is JSON.
fn form_value(text: &str) -> Value {
    match serde_json::from_str(text) {
        Ok(value @ (Value::Number(_) | Value::Bool(_) | Value::Array(_) | Value::Object(_))) => value,
        _ => json!(text),
    }
}

fn take_fault(method: &str, book: &mut Book) -> Option<Answer> {
    let at = book.faults.iter().position(|fault| fault.method == method)?;
    Some(book.faults.remove(at)?.answer)
}

fn me(token: &str, book: &Book) -> Result<Value, Refused> {
    let bot = book.bots.get(token).ok_or_else(|| refuse(401, "Unauthorized"))?;
    Ok(
        json!({ "id": bot.id, "is_bot": true, "first_name": "Tieline", "username": bot.username, "can_join_groups": true,
        "can_read_all_group_messages": !bot.is_private, "supports_inline_queries": false }),
    )
}

fn set_webhook(token: &str, body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let url = body["url"].as_str().unwrap_or_default();
    let parsed: url::Url = url.parse().map_err(|_| bad("invalid webhook URL specified"))?;
    let is_loopback = parsed.host_str() == Some("127.0.0.1");
    if parsed.scheme() != "https" && !is_loopback {
        return Err(bad("bad webhook: An HTTPS URL must be provided for webhook"));
    }
    if !is_loopback && ![443, 80, 88, 8443].contains(&parsed.port_or_known_default().unwrap_or_default()) {
        return Err(bad(
            "bad webhook: Webhook can be set up only on ports 80, 88, 443 or 8443",
        ));
    }
    let secret = body["secret_token"].as_str().map(str::to_owned);
    let is_plain = |secret: &str| {
        secret
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    };
    if secret
        .as_deref()
        .is_some_and(|it| it.is_empty() || it.len() > 256 || !is_plain(it))
    {
        return Err(bad("secret token contains unallowed characters"));
    }
    let mut book = platform.book();
    if body["drop_pending_updates"] == true {
        book.complaints.add("setWebhook: updates that wait are thrown away");
    }
    if secret.is_none() {
        book.complaints.add("setWebhook: without a secret");
    }
    if let Some(bot) = book.bots.get_mut(token) {
        updates::allow(bot, body);
        bot.webhook = Some(Webhook {
            url: url.to_owned(),
            secret,
        });
        // A waiting poll is ended.
        bot.poll += 1;
    }
    drop(book);
    platform.changed();
    Ok(json!(true))
}

fn delete_webhook(token: &str, body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let mut book = platform.book();
    if body["drop_pending_updates"] == true {
        book.complaints.add("deleteWebhook: updates that wait are thrown away");
    }
    if let Some(bot) = book.bots.get_mut(token) {
        bot.webhook = None;
    }
    Ok(json!(true))
}

fn webhook_info(token: &str, book: &Book) -> Value {
    let bot = book.bots.get(token);
    let url = bot
        .and_then(|bot| bot.webhook.as_ref())
        .map(|webhook| webhook.url.clone());
    let pending = bot.map_or(0, |bot| bot.updates.len());
    json!({ "url": url.unwrap_or_default(), "has_custom_certificate": false, "pending_update_count": pending })
}

fn set_commands(token: &str, body: &Value, book: &mut Book) -> Result<Value, Refused> {
    let commands = body["commands"]
        .as_array()
        .ok_or_else(|| bad("commands must be an array"))?;
    let mut names = Vec::new();
    for command in commands {
        let (name, description) = (command["command"].as_str(), command["description"].as_str());
        let name = name.unwrap_or_default();
        let is_plain = name
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_');
        if name.is_empty() || name.len() > 32 || !is_plain {
            return Err(bad("BOT_COMMAND_INVALID"));
        }
        if !(1..=256).contains(&description.unwrap_or_default().chars().count()) {
            return Err(bad("BOT_COMMAND_DESCRIPTION_INVALID"));
        }
        names.push(name.to_owned());
    }
    let language = body["language_code"].as_str().unwrap_or_default().to_owned();
    if let Some(bot) = book.bots.get_mut(token) {
        bot.commands.insert(language, names);
    }
    Ok(json!(true))
}

fn get_file(body: &Value) -> Result<Value, Refused> {
    let id = body["file_id"].as_str().unwrap_or_default();
    match id {
        "" => Err(bad("file_id not specified")),
        id if id.starts_with("BIG") => Err(bad("file is too big")),
        id => Ok(
            json!({ "file_id": id, "file_unique_id": "u", "file_size": 8, "file_path": format!("documents/{id}.bin") }),
        ),
    }
}

fn download(path: &str, platform: &Platform) -> Response {
    let known = path
        .split_once('/')
        .filter(|(token, _)| platform.book().bots.contains_key(*token));
    match known {
        Some((_, path)) => {
            let id = path.trim_start_matches("documents/").trim_end_matches(".bin");
            let sent = platform.book().files.get(id).cloned();
            Response::new(Body::from(
                sent.unwrap_or_else(|| format!("bytes of {path}").into_bytes()),
            ))
        }
        None => answer(Err(refuse(404, "Not Found"))),
    }
}

fn answer(done: Result<Value, Refused>) -> Response {
    let (status, body) = match done {
        Ok(result) => (200, json!({ "ok": true, "result": result })),
        Err(refused) => {
            let mut body = json!({ "ok": false, "error_code": refused.code, "description": refused.text });
            if refused.parameters.is_object() {
                body["parameters"] = refused.parameters;
            }
            (refused.code, body)
        }
    };
    let mut response = Response::new(Body::from(body.to_string()));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_REQUEST);
    let json = header::HeaderValue::from_static("application/json");
    response.headers_mut().insert(header::CONTENT_TYPE, json);
    response
}

/// A response whose connection breaks before it is sent.
fn lost() -> Response {
    let broken = futures_util::stream::once(async { Err::<Bytes, _>(std::io::Error::other("lost")) });
    Response::new(Body::from_stream(broken))
}
