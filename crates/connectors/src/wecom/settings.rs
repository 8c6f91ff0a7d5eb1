//! Settings of an integration, parsed from its credentials.

use tieline_core::account::{ConnectionMode, Credentials, InvalidSetting};
use tieline_core::connector::Context;
use tieline_core::secret::Secret;

use crate::callback_cipher::CallbackKey;

/// Longest name of the bot, in bytes: every `@` of a text is compared with it.
const MAX_NAME_BYTES: usize = 256;

/// Parsed credentials of an account.
pub(super) struct Settings {
    /// Only in webhook mode.
    pub(super) webhook: Option<WebhookKeys>,
    /// The bot's name in groups, without `@`.
    pub(super) bot_name: Option<String>,
    /// The bot's id, if known.
    pub(super) bot_id: Option<String>,
}

/// Keys that authenticate and decrypt callbacks.
pub(super) struct WebhookKeys {
    pub(super) token: Secret,
    pub(super) key: CallbackKey,
}

impl Settings {
    pub(super) fn read(mode: ConnectionMode, credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let webhook = match mode {
            ConnectionMode::Webhook => Some(WebhookKeys::read(credentials)?),
            ConnectionMode::LongConnection => {
                credentials.require("botId")?;
                credentials.require("secret")?;
                None
            }
        };
        let bot_name = credentials
            .get("botName")
            .map(|name| name.trim().trim_start_matches('@'));
        if bot_name.is_some_and(|name| name.len() > MAX_NAME_BYTES) {
            return Err(InvalidSetting {
                field: "botName",
                reason: "must not be longer than 256 bytes",
            });
        }
        Ok(Self {
            webhook,
            bot_name: bot_name.filter(|name| !name.is_empty()).map(str::to_owned),
            bot_id: credentials.get("botId").map(str::to_owned),
        })
    }

    /// The settings that this connector's `prepare` created. `None` only if another connector's are in the context.
    pub(super) fn of<'a>(cx: &Context<'a>) -> Option<&'a Self> {
        cx.account.prepared.get()
    }
}

impl WebhookKeys {
    fn read(credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let token = credentials.require("token")?;
        let key = CallbackKey::parse(credentials.require("encodingAesKey")?).ok_or(InvalidSetting {
            field: "encodingAesKey",
            reason: "must be the 43 letters and digits that the console shows",
        })?;
        Ok(Self {
            token: Secret::new(token),
            key,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(mode: ConnectionMode, fields: &[(&str, &str)]) -> Option<&'static str> {
        let credentials: Credentials = fields.iter().copied().collect();
        Settings::read(mode, &credentials).err().map(|error| error.field)
    }

    #[test]
    fn each_mode_needs_its_own_fields() {
        let key = "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp";
        assert_eq!(field(ConnectionMode::Webhook, &[]), Some("token"));
        assert_eq!(
            field(ConnectionMode::Webhook, &[("token", "T")]),
            Some("encodingAesKey")
        );
        let wrong = [("token", "T"), ("encodingAesKey", &key[1..])];
        assert_eq!(field(ConnectionMode::Webhook, &wrong), Some("encodingAesKey"));
        assert_eq!(
            field(ConnectionMode::Webhook, &[("token", "T"), ("encodingAesKey", key)]),
            None
        );
        assert_eq!(field(ConnectionMode::LongConnection, &[("botId", "b")]), Some("secret"));
        assert_eq!(
            field(ConnectionMode::LongConnection, &[("botId", "b"), ("secret", "s")]),
            None
        );
    }
}
