//! Access tokens, and the probe of what the account may do.
//!
//! See [WeChat Docs/获取稳定版接口调用凭据](https://developers.weixin.qq.com/doc/service/api/base/api_getstableaccesstoken).

use std::time::Duration;

use serde_json::json;
use tieline_core::account::Credentials;
use tieline_core::connector::{Context, Probe, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, Body, HttpCall, TokenPlace};

use super::api_error::{Outcome, code, named, outcome};
use super::settings::{CUSTOMER_SERVICE_FIELD, Settings, address};
use crate::errcode::access_token;

const TIMEOUT: Duration = Duration::from_secs(10);

/// See [`TokenExchange`].
pub(super) struct Tokens;

impl TokenExchange for Tokens {
    /// Never a forced renewal: other programs may use the account's token too, and forcing would invalidate it for them.
    fn request(&self, cx: &Context<'_>) -> HttpCall {
        let settings = Settings::of(cx.account);
        let body = json!({
            "grant_type": "client_credential",
            "appid": settings.app_id,
            "secret": settings.app_secret.expose(),
            "force_refresh": false,
        });
        post(
            "token",
            address(cx.account, "/cgi-bin/stable_token"),
            body.to_string(),
            TokenPlace::None,
        )
    }

    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError> {
        let body = match outcome(answer) {
            Outcome::Ok(body) => body,
            // This call has no token: the code means the secret.
            Outcome::TokenExpired => return Err(refused(code::BAD_CREDENTIAL)),
            Outcome::Refused { code } => return Err(refused(code)),
            Outcome::SlowDown { code, .. } | Outcome::Passing(code) | Outcome::Lost(code) => {
                return Err(unavailable(&code));
            }
        };
        access_token(&body, cx.now)
    }
}

/// Probes with a typing indicator for no receiver. The refusal shows whether the account may send customer-service messages at all.
pub(super) fn probe(cx: &Context<'_>) -> Probe {
    let body = json!({ "touser": "", "command": "Typing" }).to_string();
    let url = address(cx.account, "/cgi-bin/message/custom/typing");
    Probe {
        call: post("probe", url, body, TokenPlace::Query("access_token")),
        read: read_probe,
        is_needed: Settings::of(cx.account).is_way_unknown,
    }
}

fn read_probe(answer: &ApiAnswer) -> Result<Credentials, TokenError> {
    let may = |answer: &str| Ok([(CUSTOMER_SERVICE_FIELD, answer)].into_iter().collect());
    match outcome(answer) {
        Outcome::Refused {
            code: code::NOT_PERMITTED,
        } => may("no"),
        Outcome::Refused {
            code: code @ (code::IP_NOT_ALLOWED | code::BAD_APP_ID | code::BAD_APP_SECRET | code::SECRET_FROZEN),
        } => Err(refused(code)),
        // A gateway's response says nothing about the account; the token call before it succeeded.
        Outcome::Refused { code: 400..=499 } => Ok(Credentials::default()),
        // The receiver doesn't exist, which is checked only if the call is permitted.
        Outcome::Ok(_) | Outcome::Refused { .. } => may("yes"),
        Outcome::TokenExpired => Err(unavailable("token_expired")),
        Outcome::SlowDown { code, .. } | Outcome::Passing(code) | Outcome::Lost(code) => Err(unavailable(&code)),
    }
}

fn post(name: &'static str, url: String, body: String, token: TokenPlace) -> HttpCall {
    HttpCall {
        name,
        method: "POST",
        url,
        headers: Vec::new(),
        body: Body::Json(body),
        token,
        timeout: TIMEOUT,
    }
}

fn refused(code: i64) -> TokenError {
    TokenError::Refused { code: named(code) }
}

fn unavailable(code: &str) -> TokenError {
    TokenError::Unavailable { code: code.to_owned() }
}
