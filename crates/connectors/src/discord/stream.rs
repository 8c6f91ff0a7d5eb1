//! The gateway: where it is, how a connection begins and how a session goes on after one was lost.
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
use super::{call, wire};

/// The version and the encoding, which the platform never puts into the addresses that it returns.
const QUERY: &str = "/?v=10&encoding=json";
/// Servers with many channels and roles are described in one message. A longer message would end the connection each time.
const MAX_MESSAGE_BYTES: usize = 8 * 1024 * 1024;
/// The close code that keeps the session: 1000 and 1001 would end it, and with it what it still has to deliver.
const CLOSE_AND_RESUME: u16 = 4000;
/// Attempts to resume at the address that the platform named for it.
const AT_RESUME_URL: u32 = 2;
/// Attempts to resume at all; after that the session is given up.
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

    /// Goes on with the session that was saved, or with an intent less than the platform refused.
    fn resume(&self, cursor: &str, failures: u32, cx: &Context<'_>) -> Option<SocketAddress> {
        let cursor = Cursor::read(cursor)?;
        if failures > MOST_RESUMES || !cx.account.may_call(&cursor.gateway, GATEWAY_HOSTS) {
            return None;
        }
        let Some(session) = &cursor.session else {
            return cursor.without_content.then(|| socket(&cursor.gateway, &cursor));
        };
        // The intent was switched on or off since: a resumed session would keep the old one.
        if session.has_content != wants_content(cx) {
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

/// Whether the Message Content Intent is asked for: only where it is known to be enabled, because the platform refuses the whole
/// connection otherwise.
fn wants_content(cx: &Context<'_>) -> bool {
    Settings::of(cx.account).content_intent == Some(true)
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
            return Err(passing(&code, retry_after_s.map(Duration::from_secs)));
        }
    }
    let gateway: wire::GatewayBot =
        serde_json::from_slice(body).map_err(|_| passing("gateway_answer_not_readable", None))?;
    let limit = &gateway.session_start_limit;
    if limit.remaining == 0 {
        // One session more, and the platform ends all of them and replaces the bot's token.
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
