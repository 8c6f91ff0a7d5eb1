//! Long connection: authorized by its URL, kept alive by pings of its own.
//!
//! Whether the platform acknowledges frames is not documented: its simulator does, and every server answers pings. A chunk counts as sent
//! once an acknowledgement or the pong of a later ping proves that it was read; a connection that ends before leaves its outcome unknown.
//!
//! See `src/client.ts` of [`wecode-ai/openclaw-weibo`](https://github.com/wecode-ai/openclaw-weibo).

use std::time::Duration;

use tieline_core::connector::{Context, Remark};
use tieline_core::http_types::{ApiAnswer, SocketCall, TokenPlace};
use tieline_core::stream::{Begin, Effect, Frame, Refusal, SocketAddress, StreamProtocol, StreamSession};
use tieline_core::timestamp::Timestamp;

use super::decode::{self, Heard};
use super::receipts::{Receipts, ping};
use super::settings::Settings;

/// Interval of pings.
const PING: Duration = Duration::from_secs(30);
/// Time without a pong after which the connection counts as dead: one ping interval and ten seconds.
const PONG_WITHIN: Duration = Duration::from_secs(40);
/// Events are not redelivered, so storing them is tried for long.
const STORED_WITHIN: Duration = Duration::from_secs(60 * 60);
/// Longest message: a picture of 10 MiB in base64, and its envelope.
const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;
/// Client version, which the platform logs.
const VERSION: &str = concat!("tieline-", env!("CARGO_PKG_VERSION"));
/// Wait after a close that means wrong configuration: an earlier retry would not help.
const MISCONFIGURED_WAIT: Duration = Duration::from_secs(60);

/// Close codes that we act on. All others are transient faults.
mod close {
    /// Invalid path, missing parameters, a token of another app.
    pub(super) const MISCONFIGURED: [u16; 3] = [4000, 4001, 4003];
    /// The token is not valid.
    pub(super) const INVALID_TOKEN: u16 = 4002;
    /// Text that means the same with any code.
    pub(super) const INVALID_TOKEN_WORDS: &str = "invalid token";
}

/// The long-connection protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongConnection;

impl StreamProtocol for LongConnection {
    fn begin(&self, cx: &Context<'_>) -> Begin {
        let url = Settings::of(cx).map_or_else(String::new, |settings| {
            let mut url = settings.ws_url.clone();
            url.query_pairs_mut()
                .append_pair("app_id", &settings.app_id)
                .append_pair("version", VERSION);
            url.into()
        });
        let address = SocketAddress {
            url,
            headers: Vec::new(),
            note: String::new(),
        };
        Begin::Authorize(address, TokenPlace::Query("token"))
    }

    fn address(&self, _answer: &ApiAnswer, _cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        Err(Refusal::Passing {
            code: "no_address_requested".to_owned(),
            retry_after: None,
        })
    }

    fn handshake_failed(&self, status: u16, _headers: &[(String, String)], _cx: &Context<'_>) -> Refusal {
        let code = status.to_string();
        match status {
            408 | 425 | 429 => Refusal::Passing {
                code,
                retry_after: None,
            },
            400..=499 => Refusal::StaleToken { code },
            _ => Refusal::Passing {
                code,
                retry_after: None,
            },
        }
    }

    /// Also after a clean close.
    fn wait_before_replacement(&self) -> Duration {
        Duration::from_secs(1)
    }

    fn longest_silence(&self) -> Option<Duration> {
        Some(PONG_WITHIN)
    }

    fn session(&self, _address: &SocketAddress, _cx: &Context<'_>) -> Box<dyn StreamSession> {
        Box::new(Session::default())
    }

    fn max_message_bytes(&self) -> usize {
        MAX_MESSAGE_BYTES
    }
}

/// One connection.
#[derive(Default)]
struct Session {
    heartbeat: Option<Heartbeat>,
    receipts: Receipts,
    tokens: u64,
}

/// The heartbeat of an open connection.
struct Heartbeat {
    ping_at: Timestamp,
    dead_at: Timestamp,
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.heartbeat = Some(Heartbeat {
            ping_at: cx.now.after(PING),
            dead_at: cx.now.after(PONG_WITHIN),
        });
        // The URL has authorized us. A greeting may or may not follow.
        vec![Effect::Up, Effect::Heard]
    }

    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let Frame::Text(text) = frame else {
            return vec![Effect::Remark(Remark::Ignored("a binary frame"))];
        };
        let mut effects = vec![Effect::Heard];
        match decode::decode(&text, cx) {
            Heard::Pong => {
                effects.extend(self.on_pong(cx));
                effects.extend(self.receipts.on_pong());
            }
            Heard::Ping => effects.push(send(r#"{"type":"pong"}"#.to_owned())),
            Heard::Received => effects.extend(self.receipts.on_ack()),
            Heard::Refused => {
                let reason = "the platform reports an error in a frame of ours";
                effects.push(Effect::Remark(Remark::Unreadable(reason)));
                effects.extend(self.receipts.on_error());
            }
            Heard::Said(event, remark) => {
                self.tokens += 1;
                effects.extend(remark.map(Effect::Remark));
                effects.push(Effect::Deliver {
                    token: self.tokens,
                    events: vec![*event],
                    give_up_at: cx.now.after(STORED_WITHIN),
                });
            }
            Heard::Nothing(remark) => effects.push(Effect::Remark(remark)),
        }
        effects
    }

    /// A Pong frame shows that the server is alive, but may come unasked: it confirms no chunk.
    fn on_pong(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        if let Some(heartbeat) = &mut self.heartbeat {
            heartbeat.dead_at = cx.now.after(PONG_WITHIN);
        }
        Vec::new()
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let Some(heartbeat) = &mut self.heartbeat else {
            return Vec::new();
        };
        let mut effects = match self.receipts.on_time(cx.now) {
            Ok(effects) => effects,
            Err(reason) => return self.reconnect(reason),
        };
        if heartbeat.dead_at <= cx.now {
            return self.reconnect("pings were not answered");
        }
        if heartbeat.ping_at <= cx.now {
            heartbeat.ping_at = cx.now.after(PING);
            self.receipts.pinged();
            effects.push(ping());
        }
        effects
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let heartbeat = self.heartbeat.as_ref()?;
        let at = heartbeat.ping_at.min(heartbeat.dead_at);
        Some(self.receipts.wake_at().map_or(at, |due| due.min(at)))
    }

    fn on_stored(&mut self, _token: u64, _cx: &Context<'_>) -> Vec<Effect> {
        // The platform expects no acknowledgement.
        Vec::new()
    }

    fn on_call(&mut self, call_id: &str, call: SocketCall, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = vec![send(call.frame.to_string())];
        effects.extend(self.receipts.on_call(call_id, cx.now));
        effects
    }

    fn on_closed(&mut self, code: u16, reason: &str, _cx: &Context<'_>) -> Vec<Effect> {
        self.heartbeat = None;
        let mut effects = self.receipts.on_close();
        let name = format!("closed_{code}");
        if code == close::INVALID_TOKEN || reason.to_ascii_lowercase().contains(close::INVALID_TOKEN_WORDS) {
            effects.push(Effect::Refused(Refusal::StaleToken { code: name }));
        } else if close::MISCONFIGURED.contains(&code) {
            effects.push(Effect::Refused(Refusal::Passing {
                code: name,
                retry_after: Some(MISCONFIGURED_WAIT),
            }));
        }
        effects
    }

    fn on_close(&mut self, _cx: &Context<'_>) -> Vec<Effect> {
        self.heartbeat = None;
        self.receipts.on_close()
    }
}

impl Session {
    fn reconnect(&mut self, reason: &'static str) -> Vec<Effect> {
        self.heartbeat = None;
        let mut effects = self.receipts.on_close();
        effects.push(Effect::Reconnect { reason, after: None });
        effects
    }
}

fn send(text: String) -> Effect {
    Effect::Send(Frame::Text(text))
}
