//! Calls of the REST API.

use std::time::Duration;

use serde_json::Value;
use tieline_core::connector::Context;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};

use super::settings::Settings;

/// Timeout of a call.
const TIMEOUT: Duration = Duration::from_secs(15);
/// The format that the platform demands of clients.
///
/// See [Discord Docs/User Agent](https://discord.com/developers/docs/reference#user-agent).
const USER_AGENT: &str = concat!("DiscordBot (https://example.com, ", env!("CARGO_PKG_VERSION"), ")");

/// A call with the bot's token.
pub(super) fn with_token(
    name: &'static str,
    method: &'static str,
    url: String,
    body: Option<Value>,
    cx: &Context<'_>,
) -> HttpCall {
    let token = Settings::of(cx.account).token.expose();
    let mut call = bare(name, method, url, body);
    call.headers.push(("authorization".to_owned(), format!("Bot {token}")));
    call
}

/// A call whose URL contains the credential.
pub(super) fn bare(name: &'static str, method: &'static str, url: String, body: Option<Value>) -> HttpCall {
    HttpCall {
        name,
        method,
        url,
        headers: vec![("user-agent".to_owned(), USER_AGENT.to_owned())],
        body: body.map_or(Body::Empty, |body| Body::Json(body.to_string())),
        token: TokenPlace::None,
        timeout: TIMEOUT,
    }
}
