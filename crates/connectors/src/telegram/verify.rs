//! Authentication of webhook requests by the secret that we registered with the webhook.
//!
//! See [Bot API/setWebhook](https://core.telegram.org/bots/api#setwebhook), `secret_token`.

use tieline_core::account::Account;
use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;
use tieline_core::secret::Secret;

use super::settings::Settings;

/// Header with the secret.
const HEADER: &str = "x-telegram-bot-api-secret-token";

/// The body of a request with the right secret.
pub(super) struct Authentic<'a>(&'a [u8]);

impl<'a> Authentic<'a> {
    pub(super) const fn body(&self) -> &'a [u8] {
        self.0
    }
}

/// The webhook's secret: a keyed hash of the bot's id, so every instance can compute it, and it survives a new token.
pub(super) fn secret(account: &Account) -> Secret {
    let bot = Settings::of(account).bot_id.map(|id| id.to_string());
    Secret::new(account.ids.other("tl_", bot.as_deref().unwrap_or_default()))
}

pub(super) fn verify<'a>(request: &'a WebhookRequest, account: &Account) -> Result<Authentic<'a>, Rejection> {
    let sent = request.header(HEADER).ok_or(Rejection::Missing("secret token"))?;
    if secret(account).matches(sent) {
        Ok(Authentic(&request.body))
    } else {
        Err(Rejection::BadSignature)
    }
}
