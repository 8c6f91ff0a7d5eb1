//! The simulator behind the interface that all simulators share: messages through the gateway, or slash commands over HTTP.

use std::sync::OnceLock;

use anyhow::Context as _;
use serde_json::{Value, json};

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::uploads::SentFile;

use super::Platform;

/// The platform with one application in one mode.
pub struct OneBot {
    platform: Platform,
    mode: &'static str,
    callback_url: OnceLock<String>,
    said: SaidMessages,
}

impl OneBot {
    /// Starts the server.
    pub async fn start(mode: &'static str) -> Box<dyn PlatformSimulator> {
        let platform = Platform::start().await;
        platform.add_app(app(mode), "MTM5.t0k3n");
        Box::new(Self {
            platform,
            mode,
            callback_url: OnceLock::new(),
            said: SaidMessages::default(),
        })
    }

    fn is_webhook(&self) -> bool {
        self.mode == "webhook"
    }
}

/// The application of a mode: one account can't be in two integrations.
fn app(mode: &str) -> &'static str {
    match mode {
        "webhook" => "1390000000000000501",
        _ => "1390000000000000502",
    }
}

impl PlatformSimulator for OneBot {
    fn features(&self) -> Features {
        Features {
            // Slash commands always concern the bot.
            hears_groups: !self.is_webhook(),
            typed_commands: !self.is_webhook(),
            // All files are attachments, which clients display as they can.
            sends_pictures: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        self.platform.as_integration(app(self.mode), "Discord", self.mode)
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["botToken"] = json!("MTM5.wrong");
        integration
    }

    /// The bridge registers its endpoint by itself; an operator enters it only if that failed.
    fn created(&self, callback_url: &str) {
        let _ = self.callback_url.set(callback_url.to_owned());
    }

    fn is_connected(&self) -> bool {
        match self.is_webhook() {
            true => self.platform.endpoint(app(self.mode)) == self.callback_url.get().cloned(),
            false => self.platform.connections(app(self.mode)).0 > 0,
        }
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        let said = match self.is_webhook() {
            // Commands are known only after the bridge has registered them, so the interaction is created when it is delivered.
            true => json!({ "user": from.user, "group": from.group, "text": text }),
            false => self.platform.message(app(self.mode), from, text, mention),
        };
        let id = self.said.keep(&said);
        self.redeliver(&id);
        id
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let (platform, app) = (&self.platform, app(self.mode));
        let said = match self.is_webhook() {
            true => json!({ "user": from.user, "group": from.group, "file": platform.file(upload) }),
            false => platform.with_file(platform.message(app, from, "", false), upload),
        };
        let id = self.said.keep(&said);
        self.redeliver(&id);
        Some(id)
    }

    fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.platform.files(chat)
    }

    fn redeliver(&self, id: &str) {
        let (platform, mode, said) = (self.platform.clone(), self.mode, self.said.clone());
        let is_webhook = self.is_webhook();
        let id = id.to_owned();
        deliver(move || {
            let (platform, said, id) = (platform.clone(), said.clone(), id.clone());
            async move {
                let message = said.get(&id);
                let is_interaction = message["token"].is_string();
                if !is_webhook && !is_interaction {
                    return platform.push_message(app(mode), &message);
                }
                let interaction = match is_interaction {
                    true => message,
                    false => {
                        let made = use_command(&platform, app(mode), &message)?;
                        said.replace(&id, &made);
                        made
                    }
                };
                platform.deliver(app(mode), &interaction).await
            }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        self.platform.shown_buttons(app(self.mode), chat)
    }

    fn click(&self, by: &Speaker, label: &str) {
        let pressed = self
            .platform
            .press(app(self.mode), by, label)
            .expect("the button is there");
        self.redeliver(&self.said.keep(&pressed));
    }

    fn click_marks(&self, chat: &Speaker) -> Option<String> {
        let labels: Vec<String> = self.buttons(chat).into_iter().map(|button| button.label).collect();
        Some(labels.join("\n"))
    }

    /// The response to a command is not a message that people reply to for the bot.
    fn reply_to_newest(&self, from: &Speaker, text: &str) -> Option<String> {
        if self.is_webhook() {
            return None;
        }
        let app = app(self.mode);
        let newest = self
            .platform
            .message_ids(app, from)
            .pop()
            .expect("the bot has said something");
        let id = self.said.keep(&self.platform.reply(app, from, text, &newest));
        self.redeliver(&id);
        Some(id)
    }

    /// The typing indicator, or the first response to a command, which shows that the bot is thinking.
    fn thinking_signs(&self, _chat: &Speaker) -> Option<usize> {
        let calls = self.platform.calls();
        let n_typing = calls.iter().filter(|call| call.name == "typing").count();
        let deferred = self
            .platform
            .responses()
            .iter()
            .filter(|response| response["type"] == 5)
            .count();
        Some(n_typing + deferred)
    }

    /// The token is reset in the portal.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        if self.is_webhook() {
            return None;
        }
        self.platform.add_app(app(self.mode), "MTM5.an0ther");
        self.platform.close(app(self.mode), 4004);
        Some(("disconnected", "config_invalid"))
    }

    fn rate_limit_once(&self) {
        let limited = json!({ "message": "You are being rate limited.", "retry_after": 0.7, "global": false });
        self.platform
            .misbehave(|faults| faults.answers.push_back(("show", 429, limited)));
    }

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}

/// Sends a text by the corresponding slash command.
fn use_command(platform: &Platform, app: &str, said: &Value) -> anyhow::Result<Value> {
    let from = Speaker {
        user: said["user"].as_str().context("a user")?.to_owned(),
        group: said["group"].as_str().map(str::to_owned),
    };
    if said["file"].is_object() {
        return platform.command_with_file(app, &from, "ask", &said["file"]);
    }
    let text = said["text"].as_str().context("a text")?;
    match text.strip_prefix('/') {
        Some(command) => platform.command(app, &from, command, None),
        None => platform.command(app, &from, "ask", Some(text)),
    }
}
