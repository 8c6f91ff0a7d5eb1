//! The account that a login obtained, and the hosts that the platform may name.

use tieline_core::account::{Account, Credentials};
use tieline_core::connector::Context;
use tieline_core::secret::Secret;

/// The address that every login begins at, and of the API unless the login names another.
pub(super) const API_BASE: &str = "https://ilinkai.weixin.qq.com";
/// The media CDN.
pub(super) const CDN_BASE: &str = "https://novac2c.cdn.weixin.qq.com/c2c";
/// Hosts of the platform, for addresses that it returns.
pub(super) const HOSTS: &[&str] = &[".weixin.qq.com", ".wechat.com"];

/// Field of the obtained credentials: the bot's bearer token. A password.
pub(super) const BOT_TOKEN: &str = "botToken";
/// Field of the obtained credentials: the bot's own id, `...@im.bot`.
pub(super) const BOT_ID: &str = "botId";
/// Field of the obtained credentials: the person who scanned the code, `...@im.wechat`.
pub(super) const USER_ID: &str = "userId";
/// Field of the obtained credentials: the address of the API for this bot.
pub(super) const BASE_URL: &str = "baseUrl";

/// What a login obtained. `None` in an account that has never logged in.
#[derive(Debug)]
pub(super) struct Login {
    pub(super) bot_token: Secret,
    pub(super) user_id: String,
    base_url: Option<String>,
}

impl Login {
    /// Reads the obtained credentials, all or none.
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

/// The address of an API call: at the host that the login named, if it may be called.
pub(super) fn api(cx: &Context<'_>, path: &str) -> String {
    let named = Login::of(cx.account).and_then(|login| login.base_url.as_deref());
    let base = named
        .filter(|base| cx.account.may_call(base, HOSTS))
        .map_or_else(|| login_base(cx.account), |base| base.trim_end_matches('/'));
    format!("{base}{path}")
}

/// Where a login begins.
pub(super) fn login_base(account: &Account) -> &str {
    account.endpoint("apiBase", API_BASE)
}
