//! The application itself: its data, its interactions endpoint, its commands.

use serde_json::{Value, json};

use super::Platform;
use super::gateway::bot_user;
use super::interactions::sign;
use super::rules::{Refused, refuse};
use super::state::State;

/// Maximum number of commands of an application.
const MAX_COMMANDS: usize = 100;

/// `GET /applications/@me`.
pub(super) fn view(state: &mut State, app: &str) -> Value {
    let app = state.app(app);
    let flags: u64 = if app.has_content_intent { 1 << 19 } else { 0 };
    json!({ "id": app.id, "name": "Tieline", "flags": flags, "verify_key": app.public_key(), "bot": bot_user(app),
        "interactions_endpoint_url": app.endpoint })
}

/// `GET /gateway/bot`. `host` is the caller's address of the API.
pub(super) fn gateway(state: &State, host: &str) -> Value {
    json!({ "url": format!("ws://{host}"), "shards": 1, "session_start_limit": { "total": 1000,
        "remaining": state.faults.remaining_sessions, "reset_after": state.faults.reset_after, "max_concurrency": 1 } })
}

/// `PATCH /applications/@me`: a new interactions endpoint is verified, with a valid signature and with an invalid one. `null` removes it.
pub(super) async fn edit(platform: &Platform, app: &str, body: &Value) -> Result<Value, Refused> {
    if body.get("interactions_endpoint_url") == Some(&Value::Null) {
        let mut state = platform.state();
        state.app(app).endpoint = None;
        return Ok(view(&mut state, app));
    }
    let Some(url) = body["interactions_endpoint_url"].as_str() else {
        return Err(refuse(400, 50035, "Invalid Form Body"));
    };
    let (good, mut bad) = {
        let mut state = platform.state();
        let ping = json!({ "application_id": app, "entitlements": [], "id": state.snowflake(), "token": "t", "type": 1,
            "user": { "id": "1" }, "version": 1 });
        let app = state.app(app);
        (sign(app, &ping), sign(app, &ping))
    };
    bad.body.push(' ');
    let pong = platform.post_signed(url, good).await.ok();
    let refused = platform.post_signed(url, bad).await.ok();
    let is_right = pong == Some((200, json!({ "type": 1 }))) && refused.is_some_and(|(status, _)| status == 401);
    let mut state = platform.state();
    if !is_right {
        let message = "The specified interactions endpoint url could not be verified.";
        return Err(refuse(400, 50035, message));
    }
    state.app(app).endpoint = Some(url.to_owned());
    Ok(view(&mut state, app))
}

/// `PUT /applications/{application}/commands`.
pub(super) fn overwrite(state: &mut State, app: &str, body: &Value) -> Result<Value, Refused> {
    let Some(commands) = body.as_array() else {
        return Err(refuse(400, 50035, "Invalid Form Body"));
    };
    let wrong = commands.iter().find(|command| !is_command(command));
    if let Some(wrong) = wrong {
        state.complaints.add(format!("a command {wrong}"));
    }
    if wrong.is_some() || commands.len() > MAX_COMMANDS {
        return Err(refuse(400, 50035, "Invalid Form Body"));
    }
    state.app(app).commands.clone_from(commands);
    Ok(body.clone())
}

fn is_command(command: &Value) -> bool {
    let options = command["options"].as_array().map_or(&[][..], Vec::as_slice);
    let mut optional = false;
    // Required options come first.
    let in_order = options.iter().all(|option| {
        optional |= option["required"] != true;
        option["required"] != true || !optional
    });
    let is_option = |option: &Value| {
        let max = option["max_length"].as_u64().unwrap_or(1);
        // Only text options have a length.
        let is_typed = match option["type"].as_u64() {
            Some(3) => (1..=6000).contains(&max),
            Some(11) => option["max_length"].is_null(),
            _ => false,
        };
        is_named(option) && is_typed
    };
    is_named(command) && command["type"] == 1 && options.len() <= 25 && in_order && options.iter().all(is_option)
}

fn is_named(thing: &Value) -> bool {
    let name = thing["name"].as_str().unwrap_or_default();
    let is_name = (1..=32).contains(&name.chars().count())
        && name
            .chars()
            .all(|c| matches!(c, '-' | '_') || (c.is_alphanumeric() && !c.is_uppercase()));
    let length = |text: &Value| text.as_str().unwrap_or_default().chars().count();
    let localized = thing["description_localizations"].as_object();
    let mut localized = localized.into_iter().flat_map(|texts| texts.values());
    is_name
        && (1..=100).contains(&length(&thing["description"]))
        && localized.all(|text| (1..=100).contains(&length(text)))
}
