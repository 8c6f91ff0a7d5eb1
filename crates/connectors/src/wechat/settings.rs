//! Credentials obtained by the login, and allowed hosts.

use tieline_core::account::{Account, Credentials};
use tieline_core::connector::Context;
use tieline_core::secret::Secret;

/// Base URL for every login, and of the API unless the login names another.
pub(super) const API_BASE: &str = "https://ilinkai.weixin.qq.com";
/// The media CDN.
pub(super) const CDN_BASE: &str = "https://novac2c.cdn.weixin.qq.com/c2c";
/// Hosts of the platform, allowed in URLs that it returns.
pub(super) const HOSTS: &[&str] = &[".weixin.qq.com", ".wechat.com"];

/// Credential field: the bot's bearer token. Secret.
pub(super) const BOT_TOKEN: &str = "botToken";
/// Credential field: the bot's own id, `...@im.bot`.
pub(super) const BOT_ID: &str = "botId";
/// Credential field: the person who scanned the code, `...@im.wechat`.
pub(super) const USER_ID: &str = "userId";
/// Credential field: base URL of the API for this bot.
pub(super) const BASE_URL: &str = "baseUrl";

/// Result of a login. `None` for an account that has never logged in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) bot_token: Secret,
    pub(super) user_id: String,
    base_url: Option<String>,
}

impl Login {
    /// Parses the credentials, all or none.
    pub(super) fn read(credentials: &Credentials) -> Option<Self> {
        Some(Self {
            bot_token: Secret::new(credentials.get(BOT_TOKEN)?),
            user_id: credentials.get(USER_ID)?.to_owned(),
            base_url: credentials.get(BASE_URL).map(str::to_owned),
        })
    }

    /// The login of `account`.
    pub(super) fn of(account: &Account) -> Option<&Self> {
        account.prepared.get::<Option<Self>>()?.as_ref()
    }
}

/// URL of an API call: at the host that the login named, if that host is allowed.
pub(super) fn api(cx: &Context<'_>, path: &str) -> String {
    let named = Login::of(cx.account).and_then(|login| login.base_url.as_deref());
    let base = named
        .filter(|base| cx.account.may_call(base, HOSTS))
        .map_or_else(|| login_base(cx.account), |base| base.trim_end_matches('/'));
    format!("{base}{path}")
}

/// Base URL for a login.
pub(super) fn login_base(account: &Account) -> &str {
    account.endpoint("apiBase", API_BASE)
}
