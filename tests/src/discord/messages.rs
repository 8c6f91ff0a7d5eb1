//! Messages of people and of bots, sent with the bot's token or an interaction's.

use std::net::SocketAddr;

use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, Uri, header};
use axum::response::Response;
use serde_json::{Value, json};

use crate::outbound::{Bubble, Speaker};
use crate::platform::Upload;
use crate::socket;
use crate::uploads::Form;

use super::gateway::{GUILD, bot_user};
use super::rules::{self, Refused, Writing, refuse};
use super::state::{Sent, State, user_id};

/// Types of channel: in a guild, and direct.
const TEXT: u8 = 0;
const DIRECT: u8 = 1;

/// A person's message.
pub(super) fn said(state: &mut State, app: &str, from: &Speaker, text: &str, mention: bool) -> Value {
    let channel = state.channel(from);
    let id = state.snowflake();
    let bot = state.app(app).bot();
    let mut message = json!({ "id": id, "channel_id": channel, "channel_type": DIRECT, "type": 0, "author": user(&from.user),
        "content": text, "mentions": [], "mention_roles": [], "mention_everyone": false, "attachments": [], "embeds": [],
        "components": [], "pinned": false, "tts": false, "flags": 0, "timestamp": "2026-09-20T08:15:30.123000+00:00",
        "edited_timestamp": null });
    if from.group.is_some() {
        message["channel_type"] = json!(TEXT);
        message["guild_id"] = json!(GUILD);
        message["member"] = json!({ "nick": null, "roles": [], "joined_at": "2025-01-01T00:00:00+00:00", "deaf": false,
            "mute": false, "flags": 0 });
        if mention {
            message["content"] = json!(format!("<@{bot}> {text}"));
            message["mentions"] = json!([bot_user(state.app(app))]);
        }
    }
    message
}

pub(super) fn user(name: &str) -> Value {
    json!({ "id": user_id(name), "username": name, "global_name": null, "discriminator": "0", "avatar": null })
}

/// A file that a person sent, as the platform describes it.
pub(super) fn attachment(state: &mut State, host: SocketAddr, upload: Upload) -> Value {
    let id = state.snowflake();
    let path = format!(
        "/cdn/attachments/1/{id}/{}?ex=66ed0000&is=66ebae80&hm=00{id}",
        upload.name
    );
    let url = format!("http://{host}{path}");
    state.files.insert(path, upload.bytes.to_vec());
    json!({ "id": id, "filename": upload.name, "content_type": upload.mime, "size": upload.bytes.len(), "url": url,
        "proxy_url": url })
}

/// Returns a file by its signed address. The bot's token must not be sent there.
pub(super) fn fetch(state: &mut State, uri: &Uri, headers: &HeaderMap) -> Response {
    if headers.contains_key(header::AUTHORIZATION) {
        state.complaints.add("a download with the bot's token");
    }
    match state.files.get(&uri.to_string()) {
        Some(bytes) => Response::new(Body::from(bytes.clone())),
        None => {
            state
                .complaints
                .add(format!("a download from a changed address: {uri}"));
            socket::refused(StatusCode::NOT_FOUND, &[])
        }
    }
}

/// A bot's message in the form of `referenced_message`.
pub(super) fn shown_as(state: &State, app: &str, id: &str) -> Value {
    let app = &state.apps[app];
    let sent = app.messages.get(id);
    sent.map_or(Value::Null, |sent| {
        json!({ "id": id, "channel_id": sent.channel, "type": 0, "author": bot_user(app), "content": sent.content,
            "mentions": [], "attachments": [] })
    })
}

/// `POST /channels/{channel}/messages`.
pub(super) fn create(state: &mut State, app: &str, channel: &str, body: &Value) -> Result<Value, Refused> {
    rules::check(body, Writing::Create, &mut state.complaints)?;
    check_channel(state, channel)?;
    let reference = &body["message_reference"];
    if !reference.is_null() && (!reference["message_id"].is_string() || reference["fail_if_not_exists"] != false) {
        state.complaints.add(format!("a reference {reference}"));
    }
    let nonce = body["nonce"].as_str().unwrap_or_default().to_owned();
    if let Some(first) = state.app(app).nonces.get(&nonce).cloned() {
        return Ok(view(state, app, &first));
    }
    let answers = reference["message_id"].as_str().map(str::to_owned);
    let id = add(state, app, channel, "message", answers, body);
    state.app(app).nonces.insert(nonce, id.clone());
    Ok(view(state, app, &id))
}

/// `POST /channels/{channel}/typing`.
pub(super) fn typing(state: &mut State, channel: &str) -> Result<Value, Refused> {
    check_channel(state, channel).map(|()| Value::Null)
}

fn check_channel(state: &State, channel: &str) -> Result<(), Refused> {
    let is_known = state.channels.contains_key(channel);
    is_known
        .then_some(())
        .ok_or_else(|| refuse(404, 10003, "Unknown Channel"))
}

/// Adds a message of the bot. Returns its id.
pub(super) fn add(
    state: &mut State,
    app: &str,
    channel: &str,
    way: &'static str,
    answers: Option<String>,
    body: &Value,
) -> String {
    let id = state.snowflake();
    let chat = state.channels.get(channel).cloned().unwrap_or_default();
    let bubble = state.bubbles.len();
    let content = trimmed(body);
    state.bubbles.push(Bubble {
        bot: app.to_owned(),
        chat: chat.clone(),
        answers,
        way,
        states: vec![content.clone()],
        done: is_done(body),
    });
    let sent = Sent {
        channel: channel.to_owned(),
        chat,
        bubble,
        content,
        components: body["components"].clone(),
    };
    state.app(app).messages.insert(id.clone(), sent);
    id
}

/// Adds the file that was sent with a message. If the message is repeated under its nonce, the file exists already.
pub(super) fn attach(state: &mut State, id: &str, file: Form) {
    let mut of_apps = state.apps.values().filter_map(|app| app.messages.get(id));
    let chat = of_apps.next().map(|sent| (sent.chat.clone(), sent.bubble));
    let Some((chat, bubble)) = chat.filter(|(_, bubble)| state.bubbles[*bubble].text().is_empty()) else {
        return;
    };
    state.bubbles[bubble].states.push("[file]".to_owned());
    state.uploads.show(&chat, false, file);
}

/// The platform trims texts.
fn trimmed(body: &Value) -> String {
    body["content"].as_str().unwrap_or_default().trim().to_owned()
}

/// A message is final when it has no button that stops its answer.
fn is_done(body: &Value) -> bool {
    !body["components"].to_string().contains("\"Stop\"")
}

/// `PATCH` of a message of the bot, in the channel or with an interaction's token.
pub(super) fn edit(state: &mut State, app: &str, channel: &str, id: &str, body: &Value) -> Result<Value, Refused> {
    rules::check(body, Writing::Edit, &mut state.complaints)?;
    let content = trimmed(body);
    let Some(sent) = state
        .app(app)
        .messages
        .get_mut(id)
        .filter(|sent| sent.channel == channel)
    else {
        return Err(refuse(404, 10008, "Unknown Message"));
    };
    let is_same = sent.content == content && sent.components == body["components"];
    sent.content.clone_from(&content);
    sent.components = body["components"].clone();
    let bubble = sent.bubble;
    if is_same {
        state.complaints.add("an edit that changes nothing");
    }
    let bubble = &mut state.bubbles[bubble];
    if bubble.text() != content {
        bubble.states.push(content);
    }
    bubble.done = is_done(body);
    Ok(view(state, app, id))
}

/// A message as the API returns it: complete, because clients read fields without checking that they exist.
fn view(state: &mut State, app: &str, id: &str) -> Value {
    let app = state.app(app);
    let author = bot_user(app);
    let sent = &app.messages[id];
    let components = match &sent.components {
        Value::Null => json!([]),
        components => components.clone(),
    };
    json!({ "id": id, "channel_id": sent.channel, "type": 0, "author": author, "content": sent.content,
        "components": components, "attachments": [], "embeds": [], "mentions": [], "mention_roles": [],
        "mention_everyone": false, "pinned": false, "tts": false, "flags": 0,
        "timestamp": "2026-09-20T08:15:31.456000+00:00", "edited_timestamp": null })
}
