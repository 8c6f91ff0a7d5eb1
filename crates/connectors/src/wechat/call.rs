//! Common parts of every call: headers, client version, bearer token.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use tieline_core::connector::Context;
use tieline_core::http_types::{Body, HttpCall, TokenPlace};

use super::settings::{self, Login};

/// The vendor client's version that we implement. An older one makes the phone ask for an upgrade.
///
/// See [openclaw-weixin/package.json](https://github.com/Tencent/openclaw-weixin/blob/main/package.json).
const CLIENT_VERSION: (u32, u32, u32) = (2, 4, 9);
/// [`CLIENT_VERSION`] as text.
const CHANNEL_VERSION: &str = "2.4.9";
/// For the vendor's statistics.
const BOT_AGENT: &str = concat!("Tieline/", env!("CARGO_PKG_VERSION"));

/// A call of the bot's API, with `base_info` and the bot's token.
pub(super) fn post(name: &'static str, path: &str, mut body: Value, timeout: Duration, cx: &Context<'_>) -> HttpCall {
    body["base_info"] = json!({ "channel_version": CHANNEL_VERSION, "bot_agent": BOT_AGENT });
    let mut headers = post_headers(cx);
    if let Some(login) = Login::of(cx.account) {
        headers.push((
            "Authorization".to_owned(),
            format!("Bearer {}", login.bot_token.expose()),
        ));
    }
    HttpCall {
        name,
        method: "POST",
        url: settings::api(cx, path),
        headers,
        body: Body::Json(body.to_string()),
        // The token is valid as long as the login, so there is no token call.
        token: TokenPlace::None,
        timeout,
    }
}

/// Headers of a POST, except for the bot's token.
pub(super) fn post_headers(cx: &Context<'_>) -> Vec<(String, String)> {
    let mut headers = app_headers();
    headers.push(("AuthorizationType".to_owned(), "ilink_bot_token".to_owned()));
    let [a, b, c, d, ..] = cx.random;
    headers.push(("X-WECHAT-UIN".to_owned(), uin(u32::from_be_bytes([a, b, c, d]))));
    headers
}

/// Headers of every call. Without them the platform responds that the session has ended.
pub(super) fn app_headers() -> Vec<(String, String)> {
    let (major, minor, patch) = CLIENT_VERSION;
    vec![
        ("iLink-App-Id".to_owned(), "bot".to_owned()),
        (
            "iLink-App-ClientVersion".to_owned(),
            client_version(major, minor, patch).to_string(),
        ),
    ]
}

/// One byte for each part of the version.
const fn client_version(major: u32, minor: u32, patch: u32) -> u32 {
    major * 65536 + minor * 256 + patch
}

/// A random number as decimal text, in base64.
fn uin(random: u32) -> String {
    STANDARD.encode(random.to_string())
}

/// Escapes a value for a query.
pub(super) fn encoded(value: &str) -> String {
    url::form_urlencoded::byte_serialize(value.as_bytes())
        .collect::<String>()
        .replace('+', "%20")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn header_values_match_the_vendor_client() {
        let vectors: Value = serde_json::from_str(include_str!("vectors/ilink.json")).unwrap();
        for row in vectors["headers"]["x_wechat_uin"].as_array().unwrap() {
            let number = u32::try_from(row["uint32"].as_u64().unwrap()).unwrap();
            assert_eq!(uin(number), row["header"]);
        }
        for row in vectors["headers"]["client_version"].as_array().unwrap() {
            let parts = row["version"].as_str().unwrap().split('.');
            let parts: Vec<u32> = parts.map(|part| part.parse().unwrap()).collect();
            assert_eq!(client_version(parts[0], parts[1], parts[2]).to_string(), row["header"]);
        }
    }

    #[test]
    fn the_two_forms_of_the_version_agree() {
        let (major, minor, patch) = CLIENT_VERSION;
        assert_eq!(CHANNEL_VERSION, format!("{major}.{minor}.{patch}"));
    }
}
