//! The platform's state: QR codes, bots, messages, and what chats show.

use std::collections::{HashMap, HashSet, VecDeque};
use std::time::{SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::outbound::{Bubble, Complaints};

/// Limit of answers to one message of a person.
pub(super) const WINDOW: usize = 10;

/// The platform's state.
#[derive(Default)]
pub(super) struct Book {
    pub(super) codes: HashMap<String, Code>,
    /// Bots by token.
    pub(super) bots: HashMap<String, Bot>,
    /// Encrypted files by their parameter.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// The person who confirms codes at once, if set.
    pub(super) confirms: Option<String>,
    pub(super) faults: Faults,
    pub(super) bubbles: Vec<Bubble>,
    pub(super) complaints: Complaints,
    pub(super) n_refused: usize,
    count: u64,
}

/// Faults that the platform injects.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Codes for the next calls that send a message.
    pub refuse_messages: VecDeque<i64>,
    /// Polls end with this status, as when a proxy times out.
    pub poll_status: Option<u16>,
    /// There are no tickets for the typing indicator.
    pub no_typing: bool,
}

/// A QR code.
#[derive(Debug, Clone, Default)]
pub(super) struct Code {
    pub(super) state: CodeState,
    pub(super) person: String,
    pub(super) base_url: String,
    /// The tokens that the client already has.
    pub(super) known: Vec<String>,
}

/// The state of a code.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) enum CodeState {
    #[default]
    Waiting,
    /// The app shows these digits.
    Digits(String),
    Scanned,
    Confirmed,
    Expired,
}

/// A bot: one login of one person.
#[derive(Debug, Clone, Default)]
pub(super) struct Bot {
    pub(super) id: String,
    pub(super) person: String,
    pub(super) ended: bool,
    /// Undelivered messages.
    pub(super) waiting: VecDeque<Value>,
    /// All messages by id.
    pub(super) said: HashMap<u64, Value>,
    /// Issued cursors.
    pub(super) cursors: HashSet<String>,
    /// Whether the client has sent one of them. Until then it may not have received any.
    pub(super) has_cursor: bool,
    pub(super) polls: usize,
    pub(super) n_polls: usize,
    /// Context tokens, with the number of messages that answered each.
    pub(super) contexts: HashMap<String, usize>,
    /// The newest context token.
    pub(super) context: String,
    /// Texts by the client's message ids.
    pub(super) sent: HashMap<String, String>,
    pub(super) ticket: Option<String>,
    /// Whether the typing indicator is shown, and how often it was.
    pub(super) typing: (bool, usize),
}

impl Book {
    /// A new unique number.
    pub(super) fn fresh(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The logged-in bot of a person.
    pub(super) fn bot_of(&self, person: &str) -> Option<&Bot> {
        self.bots.values().find(|bot| bot.person == person && !bot.ended)
    }

    pub(super) fn say(&mut self, person: &str, item: Value) -> u64 {
        // Above 2^53: a client that parses numbers as floats gets another id.
        let id = 18_446_744_073_709_500_000 + self.fresh();
        let now = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default()
            .as_millis();
        let Some(bot) = self.bots.values_mut().find(|bot| bot.person == person && !bot.ended) else {
            return id;
        };
        let context = format!("CTX-{id}");
        bot.contexts.insert(context.clone(), 0);
        bot.context.clone_from(&context);
        let message = json!({
            "seq": id, "message_id": id, "from_user_id": person, "to_user_id": bot.id, "client_id": format!("c-{id}"),
            "create_time_ms": u64::try_from(now).unwrap_or_default(), "session_id": "s-1", "message_type": 1,
            "message_state": 2, "item_list": [item], "context_token": context,
        });
        bot.said.insert(id, message.clone());
        bot.waiting.push_back(message);
        id
    }

    pub(super) fn add_bot(&mut self, token: &str, bot: &str, person: &str) {
        let bot = Bot {
            id: bot.to_owned(),
            person: person.to_owned(),
            ..Bot::default()
        };
        self.bots.insert(token.to_owned(), bot);
    }

    pub(super) fn push(&mut self, person: &str, message: Value) {
        let bot = self.bots.values_mut().find(|bot| bot.person == person);
        bot.expect("the person has a bot").waiting.push_back(message);
    }

    pub(super) fn deliver_again(&mut self, id: u64, other_id: bool) {
        let other = self.fresh();
        for bot in self.bots.values_mut() {
            if let Some(message) = bot.said.get(&id) {
                let mut message = message.clone();
                if other_id {
                    message["message_id"] = json!(id + 1000 + other);
                }
                bot.waiting.push_back(message);
            }
        }
    }

    pub(super) fn end_tokens(&mut self, person: &str) {
        for bot in self.bots.values_mut().filter(|bot| bot.person == person) {
            bot.ended = true;
        }
    }
}
