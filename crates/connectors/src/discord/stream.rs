//! Gateway: its URL, the start of a connection, and the resumption of a session after one was lost.
//!
//! See [Discord Docs/Gateway](https://discord.com/developers/docs/events/gateway).

mod cursor;
mod session;
#[cfg(test)]
mod tests;

use std::time::Duration;

use tieline_core::connector::Context;
use tieline_core::http_types::ApiAnswer;
use tieline_core::stream::{Begin, Refusal, SocketAddress, StreamProtocol, StreamSession};

use self::cursor::Cursor;
use self::session::Session;
use super::settings::{GATEWAY_HOSTS, Settings, address};
use super::{api_error, call, wire};

/// Version and encoding, which the URLs returned by the platform never contain.
const QUERY: &str = "/?v=10&encoding=json";
/// Servers with many channels and roles are described in one message. A message above the limit ends the connection, every time.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// Close code that keeps the session resumable: 1000 and 1001 would end it, together with its undelivered events.
const CLOSE_AND_RESUME: u16 = 4000;
/// Number of attempts to resume at the URL that the platform named for it.
const AT_RESUME_URL: u32 = 2;
/// Total number of attempts to resume; after that the session is given up.
const MOST_RESUMES: u32 = 3;

/// The gateway of a bot.
#[derive(Debug)]
pub(super) struct Gateway;

impl StreamProtocol for Gateway {
    fn begin(&self, cx: &Context<'_>) -> Begin {
        let url = address(cx.account, "/gateway/bot");
        Begin::Ask(call::with_token("gateway", "GET", url, None, cx))
    }

    fn address(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        let gateway = gateway(answer)?;
        if !cx.account.may_call(&gateway.url, GATEWAY_HOSTS) {
            return Err(passing("gateway_at_foreign_host", None));
        }
        let cursor = Cursor {
            gateway: gateway.url,
            is_sharding_recommended: gateway.shards > 1,
            ..Cursor::default()
        };
        Ok(socket(&cursor.gateway, &cursor))
    }

    /// Resumes the stored session, or connects without the intent that the platform refused, or with the one enabled meanwhile.
    fn resume(&self, cursor: &str, failures: u32, cx: &Context<'_>) -> Option<SocketAddress> {
        let cursor = Cursor::read(cursor)?;
        if failures > MOST_RESUMES || !cx.account.may_call(&cursor.gateway, GATEWAY_HOSTS) {
            return None;
        }
        let Some(session) = &cursor.session else {
            let is_new = cursor.without_content || cursor.content_enabled;
            return is_new.then(|| socket(&cursor.gateway, &cursor));
        };
        // The intent was enabled or disabled since: a resumed session would keep the old setting. If the platform refused the intent, the
        // session without it continues, and checks whether it is enabled now.
        let wants_content = wants_content(cx) || cursor.content_enabled;
        if session.has_content != wants_content && !session.content_refused {
            return None;
        }
        let named =
            Some(&session.url).filter(|url| failures <= AT_RESUME_URL && cx.account.may_call(url, GATEWAY_HOSTS));
        Some(socket(named.unwrap_or(&cursor.gateway), &cursor))
    }

    fn resumes(&self) -> bool {
        true
    }

    fn handshake_failed(&self, status: u16, headers: &[(String, String)], _cx: &Context<'_>) -> Refusal {
        let retry_after = headers.iter().find(|(name, _)| name == "retry-after");
        let retry_after = retry_after.and_then(|(_, seconds)| seconds.parse().ok());
        passing(&format!("http_{status}"), retry_after.map(Duration::from_secs))
    }

    fn session(&self, address: &SocketAddress, cx: &Context<'_>) -> Box<dyn StreamSession> {
        let cursor = Cursor::read(&address.note).unwrap_or_default();
        Box::new(Session::new(cursor, wants_content(cx)))
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }

    fn close_code(&self) -> Option<u16> {
        Some(CLOSE_AND_RESUME)
    }
}

/// Whether to request the Message Content Intent: not if it is known to be disabled, because then the platform refuses the whole connection,
/// and the next one omits it.
fn wants_content(cx: &Context<'_>) -> bool {
    Settings::of(cx.account).content_intent != Some(false)
}

fn socket(url: &str, cursor: &Cursor) -> SocketAddress {
    SocketAddress {
        url: format!("{}{QUERY}", url.trim_end_matches('/')),
        headers: Vec::new(),
        note: cursor.write(),
    }
}

fn gateway(answer: &ApiAnswer) -> Result<wire::GatewayBot, Refusal> {
    let ApiAnswer::Answered {
        status,
        retry_after_s,
        body,
    } = answer
    else {
        return Err(passing("unreachable", None));
    };
    match status {
        200..=299 => {}
        401 => {
            let code =
                "401: the bot token is wrong; copy it again from the page Bot of the developer portal".to_owned();
            return Err(Refusal::Credentials { code });
        }
        status => {
            let code = format!("http_{status}");
            let retry_after = api_error::ban(answer).or(retry_after_s.map(Duration::from_secs));
            return Err(passing(&code, retry_after));
        }
    }
    let gateway: wire::GatewayBot =
        serde_json::from_slice(body).map_err(|_| passing("gateway_answer_not_readable", None))?;
    let limit = &gateway.session_start_limit;
    if limit.remaining == 0 {
        // If the bot started one session more, the platform would end all of them and reset the bot's token.
        let reset_after = Duration::from_millis(limit.reset_after);
        return Err(passing("session_start_limit_reached", Some(reset_after)));
    }
    Ok(gateway)
}

fn passing(code: &str, retry_after: Option<Duration>) -> Refusal {
    Refusal::Passing {
        code: code.to_owned(),
        retry_after,
    }
}
