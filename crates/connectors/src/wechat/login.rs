//! Login by QR code: the bot belongs to the person who scans it.
//!
//! See [openclaw-weixin/src/auth/login-qr.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/auth/login-qr.ts).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::json;
use tieline_core::account::Credentials;
use tieline_core::connector::Context;
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, TokenPlace};
use tieline_core::login::{LoginCode, LoginError, LoginProgress, ScanLogin};

use super::api_error::Outcome;
use super::call::{app_headers, encoded, post_headers};
use super::settings::{BASE_URL, BOT_ID, BOT_TOKEN, HOSTS, Login, USER_ID, login_base};
use super::wire::{QrCode, QrStatus};

/// How long a code can be scanned.
const CODE_LIVES: Duration = Duration::from_mins(5);
/// How long the platform holds the status call.
const HOLD: Duration = Duration::from_secs(35);
const START: Duration = Duration::from_secs(15);

/// Login of the platform.
pub(super) struct QrLogin;

/// Handle of a code, and the host for its status.
#[derive(Serialize, Deserialize)]
struct Ticket {
    code: String,
    base: String,
}

impl ScanLogin for QrLogin {
    fn start(&self, signed_out: bool, cx: &Context<'_>) -> HttpCall {
        // With the token of an ended login, the person would count as logged in, and the bot would stay logged out.
        let known = Login::of(cx.account).filter(|_| !signed_out);
        let tokens: Vec<&str> = known.iter().map(|login| login.bot_token.expose()).collect();
        HttpCall {
            name: "get_bot_qrcode",
            method: "POST",
            url: format!("{}/ilink/bot/get_bot_qrcode?bot_type=3", login_base(cx.account)),
            headers: post_headers(cx),
            body: Body::Json(json!({ "local_token_list": tokens }).to_string()),
            token: TokenPlace::None,
            timeout: START,
        }
    }

    fn read_code(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<LoginCode, LoginError> {
        let body = accepted(answer)?;
        let code = QrCode::deserialize(body).map_err(|_| fault("bad_shape"))?;
        if code.qrcode.is_empty() || code.qrcode_img_content.is_empty() {
            return Err(fault("no_code"));
        }
        let base = login_base(cx.account).to_owned();
        Ok(LoginCode {
            qr_url: code.qrcode_img_content,
            ticket: Ticket {
                code: code.qrcode,
                base,
            }
            .write(),
            expires_at: cx.now.after(CODE_LIVES),
        })
    }

    fn poll(&self, ticket: &str, verify_code: Option<&str>, cx: &Context<'_>) -> HttpCall {
        let ticket = Ticket::read(ticket, cx);
        let mut url = format!(
            "{}/ilink/bot/get_qrcode_status?qrcode={}",
            ticket.base,
            encoded(&ticket.code)
        );
        if let Some(digits) = verify_code {
            url.push_str("&verify_code=");
            url.push_str(&encoded(digits));
        }
        HttpCall {
            name: "get_qrcode_status",
            method: "GET",
            url,
            headers: app_headers(),
            body: Body::Empty,
            token: TokenPlace::None,
            timeout: HOLD,
        }
    }

    fn read_progress(&self, ticket: &str, answer: &ApiAnswer, cx: &Context<'_>) -> Result<LoginProgress, LoginError> {
        if matches!(Outcome::of(answer), Outcome::TimedOut) {
            return Ok(LoginProgress::Waiting);
        }
        let status = QrStatus::deserialize(accepted(answer)?).map_err(|_| fault("bad_shape"))?;
        Ok(match &*status.status {
            "wait" => LoginProgress::Waiting,
            // The platform's spelling, as in `binded_redirect`.
            "scaned" => LoginProgress::Scanned,
            "need_verifycode" => LoginProgress::VerifyCodeNeeded,
            "verify_code_blocked" | "expired" => LoginProgress::Expired,
            "scaned_but_redirect" => moved(ticket, &status.redirect_host, cx),
            "binded_redirect" if Login::of(cx.account).is_some() => LoginProgress::AlreadyConfirmed,
            "binded_redirect" => refused("bound_elsewhere"),
            "confirmed" => confirmed(status, cx),
            _ => return Err(fault("unknown_status")),
        })
    }
}

impl Ticket {
    fn write(&self) -> String {
        serde_json::to_string(self).expect("texts serialize as JSON")
    }

    fn read(text: &str, cx: &Context<'_>) -> Self {
        serde_json::from_str(text).unwrap_or_else(|_| Self {
            code: String::new(),
            base: login_base(cx.account).to_owned(),
        })
    }
}

/// The same code at another host.
fn moved(ticket: &str, host: &str, cx: &Context<'_>) -> LoginProgress {
    let ticket = Ticket::read(ticket, cx);
    // A host with an optional port: anything else would change the path.
    let is_host = !host.is_empty() && !host.contains(['/', '?', '#', '@', '\\']);
    let scheme = if login_base(cx.account).starts_with("http:") {
        "http"
    } else {
        "https"
    };
    let base = format!("{scheme}://{host}");
    if !is_host || !cx.account.may_call(&base, HOSTS) {
        return refused("host_not_allowed");
    }
    let ticket = Ticket { base, ..ticket }.write();
    LoginProgress::Moved { ticket }
}

fn confirmed(status: QrStatus, cx: &Context<'_>) -> LoginProgress {
    if [&status.bot_token, &status.ilink_bot_id, &status.ilink_user_id]
        .iter()
        .any(|it| it.is_empty())
    {
        return refused("incomplete");
    }
    let mut fields = vec![
        (BOT_TOKEN, status.bot_token),
        (BOT_ID, status.ilink_bot_id),
        (USER_ID, status.ilink_user_id),
    ];
    if !status.baseurl.is_empty() {
        if !cx.account.may_call(&status.baseurl, HOSTS) {
            return refused("host_not_allowed");
        }
        fields.push((BASE_URL, status.baseurl));
    }
    LoginProgress::Confirmed(fields.into_iter().collect::<Credentials>())
}

fn accepted(answer: &ApiAnswer) -> Result<serde_json::Value, LoginError> {
    match Outcome::of(answer) {
        Outcome::Ok(body) => Ok(body),
        Outcome::LoggedOut(code) | Outcome::Transient(code) | Outcome::Refused(code) => Err(LoginError { code }),
        Outcome::TimedOut => Err(fault("timeout")),
        Outcome::RateLimited => Err(fault("rate_limited")),
        Outcome::WindowClosed => Err(fault("-2")),
    }
}

fn refused(code: &str) -> LoginProgress {
    LoginProgress::Refused { code: code.to_owned() }
}

fn fault(code: &str) -> LoginError {
    LoginError { code: code.to_owned() }
}

#[cfg(test)]
mod tests;
