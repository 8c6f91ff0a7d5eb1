//! Settings of an integration, parsed from its credentials.

use tieline_core::account::{Account, Credentials, InvalidSetting};
use tieline_core::secret::Secret;

use crate::callback_cipher::CallbackKey;
use crate::xml_callback::CallbackKeys;

/// Base URL of the platform's API.
pub(super) const API_BASE: &str = "https://qyapi.weixin.qq.com";

/// Parsed credentials of an integration.
pub(super) struct Settings {
    /// The company's id.
    pub(super) corp_id: String,
    /// The application's number within the company.
    pub(super) agent_id: u32,
    /// The application's secret.
    pub(super) secret: Secret,
    /// Keys that authenticate and decrypt callbacks.
    pub(super) keys: CallbackKeys,
    /// Whether answers are sent as Markdown, which only WeCom clients show.
    pub(super) sends_markdown: bool,
}

impl Settings {
    pub(super) fn read(credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let corp_id = credentials.require("corpId")?.trim().to_owned();
        let agent_id = credentials.require("agentId")?.trim();
        let agent_id = agent_id.parse().map_err(|_| InvalidSetting {
            field: "agentId",
            reason: "must be the number that the console shows as AgentId",
        })?;
        let secret = Secret::new(credentials.require("secret")?.trim());
        let token = Secret::new(credentials.require("token")?.trim());
        let key = CallbackKey::parse(credentials.require("encodingAesKey")?.trim()).ok_or(InvalidSetting {
            field: "encodingAesKey",
            reason: "must be the 43 letters and digits that the console shows",
        })?;
        let sends_markdown = match credentials.get("format") {
            None | Some("text") => false,
            Some("markdown") => true,
            Some(_) => {
                return Err(InvalidSetting {
                    field: "format",
                    reason: "must be `text` or `markdown`",
                });
            }
        };
        Ok(Self {
            keys: CallbackKeys {
                token,
                key,
                receiver: corp_id.clone(),
            },
            corp_id,
            agent_id,
            secret,
            sends_markdown,
        })
    }

    /// The settings of an account of this platform.
    pub(super) fn of(account: &Account) -> &Self {
        account
            .prepared
            .get()
            .expect("accounts of this platform are prepared by this connector")
    }
}

/// URL of an API path.
pub(super) fn address(account: &Account, path: &str) -> String {
    format!("{}{path}", account.endpoint("apiBase", API_BASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, &str); 5] = [
        ("corpId", " ww1 "),
        ("agentId", "1000002"),
        ("secret", "s3"),
        ("token", "T"),
        ("encodingAesKey", "Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp"),
    ];

    fn with(field: &str, value: &str) -> Result<Settings, InvalidSetting> {
        let mut credentials: Credentials = FIELDS.into_iter().collect();
        credentials.set(field, Secret::new(value));
        Settings::read(&credentials)
    }

    #[test]
    fn each_field_is_checked() {
        for field in FIELDS.map(|(name, _)| name) {
            assert_eq!(with(field, "").err().map(|error| error.field), Some(field));
        }
        for (field, wrong) in [("agentId", "x"), ("encodingAesKey", "short"), ("format", "html")] {
            assert_eq!(with(field, wrong).err().map(|error| error.field), Some(field));
        }
    }

    #[test]
    fn blanks_around_copied_values_are_dropped() {
        let settings = with("format", "markdown").unwrap();
        assert_eq!((settings.corp_id.as_str(), settings.agent_id), ("ww1", 1_000_002));
        assert!(settings.sends_markdown);
        assert!(!with("format", "text").unwrap().sends_markdown);
    }
}
