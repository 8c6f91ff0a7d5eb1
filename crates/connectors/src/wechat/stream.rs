//! State machine of the long poll `getupdates`.
//!
//! Delivered messages are not delivered again with any cursor, so the next call and the new cursor wait until the queue has stored them.
//!
//! See [openclaw-weixin/src/monitor/monitor.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/monitor/monitor.ts).

mod cursor;
#[cfg(test)]
mod tests;

use std::time::Duration;

use serde::Deserialize as _;
use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, HttpCall};
use tieline_core::stream::{Begin, Effect, Refusal, SocketAddress, StreamProtocol, StreamSession};
use tieline_core::timestamp::Timestamp;

use self::cursor::Cursor;
use super::api_error::Outcome;
use super::settings::Login;
use super::wire::Updates;
use super::{call, decode};

/// How long the platform holds a call, unless it specifies another time.
const HOLD: Duration = Duration::from_secs(35);
/// Longest hold that is accepted: a connection must show activity at least that often.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// Additional time that a call waits: without it, a response at the end of the hold would be lost.
const MARGIN: Duration = Duration::from_secs(10);
/// Timeout of the other calls.
const CALL: Duration = Duration::from_secs(10);
/// Shortest interval between the starts of two polls if the first returned nothing.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// Wait after an error.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// Wait after [`MOST_ERRORS`] consecutive errors.
const PAUSE: Duration = Duration::from_secs(30);
/// Number of consecutive errors after which the connection counts as lost.
const MOST_ERRORS: u32 = 3;
/// Number of consecutive polls without a response, after which another call must prove that the platform is alive.
const MOST_SILENT: u32 = 3;
/// How long the queue may be unavailable. The platform would not deliver the messages again.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// Long-poll protocol.
pub(super) struct LongPoll;

impl StreamProtocol for LongPoll {
    fn begin(&self, _cx: &Context<'_>) -> Begin {
        Begin::Poll
    }

    fn session(&self, address: &SocketAddress, _cx: &Context<'_>) -> Box<dyn StreamSession> {
        let cursor = Cursor::read(&address.note);
        Box::new(Session {
            cursor,
            is_saved: true,
            in_flight: Fetch::Start,
            hold: HOLD,
            begun_at: Timestamp::from_millis(0),
            fetch_at: None,
            is_up: false,
            silent: 0,
            errors: 0,
            token: 0,
        })
    }

    fn max_message_bytes(&self) -> usize {
        4 * 1024 * 1024
    }
}

/// The call in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    /// Reports that the bot is online.
    Start,
    Updates,
    /// A cheap call that proves that the platform is alive.
    Probe,
    /// Reports that the bot goes offline.
    Stop,
}

struct Session {
    cursor: Cursor,
    /// Whether the current cursor was saved.
    is_saved: bool,
    in_flight: Fetch,
    hold: Duration,
    begun_at: Timestamp,
    /// When the next poll starts, if it is delayed.
    fetch_at: Option<Timestamp>,
    is_up: bool,
    /// Number of consecutive polls without a response.
    silent: u32,
    /// Number of consecutive errors.
    errors: u32,
    /// Token of the delivery that is being stored in the queue.
    token: u64,
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.in_flight = Fetch::Start;
        vec![Effect::Fetch(call::post(
            "notify_start",
            "/ilink/bot/msg/notifystart",
            json!({}),
            CALL,
            cx,
        ))]
    }

    fn on_fetched(&mut self, answer: ApiAnswer, cx: &Context<'_>) -> Vec<Effect> {
        let outcome = Outcome::of(&answer);
        if let Outcome::LoggedOut(code) = outcome {
            return vec![Effect::Refused(Refusal::LoggedOut { code })];
        }
        match self.in_flight {
            Fetch::Start => self.started(&outcome, cx),
            Fetch::Updates => self.updated(outcome, cx),
            Fetch::Probe => self.probed(&outcome, cx),
            Fetch::Stop => Vec::new(),
        }
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        match self.fetch_at {
            Some(at) if at <= cx.now => vec![self.poll(cx)],
            _ => Vec::new(),
        }
    }

    fn wake_at(&self) -> Option<Timestamp> {
        self.fetch_at
    }

    fn on_stored(&mut self, token: u64, cx: &Context<'_>) -> Vec<Effect> {
        if token != self.token {
            return Vec::new();
        }
        let mut effects = self.keep_cursor();
        effects.push(self.poll(cx));
        effects
    }

    fn on_close(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.in_flight = Fetch::Stop;
        let path = "/ilink/bot/msg/notifystop";
        vec![Effect::Fetch(call::post("notify_stop", path, json!({}), CALL, cx))]
    }
}

impl Session {
    /// Continues with a poll in any case: its result shows the state.
    fn started(&mut self, outcome: &Outcome, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = match outcome {
            Outcome::Ok(_) => self.alive(),
            _ => Vec::new(),
        };
        effects.push(self.poll(cx));
        effects
    }

    fn poll(&mut self, cx: &Context<'_>) -> Effect {
        self.in_flight = Fetch::Updates;
        self.begun_at = cx.now;
        self.fetch_at = None;
        let body = json!({ "get_updates_buf": self.cursor.buffer });
        let timeout = self.hold + MARGIN;
        Effect::Fetch(call::post("get_updates", "/ilink/bot/getupdates", body, timeout, cx))
    }

    fn updated(&mut self, outcome: Outcome, cx: &Context<'_>) -> Vec<Effect> {
        let body = match outcome {
            Outcome::Ok(body) => body,
            Outcome::TimedOut => return self.silence(cx),
            Outcome::Transient(code) | Outcome::Refused(code) => return self.failed(code, cx),
            Outcome::RateLimited => return self.failed("rate_limited".to_owned(), cx),
            Outcome::WindowClosed | Outcome::LoggedOut(_) => return self.failed("unexpected".to_owned(), cx),
        };
        let Ok(updates) = Updates::deserialize(body) else {
            return self.failed("bad_shape".to_owned(), cx);
        };
        (self.silent, self.errors) = (0, 0);
        let mut effects = self.alive();
        effects.push(Effect::Heard);
        if let Ok(hold @ 1..) = u64::try_from(updates.longpolling_timeout_ms) {
            self.hold = Duration::from_millis(hold).min(LONGEST_HOLD);
        }
        let events = self.read(updates.msgs, &mut effects, cx);
        if !updates.get_updates_buf.is_empty() && updates.get_updates_buf != self.cursor.buffer {
            self.cursor.buffer = updates.get_updates_buf;
            self.is_saved = false;
        }
        if events.is_empty() {
            effects.extend(self.keep_cursor());
            effects.extend(self.poll_not_before(self.begun_at.after(LEAST_INTERVAL), cx));
            return effects;
        }
        self.token += 1;
        effects.push(Effect::Deliver {
            token: self.token,
            events,
            give_up_at: cx.now.after(GIVE_UP_AFTER),
        });
        effects
    }

    fn read(&mut self, messages: Vec<Value>, effects: &mut Vec<Effect>, cx: &Context<'_>) -> Vec<Event> {
        let mut events = Vec::new();
        for message in messages {
            match decode::read(message, cx) {
                Ok(decoded) if self.cursor.has_seen(&decoded.fingerprints) => {
                    effects.push(Effect::Remark(Remark::Ignored("copy of an earlier message")));
                }
                Ok(mut decoded) => {
                    self.cursor.complete(&mut decoded.message.target);
                    self.cursor.see(decoded.fingerprints);
                    self.is_saved = false;
                    events.push(Event::Message(decoded.message));
                }
                Err(remark) => effects.push(Effect::Remark(remark)),
            }
        }
        events
    }

    /// Saves the cursor, if it has changed.
    fn keep_cursor(&mut self) -> Vec<Effect> {
        match std::mem::replace(&mut self.is_saved, true) {
            true => Vec::new(),
            false => vec![Effect::SaveCursor(self.cursor.write())],
        }
    }

    fn alive(&mut self) -> Vec<Effect> {
        match std::mem::replace(&mut self.is_up, true) {
            true => Vec::new(),
            false => vec![Effect::Up],
        }
    }

    fn poll_not_before(&mut self, at: Timestamp, cx: &Context<'_>) -> Vec<Effect> {
        if at <= cx.now {
            return vec![self.poll(cx)];
        }
        self.fetch_at = Some(at);
        Vec::new()
    }

    /// A held call without a response is an empty poll. Several in a row may also mean that the platform is down.
    fn silence(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.silent += 1;
        let user = Login::of(cx.account).map(|login| login.user_id.as_str());
        let (Some(user), MOST_SILENT..) = (user, self.silent) else {
            return self.poll_not_before(self.begun_at.after(LEAST_INTERVAL), cx);
        };
        self.in_flight = Fetch::Probe;
        vec![Effect::Fetch(config("get_life", user, None, cx))]
    }

    fn probed(&mut self, outcome: &Outcome, cx: &Context<'_>) -> Vec<Effect> {
        if !matches!(outcome, Outcome::Ok(_)) {
            return vec![Effect::Reconnect {
                reason: "no_answer",
                after: None,
            }];
        }
        self.silent = 0;
        let mut effects = self.alive();
        effects.push(Effect::Heard);
        effects.push(self.poll(cx));
        effects
    }

    fn failed(&mut self, code: String, cx: &Context<'_>) -> Vec<Effect> {
        self.errors += 1;
        if self.errors < MOST_ERRORS && self.is_up {
            return self.poll_not_before(cx.now.after(AFTER_ERROR), cx);
        }
        let retry_after = (self.errors >= MOST_ERRORS).then_some(PAUSE);
        vec![Effect::Refused(Refusal::Passing { code, retry_after })]
    }
}

/// Fetches the ticket of the typing indicator.
pub(super) fn config(name: &'static str, user: &str, context_token: Option<&str>, cx: &Context<'_>) -> HttpCall {
    let mut body = json!({ "ilink_user_id": user });
    if let Some(token) = context_token {
        body["context_token"] = token.into();
    }
    call::post(name, "/ilink/bot/getconfig", body, CALL, cx)
}
