//! Long connection: subscribes, pings, delivers callbacks, and sends the frames of runners.
//!
//! See [WeCom Docs/智能机器人长连接](https://developer.work.weixin.qq.com/document/path/101463).

mod lanes;

use std::borrow::Cow;
use std::time::Duration;

use serde_json::json;
use tieline_core::connector::{Context, Remark};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::stream::{Begin, Effect, Frame, Refusal, SocketAddress, StreamProtocol, StreamSession};
use tieline_core::timestamp::Timestamp;

use super::decode::{self, Heard, Way};
use super::manifest::WS_URL;
use super::wire::SocketFrame;
use super::{LONG_AGO, callback_answer, card_action};
use lanes::Lanes;

/// Timeout for the response to our subscription.
const SUBSCRIBED_WITHIN: Duration = Duration::from_secs(10);
/// Interval of pings.
const PING: Duration = Duration::from_secs(30);
/// Time limit for the response to a ping, after which the connection is suspected dead.
const PING_ANSWERED_WITHIN: Duration = Duration::from_secs(5);
/// Number of unanswered pings after which the connection counts as dead, even if the socket seems open.
const MISSED: u32 = 2;
/// Events are not redelivered here, so storing them is tried for long.
const STORED_WITHIN: Duration = Duration::from_secs(60 * 60);

/// Wrong bot id or secret; long connection not enabled for the bot.
const WRONG_CREDENTIALS: [i64; 2] = [853_000, 846_601];
/// The platform doesn't know our subscription.
const NOT_SUBSCRIBED: i64 = 846_609;

/// The long-connection protocol.
#[derive(Debug, Clone, Copy)]
pub(super) struct LongConnection;

impl StreamProtocol for LongConnection {
    fn begin(&self, cx: &Context<'_>) -> Begin {
        Begin::Connect(SocketAddress {
            url: cx.account.endpoint("wsUrl", WS_URL).to_owned(),
            headers: Vec::new(),
            note: String::new(),
        })
    }

    fn address(&self, _answer: &ApiAnswer, _cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        Err(Refusal::Passing {
            code: "no address is asked for".to_owned(),
            retry_after: None,
        })
    }

    fn longest_silence(&self) -> Option<Duration> {
        Some(PING + PING_ANSWERED_WITHIN)
    }

    fn session(&self, _address: &SocketAddress, _cx: &Context<'_>) -> Box<dyn StreamSession> {
        Box::new(Session::default())
    }
}

/// One connection.
#[derive(Default)]
struct Session {
    phase: Phase,
    lanes: Lanes,
    tokens: u64,
}

#[derive(Default)]
enum Phase {
    /// The socket is not open yet, or no longer used.
    #[default]
    Idle,
    /// The subscription was sent.
    Subscribing { req_id: String, give_up_at: Timestamp },
    /// Subscribed: callbacks arrive, pings are sent.
    Up {
        ping_at: Timestamp,
        unanswered: Vec<String>,
        doubts: u32,
    },
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let field = |name: &str| cx.account.credentials.get(name).unwrap_or_default();
        let req_id = self.lanes.req_id("aibot_subscribe", cx);
        let subscribe = frame(
            "aibot_subscribe",
            &req_id,
            &json!({ "bot_id": field("botId"), "secret": field("secret") }),
        );
        self.phase = Phase::Subscribing {
            req_id,
            give_up_at: cx.now.after(SUBSCRIBED_WITHIN),
        };
        vec![subscribe]
    }

    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let text = match frame {
            Frame::Text(text) => text,
            Frame::Binary(bytes) => match String::from_utf8(bytes) {
                Ok(text) => text,
                Err(_) => return unreadable("a frame is not UTF-8"),
            },
        };
        let text = repaired(&text);
        let Ok(frame) = serde_json::from_str::<SocketFrame<'_>>(&text) else {
            return unreadable("a frame does not have the documented shape");
        };
        match (frame.cmd.as_str(), frame.req_id()) {
            ("aibot_msg_callback" | "aibot_event_callback", Some(req_id)) => {
                let body = frame.body.map_or("null", |body| body.get());
                self.on_callback(body, req_id, cx)
            }
            (_, req_id) => self.on_response(req_id, frame.errcode, &text, cx),
        }
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = self.lanes.overdue(cx);
        match &mut self.phase {
            Phase::Subscribing { give_up_at, .. } if *give_up_at <= cx.now => {
                effects.extend(self.reconnect("the subscription was not answered"));
            }
            Phase::Up {
                ping_at, unanswered, ..
            } if *ping_at <= cx.now => {
                if unanswered.len() >= MISSED as usize {
                    effects.extend(self.reconnect("pings were not answered"));
                } else {
                    let req_id = self.lanes.req_id("ping", cx);
                    effects.push(Effect::Send(Frame::Text(
                        json!({ "cmd": "ping", "headers": { "req_id": req_id } }).to_string(),
                    )));
                    unanswered.push(req_id);
                    *ping_at = cx.now.after(PING);
                }
            }
            _ => {}
        }
        effects
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let own = match &self.phase {
            Phase::Idle => None,
            Phase::Subscribing { give_up_at, .. } => Some(*give_up_at),
            Phase::Up { ping_at, .. } => Some(*ping_at),
        };
        own.into_iter().chain(self.lanes.wake_at()).min()
    }

    fn on_stored(&mut self, _token: u64, _cx: &Context<'_>) -> Vec<Effect> {
        // The platform expects no acknowledgement.
        Vec::new()
    }

    fn on_call(&mut self, call_id: &str, call: SocketCall, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = self.lanes.add(call_id, call);
        if matches!(self.phase, Phase::Up { .. }) {
            effects.extend(self.lanes.send(cx));
        }
        effects
    }

    fn on_close(&mut self, _cx: &Context<'_>) -> Vec<Effect> {
        self.phase = Phase::Idle;
        self.lanes.fail()
    }
}

impl Session {
    fn on_callback(&mut self, body: &str, req_id: &str, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = vec![Effect::Heard];
        match decode::decode(body.as_bytes(), Way::Socket { req_id }, cx) {
            Heard::Message(message) => effects.push(self.deliver(Event::Message(*message), cx)),
            Heard::Rated(feedback) => effects.push(self.deliver(Event::Feedback(feedback), cx)),
            Heard::Clicked(click) => {
                // Must be sent within 5 s, so it can't wait for the queue; otherwise the button stays in its pending state.
                let update = card_action::update(&click.key, &click.card, cx);
                effects.extend(update.map(|update| frame("aibot_respond_update_msg", req_id, &json!(update))));
                effects.push(self.deliver(Event::CardAction(*click), cx));
            }
            Heard::ClickedLongAgo { card } => {
                let update = card_action::stale(&card, cx);
                effects.extend(update.map(|update| frame("aibot_respond_update_msg", req_id, &json!(update))));
                effects.push(Effect::Remark(Remark::Ignored(LONG_AGO)));
            }
            Heard::Entered => {
                let welcome = callback_answer::welcome(cx);
                effects.extend(welcome.map(|welcome| frame("aibot_respond_welcome_msg", req_id, &json!(welcome))));
            }
            Heard::Kicked => {
                // Reconnecting automatically would kick the other client, and so on forever.
                self.phase = Phase::Idle;
                effects.extend(self.lanes.fail());
                effects.push(Effect::Kicked);
            }
            Heard::Poll { .. } => effects.push(Effect::Remark(Remark::Ignored("a poll on the long connection"))),
            Heard::Nothing(remark) => effects.push(Effect::Remark(remark)),
        }
        effects
    }

    fn deliver(&mut self, event: Event, cx: &Context<'_>) -> Effect {
        self.tokens += 1;
        Effect::Deliver {
            token: self.tokens,
            events: vec![event],
            give_up_at: cx.now.after(STORED_WITHIN),
        }
    }

    fn on_response(&mut self, req_id: Option<&str>, code: Option<i64>, text: &str, cx: &Context<'_>) -> Vec<Effect> {
        match &mut self.phase {
            Phase::Subscribing { req_id: ours, .. } => match (req_id, code.unwrap_or(0)) {
                (Some(req_id), code) if req_id == ours => self.on_subscribed(code, cx),
                // The platform refuses a malformed frame without its id, and no other frame of ours is in flight.
                (None, code) if code != 0 => self.on_subscribed(code, cx),
                _ => no_request(),
            },
            Phase::Up { unanswered, .. } if code.unwrap_or(0) == 0 && pinged(unanswered, req_id) => {
                unanswered.clear();
                vec![Effect::Heard]
            }
            Phase::Up { doubts, .. } => {
                let doubtful = code == Some(NOT_SUBSCRIBED);
                *doubts += u32::from(doubtful);
                // A single occurrence may be transient after a reconnect.
                let lost = doubtful && *doubts > 1;
                let mut effects = self.lanes.answered(req_id, code, text, cx);
                if lost {
                    effects.extend(self.reconnect("the platform says that we are not subscribed"));
                } else {
                    effects.extend(self.lanes.send(cx));
                }
                effects
            }
            Phase::Idle => no_request(),
        }
    }

    fn on_subscribed(&mut self, code: i64, cx: &Context<'_>) -> Vec<Effect> {
        if code == 0 {
            self.phase = Phase::Up {
                ping_at: cx.now.after(PING),
                unanswered: Vec::new(),
                doubts: 0,
            };
            let mut effects = vec![Effect::Up, Effect::Heard];
            effects.extend(self.lanes.send(cx));
            return effects;
        }
        self.phase = Phase::Idle;
        let mut effects = self.lanes.fail();
        let code_text = code.to_string();
        effects.push(Effect::Refused(if WRONG_CREDENTIALS.contains(&code) {
            Refusal::Credentials { code: code_text }
        } else {
            Refusal::Passing {
                code: code_text,
                retry_after: None,
            }
        }));
        effects
    }

    fn reconnect(&mut self, reason: &'static str) -> Vec<Effect> {
        self.phase = Phase::Idle;
        let mut effects = self.lanes.fail();
        effects.push(Effect::Reconnect { reason, after: None });
        effects
    }
}

fn pinged(unanswered: &[String], req_id: Option<&str>) -> bool {
    req_id.is_some_and(|req_id| unanswered.iter().any(|ours| ours == req_id))
}

fn no_request() -> Vec<Effect> {
    vec![Effect::Remark(Remark::Ignored("a response to no request of ours"))]
}

fn unreadable(reason: &'static str) -> Vec<Effect> {
    vec![Effect::Remark(Remark::Unreadable(reason))]
}

/// An outgoing frame.
fn frame(cmd: &str, req_id: &str, body: &serde_json::Value) -> Effect {
    let frame = json!({ "cmd": cmd, "headers": { "req_id": req_id }, "body": body });
    Effect::Send(Frame::Text(frame.to_string()))
}

/// Frames may contain raw control characters, which strict parsers refuse: these are replaced by spaces.
///
/// See the official SDK, `WecomTeam/aibot-node-sdk` 1.0.7, which deletes them.
fn repaired(text: &str) -> Cow<'_, str> {
    let raw = |c: char| c < ' ';
    if !text.contains(raw) || serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok() {
        return text.into();
    }
    text.replace(raw, " ").into()
}

#[cfg(test)]
mod tests;
