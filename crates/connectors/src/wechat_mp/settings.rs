//! Settings of an integration, parsed from its credentials.

use tieline_core::account::{Account, Credentials, InvalidSetting};
use tieline_core::secret::Secret;

use crate::callback_cipher::CallbackKey;
use crate::xml_callback::CallbackKeys;

/// Base URL of the platform's API.
pub(super) const API_BASE: &str = "https://api.weixin.qq.com";
/// Field in which the probe stores whether the account may send customer-service messages: `yes` or `no`.
pub(super) const CUSTOMER_SERVICE_FIELD: &str = "customerService";

/// Parsed credentials of an integration.
pub(super) struct Settings {
    pub(super) app_id: String,
    pub(super) app_secret: Secret,
    /// The token that callbacks are signed with.
    pub(super) token: Secret,
    /// Keys that decrypt callbacks. With a key, only encrypted callbacks are accepted.
    pub(super) keys: Option<CallbackKeys>,
    /// How replies reach people.
    pub(super) way: ReplyWay,
    /// Whether the available way hasn't been probed yet.
    pub(super) is_way_unknown: bool,
}

/// Ways in which replies reach people.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ReplyWay {
    /// Through the customer-service API.
    CustomerService,
    /// In the response to the callback.
    Passive,
}

impl Settings {
    pub(super) fn read(credentials: &Credentials) -> Result<Self, InvalidSetting> {
        let app_id = credentials.require("appId")?.trim().to_owned();
        let app_secret = Secret::new(credentials.require("appSecret")?.trim());
        let token = Secret::new(credentials.require("token")?.trim());
        let keys = match credentials.get("encodingAesKey").map(str::trim) {
            None => None,
            Some(key) => Some(CallbackKeys {
                token: token.clone(),
                key: key_of(key)?,
                receiver: app_id.clone(),
            }),
        };
        let (way, is_way_unknown) = match (credentials.get("replies"), credentials.get(CUSTOMER_SERVICE_FIELD)) {
            (Some("customer_service"), _) => (ReplyWay::CustomerService, false),
            (Some("passive"), _) => (ReplyWay::Passive, false),
            (Some(_), _) => {
                return Err(InvalidSetting {
                    field: "replies",
                    reason: "must be `customer_service` or `passive`, or be left out",
                });
            }
            (None, Some("no")) => (ReplyWay::Passive, false),
            (None, known) => (ReplyWay::CustomerService, known.is_none()),
        };
        Ok(Self {
            app_id,
            app_secret,
            token,
            keys,
            way,
            is_way_unknown,
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

/// The console generates keys of letters and digits; older accounts have other base64 characters too.
fn key_of(key: &str) -> Result<CallbackKey, InvalidSetting> {
    let key = (key.len() == 43).then(|| CallbackKey::parse_file_key(key)).flatten();
    key.ok_or(InvalidSetting {
        field: "encodingAesKey",
        reason: "must be the 43 characters that the console shows",
    })
}

/// URL of an API path.
pub(super) fn address(account: &Account, path: &str) -> String {
    format!("{}{path}", account.endpoint("apiBase", API_BASE))
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIELDS: [(&str, &str); 4] = [
        ("appId", " wx1 "),
        ("appSecret", "s3"),
        ("token", "T"),
        ("encodingAesKey", "T7YSCg85Zh+b+xeCpd3p2fQ2BRhNG6wKza8nXfkEPug"),
    ];

    fn with(field: &str, value: &str) -> Result<Settings, InvalidSetting> {
        let mut credentials: Credentials = FIELDS.into_iter().collect();
        credentials.set(field, Secret::new(value));
        Settings::read(&credentials)
    }

    #[test]
    fn each_field_is_checked() {
        for field in ["appId", "appSecret", "token"] {
            assert_eq!(with(field, "").err().map(|error| error.field), Some(field));
        }
        let long = "a".repeat(64);
        for (field, wrong) in [
            ("encodingAesKey", "short"),
            ("encodingAesKey", &long),
            ("replies", "both"),
        ] {
            assert_eq!(with(field, wrong).err().map(|error| error.field), Some(field));
        }
        assert!(with("encodingAesKey", "").unwrap().keys.is_none());
        // The last character has two spare bits.
        assert!(with("encodingAesKey", "T7YSCg85Zh+b+xeCpd3p2fQ2BRhNG6wKza8nXfkEPuh").is_ok());
    }

    #[test]
    fn reply_way_is_set_by_the_operator_or_else_probed() {
        let way = |field: &str, value: &str| {
            let settings = with(field, value).unwrap();
            (settings.way, settings.is_way_unknown)
        };
        assert_eq!(way("replies", ""), (ReplyWay::CustomerService, true));
        assert_eq!(way("replies", "passive"), (ReplyWay::Passive, false));
        assert_eq!(way(CUSTOMER_SERVICE_FIELD, "no"), (ReplyWay::Passive, false));
        assert_eq!(way(CUSTOMER_SERVICE_FIELD, "yes"), (ReplyWay::CustomerService, false));
    }
}
