//! Settings of an integration, parsed from its credentials.

use tieline_core::account::{Account, ConnectionMode, Credentials, InvalidSetting};
use tieline_core::secret::Secret;

/// Discord's REST API. The version is pinned: without one the platform answers in an older format.
///
/// See [Discord Docs/API Reference](https://discord.com/developers/docs/reference#base-url).
pub(super) const API: &str = "https://discord.com/api/v10";
/// Allowed hosts of the gateway's URL.
pub(super) const GATEWAY_HOSTS: &[&str] = &[".discord.gg"];
/// Hosts that attachments are downloaded from.
///
/// See [Discord Docs/Signed Attachment CDN URLs](https://discord.com/developers/docs/reference#signed-attachment-cdn-urls).
pub(super) const CDN_HOSTS: &[&str] = &["cdn.discordapp.com", "media.discordapp.net"];
/// Field with the bot's own user id, set by the probe.
pub(super) const BOT_FIELD: &str = "botUserId";
/// Field that says whether the Message Content Intent is enabled (`yes` or `no`), set by the probe.
pub(super) const CONTENT_FIELD: &str = "messageContent";

/// Parsed settings of one application.
pub(super) struct Settings {
    pub token: Secret,
    pub application: String,
    /// The key of interactions over HTTP.
    pub public_key: Option<[u8; 32]>,
    /// The bot's own user id, once it is known. It differs from the application's id for old applications.
    pub bot: Option<String>,
    /// Whether the Message Content Intent is enabled, once it is known.
    pub content_intent: Option<bool>,
}

impl std::fmt::Debug for Settings {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Settings(..)")
    }
}

impl Settings {
    pub(super) fn read(mode: ConnectionMode, credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let token = credentials.require("botToken")?;
        // The portal's button copies the bare token; tutorials show it with the header's prefix.
        let token = token.trim().trim_start_matches("Bot ");
        if token.contains(|c: char| c.is_whitespace() || c.is_control()) {
            return Err(invalid("botToken", "must be one word without spaces"));
        }
        let application = credentials.require("applicationId")?.trim();
        if !is_snowflake(application) {
            return Err(invalid("applicationId", "must be a number of at most 20 digits"));
        }
        let public_key = credentials.get("publicKey").map(key).transpose()?;
        if mode == ConnectionMode::Webhook && public_key.is_none() {
            return Err(invalid("publicKey", "is required"));
        }
        Ok(Self {
            token: Secret::new(token),
            application: application.to_owned(),
            public_key,
            bot: credentials.get(BOT_FIELD).map(str::to_owned),
            content_intent: credentials.get(CONTENT_FIELD).map(|word| word == "yes"),
        })
    }

    /// The settings of `account`.
    pub(super) fn of(account: &Account) -> &Self {
        account
            .prepared
            .get()
            .expect("an account is handed to the connector that prepared it")
    }

    /// The bot's user id. Until the platform has reported it, the application's id, which is the same except for old applications.
    pub(super) fn bot_id(&self) -> &str {
        self.bot.as_deref().unwrap_or(&self.application)
    }
}

const fn invalid(field: &'static str, reason: &'static str) -> InvalidSetting {
    InvalidSetting { field, reason }
}

fn key(text: &str) -> Result<[u8; 32], InvalidSetting> {
    let mut key = [0; 32];
    hex::decode_to_slice(text.trim(), &mut key).map_err(|_| invalid("publicKey", "must be 64 hexadecimal digits"))?;
    Ok(key)
}

/// Whether `id` has the format of the platform's ids: a 64-bit number in decimal.
pub(super) fn is_snowflake(id: &str) -> bool {
    !id.is_empty() && id.len() <= 20 && id.bytes().all(|digit| digit.is_ascii_digit())
}

/// URL of `path` below the account's API base.
pub(super) fn address(account: &Account, path: &str) -> String {
    format!("{}{path}", account.endpoint("apiBase", API))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "668f056250d394cea7a2f28e327283716b02c99343de815e7f9660c0025468ea";

    #[track_caller]
    fn check(fields: &[(&str, &str)], expected: Result<(), &str>) {
        let credentials = fields.iter().copied().collect();
        let read = Settings::read(ConnectionMode::Webhook, &credentials);
        assert_eq!(read.map(|_| ()).map_err(|error| error.field), expected);
    }

    #[test]
    fn each_field_is_checked() {
        let all = [
            ("botToken", "Bot abc.def"),
            ("applicationId", "139"),
            ("publicKey", KEY),
        ];
        check(&all, Ok(()));
        check(&all[1..], Err("botToken"));
        check(&all[..2], Err("publicKey"));
        check(&[all[0], ("applicationId", "my bot"), all[2]], Err("applicationId"));
        check(&[all[0], all[1], ("publicKey", &KEY[1..])], Err("publicKey"));
        check(&[("botToken", "abc def"), all[1], all[2]], Err("botToken"));
    }

    #[test]
    fn token_is_stored_without_the_header_prefix() {
        let credentials = [("botToken", " Bot abc.def\n"), ("applicationId", "139")];
        let read = Settings::read(ConnectionMode::LongConnection, &credentials.into_iter().collect()).unwrap();
        assert_eq!(read.token.expose(), "abc.def");
        assert_eq!(read.bot_id(), "139");
    }
}
