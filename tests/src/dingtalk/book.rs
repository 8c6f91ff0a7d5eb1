//! The platform's state.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Complaints, ShownButton, Speaker};
use crate::uploads::Uploads;

use super::gateway::Connection;

/// Faults that the platform injects.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Handshakes get this status, and their tickets are used up.
    pub refuse_handshake: Option<u16>,
    /// Calls of these names get these answers, each once and in this order.
    pub answers: VecDeque<Fault>,
    /// How long after a missing acknowledgement a message is delivered again.
    pub redeliver_after: Duration,
    /// How often the gateway pings.
    pub ping_every: Duration,
    /// Validity of a `sessionWebhook`.
    pub webhook_life: Duration,
    /// Latency of each call.
    pub latency: Duration,
}

/// The response to a call in place of the right one.
#[derive(Debug, Clone)]
pub struct Fault {
    /// `open`, `token`, `create_card`, `stream`, `update_card`, `direct`, `group`, `session`.
    pub call: &'static str,
    /// The faulty response.
    pub answer: Answer,
}

/// A faulty response.
#[derive(Debug, Clone)]
pub enum Answer {
    /// An error status with a code.
    Refused(u16, &'static str),
    /// A status 200 which reports that the card was not delivered to the chat.
    Undelivered,
    /// The call takes effect, but its response is lost.
    Lost,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            refuse_handshake: None,
            answers: VecDeque::new(),
            redeliver_after: Duration::from_secs(13),
            ping_every: Duration::from_secs(20),
            webhook_life: Duration::from_secs(90 * 60),
            latency: Duration::from_millis(5),
        }
    }
}

/// The platform's state, with everything that happened.
#[derive(Default)]
pub(super) struct Book {
    pub(super) faults: Faults,
    pub(super) apps: HashMap<String, App>,
    /// The app that a ticket is for, and when it was issued.
    pub(super) tickets: HashMap<String, (String, Instant)>,
    pub(super) webhooks: HashMap<String, Webhook>,
    pub(super) bubbles: Vec<Bubble>,
    /// Buttons of action cards, by chat.
    pub(super) buttons: Vec<(String, ShownButton)>,
    /// What people sent: the robot that it was sent to, and the bytes, by download code or signed address.
    pub(super) files: HashMap<String, (String, Vec<u8>)>,
    /// Files that robots uploaded and sent.
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
    /// Its body.
    pub body: Value,
}

/// An acknowledgement.
#[derive(Debug, Clone)]
pub struct Ack {
    /// The acknowledged push.
    pub push: String,
    /// 200, 404, 500.
    pub code: i64,
    /// The returned data.
    pub data: Value,
    /// The time that it took.
    pub after: Duration,
}

/// One app with its robot.
#[derive(Default)]
pub(super) struct App {
    pub(super) secret: String,
    pub(super) tokens: HashSet<String>,
    pub(super) connections: Vec<Connection>,
    pub(super) opened: usize,
    /// Chats that the robot is in, and whether it is a group.
    pub(super) chats: HashMap<String, Speaker>,
    pub(super) cards: HashMap<String, Card>,
    pub(super) pushes: HashMap<String, Push>,
    pub(super) paces: HashMap<String, VecDeque<Instant>>,
    /// Callback addresses of clicks in HTTP mode, and the secrets that sign them.
    pub(super) routes: HashMap<String, (String, String)>,
}

/// A `sessionWebhook`.
#[derive(Clone)]
pub(super) struct Webhook {
    pub(super) app: String,
    pub(super) to: Speaker,
    pub(super) answers: String,
    pub(super) until: Instant,
}

/// A card.
pub(super) struct Card {
    pub(super) bubble: usize,
    pub(super) key: &'static str,
    pub(super) guids: HashSet<String>,
    pub(super) finalized: bool,
    pub(super) busy: bool,
    pub(super) callback: String,
}

/// A message in flight over the long connection.
pub(super) struct Push {
    pub(super) began: Instant,
    pub(super) connection: u64,
    pub(super) topic: String,
    pub(super) data: String,
    pub(super) acked: Option<i64>,
}

impl Book {
    pub(super) fn app(&mut self, id: &str) -> &mut App {
        self.apps.entry(id.to_owned()).or_default()
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

    /// Rate limiter: whether `what` may happen once more within `per`.
    pub(super) fn in_pace(&mut self, app: &str, what: &str, most: usize, per: Duration) -> bool {
        let now = Instant::now();
        let pace = self.app(app).paces.entry(what.to_owned()).or_default();
        pace.retain(|at| now.duration_since(*at) < per);
        let fits = pace.len() < most;
        if fits {
            pace.push_back(now);
        } else {
            self.throttled += 1;
        }
        fits
    }
}
