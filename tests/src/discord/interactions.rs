//! Interactions: slash commands and buttons, their initial response, and calls with their token.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use serde_json::{Value, json};

use crate::outbound::{ShownButton, Speaker};

use super::gateway::GUILD;
use super::messages;
use super::rules::{self, Refused, Writing, refuse};
use super::state::{Interaction, State};
use super::{Platform, state};

/// Limit of the initial response.
const RESPONSE_WITHIN: Duration = Duration::from_secs(3);

/// Types of a command's option.
pub(super) const TEXT_OPTION: u8 = 3;
pub(super) const FILE_OPTION: u8 = 11;

/// A person's slash command.
pub(super) fn command(
    state: &mut State,
    app: &str,
    from: &Speaker,
    name: &str,
    prompt: Option<&str>,
) -> anyhow::Result<Value> {
    let registered = state.app(app).commands.iter().find(|command| command["name"] == name);
    let registered = registered
        .cloned()
        .with_context(|| format!("/{name} is not registered"))?;
    let option = option_of(&registered, TEXT_OPTION);
    ensure!(prompt.is_none() || option.is_some(), "/{name} accepts no option");
    ensure!(
        prompt.is_some() || option.is_none_or(|option| option["required"] != true),
        "/{name} requires its option"
    );
    let mut data = json!({ "id": "1405000000000000001", "name": name, "type": 1 });
    if let (Some(prompt), Some(option)) = (prompt, option) {
        data["options"] = json!([{ "name": option["name"], "type": option["type"], "value": prompt }]);
    }
    Ok(interaction(state, app, from, 2, &data))
}

/// A person's slash command with a file, and with a text where the command requires one.
pub(super) fn command_with_file(
    state: &mut State,
    app: &str,
    from: &Speaker,
    name: &str,
    file: &Value,
) -> anyhow::Result<Value> {
    let registered = state.app(app).commands.iter().find(|command| command["name"] == name);
    let registered = registered
        .cloned()
        .with_context(|| format!("/{name} is not registered"))?;
    let option = option_of(&registered, FILE_OPTION).with_context(|| format!("/{name} accepts no file"))?;
    let prompt = option_of(&registered, TEXT_OPTION).is_some_and(|prompt| prompt["required"] == true);
    let mut used = command(state, app, from, name, prompt.then_some("see"))?;
    let chosen = json!({ "name": option["name"], "type": option["type"], "value": file["id"] });
    let mut options = used["data"]["options"].as_array().cloned().unwrap_or_default();
    options.push(chosen);
    used["data"]["options"] = json!(options);
    let id = file["id"].as_str().unwrap_or_default();
    used["data"]["resolved"] = json!({ "attachments": { id: file } });
    Ok(used)
}

/// The option of a command that has this type.
fn option_of(command: &Value, kind: u8) -> Option<&Value> {
    let mut options = command["options"].as_array()?.iter();
    options.find(|option| option["type"] == kind)
}

/// A click on the newest button with that label.
pub(super) fn press(state: &mut State, app: &str, from: &Speaker, label: &str) -> anyhow::Result<Value> {
    let here = state.app(app).messages.iter().rev();
    let mut buttons = here
        .filter(|(_, sent)| sent.chat == from.chat())
        .flat_map(|(id, sent)| {
            let buttons = buttons_of(&sent.components).into_iter();
            buttons.map(move |button| (id.clone(), sent.components.clone(), button))
        });
    let (message, components, button) = buttons
        .find(|(_, _, button)| button["label"] == label && button["disabled"] != true)
        .with_context(|| format!("there is no button {label}"))?;
    drop(buttons);
    let data = json!({ "custom_id": button["custom_id"], "component_type": 2 });
    let mut pressed = interaction(state, app, from, 3, &data);
    pressed["message"] = json!({ "id": message, "components": components });
    let token = pressed["token"].as_str().unwrap_or_default();
    keep(state, app, token).pressed = Some(message);
    Ok(pressed)
}

/// Labels of the buttons in a chat.
pub(super) fn buttons(state: &mut State, app: &str, chat: &Speaker) -> Vec<String> {
    let here = state.app(app).messages.values().filter(|sent| sent.chat == chat.chat());
    let buttons = here.flat_map(|sent| buttons_of(&sent.components));
    buttons
        .filter_map(|button| button["label"].as_str().map(str::to_owned))
        .collect()
}

/// The buttons in a chat, with the addresses that they open.
pub(super) fn shown_buttons(state: &mut State, app: &str, chat: &Speaker) -> Vec<ShownButton> {
    let here = state.app(app).messages.values().filter(|sent| sent.chat == chat.chat());
    let buttons = here.flat_map(|sent| buttons_of(&sent.components));
    let text = |button: &Value, name: &str| button[name].as_str().unwrap_or_default().to_owned();
    buttons
        .map(|button| ShownButton::new(&text(&button, "label"), &text(&button, "url")))
        .collect()
}

fn buttons_of(components: &Value) -> Vec<Value> {
    let rows = components.as_array().into_iter().flatten();
    rows.flat_map(|row| row["components"].as_array().cloned().unwrap_or_default())
        .collect()
}

fn interaction(state: &mut State, app: &str, from: &Speaker, kind: u8, data: &Value) -> Value {
    let channel = state.channel(from);
    let id = state.snowflake();
    let token = format!("aW50ZXJhY3Rpb24-{id}");
    let kept = Interaction {
        id: id.clone(),
        channel: channel.clone(),
        began: Instant::now(),
        response: None,
        original: None,
        follow_ups: Vec::new(),
        pressed: None,
    };
    state.app(app).interactions.insert(token.clone(), kept);
    let is_direct = from.group.is_none();
    let mut interaction = json!({ "id": id, "application_id": app, "type": kind, "token": token, "version": 1, "data": data,
        "channel_id": channel, "channel": { "id": channel, "type": u8::from(is_direct) },
        "context": u8::from(is_direct), "app_permissions": "274878024704", "locale": "en-US", "entitlements": [],
        "authorizing_integration_owners": { "0": GUILD }, "attachment_size_limit": 10_485_760 });
    let user = messages::user(&from.user);
    if is_direct {
        interaction["user"] = user;
    } else {
        interaction["guild_id"] = json!(GUILD);
        interaction["member"] = json!({ "nick": null, "roles": [], "permissions": "0", "user": user });
    }
    interaction
}

/// A request with the platform's signature.
pub(super) struct Signed {
    pub(super) signature: String,
    pub(super) timestamp: String,
    pub(super) body: String,
}

/// Signs a body with an application's key.
pub(super) fn sign(app: &state::App, body: &Value) -> Signed {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let (timestamp, body) = (now.as_secs().to_string(), body.to_string());
    let signature = app.key.sign(format!("{timestamp}{body}").as_bytes());
    Signed {
        signature: hex::encode(signature),
        timestamp,
        body,
    }
}

impl Platform {
    /// Posts a body to the interactions endpoint. Returns status and response.
    pub(super) async fn post_signed(&self, url: &str, signed: Signed) -> anyhow::Result<(u16, Value)> {
        let request = self.http.post(url).timeout(RESPONSE_WITHIN);
        let request = request
            .header("content-type", "application/json")
            .header("user-agent", "Discord-Interactions/1.0 (+https://discord.com)")
            .header("x-signature-ed25519", signed.signature)
            .header("x-signature-timestamp", signed.timestamp);
        let response = request.body(signed.body).send().await?;
        let status = response.status().as_u16();
        Ok((status, response.json().await.unwrap_or(Value::Null)))
    }
}

/// Delivers an interaction over HTTP; the HTTP response is the initial response.
pub(super) async fn post(platform: &Platform, app: &str, url: &str, interaction: &Value) -> anyhow::Result<()> {
    let signed = sign(platform.state().app(app), interaction);
    let (status, response) = platform.post_signed(url, signed).await?;
    ensure!(status == 200, "the endpoint returned {status}");
    let token = interaction["token"].as_str().unwrap_or_default();
    let mut state = platform.state();
    // A redelivered interaction is answered again, which changes nothing.
    let is_first = state
        .app(app)
        .interactions
        .get(token)
        .is_some_and(|it| it.response.is_none());
    if is_first {
        respond(&mut state, app, token, &response).map_err(|refused| anyhow::anyhow!("{refused:?}"))?;
    }
    Ok(())
}

/// `POST /interactions/{id}/{token}/callback`.
pub(super) fn callback(state: &mut State, id: &str, token: &str, response: &Value) -> Result<Value, Refused> {
    let unknown = || refuse(404, 10062, "Unknown interaction");
    let app = owner(state, token).ok_or_else(unknown)?;
    let interaction = &state.app(&app).interactions[token];
    if interaction.id != id {
        return Err(unknown());
    }
    if interaction.response.is_some() {
        return Err(refuse(400, 40060, "Interaction has already been acknowledged."));
    }
    if interaction.began.elapsed() > RESPONSE_WITHIN {
        state.complaints.add("an initial response after three seconds");
        return Err(unknown());
    }
    respond(state, &app, token, response).map(|()| Value::Null)
}

fn respond(state: &mut State, app: &str, token: &str, response: &Value) -> Result<(), Refused> {
    state.responses.push(response.clone());
    let data = &response["data"];
    let kind = response["type"].as_u64().unwrap_or_default();
    let is_right = match kind {
        4 => {
            !data["content"].as_str().unwrap_or_default().is_empty()
                && data["allowed_mentions"] == json!({ "parse": [] })
        }
        5 => data.is_null() || *data == json!({ "flags": 64 }),
        6 => data.is_null(),
        7 => data["components"].is_array() && data["allowed_mentions"] == json!({ "parse": [] }),
        _ => false,
    };
    if !is_right {
        state.complaints.add(format!("an initial response {response}"));
        return Err(refuse(400, 50035, "Invalid Form Body"));
    }
    let app = state.app(app);
    let Some(interaction) = app.interactions.get_mut(token) else {
        return Ok(());
    };
    interaction.response = Some(kind);
    let pressed = interaction.pressed.as_ref().filter(|_| kind == 7);
    if let Some(message) = pressed.and_then(|id| app.messages.get_mut(id)) {
        message.components = data["components"].clone();
    }
    Ok(())
}

fn owner(state: &State, token: &str) -> Option<String> {
    let app = state.apps.values().find(|app| app.interactions.contains_key(token))?;
    Some(app.id.clone())
}

/// A call with an interaction's token.
#[derive(Debug, Clone, Copy)]
pub(super) enum ByToken<'a> {
    /// `PATCH …/messages/@original`.
    EditOriginal,
    /// `POST …`.
    FollowUp,
    /// `PATCH …/messages/{id}`.
    Edit(&'a str),
}

/// `/webhooks/{application}/{token}…`.
pub(super) fn by_token(
    state: &mut State,
    app: &str,
    token: &str,
    what: ByToken<'_>,
    body: &Value,
) -> Result<Value, Refused> {
    let life = state.faults.token_life;
    let unknown = || refuse(404, 10015, "Unknown Webhook");
    let owned = owner(state, token).filter(|owner| owner == app).ok_or_else(unknown)?;
    let interaction = &state.app(&owned).interactions[token];
    if interaction.began.elapsed() > life {
        return Err(refuse(401, 50027, "Invalid Webhook Token"));
    }
    let is_overdue = interaction.began.elapsed() > RESPONSE_WITHIN;
    let Some(response) = interaction.response else {
        // The initial response may be in flight, but not for that long.
        if is_overdue {
            state.complaints.add("a token that is used without an initial response");
        }
        return Err(unknown());
    };
    let (channel, original) = (interaction.channel.clone(), interaction.original.clone());
    match what {
        ByToken::EditOriginal => match original {
            Some(id) => messages::edit(state, app, &channel, &id, body),
            None if response == 5 => {
                rules::check(body, Writing::Edit, &mut state.complaints)?;
                let id = messages::add(state, app, &channel, "interaction", None, body);
                keep(state, app, token).original = Some(id.clone());
                Ok(json!({ "id": id, "content": body["content"] }))
            }
            None => Err(refuse(404, 10008, "Unknown Message")),
        },
        ByToken::FollowUp => {
            if response == 5 && original.is_none() {
                state.complaints.add("a follow-up in place of the deferred response");
            }
            rules::check(body, Writing::FollowUp, &mut state.complaints)?;
            let id = messages::add(state, app, &channel, "follow_up", None, body);
            keep(state, app, token).follow_ups.push(id.clone());
            Ok(json!({ "id": id, "content": body["content"] }))
        }
        ByToken::Edit(id) => {
            let is_own = keep(state, app, token).follow_ups.iter().any(|it| it == id);
            if !is_own {
                return Err(refuse(404, 10008, "Unknown Message"));
            }
            messages::edit(state, app, &channel, id, body)
        }
    }
}

fn keep<'a>(state: &'a mut State, app: &str, token: &str) -> &'a mut Interaction {
    let interaction = state.app(app).interactions.get_mut(token);
    interaction.expect("the token was looked up")
}
