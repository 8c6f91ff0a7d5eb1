//! Access tokens, and the credentials check.
//!
//! See [WeCom Docs/获取access_token](https://developer.work.weixin.qq.com/document/path/91039).

use std::time::Duration;

use tieline_core::account::Credentials;
use tieline_core::connector::{Context, Probe, TokenError, TokenExchange};
use tieline_core::http_types::{AccessToken, ApiAnswer, Body, HttpCall, TokenPlace};
use url::form_urlencoded::Serializer;

use super::api_error::{Outcome, named, outcome};
use super::settings::{Settings, address};
use crate::errcode::access_token;

const TIMEOUT: Duration = Duration::from_secs(10);

/// See [`TokenExchange`].
pub(super) struct Tokens;

impl TokenExchange for Tokens {
    fn request(&self, cx: &Context<'_>) -> HttpCall {
        let settings = Settings::of(cx.account);
        let query = Serializer::new(String::new())
            .append_pair("corpid", &settings.corp_id)
            .append_pair("corpsecret", settings.secret.expose())
            .finish();
        get(
            "token",
            address(cx.account, &format!("/cgi-bin/gettoken?{query}")),
            TokenPlace::None,
        )
    }

    fn read(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<AccessToken, TokenError> {
        let body = match outcome(answer) {
            Outcome::Ok(body) => body,
            other => return Err(failure(other)),
        };
        access_token(&body, cx.now)
    }
}

/// Fetches the application's details: this shows that company, secret and number belong together and, unlike the token call, that our
/// IP address is trusted.
///
/// See [WeCom Docs/获取指定的应用详情](https://developer.work.weixin.qq.com/document/path/90227).
pub(super) fn probe(cx: &Context<'_>) -> Probe {
    let path = format!("/cgi-bin/agent/get?agentid={}", Settings::of(cx.account).agent_id);
    Probe {
        call: get("probe", address(cx.account, &path), TokenPlace::Query("access_token")),
        read: |answer| match (outcome(answer), answer) {
            // A proxy with a fixed IP address may forward only the necessary calls; the token call before it succeeded.
            (Outcome::Ok(_), _) | (_, ApiAnswer::Answered { status: 404 | 405, .. }) => Ok(Credentials::default()),
            (other, _) => Err(failure(other)),
        },
        is_needed: false,
    }
}

fn get(name: &'static str, url: String, token: TokenPlace) -> HttpCall {
    HttpCall {
        name,
        method: "GET",
        url,
        headers: Vec::new(),
        body: Body::Empty,
        token,
        timeout: TIMEOUT,
    }
}

fn failure(outcome: Outcome) -> TokenError {
    match outcome {
        Outcome::Refused { code } => TokenError::Refused { code: named(code) },
        Outcome::TokenExpired => unavailable("token_expired"),
        Outcome::SlowDown { code, .. } | Outcome::Passing(code) | Outcome::Lost(code) => unavailable(&code),
        Outcome::Ok(_) => unavailable("unexpected_answer"),
    }
}

fn unavailable(code: &str) -> TokenError {
    TokenError::Unavailable { code: code.to_owned() }
}
