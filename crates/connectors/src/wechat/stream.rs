//! The long poll `getupdates` as a state machine.
//!
//! What an answer delivered is not delivered again, whatever cursor is presented: the next call, and the new cursor, wait for the queue.
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

/// How long the platform holds a call, unless it says otherwise.
const HOLD: Duration = Duration::from_secs(35);
/// Longest hold that is believed: a connection shows a sign of life at least that often.
const LONGEST_HOLD: Duration = Duration::from_secs(60);
/// How much longer a call is waited for. With the hold itself the answer would be lost that comes at its end.
const MARGIN: Duration = Duration::from_secs(10);
/// How long the other calls may take.
const CALL: Duration = Duration::from_secs(10);
/// Two polls begin at least so far apart where the first brought nothing.
const LEAST_INTERVAL: Duration = Duration::from_secs(1);
/// After an error.
const AFTER_ERROR: Duration = Duration::from_secs(2);
/// After [`MOST_ERRORS`] in a row.
const PAUSE: Duration = Duration::from_secs(30);
/// Errors in a row after which the connection counts as lost.
const MOST_ERRORS: u32 = 3;
/// Polls in a row without an answer, after which another call must show that the platform is alive.
const MOST_SILENT: u32 = 3;
/// How long the queue may be away. The platform would not deliver again.
const GIVE_UP_AFTER: Duration = Duration::from_hours(24);

/// The protocol.
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
    /// Reports to the platform that the bot is online.
    Start,
    Updates,
    /// Asks for something at hand, to see that the platform is alive.
    Probe,
    /// Reports to the platform that the bot goes offline.
    Stop,
}

struct Session {
    cursor: Cursor,
    /// Whether the cursor is as it was last handed over for keeping.
    is_saved: bool,
    in_flight: Fetch,
    hold: Duration,
    begun_at: Timestamp,
    /// When the next poll begins, where it waits.
    fetch_at: Option<Timestamp>,
    is_up: bool,
    /// Polls without an answer, in a row.
    silent: u32,
    /// Errors in a row.
    errors: u32,
    /// Of the delivery that the queue is asked to take.
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
    /// Whatever the outcome, the poll shows more.
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
                Ok(decoded) => {
                    self.cursor.see(decoded.fingerprints);
                    self.is_saved = false;
                    events.push(Event::Message(decoded.message));
                }
                Err(remark) => effects.push(Effect::Remark(remark)),
            }
        }
        events
    }

    /// The cursor, if it has changed.
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

    /// A held call that ends without an answer is an empty poll. Several in a row may also be a platform that is dead.
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

/// Asks for the ticket of the typing sign.
pub(super) fn config(name: &'static str, user: &str, context_token: Option<&str>, cx: &Context<'_>) -> HttpCall {
    let mut body = json!({ "ilink_user_id": user });
    if let Some(token) = context_token {
        body["context_token"] = token.into();
    }
    call::post(name, "/ilink/bot/getconfig", body, CALL, cx)
}
