//! The simulator behind the interface of the shared scenarios.

use serde_json::{Value, json};

use super::Platform;
use crate::outbound::{Bubble, ShownButton, Speaker};
use crate::platform::{Features, PlatformSimulator, SaidMessages, Upload, deliver};
use crate::wecom::{Cipher, mentioning};

/// The bot, and its secret.
const BOT: &str = "aibTESTS";
const SECRET: &str = "s3cr3t-of-the-socket";

/// One bot on the long connection.
pub struct OneBot {
    platform: Platform,
    said: SaidMessages,
}

impl OneBot {
    /// Starts the platform.
    pub async fn start() -> Self {
        let platform = Platform::start().await;
        platform.add_bot(BOT, SECRET);
        Self {
            platform,
            said: SaidMessages::default(),
        }
    }

    /// Who sent a message.
    fn speaker_of(&self, id: &str) -> Speaker {
        let said = self.said.get(id);
        Speaker {
            user: said["user"].as_str().unwrap_or_default().to_owned(),
            group: said["group"].as_str().map(str::to_owned),
        }
    }

    /// Delivers a message with this content. Returns its id.
    fn deliver(&self, from: &Speaker, content: &Value) -> String {
        let said = json!({ "user": from.user, "group": from.group, "content": content });
        let id = self.said.keep(&said);
        self.redeliver(&id);
        id
    }
}

impl PlatformSimulator for OneBot {
    fn features(&self) -> Features {
        Features {
            hears_groups: false,
            link_buttons: false,
            sends_pictures: false,
            sends_files: false,
            ..Features::ALL
        }
    }

    fn integration(&self) -> Value {
        self.platform.as_integration(BOT, "WeCom")
    }

    fn wrong_integration(&self) -> Value {
        let mut integration = self.integration();
        integration["credentials"]["secret"] = json!("wrong");
        integration
    }

    fn created(&self, _callback_url: &str) {}

    fn is_connected(&self) -> bool {
        self.platform.is_connected(BOT)
    }

    fn say(&self, from: &Speaker, text: &str, mention: bool) -> String {
        let text = mentioning(from, text, mention);
        self.deliver(from, &json!({ "msgtype": "text", "text": { "content": text } }))
    }

    /// Each file is encrypted with a key of its own.
    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let cipher = Cipher::fresh();
        let url = self.platform.responses.keep_file(cipher.encrypt_file(upload.bytes));
        let kind = if upload.is_picture { "image" } else { "file" };
        let content = json!({ "msgtype": kind, kind: { "url": url, "aeskey": cipher.encoding_aes_key } });
        Some(self.deliver(from, &content))
    }

    fn redeliver(&self, id: &str) {
        let (platform, said, from) = (self.platform.clone(), self.said.get(id), self.speaker_of(id));
        let id = id.to_owned();
        deliver(move || {
            let called = platform.say_content(BOT, &from, &id, &said["content"]).map(drop);
            async move { called }
        });
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        // Also of a message whose bubble was never opened.
        let responses = self.platform.responses.said().into_iter();
        all.extend(responses.map(|response| {
            let answers = response.code.trim_start_matches("code-").to_owned();
            Bubble {
                bot: BOT.to_owned(),
                chat: self.speaker_of(&answers).chat().to_owned(),
                answers: Some(answers),
                way: "response_url",
                states: vec![response.content],
                done: true,
            }
        }));
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn buttons(&self, _chat: &Speaker) -> Vec<ShownButton> {
        let labels = self.platform.button_labels(BOT);
        labels.iter().map(|label| ShownButton::new(label, "")).collect()
    }

    fn click(&self, by: &Speaker, label: &str) {
        let clicked = self.platform.click(BOT, by, "click1", label);
        clicked.expect("the button is there");
    }

    fn click_marks(&self, _chat: &Speaker) -> Option<String> {
        let frames = self.platform.frames().into_iter();
        let updates = frames.filter(|(_, frame)| frame["cmd"] == "aibot_respond_update_msg");
        Some(
            updates
                .map(|(_, frame)| frame.to_string())
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }

    fn open_chat(&self, by: &Speaker) -> bool {
        let (platform, by) = (self.platform.clone(), by.clone());
        deliver(move || {
            let entered = platform
                .event(BOT, &by, "entered1", &json!({ "eventtype": "enter_chat" }))
                .map(drop);
            async move { entered }
        });
        true
    }

    fn rate(&self, by: &Speaker, is_good: bool) -> bool {
        let frames = self.platform.frames().into_iter().rev();
        let mut offered = frames.filter_map(|(_, frame)| Some(frame.pointer("/body/stream/feedback/id")?.clone()));
        let subject = offered.next().expect("an answer that can be rated");
        let (platform, by) = (self.platform.clone(), by.clone());
        let event = crate::wecom::feedback(&subject, is_good);
        deliver(move || {
            let rated = platform.event(BOT, &by, "rated1", &event).map(drop);
            async move { rated }
        });
        true
    }

    /// Dots in place of a text.
    fn thinking_signs(&self, chat: &Speaker) -> Option<usize> {
        Some(crate::wecom::dots(&self.shown(chat)))
    }

    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        self.platform.kick(BOT);
        Some(("disconnected", "kicked"))
    }

    fn rate_limit_once(&self) {
        self.platform.misbehave(|faults| faults.codes.push_back(45009));
    }

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}
