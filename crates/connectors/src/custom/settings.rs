//! The credentials and the address for replies, read once.

use tieline_core::account::{Credentials, Endpoints, InvalidSetting};
use tieline_core::connector::Context;
use tieline_core::webhook_signature::SigningKeys;

use super::manifest::SEND_URL;

/// What an integration's credentials and endpoints are, parsed.
pub(super) struct Settings {
    /// What messages are proved with and replies are signed with.
    pub(super) keys: SigningKeys,
    /// The bot's name in groups, without `@`.
    pub(super) bot_name: Option<String>,
    /// Where replies are posted. `None`: they are polled.
    pub(super) send_url: Option<String>,
}

impl Settings {
    pub(super) fn read(credentials: &Credentials, endpoints: &Endpoints) -> Result<Self, InvalidSetting> {
        let secrets: Vec<&str> = credentials.require("secret")?.split_whitespace().collect();
        let keys = SigningKeys::read(&secrets).ok().filter(|_| !secrets.is_empty());
        let bot_name = credentials.get("name").map(|name| name.trim().trim_start_matches('@'));
        Ok(Self {
            keys: keys.ok_or(InvalidSetting {
                field: "secret",
                reason: "must be base64 after whsec_",
            })?,
            bot_name: bot_name.filter(|name| !name.is_empty()).map(str::to_owned),
            send_url: endpoints.get(SEND_URL).cloned(),
        })
    }

    /// What this connector's `prepare` made. `None` only if another connector made it.
    pub(super) fn of<'a>(cx: &Context<'a>) -> Option<&'a Self> {
        cx.account.prepared.get()
    }
}
