//! The tenant access token.

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::json;
use tieline_core::connector::{Context, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::secret::Secret;

use super::settings::{Settings, address};
use super::wire::ApiBody;
use super::{CALL_TIMEOUT, api_error};

/// When a token is renewed: with less than this left the platform returns a new one, and the old one stays valid until it expires.
///
/// See [Feishu Docs/自建应用获取 tenant_access_token](https://open.feishu.cn/document/ukTMukTMukTM/ukDNz4SO0MjL5QzM/auth-v3/auth/tenant_access_token_internal).
const RENEWAL: Duration = Duration::from_secs(30 * 60);

/// Fetches tokens for a self-built app.
#[derive(Debug)]
pub(super) struct Tokens;

impl TokenExchange for Tokens {
    fn request(&self, cx: &Context<'_>) -> HttpCall {
        let settings = Settings::of(cx.account);
        let body = json!({ "app_id": settings.app_id, "app_secret": settings.app_secret.expose() });
        HttpCall {
            name: "token",
            method: "POST",
            url: address(cx.account, "/open-apis/auth/v3/tenant_access_token/internal"),
            headers: Vec::new(),
            body: Body::Json(body.to_string()),
            token: TokenPlace::None,
            timeout: CALL_TIMEOUT,
        }
    }

    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError> {
        let body = accepted(answer)?;
        if body.tenant_access_token.is_empty() {
            return Err(unavailable("no token in the answer"));
        }
        let life = Duration::from_secs(body.expire);
        Ok(AccessToken {
            token: Secret::new(body.tenant_access_token),
            expires_at: cx.now.after(life - RENEWAL.min(life / 2)),
        })
    }
}

/// The body of a successful response.
pub(super) fn accepted(answer: &ApiAnswer) -> Result<ApiBody, TokenError> {
    let ApiAnswer::Answered { status, .. } = answer else {
        return Err(unavailable("unreachable"));
    };
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    match body.and_then(|body| Some((body.code?, body))) {
        Some((0, body)) if (200..300).contains(status) => Ok(body),
        Some((code, _)) if *status < 500 && code != 0 && !api_error::is_passing(code) => {
            Err(TokenError::Refused { code: code.to_string() })
        }
        Some((code, _)) if code != 0 => Err(unavailable(&code.to_string())),
        _ => Err(unavailable(&format!("http_{status}"))),
    }
}

fn unavailable(code: &str) -> TokenError {
    TokenError::Unavailable { code: code.to_owned() }
}
