//! Access tokens, and the check of the credentials.
//!
//! See [DingTalk Docs/获取企业内部应用的accessToken](https://open.dingtalk.com/document/development/obtain-the-access-token-of-an-internal-app).

use std::time::Duration;

use serde_json::json;
use tieline_core::connector::{Context, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, HttpCall};
use tieline_core::secret::Secret;

use super::api_error::{self, Outcome};
use super::{call, settings};

/// A token is renewed this long before it expires.
const RENEWAL: Duration = Duration::from_secs(5 * 60);
/// Lifetime of a token if the platform doesn't send it.
const LIFETIME_S: u64 = 7200;

/// See [`TokenExchange`].
pub(super) struct Tokens;

impl TokenExchange for Tokens {
    /// A repeated request within the lifetime returns the same token; it doesn't count towards the monthly quota.
    fn request(&self, cx: &Context<'_>) -> HttpCall {
        let settings = settings::of(cx);
        let body = json!({ "appKey": settings.client_id, "appSecret": settings.client_secret.expose() });
        call::open_api(cx, "token", "POST", "/v1.0/oauth2/accessToken", &body)
    }

    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError> {
        let (token, lifetime) = read(answer)?;
        Ok(AccessToken {
            token,
            expires_at: cx.now.after(lifetime.saturating_sub(RENEWAL)),
        })
    }
}

/// The token in a response, and its lifetime.
pub(super) fn read(answer: &ApiAnswer) -> Result<(Secret, Duration), TokenError> {
    let unavailable = |code: &str| TokenError::Unavailable { code: code.to_owned() };
    if let Some(code) = api_error::credentials_refused(answer) {
        return Err(TokenError::Refused { code });
    }
    match Outcome::of_api(answer) {
        Outcome::Ok(body) => {
            let token = body["accessToken"].as_str().filter(|token| !token.is_empty());
            let token = token.ok_or_else(|| unavailable("no_token"))?;
            let lifetime_s = body["expireIn"].as_u64().unwrap_or(LIFETIME_S);
            Ok((Secret::new(token), Duration::from_secs(lifetime_s)))
        }
        Outcome::TokenExpired => Err(unavailable("unauthorized")),
        Outcome::Throttled { code, .. } | Outcome::Busy(code) | Outcome::Refused(code) => {
            Err(TokenError::Unavailable { code })
        }
        Outcome::NotSent | Outcome::Lost => Err(unavailable("unreachable")),
    }
}
