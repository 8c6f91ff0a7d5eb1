//! Settings of an integration, parsed from its credentials.

use sha2::{Digest as _, Sha256};
use tieline_core::account::{Account, ConnectionMode, Credentials, InvalidSetting};
use tieline_core::secret::Secret;

/// Feishu's open API.
///
/// See [Feishu Docs/事件概述](https://open.feishu.cn/document/ukTMukTMukTM/uUTNz4SN1MjL1UzM).
pub(super) const FEISHU: &str = "https://open.feishu.cn";
/// Lark's open API.
pub(super) const LARK: &str = "https://open.larksuite.com";
/// Allowed hosts of the bootstrap response's URL.
pub(super) const HOSTS: &[&str] = &[".feishu.cn", ".larksuite.com"];
/// Field with the bot's own id, fetched from the platform.
pub(super) const BOT_FIELD: &str = "botOpenId";

/// Parsed settings of one app.
#[derive(Debug)]
pub(super) struct Settings {
    pub app_id: String,
    pub app_secret: Secret,
    /// Base URL of the app's domain.
    pub api: &'static str,
    pub verification_token: Option<Secret>,
    pub encryption: Option<Encryption>,
    /// The bot's own open id, once the platform has reported it.
    pub bot: Option<String>,
}

/// The Encrypt Key in both its uses: as text in signatures, hashed as the cipher's key.
pub(super) struct Encryption {
    pub text: Secret,
    pub key: [u8; 32],
}

impl std::fmt::Debug for Encryption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Encryption(..)")
    }
}

impl Encryption {
    pub(super) fn new(text: &str) -> Self {
        Self {
            text: Secret::new(text),
            key: Sha256::digest(text.as_bytes()).into(),
        }
    }
}

impl Settings {
    pub(super) fn read(mode: ConnectionMode, credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let settings = Self {
            app_id: credentials.require("appId")?.to_owned(),
            app_secret: Secret::new(credentials.require("appSecret")?),
            api: domain(credentials.get("domain").unwrap_or("feishu"))?,
            verification_token: credentials.get("verificationToken").map(Secret::new),
            encryption: credentials.get("encryptKey").map(Encryption::new),
            bot: credentials.get(BOT_FIELD).map(str::to_owned),
        };
        // One of them is required; otherwise no request could be authenticated.
        let provable = settings.verification_token.is_some() || settings.encryption.is_some();
        if mode == ConnectionMode::Webhook && !provable {
            return Err(InvalidSetting {
                field: "verificationToken",
                reason: "is required where there is no encryptKey",
            });
        }
        Ok(settings)
    }

    /// The settings of `account`.
    pub(super) fn of(account: &Account) -> &Self {
        account
            .prepared
            .get()
            .expect("an account is handed to the connector that prepared it")
    }
}

fn domain(word: &str) -> Result<&'static str, InvalidSetting> {
    match word {
        "feishu" => Ok(FEISHU),
        "lark" => Ok(LARK),
        _ => Err(InvalidSetting {
            field: "domain",
            reason: "must be feishu or lark",
        }),
    }
}

/// URL of an API below the account's base.
pub(super) fn address(account: &Account, path: &str) -> String {
    let base = account.endpoint("apiBase", Settings::of(account).api);
    format!("{base}{path}")
}
