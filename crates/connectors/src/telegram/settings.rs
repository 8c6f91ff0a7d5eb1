//! Settings of an integration, parsed from its credentials, and URLs of API methods.

use std::time::Duration;

use serde_json::Value;
use tieline_core::account::{Account, Credentials, InvalidSetting};
use tieline_core::http_types::{Body, HttpCall, TokenPlace};
use tieline_core::secret::Secret;

/// The Bot API's own server.
///
/// See [Bot API/Making requests](https://core.telegram.org/bots/api#making-requests).
pub(super) const API: &str = "https://api.telegram.org";
/// Credential field with the bot's id, set from `getMe`.
pub(super) const BOT_ID: &str = "botId";
/// Credential field with the bot's user name, set from `getMe`.
pub(super) const BOT_USERNAME: &str = "botUsername";
/// Credential field that says whether the bot receives all messages in groups (`yes` or `no`), set from `getMe`.
pub(super) const READS_GROUPS: &str = "readsGroups";
/// Timeout of a call other than a long poll.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);

/// Parsed settings of one bot.
#[derive(Debug)]
pub(super) struct Settings {
    token: Secret,
    /// The bot's user id, with which the token begins.
    pub bot_id: Option<i64>,
    /// The bot's user name without `@`, once the platform has reported it.
    pub username: Option<String>,
    /// Whether the bot receives all messages in groups, once the platform has reported it.
    pub reads_groups: Option<bool>,
}

impl Settings {
    pub(super) fn read(credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let token = credentials.require("botToken")?.trim();
        let learned = credentials.get(BOT_ID).and_then(|id| id.parse().ok());
        Ok(Self {
            token: Secret::new(token),
            bot_id: bot_id(token).or(learned),
            username: credentials.get(BOT_USERNAME).map(str::to_owned),
            reads_groups: credentials.get(READS_GROUPS).map(|word| word == "yes"),
        })
    }

    /// The settings of `account`.
    pub(super) fn of(account: &Account) -> &Self {
        account
            .prepared
            .get()
            .expect("an account is handed to the connector that prepared it")
    }
}

/// The bot's user id, which is the part of the token before the colon.
pub(super) fn bot_id(token: &str) -> Option<i64> {
    token.trim().split_once(':')?.0.parse().ok()
}

/// A call of an API method with parameters as JSON.
pub(super) fn call(account: &Account, name: &'static str, method: &str, parameters: &Value) -> HttpCall {
    HttpCall {
        name,
        method: "POST",
        url: url(account, "", method),
        headers: Vec::new(),
        body: Body::Json(parameters.to_string()),
        token: TokenPlace::None,
        timeout: CALL_TIMEOUT,
    }
}

/// URL of a method, or of a file with the prefix `/file`. Contains the token, so it is never logged.
pub(super) fn url(account: &Account, prefix: &str, path: &str) -> String {
    let base = account.endpoint("apiBase", API);
    let token = path_safe(Settings::of(account).token.expose(), b"");
    format!("{base}{prefix}/bot{token}/{}", path_safe(path, b"/"))
}

/// Escapes `text` for a path, except for the characters in `kept`.
fn path_safe(text: &str, kept: &[u8]) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b":-_.".contains(&byte) || kept.contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    out
}
