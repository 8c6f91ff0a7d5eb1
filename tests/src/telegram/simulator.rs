//! The simulator behind the interface that all simulators share.

use serde_json::{Value, json};

use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::uploads::SentFile;

use super::book::Webhook;
use super::{Answer, Platform, updates};

/// One bot in one mode.
pub struct Simulator {
    platform: Platform,
    token: String,
    mode: &'static str,
    said: SaidMessages,
}

impl Simulator {
    /// A platform with one bot.
    pub async fn start(mode: &'static str) -> Box<dyn PlatformSimulator> {
        let platform = Platform::start().await;
        // One bot account can't be in two integrations.
        let id = if mode == "webhook" {
            7_012_345_678
        } else {
            7_012_345_679
        };
        let token = platform.add_bot(id, "tieline_demo_bot");
        Box::new(Self {
            platform,
            token,
            mode,
            said: SaidMessages::default(),
        })
    }

    /// Stores the newest update, so that it can be delivered again. Returns its id in the interface.
    fn keep(&self, id: i64) -> String {
        let update = self.platform.with(&self.token, |bot| bot.updates.back().cloned());
        let update = update.filter(|update| update.id == id).map(|update| update.body);
        self.said.keep(&update.unwrap_or_default())
    }
}

impl PlatformSimulator for Simulator {
    fn features(&self) -> Features {
        Features::ALL
    }

    fn integration(&self) -> Value {
        self.platform.as_integration(&self.token, "Telegram", self.mode)
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["botToken"] = json!(self.token.replace("AAE-", "AAE-revoked-"));
        integration
    }

    /// The bridge registers the callback URL itself.
    fn created(&self, _callback_url: &str) {}

    fn is_connected(&self) -> bool {
        self.platform.is_connected(&self.token)
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        self.keep(self.platform.text(&self.token, from, text, mention))
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        Some(self.keep(self.platform.upload(&self.token, from, upload)))
    }

    fn redeliver(&self, id: &str) {
        let update = self.said.get(id);
        let webhook: Option<Webhook> = self.platform.with(&self.token, |bot| bot.webhook.clone());
        let Some(webhook) = webhook else {
            let id = update["update_id"].as_i64().unwrap_or_default();
            return self.platform.redeliver(&self.token, id, update);
        };
        let (platform, token) = (self.platform.clone(), self.token.clone());
        deliver(move || {
            let (platform, token, webhook, update) = (platform.clone(), token.clone(), webhook.clone(), update.clone());
            async move { updates::post(&token, &webhook, &update, &platform).await }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn files(&self, chat: &Speaker) -> Vec<SentFile> {
        self.platform.files(chat)
    }

    fn buttons(&self, chat: &Speaker) -> Vec<ShownButton> {
        self.platform.buttons(&self.token, chat)
    }

    fn click(&self, by: &Speaker, label: &str) {
        let pressed = self
            .platform
            .press_one(&self.token, by, |button| button["text"] == label);
        assert!(pressed.is_some(), "no button {label}");
    }

    fn click_marks(&self, _chat: &Speaker) -> Option<String> {
        let texts = self.platform.with(&self.token, |bot| {
            bot.queries.values().map(|query| query.text.clone()).collect::<Vec<_>>()
        });
        Some(texts.join("\n"))
    }

    /// The button "Start", which sends a command.
    fn open_chat(&self, by: &Speaker) -> bool {
        self.say(by, "/start", false);
        true
    }

    fn reply_to_newest(&self, from: &Speaker, text: &str) -> Option<String> {
        Some(self.keep(self.platform.reply_to_newest(&self.token, from, text)))
    }

    fn thinking_signs(&self, _chat: &Speaker) -> Option<usize> {
        Some(self.platform.typing(&self.token))
    }

    /// Another program registers a webhook for the bot, so that polls are refused.
    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        if self.mode == "webhook" {
            return None;
        }
        let elsewhere = "http://127.0.0.1:1/elsewhere";
        self.platform.set_foreign_webhook(&self.token, elsewhere);
        Some(("disconnected", "config_invalid"))
    }

    fn rate_limit_once(&self) {
        let parameters = json!({ "retry_after": 1 });
        let text = "Too Many Requests: retry after 1";
        self.platform
            .fail_once("sendMessage", Answer::Refused(429, text, parameters));
    }

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}
