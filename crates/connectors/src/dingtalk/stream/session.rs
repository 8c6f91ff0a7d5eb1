//! State machine of one connection.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::{Event, STALE_CLICK};
use tieline_core::http_types::{ApiAnswer, SocketCall};
use tieline_core::stream::{Effect, Frame, StreamSession};
use tieline_core::timestamp::Timestamp;

use super::super::wire::{StreamFrame, StreamHeaders};
use super::super::{card_action, decode};
use super::{TOPIC_CARD, TOPIC_DELEGATE, TOPIC_ROBOT, ack};

/// Longest message that is read. The vendor's own limit is 256 KiB.
const MAX_BYTES: usize = 1024 * 1024;
/// The platform waits 3 s for the acknowledgement of a message: a failure is reported before that.
const ROBOT_PATIENCE: Duration = Duration::from_millis(2500);
/// The platform waits 2 s for the acknowledgement of a click.
const CARD_PATIENCE: Duration = Duration::from_millis(1800);
/// A message that was not acknowledged may never be sent again, so storing it is tried for longer than the platform waits. If it is sent
/// again after all, it is deduplicated.
const STORE_PATIENCE: Duration = Duration::from_secs(60);
/// The server closes the socket this long after announcing it.
const CLOSING: Duration = Duration::from_secs(10);
/// Longest silence: the gateway may have stopped routing to a socket that still answers pings.
const IDLE: Duration = Duration::from_secs(600);

/// Not a valid frame.
const UNREADABLE: Remark = Remark::Unreadable("the frame does not have the documented shape");

/// A connection, and its pending acknowledgements.
pub(super) struct Session {
    last_token: u64,
    owed: BTreeMap<u64, Debt>,
    /// Time of the last frame.
    heard: Timestamp,
    /// Whether a replacement was requested because of silence.
    replaced: bool,
    /// When the server will close the socket.
    closes_at: Option<Timestamp>,
}

/// An acknowledgement that waits for the queue.
struct Debt {
    done: Frame,
    failed: Frame,
    /// When a failure is reported to the platform.
    due: Timestamp,
}

impl Session {
    pub(super) const fn new(now: Timestamp) -> Self {
        Self {
            last_token: 0,
            owed: BTreeMap::new(),
            heard: now,
            replaced: false,
            closes_at: None,
        }
    }

    fn heard(&mut self, cx: &Context<'_>) {
        self.heard = cx.now;
        self.replaced = false;
    }

    fn system(&mut self, topic: &str, message_id: Option<&str>, data: &Value, cx: &Context<'_>) -> Vec<Effect> {
        match topic {
            "ping" => send(message_id.map(|id| ack::ok(id, &echo(data)))),
            "disconnect" => {
                self.closes_at.get_or_insert(cx.now.after(CLOSING));
                vec![Effect::Replace {
                    reason: "the server closes this connection",
                }]
            }
            "CONNECTED" | "REGISTERED" | "KEEPALIVE" => Vec::new(),
            _ => vec![Effect::Remark(Remark::Ignored("unknown system topic"))],
        }
    }

    fn callback(&mut self, headers: &StreamHeaders, data: &Value, cx: &Context<'_>) -> Vec<Effect> {
        let message_id = headers.message_id.as_deref();
        match headers.topic.as_deref().unwrap_or_default() {
            TOPIC_ROBOT | TOPIC_DELEGATE => self.robot(message_id, data, cx),
            TOPIC_CARD => self.card(message_id, headers.time.as_deref(), data, cx),
            _ => with_remark(
                message_id.map(ack::not_found),
                Remark::Ignored("topic not subscribed to"),
            ),
        }
    }

    fn robot(&mut self, message_id: Option<&str>, data: &Value, cx: &Context<'_>) -> Vec<Effect> {
        match decode::message(text_of(data).as_bytes(), cx) {
            Ok(event) => {
                let debt = message_id.map(|id| Debt {
                    done: ack::ok(id, &ack::robot()),
                    failed: ack::failed(id, &ack::robot()),
                    due: cx.now.after(ROBOT_PATIENCE),
                });
                self.deliver(event, debt, cx)
            }
            Err(remark) if remark == decode::UNREADABLE => with_remark(message_id.map(ack::bad_request), remark),
            Err(remark) => with_remark(message_id.map(|id| ack::ok(id, &ack::robot())), remark),
        }
    }

    fn card(&mut self, message_id: Option<&str>, time: Option<&str>, data: &Value, cx: &Context<'_>) -> Vec<Effect> {
        match card_action::read(text_of(data).as_bytes(), message_id.unwrap_or_default(), time, cx) {
            Ok(click) => {
                let debt = message_id.map(|id| Debt {
                    done: ack::ok(id, &ack::card(&click.answer)),
                    failed: ack::failed(id, &ack::card(&json!({}))),
                    due: cx.now.after(CARD_PATIENCE),
                });
                self.deliver(click.event, debt, cx)
            }
            Err(remark) => with_remark(message_id.map(|id| ack::ok(id, &ack::card(&json!({})))), remark),
        }
    }

    fn deliver(&mut self, event: Event, debt: Option<Debt>, cx: &Context<'_>) -> Vec<Effect> {
        self.last_token += 1;
        let token = self.last_token;
        self.owed.extend(debt.map(|debt| (token, debt)));
        vec![Effect::Deliver {
            token,
            events: vec![event],
            give_up_at: cx.now.after(STORE_PATIENCE),
        }]
    }

    /// Reports a failure for frames that weren't stored in time; if they are stored later, no second acknowledgement is sent.
    fn admit_failures(&mut self, now: Timestamp) -> Vec<Effect> {
        let overdue = self.owed.extract_if(.., |_token, debt| debt.due <= now);
        let failed = overdue.map(|(_token, debt)| Effect::Send(debt.failed));
        let mut effects: Vec<_> = failed.collect();
        if !effects.is_empty() {
            effects.push(Effect::Remark(Remark::Unreadable(
                "a message could not be stored before the platform's deadline",
            )));
        }
        effects
    }

    fn idle_at(&self) -> Option<Timestamp> {
        (!self.replaced).then(|| self.heard.after(IDLE))
    }
}

/// Whether a click is too old to be acted on. Its acknowledgement can't contain a text.
fn is_stale(time: Option<&str>, cx: &Context<'_>) -> bool {
    let clicked_at = time.and_then(|time| time.parse().ok()).map(Timestamp::from_millis);
    clicked_at.is_some_and(|at| cx.now.since(at) > STALE_CLICK)
}

impl StreamSession for Session {
    /// Nothing has to be sent, and no first frame is guaranteed: an open socket counts as connected.
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.heard(cx);
        vec![Effect::Up]
    }

    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let Some(frame) = read(&frame) else {
            return vec![Effect::Remark(UNREADABLE)];
        };
        self.heard(cx);
        let topic = frame.headers.topic.as_deref().unwrap_or_default();
        let message_id = frame.headers.message_id.as_deref();
        let mut effects = vec![Effect::Heard];
        effects.extend(match frame.kind.as_deref() {
            Some("SYSTEM") => self.system(topic, message_id, &frame.data, cx),
            // No event type is used yet; an event that isn't acknowledged is sent again.
            Some("EVENT") => with_remark(
                message_id.map(|id| ack::ok(id, &ack::event())),
                Remark::Ignored("event of no use to us"),
            ),
            Some("CALLBACK") if topic == TOPIC_CARD && is_stale(frame.headers.time.as_deref(), cx) => with_remark(
                message_id.map(|id| ack::ok(id, &ack::card(&json!({})))),
                Remark::Ignored("click of more than a day ago"),
            ),
            Some("CALLBACK") => self.callback(&frame.headers, &frame.data, cx),
            _ => vec![Effect::Remark(Remark::Ignored("unknown type of frame"))],
        });
        effects
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = self.admit_failures(cx.now);
        if self.closes_at.is_some_and(|at| at <= cx.now) {
            self.closes_at = None;
            effects.push(Effect::Reconnect {
                reason: "the server has closed this connection",
                after: None,
            });
        }
        if self.idle_at().is_some_and(|at| at <= cx.now) {
            self.replaced = true;
            effects.push(Effect::Replace {
                reason: "nothing was heard for ten minutes",
            });
        }
        effects
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let debts = self.owed.values().map(|debt| debt.due);
        debts.chain(self.closes_at).chain(self.idle_at()).min()
    }

    fn on_stored(&mut self, token: u64, _cx: &Context<'_>) -> Vec<Effect> {
        send(self.owed.remove(&token).map(|debt| debt.done))
    }

    /// Replies are never sent over this socket.
    fn on_call(&mut self, call_id: &str, _call: SocketCall, _cx: &Context<'_>) -> Vec<Effect> {
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }
}

fn read(frame: &Frame) -> Option<StreamFrame> {
    let bytes = match frame {
        Frame::Text(text) => text.as_bytes(),
        Frame::Binary(bytes) => bytes,
    };
    (bytes.len() <= MAX_BYTES)
        .then(|| serde_json::from_slice(bytes).ok())
        .flatten()
}

/// A frame without a message id can't be acknowledged.
fn send(frame: Option<Frame>) -> Vec<Effect> {
    frame.map(Effect::Send).into_iter().collect()
}

fn with_remark(frame: Option<Frame>, remark: Remark) -> Vec<Effect> {
    let mut effects = send(frame);
    effects.push(Effect::Remark(remark));
    effects
}

/// A frame's data as text: it should be a string, but an object is tolerated.
fn text_of(data: &Value) -> String {
    match data {
        Value::String(text) => text.clone(),
        Value::Null => String::new(),
        other => other.to_string(),
    }
}

/// A ping's data is echoed unchanged.
fn echo(data: &Value) -> String {
    let text = text_of(data);
    if text.is_empty() { "{}".to_owned() } else { text }
}
