//! Access tokens, for the socket's handshake and for sending files.
//!
//! See `src/token.ts` of [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo).

use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::{Context, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::secret::Secret;

use super::api_error;
use super::settings::Settings;

/// Timeout of the token call.
const TIMEOUT: Duration = Duration::from_secs(15);
/// A token is renewed this long before it expires.
const RENEWAL: Duration = Duration::from_secs(60);
/// Lifetime of a token whose response doesn't contain it: the shortest one that was observed.
const LIFETIME_S: u64 = 3600;

/// See [`TokenExchange`].
pub(super) struct Tokens;

impl TokenExchange for Tokens {
    fn request(&self, cx: &Context<'_>) -> HttpCall {
        let (url, body) = Settings::of(cx).map_or_else(Default::default, |settings| {
            let body = json!({ "app_id": settings.app_id, "app_secret": settings.app_secret.expose() });
            (settings.token_url.clone(), body.to_string())
        });
        HttpCall {
            name: "token",
            method: "POST",
            url,
            headers: Vec::new(),
            body: Body::Json(body),
            token: TokenPlace::None,
            timeout: TIMEOUT,
        }
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
    let ApiAnswer::Answered { status, .. } = answer else {
        let code = "unreachable".to_owned();
        return Err(TokenError::Unavailable { code });
    };
    let body = answer.json().unwrap_or_default();
    let token = body["data"]["token"].as_str().filter(|token| !token.is_empty());
    match (status, token) {
        (200..=299, Some(token)) => Ok((Secret::new(token), lifetime(&body))),
        (status, _) if api_error::is_passing(*status) => Err(TokenError::Unavailable {
            code: api_error::code(*status, &body),
        }),
        // Success without a token: the URL or the credentials are wrong.
        (200..=299, None) if api_error::code_in(&body).unwrap_or(0) == 0 => Err(TokenError::Refused {
            code: "no_token".to_owned(),
        }),
        (status, _) => Err(TokenError::Refused {
            code: api_error::code(*status, &body),
        }),
    }
}

fn lifetime(body: &Value) -> Duration {
    let expire_in = &body["data"]["expire_in"];
    let seconds = expire_in.as_u64().or_else(|| expire_in.as_str()?.parse().ok());
    Duration::from_secs(seconds.unwrap_or(LIFETIME_S))
}
