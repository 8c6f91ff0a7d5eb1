//! The platform's state.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::outbound::{Bubble, Complaints, Speaker};

use super::connection::Connection;
use super::uploads::Upload;

/// Faults that the platform injects.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Handshakes get this status.
    pub refuse_handshake: Option<u16>,
    /// Subscriptions get this code.
    pub refuse_subscription: Option<i64>,
    /// The next frames get these codes, and are not shown.
    pub codes: VecDeque<i64>,
    /// This many acknowledgements are lost, though the frames are shown.
    pub lost_acks: usize,
    /// This many acknowledgements of frames that end a stream are lost, in addition.
    pub lost_last_acks: usize,
    /// Latency of an acknowledgement.
    pub ack_after: Duration,
    /// How long a stream is valid from its first frame.
    pub stream_life: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            refuse_handshake: None,
            refuse_subscription: None,
            codes: VecDeque::new(),
            lost_acks: 0,
            lost_last_acks: 0,
            // Long enough to notice a client that doesn't wait for it.
            ack_after: Duration::from_millis(10),
            stream_life: Duration::from_secs(600),
        }
    }
}

/// The platform's state, with everything that happened.
#[derive(Default)]
pub(super) struct Book {
    pub(super) faults: Faults,
    pub(super) bots: HashMap<String, Bot>,
    pub(super) bubbles: Vec<Bubble>,
    pub(super) frames: Vec<(String, Value)>,
    pub(super) complaints: Complaints,
    count: u64,
}

/// One bot.
#[derive(Default)]
pub(super) struct Bot {
    pub(super) secret: String,
    pub(super) connection: Option<Connection>,
    pub(super) asked: usize,
    pub(super) subscribed: usize,
    /// Callbacks by `req_id`.
    pub(super) callbacks: HashMap<String, Callback>,
    /// Ids of the client's own requests: each may be used once.
    pub(super) spent: HashSet<String>,
    /// Chats where a person has written to the bot, and whether it is a group.
    pub(super) acquaintances: HashSet<(String, bool)>,
    pub(super) said_at: HashMap<String, VecDeque<Instant>>,
    pub(super) uploads: HashMap<String, Upload>,
    pub(super) media: HashSet<String>,
    /// Cards that were sent, the oldest first.
    pub(super) cards: Vec<Value>,
    pub(super) task_ids: HashSet<String>,
}

impl Bot {
    /// The number of the connection that is subscribed now.
    pub(super) fn connection_number(&self) -> Option<u64> {
        self.connection.as_ref().map(|it| it.number)
    }
}

/// An event on the platform, and its answers.
#[derive(Clone)]
pub(super) struct Callback {
    pub(super) from: Speaker,
    pub(super) kind: Kind,
    pub(super) body: Value,
    pub(super) at: Instant,
    pub(super) streams: HashMap<String, Stream>,
    /// The connection on which a frame is not acknowledged yet. A frame whose connection is gone is never acknowledged, so the
    /// client's next connection may send again.
    pub(super) unacknowledged_on: Option<u64>,
    /// Whether a welcome or an update was sent.
    pub(super) answered: bool,
}

/// The kinds of event that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Kind {
    Message,
    Entered,
    Clicked { task: String },
    Other,
}

/// A bubble that grows.
#[derive(Clone)]
pub(super) struct Stream {
    pub(super) began: Instant,
    pub(super) bubble: usize,
    pub(super) finished: bool,
}

impl Kind {
    pub(super) fn of(body: &Value) -> Self {
        let event = &body["event"];
        match (body["msgtype"].as_str(), event["eventtype"].as_str()) {
            (Some("event"), Some("enter_chat")) => Self::Entered,
            (Some("event"), Some("template_card_event")) => Self::Clicked {
                task: event["template_card_event"]["task_id"]
                    .as_str()
                    .unwrap_or_default()
                    .to_owned(),
            },
            (Some("event"), _) => Self::Other,
            _ => Self::Message,
        }
    }
}

impl Callback {
    pub(super) fn new(from: &Speaker, kind: Kind, body: Value) -> Self {
        Self {
            from: from.clone(),
            kind,
            body,
            at: Instant::now(),
            streams: HashMap::new(),
            unacknowledged_on: None,
            answered: false,
        }
    }

    pub(super) fn id(&self) -> &str {
        self.body["msgid"].as_str().unwrap_or_default()
    }
}

impl Book {
    pub(super) fn bot(&mut self, id: &str) -> &mut Bot {
        self.bots.entry(id.to_owned()).or_default()
    }

    /// A new unique string.
    pub(super) fn fresh(&mut self, prefix: &str) -> String {
        format!("{prefix}-{:08x}-{}", self.number(), std::process::id())
    }

    /// A new unique number.
    pub(super) fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// Tells the bot's client that another client has connected, and ends its connection.
    pub(super) fn kick(&mut self, bot: &str, req_id: &str) {
        let event = json!({ "msgid": req_id, "create_time": 1_760_000_600, "aibotid": bot, "msgtype": "event",
                            "event": { "eventtype": "disconnected_event" } });
        if let Some(old) = self.bot(bot).connection.take() {
            old.send(json!({ "cmd": "aibot_event_callback", "headers": { "req_id": req_id }, "body": event }));
        }
    }

    /// A new bubble. Returns its index.
    pub(super) fn show(&mut self, bubble: Bubble) -> usize {
        self.bubbles.push(bubble);
        self.bubbles.len() - 1
    }
}
