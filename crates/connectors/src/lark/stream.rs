//! The long connection: bootstrap, ping, parts, acknowledgements.
//!
//! See [Feishu Docs/使用长连接接收事件](https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/request-url-configuration-case)
//! and the official client's [ws/client.go](https://github.com/larksuite/oapi-sdk-go/blob/v3_main/ws/client.go).

use std::collections::BTreeMap;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize as _;
use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::http_types::{ApiAnswer, Body, HttpCall, SocketCall, TokenPlace};
use tieline_core::stream::Frame as SocketFrame;
use tieline_core::stream::{Begin, Effect, Refusal, SocketAddress, StreamProtocol, StreamSession};
use tieline_core::timestamp::Timestamp;
use url::Url;

use super::CALL_TIMEOUT;
use super::decode::{self, Kind};
use super::frame::{CONTROL, DATA, Frame};
use super::parts::Parts;
use super::settings::{HOSTS, Settings, address};
use super::verify::Authentic;
use super::wire::{ApiBody, ClientConfig};

/// Longest silence after a ping before the connection counts as dead.
const SILENCE: Duration = Duration::from_secs(30);
/// The platform redelivers an event this long after it went unacknowledged.
const REDELIVERY: Duration = Duration::from_secs(15);
/// A callback that isn't answered within this time is lost, and the person has seen an error.
const CALLBACK_PATIENCE: Duration = Duration::from_secs(3);
/// Wait after "too many connections": leaked ones time out.
const CROWDED: Duration = Duration::from_secs(300);
/// Upper bound of the random delay before the first reconnect.
const FIRST_DELAY_S: i64 = 5;
/// Largest number of unconfirmed deliveries; older ones are dropped.
const MAX_PENDING: usize = 4096;

/// The payloads of acknowledgements.
const TAKEN: &str = r#"{"code": 200}"#;
const FAILED: &str = r#"{"code": 500}"#;

/// The long connection of a self-built app.
#[derive(Debug)]
pub(super) struct LongConnection;

impl StreamProtocol for LongConnection {
    fn begin(&self, cx: &Context<'_>) -> Begin {
        let settings = Settings::of(cx.account);
        let body = json!({ "AppID": settings.app_id, "AppSecret": settings.app_secret.expose() });
        Begin::Ask(HttpCall {
            name: "bootstrap",
            method: "POST",
            url: address(cx.account, "/callback/ws/endpoint"),
            headers: vec![("locale".to_owned(), "zh".to_owned())],
            body: Body::Json(body.to_string()),
            token: TokenPlace::None,
            timeout: CALL_TIMEOUT,
        })
    }

    fn address(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        let body = bootstrapped(answer)?;
        let url = body.text("URL").ok_or_else(|| passing("no_url"))?.to_owned();
        if !cx.account.may_call(&url, HOSTS) {
            return Err(passing("foreign_address"));
        }
        let config = body.data.get("ClientConfig").cloned().unwrap_or(json!({}));
        Ok(SocketAddress {
            url,
            headers: Vec::new(),
            note: config.to_string(),
        })
    }

    fn handshake_failed(&self, status: u16, headers: &[(String, String)], _cx: &Context<'_>) -> Refusal {
        let number = |name: &str| {
            let header = headers.iter().find(|(key, _)| key == name)?;
            header.1.parse::<i64>().ok()
        };
        match (number("handshake-status"), number("handshake-autherrcode")) {
            (Some(514), Some(code @ 1_000_040_350)) => crowded(code),
            (Some(code @ 403), _) => Refusal::Credentials { code: code.to_string() },
            (Some(code), _) => passing(&code.to_string()),
            (None, _) => passing(&format!("http_{status}")),
        }
    }

    fn session(&self, address: &SocketAddress, _cx: &Context<'_>) -> Box<dyn StreamSession> {
        Box::new(Session::new(address))
    }
}

fn bootstrapped(answer: &ApiAnswer) -> Result<ApiBody, Refusal> {
    let ApiAnswer::Answered { status, .. } = answer else {
        return Err(passing("unreachable"));
    };
    let body = answer.json().and_then(|json| ApiBody::deserialize(json).ok());
    let Some((code, body)) = body.and_then(|body| Some((body.code?, body))) else {
        return Err(passing(&format!("http_{status}")));
    };
    match code {
        0 if *status == 200 => Ok(body),
        // Busy, internal error, and one that peers have seen with the text "system busy".
        0 | 1 | 1_000_040_343 | 1_000_040_345 => Err(passing(&code.to_string())),
        1_000_040_350 => Err(crowded(code)),
        _ if *status >= 500 => Err(passing(&code.to_string())),
        _ => Err(Refusal::Credentials { code: code.to_string() }),
    }
}

fn passing(code: &str) -> Refusal {
    Refusal::Passing {
        code: code.to_owned(),
        retry_after: None,
    }
}

fn crowded(code: i64) -> Refusal {
    Refusal::Passing {
        code: code.to_string(),
        retry_after: Some(CROWDED),
    }
}

/// One connection.
struct Session {
    /// Sent in every ping.
    service: i32,
    config: ClientConfig,
    pinged_at: Option<Timestamp>,
    /// Time of the first ping after which nothing was received.
    waiting_since: Option<Timestamp>,
    up: bool,
    parts: Parts,
    /// Frames whose events are being stored in the queue, with what will acknowledge them.
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
}

struct Pending {
    frame: Frame,
    payload: String,
    came_at: Timestamp,
}

impl Session {
    fn new(address: &SocketAddress) -> Self {
        Self {
            service: service(&address.url).unwrap_or_default(),
            config: serde_json::from_str(&address.note).unwrap_or_default(),
            pinged_at: None,
            waiting_since: None,
            up: false,
            parts: Parts::default(),
            pending: BTreeMap::new(),
            next_token: 0,
        }
    }

    fn ping(&mut self, now: Timestamp) -> Effect {
        self.pinged_at = Some(now);
        self.waiting_since.get_or_insert(now);
        send(&Frame::ping(self.service))
    }

    fn ping_at(&self) -> Option<Timestamp> {
        let interval = u64::try_from(self.config.ping_interval).unwrap_or_default();
        let default = ClientConfig::default().ping_interval.unsigned_abs();
        let interval = if interval == 0 { default } else { interval };
        Some(self.pinged_at?.after(Duration::from_secs(interval)))
    }

    /// When the silence after a ping is too long. `None` once something was received.
    fn dead_at(&self) -> Option<Timestamp> {
        Some(self.waiting_since?.after(SILENCE))
    }

    fn heard(&mut self) -> Vec<Effect> {
        self.waiting_since = None;
        if std::mem::replace(&mut self.up, true) {
            vec![Effect::Heard]
        } else {
            vec![Effect::Up, Effect::Heard]
        }
    }

    fn control(&mut self, frame: &Frame) {
        let payload = frame.payload.as_deref().unwrap_or_default();
        if frame.header("type") != Some("pong") || payload.is_empty() {
            return;
        }
        if let Ok(config) = serde_json::from_slice(payload) {
            self.config = config;
        }
    }

    fn data(&mut self, mut frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        match frame.header("type") {
            Some("event") => {}
            Some("card") => {
                return unreadable("card frame: choose the long connection on the console's callback page and publish");
            }
            _ => return unreadable("data frame of an unknown type"),
        }
        let (Some(sum), Some(seq)) = (frame.number("sum"), frame.number("seq")) else {
            return unreadable("data frame without its place in the message");
        };
        let key = |name| frame.header(name).unwrap_or_default().to_owned();
        let key = (key("message_id"), key("trace_id"));
        let bytes = frame.payload.take().unwrap_or_default();
        match self.parts.add(key, seq, sum, bytes, cx.now) {
            Some(payload) => self.message(frame, &payload, cx),
            None => Vec::new(),
        }
    }

    fn message(&mut self, frame: Frame, payload: &[u8], cx: &Context<'_>) -> Vec<Effect> {
        let Ok(payload) = serde_json::from_slice(payload) else {
            let failed = send(&frame.answered(FAILED, 0));
            return [unreadable("payload is not a JSON object"), vec![failed]].concat();
        };
        let decoded = decode::decode(Authentic::from_connection(payload), cx);
        let (payload, patience) = match decoded.kind {
            Kind::Callback(answer) => (callback_answer(&answer), CALLBACK_PATIENCE),
            Kind::Event | Kind::Check(_) => (TAKEN.to_owned(), REDELIVERY),
        };
        match decoded.event {
            Ok(event) => {
                let token = self.remember(frame, payload, cx.now);
                vec![Effect::Deliver {
                    token,
                    events: vec![event],
                    give_up_at: cx.now.after(patience),
                }]
            }
            Err(remark) => vec![Effect::Remark(remark), send(&frame.answered(&payload, 0))],
        }
    }

    fn remember(&mut self, frame: Frame, payload: String, came_at: Timestamp) -> u64 {
        let token = self.next_token;
        self.next_token += 1;
        let pending = Pending {
            frame,
            payload,
            came_at,
        };
        self.pending.insert(token, pending);
        while self.pending.len() > MAX_PENDING {
            self.pending.pop_first();
        }
        token
    }
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        vec![self.ping(cx.now)]
    }

    fn on_frame(&mut self, frame: SocketFrame, cx: &Context<'_>) -> Vec<Effect> {
        let frame = match frame {
            SocketFrame::Binary(bytes) => Frame::read(&bytes),
            SocketFrame::Text(_) => None,
        };
        let Some(frame) = frame else {
            return unreadable("frame does not match the protocol");
        };
        let mut effects = self.heard();
        match frame.method {
            CONTROL => self.control(&frame),
            DATA => effects.extend(self.data(frame, cx)),
            _ => effects.extend(unreadable("frame is neither control nor data")),
        }
        effects
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.parts.expire(cx.now);
        if self.dead_at().is_some_and(|dead| dead <= cx.now) {
            return vec![Effect::Reconnect {
                reason: "nothing heard after a ping",
                after: Some(self.first_delay(cx)),
            }];
        }
        if self.ping_at().is_some_and(|due| due <= cx.now) {
            return vec![self.ping(cx.now)];
        }
        Vec::new()
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let times = [self.ping_at(), self.dead_at(), self.parts.expires_at()];
        times.into_iter().flatten().min()
    }

    fn on_stored(&mut self, token: u64, cx: &Context<'_>) -> Vec<Effect> {
        let pending = self.pending.remove(&token);
        let ack = pending.map(|pending| {
            let took = cx.now.since(pending.came_at).as_millis();
            send(&pending.frame.answered(&pending.payload, took))
        });
        ack.into_iter().collect()
    }

    fn on_call(&mut self, call_id: &str, _call: SocketCall, _cx: &Context<'_>) -> Vec<Effect> {
        // This connection only receives; replies go over HTTP.
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }
}

impl Session {
    /// A random delay, so that the connections of a deployment don't all reconnect at once.
    fn first_delay(&self, cx: &Context<'_>) -> Duration {
        let bound = self.config.reconnect_nonce.clamp(0, FIRST_DELAY_S).unsigned_abs() * 1000;
        let chance = u64::from(u16::from_le_bytes([cx.random[0], cx.random[1]]));
        Duration::from_millis(bound * chance / u64::from(u16::MAX))
    }
}

fn service(url: &str) -> Option<i32> {
    let url = Url::parse(url).ok()?;
    let (_, value) = url.query_pairs().find(|(name, _)| name == "service_id")?;
    value.parse().ok()
}

fn callback_answer(answer: &Value) -> String {
    format!(r#"{{"code": 200, "data": "{}"}}"#, STANDARD.encode(answer.to_string()))
}

fn send(frame: &Frame) -> Effect {
    Effect::Send(SocketFrame::Binary(frame.bytes()))
}

fn unreadable(reason: &'static str) -> Vec<Effect> {
    vec![Effect::Remark(Remark::Unreadable(reason))]
}

#[cfg(test)]
mod tests;
