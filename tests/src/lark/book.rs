//! The platform's state.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Complaints, Speaker};
use crate::uploads::Uploads;

use super::gateway::Connection;

/// Faults that the platform injects.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Bootstrap calls get this code.
    pub bootstrap_code: Option<i64>,
    /// Handshakes get this status, `Handshake-Status` and `Handshake-Autherrcode`.
    pub refuse_handshake: Option<(u16, i64, i64)>,
    /// Calls of these names get these answers, each once and in this order.
    pub answers: VecDeque<Fault>,
    /// Events are split into this many frames.
    pub parts: usize,
    /// This part of the next event is lost.
    pub lost_part: Option<usize>,
    /// How long streaming stays switched on.
    pub streaming_life: Duration,
    /// How long after a missing acknowledgement an event is delivered again.
    pub redeliver_after: Duration,
    /// The client's configuration that the bootstrap gives, in seconds.
    pub ping_interval: u64,
    /// Latency of each call.
    pub latency: Duration,
    /// Names of people and groups that apps may know, by id.
    pub names: HashMap<String, String>,
    /// Permissions that were requested and not granted.
    pub not_granted: Vec<&'static str>,
    /// Latencies of the next requests for a token.
    pub token_latencies: VecDeque<Duration>,
}

/// The response to a call in place of the right one.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `token`, `react`, `unreact`, `send`, `reply`, `patch`, `create_card`, `write_card`, `settings`, `replace_card`.
    pub call: &'static str,
    /// The faulty response.
    pub answer: Answer,
}

/// A faulty response.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A status, a code, and how many seconds until the limit is reset.
    Refused(u16, i64, Option<u64>),
    /// The call takes effect, but its response is lost.
    Lost,
    /// The call takes effect after this time.
    Late(Duration),
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            bootstrap_code: None,
            refuse_handshake: None,
            answers: VecDeque::new(),
            parts: 1,
            lost_part: None,
            streaming_life: Duration::from_secs(600),
            redeliver_after: Duration::from_secs(15),
            ping_interval: 120,
            latency: Duration::from_millis(5),
            names: HashMap::new(),
            not_granted: Vec::new(),
            token_latencies: VecDeque::new(),
        }
    }
}

/// The platform's state, with everything that happened.
#[derive(Default)]
pub(super) struct Book {
    pub(super) faults: Faults,
    pub(super) apps: HashMap<String, App>,
    pub(super) tickets: HashMap<String, String>,
    pub(super) bubbles: Vec<Bubble>,
    /// Contents of files that people sent, by key, where a test checks them.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// Files that bots uploaded and sent.
    pub(super) uploads: Uploads,
    pub(super) calls: Vec<Call>,
    pub(super) acks: Vec<Ack>,
    pub(super) complaints: Complaints,
    pub(super) throttled: usize,
    count: u64,
}

/// A call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// The app.
    pub app: String,
    /// The call's name.
    pub name: &'static str,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// An acknowledgement.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The acknowledged delivery.
    pub delivery: String,
    /// 200 or 500.
    pub code: i64,
    /// The response to a card's callback.
    pub data: Option<Value>,
    /// The time that it took.
    pub after: Duration,
}

/// One app.
#[derive(Default)]
pub(super) struct App {
    pub(super) secret: String,
    pub(super) verification_token: String,
    pub(super) encrypt_key: String,
    pub(super) bot: String,
    pub(super) tokens: HashSet<String>,
    pub(super) connections: Vec<Connection>,
    pub(super) bootstraps: usize,
    pub(super) pings: usize,
    pub(super) messages: HashMap<String, Said>,
    pub(super) cards: HashMap<String, Card>,
    /// By `uuid` of a message: when it was created, its id, and the body of the request.
    pub(super) sent: HashMap<String, (Instant, String, Value)>,
    pub(super) reactions: HashMap<String, String>,
    pub(super) deliveries: HashMap<String, Delivery>,
    pub(super) paces: HashMap<String, VecDeque<Instant>>,
    /// Until when each call must not be repeated.
    pub(super) resets: HashMap<&'static str, Instant>,
}

/// A message in a chat.
#[derive(Clone)]
pub(super) struct Said {
    pub(super) by: Speaker,
    pub(super) chat_id: String,
    /// Only for the bot's own messages.
    pub(super) bubble: Option<usize>,
    pub(super) kind: String,
    /// JSON as text.
    pub(super) content: String,
    /// The messages that it forwards.
    pub(super) forwarded: Vec<String>,
    pub(super) card: Option<String>,
    /// The buttons of a card that was sent as JSON.
    pub(super) buttons: Vec<Value>,
    pub(super) at: Instant,
    pub(super) gone: bool,
}

/// A card entity.
#[derive(Clone)]
pub(super) struct Card {
    pub(super) json: Value,
    pub(super) sequence: i64,
    pub(super) uuids: HashMap<String, Value>,
    pub(super) open_since: Option<Instant>,
    pub(super) bubble: Option<usize>,
    pub(super) busy: bool,
}

/// An event in flight over the long connection.
pub(super) struct Delivery {
    pub(super) began: Instant,
    pub(super) payload: String,
    pub(super) sent: Vec<super::frame::Frame>,
    pub(super) acked: Option<i64>,
    pub(super) is_callback: bool,
}

impl Book {
    pub(super) fn app(&mut self, id: &str) -> &mut App {
        self.apps.entry(id.to_owned()).or_default()
    }

    /// A person's message. Returns its id.
    pub(super) fn say(
        &mut self,
        app: &str,
        by: &Speaker,
        kind: &str,
        content: String,
        forwarded: Vec<String>,
    ) -> String {
        let id = self.fresh("om_");
        let said = Said {
            by: by.clone(),
            chat_id: super::Platform::chat_id(app, by),
            bubble: None,
            kind: kind.to_owned(),
            content,
            forwarded,
            card: None,
            buttons: Vec::new(),
            at: Instant::now(),
            gone: false,
        };
        self.app(app).messages.insert(id.clone(), said);
        id
    }

    /// A new unique number.
    pub(super) fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// A new unique id.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        format!("{prefix}{:012x}{:04x}", self.number(), std::process::id() & 0xffff)
    }

    /// Records that a call was told in how many seconds its limit is reset.
    pub(super) fn told_reset(&mut self, app: &str, call: &'static str, seconds: u64) {
        let at = Instant::now() + Duration::from_secs(seconds);
        self.app(app).resets.insert(call, at);
    }

    /// Complains about a call that doesn't wait until its limit is reset.
    pub(super) fn check_reset(&mut self, app: &str, call: &'static str) {
        let reset = self.app(app).resets.remove(call);
        if reset.is_some_and(|at| Instant::now() < at) {
            self.complaints
                .add(format!("{call}: called before the limit was reset"));
        }
    }

    /// Rate limiter: whether `what` may happen once more, at most `most` times in a second.
    pub(super) fn in_pace(&mut self, app: &str, what: &str, most: usize) -> bool {
        let now = Instant::now();
        let pace = self.app(app).paces.entry(what.to_owned()).or_default();
        pace.retain(|at| now.duration_since(*at) < Duration::from_secs(1));
        let fits = pace.len() < most;
        if fits {
            pace.push_back(now);
        } else {
            self.throttled += 1;
        }
        fits
    }
}
