//! Settings of an integration: credentials and the URL for replies.

use tieline_core::account::{Credentials, Endpoints, InvalidSetting};
use tieline_core::connector::Context;
use tieline_core::webhook_signature::SigningKeys;

use super::manifest::SEND_URL;

/// Parsed credentials and endpoints of an integration.
pub(super) struct Settings {
    /// Keys that verify messages and sign replies.
    pub(super) keys: SigningKeys,
    /// The bot's name in groups, without `@`.
    pub(super) bot_name: Option<String>,
    /// URL that replies are posted to. `None`: they are polled.
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
                reason: "must have base64 after whsec_",
            })?,
            bot_name: bot_name.filter(|name| !name.is_empty()).map(str::to_owned),
            send_url: endpoints.get(SEND_URL).cloned(),
        })
    }

    /// The settings that this connector's `prepare` created. `None` only if another connector's are in the context.
    pub(super) fn of<'a>(cx: &Context<'a>) -> Option<&'a Self> {
        cx.account.prepared.get()
    }
}
