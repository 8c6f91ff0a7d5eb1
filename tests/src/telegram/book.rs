//! The platform's state.

use std::collections::{BTreeSet, HashMap, HashSet, VecDeque};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::outbound::{Bubble, Complaints};
use crate::uploads::Uploads;

/// A call that gets a faulty response.
#[derive(Debug, Clone)]
pub struct Fault {
    /// The method.
    pub method: &'static str,
    /// The faulty response.
    pub answer: Answer,
}

/// A faulty response.
#[derive(Debug, Clone)]
pub enum Answer {
    /// A refusal: error code, description, parameters.
    Refused(u16, &'static str, Value),
    /// The call takes effect, but its response is lost.
    Lost,
}

/// A call of the API.
#[derive(Debug, Clone)]
pub struct Call {
    /// The bot's token.
    pub bot: String,
    /// The method.
    pub method: String,
    /// Its parameters.
    pub body: Value,
}

/// The platform's state, with everything that happened.
#[derive(Default)]
pub(super) struct Book {
    pub(super) faults: VecDeque<Fault>,
    pub(super) bots: HashMap<String, Bot>,
    pub(super) bubbles: Vec<Bubble>,
    /// Files that people sent, by `file_id`.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// Files that bots sent.
    pub(super) uploads: Uploads,
    pub(super) calls: Vec<Call>,
    pub(super) complaints: Complaints,
    /// Groups that became supergroups, by their old id.
    pub(super) migrated: HashMap<i64, i64>,
    pub(super) count: i64,
}

/// One bot.
pub(super) struct Bot {
    pub(super) id: i64,
    pub(super) username: String,
    pub(super) webhook: Option<Webhook>,
    /// Unconfirmed updates, the oldest first.
    pub(super) updates: VecDeque<Update>,
    /// Kinds of update that the bot subscribed to. Empty: all.
    pub(super) allowed: Vec<String>,
    /// Grows with every `getUpdates`: an older waiting one is ended.
    pub(super) poll: u64,
    /// When a `getUpdates` was last running. The bot counts as polled for a short time after it.
    pub(super) polled_at: Option<Instant>,
    pub(super) chats: HashMap<i64, Chat>,
    pub(super) queries: HashMap<String, Query>,
    pub(super) commands: HashMap<String, Vec<String>>,
    pub(super) typing: usize,
    /// Whether privacy mode is on: messages in groups without a mention are not delivered.
    pub(super) is_private: bool,
    /// Until when no message may be sent to a chat, because the platform rate limited it.
    pub(super) throttled: HashMap<i64, Instant>,
}

/// A registered webhook.
#[derive(Debug, Clone)]
pub(super) struct Webhook {
    pub(super) url: String,
    pub(super) secret: Option<String>,
}

/// An update in the queue.
#[derive(Debug, Clone)]
pub(super) struct Update {
    pub(super) id: i64,
    pub(super) body: Value,
    /// Delivered regardless of the offset, as if the confirmation had been lost.
    pub(super) again: bool,
}

/// A chat in which the bot may write.
#[derive(Default)]
pub(super) struct Chat {
    pub(super) blocked: bool,
    pub(super) topics: BTreeSet<i64>,
    /// Messages of people.
    pub(super) heard: HashSet<i64>,
    /// Messages of the bot.
    pub(super) sent: HashMap<i64, Sent>,
    /// The bubble that shows a draft, and until when.
    pub(super) draft: Option<(usize, Instant)>,
    pub(super) paces: VecDeque<Instant>,
}

/// A message of the bot.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) bubble: usize,
    pub(super) text: String,
    pub(super) entities: Value,
    pub(super) markup: Value,
    pub(super) gone: bool,
}

/// A click on a button.
#[derive(Debug, Clone, Default)]
pub(super) struct Query {
    pub(super) answered: bool,
    /// The notification that was shown.
    pub(super) text: String,
}

impl Book {
    /// A new unique number.
    pub(super) fn fresh(&mut self) -> i64 {
        self.count += 1;
        self.count
    }

    /// Appends an update to a bot's queue, if the bot subscribed to its kind. Returns its id.
    pub(super) fn push(&mut self, token: &str, kind: &str, body: &Value) -> i64 {
        let id = 884_100_000 + self.fresh();
        let Some(bot) = self.bots.get_mut(token) else { return id };
        if bot.allowed.is_empty() || bot.allowed.iter().any(|allowed| allowed == kind) {
            let body = serde_json::json!({ "update_id": id, kind: body });
            bot.updates.push_back(Update { id, body, again: false });
        }
        id
    }
}

impl Chat {
    /// Rate limiter: whether one more message may be sent, at most `most` within `per`. Otherwise, in how many seconds.
    pub(super) fn in_pace(&mut self, most: usize, per: Duration) -> Result<(), u64> {
        let now = Instant::now();
        self.paces.retain(|at| now.duration_since(*at) < per);
        if self.paces.len() < most {
            self.paces.push_back(now);
            return Ok(());
        }
        let oldest = self.paces.front().copied().unwrap_or(now);
        Err((per.saturating_sub(now.duration_since(oldest))).as_secs() + 1)
    }
}
