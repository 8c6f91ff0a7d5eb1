//! The simulator behind the interface of the shared scenarios.

use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use super::Platform;
use crate::outbound::{Bubble, Speaker};
use crate::platform::{Features, PlatformSimulator, Upload};

/// The owner of the bot: a bot has one person, so only this person of the scenarios can write to it.
const OWNER: &str = "1001";

/// One bot, whose owner confirms every code at once.
pub struct Row {
    platform: Platform,
    /// Number of redeliveries.
    n_again: Mutex<usize>,
}

impl Row {
    /// Starts the platform.
    pub async fn start() -> Box<dyn PlatformSimulator> {
        let platform = Platform::start().await;
        platform.confirm_codes_of(OWNER);
        Box::new(Self {
            platform,
            n_again: Mutex::default(),
        })
    }
}

impl PlatformSimulator for Row {
    fn features(&self) -> Features {
        Features {
            link_buttons: false,
            groups: false,
            hears_groups: false,
            streams: false,
            shows_reasoning: false,
            checks_credentials: false,
            rate_limits: false,
            typed_credentials: false,
            many_people: false,
            long_answers: false,
            tasks_from_outside: false,
            typed_commands: true,
            sends_pictures: false,
            sends_files: false,
        }
    }

    fn integration(&self) -> Value {
        self.platform.as_integration("WeChat")
    }

    fn wrong_integration(&self) -> Value {
        self.integration()
    }

    fn created(&self, _callback_url: &str) {}

    fn is_connected(&self) -> bool {
        self.platform.is_polled(OWNER)
    }

    fn say(&self, from: &Speaker, text: &str, _mention: bool) -> String {
        self.platform.say(from, text).to_string()
    }

    fn upload(&self, from: &Speaker, upload: Upload) -> Option<String> {
        let id = match upload.is_picture {
            true => self.platform.send_picture(from, upload.bytes),
            false => self.platform.send_file(from, upload.name, upload.bytes),
        };
        Some(id.to_string())
    }

    fn redeliver(&self, id: &str) {
        let mut n_again = self.n_again.lock().unwrap_or_else(PoisonError::into_inner);
        // Every second one under another id, as the platform does.
        let other_id = *n_again % 2 == 1;
        *n_again += 1;
        self.platform
            .deliver_again(id.parse().expect("it is a message's id"), other_id);
    }

    fn shown(&self, chat: &Speaker) -> Vec<Bubble> {
        let mut all = self.platform.bubbles();
        all.retain(|bubble| bubble.chat == chat.chat());
        all
    }

    fn thinking_signs(&self, _chat: &Speaker) -> Option<usize> {
        Some(self.platform.typing(OWNER).1)
    }

    fn sign_out(&self) -> Option<(&'static str, &'static str)> {
        self.platform.log_in_elsewhere(OWNER);
        Some(("needs_login", "login_expired"))
    }

    fn rate_limit_once(&self) {}

    fn complaints(&self) -> Vec<String> {
        self.platform.complaints()
    }
}
