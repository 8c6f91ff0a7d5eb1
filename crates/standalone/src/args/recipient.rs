//! Recipients of proactive messages and notifications.

use clap::Args as ClapArgs;
use serde_json::{Value, json};

/// A chat or a person.
#[derive(Debug, Clone, ClapArgs)]
pub struct Recipient {
    /// To this chat, by the platform's id.
    #[arg(
        long,
        env = "TIELINE_CHAT",
        value_name = "CHAT",
        required_unless_present = "user",
        conflicts_with = "user"
    )]
    pub chat: Option<String>,
    /// To this person, by the platform's id.
    #[arg(long, env = "TIELINE_USER", value_name = "USER")]
    pub user: Option<String>,
}

impl Recipient {
    /// The API's JSON object with the recipient.
    #[must_use]
    pub fn body(&self) -> Value {
        match &self.chat {
            Some(chat) => json!({ "chatId": chat }),
            None => json!({ "userId": self.user }),
        }
    }
}

/// A chat, a person, or many people.
#[derive(Debug, Clone, ClapArgs)]
#[group(required = true, multiple = false)]
pub struct Audience {
    /// To this chat, by the platform's id.
    #[arg(long, env = "TIELINE_CHAT", value_name = "CHAT")]
    pub chat: Option<String>,
    /// To this person, by the platform's id.
    #[arg(long, env = "TIELINE_USER", value_name = "USER")]
    pub user: Option<String>,
    /// To everybody who has written to the bot and is linked to a known person. Shows how many, and asks.
    #[arg(long, env = "TIELINE_EVERYBODY", value_name = "WHO", value_parser = ["linked"])]
    pub everybody: Option<String>,
}

impl Audience {
    /// The API's JSON object with the recipients.
    #[must_use]
    pub fn body(&self) -> Value {
        match (&self.chat, &self.user, &self.everybody) {
            (Some(chat), _, _) => json!({ "chatId": chat }),
            (None, Some(user), _) => json!({ "userId": user }),
            (None, None, everybody) => json!({ "everybody": everybody }),
        }
    }
}
