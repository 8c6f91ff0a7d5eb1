//! The platform's state.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use crate::outbound::{Bubble, Complaints, Speaker};
use crate::uploads::Uploads;

use super::gateway::Outgoing;

/// Faults that the platform injects.
#[derive(Debug, Clone)]
pub struct Faults {
    /// Calls of these names get these responses, each once and in this order: status and body.
    pub answers: VecDeque<(&'static str, u16, Value)>,
    /// The next calls of these names take effect, but their responses are lost.
    pub lost: VecDeque<&'static str>,
    /// Number of sessions that may still be started.
    pub remaining_sessions: u32,
    /// Milliseconds until that is reset.
    pub reset_after: u64,
    /// Milliseconds between two heartbeats.
    pub heartbeat_interval: u64,
    /// Heartbeats are not acknowledged.
    pub no_heartbeat_ack: bool,
    /// The close code that answers every IDENTIFY.
    pub refuse_identify: Option<u16>,
    /// Validity of an interaction's token.
    pub token_life: Duration,
}

impl Default for Faults {
    fn default() -> Self {
        Self {
            answers: VecDeque::new(),
            lost: VecDeque::new(),
            remaining_sessions: 1000,
            reset_after: 14_400_000,
            heartbeat_interval: 41_250,
            no_heartbeat_ack: false,
            refuse_identify: None,
            token_life: Duration::from_mins(15),
        }
    }
}

/// The platform's state, with everything that happened.
#[derive(Default)]
pub(super) struct State {
    pub(super) faults: Faults,
    pub(super) apps: HashMap<String, App>,
    /// Channels by id: the chat's name in tests.
    pub(super) channels: HashMap<String, String>,
    pub(super) bubbles: Vec<Bubble>,
    /// What people sent, by signed address.
    pub(super) files: HashMap<String, Vec<u8>>,
    /// Files that bots sent.
    pub(super) uploads: Uploads,
    pub(super) calls: Vec<Call>,
    pub(super) responses: Vec<Value>,
    pub(super) complaints: Complaints,
    /// Rate limits that were returned: until when calls of a path must not be repeated.
    pub(super) limits: HashMap<String, Instant>,
    count: u64,
}

/// A call of the REST API.
#[derive(Debug, Clone)]
pub struct Call {
    /// The call's name.
    pub name: &'static str,
    /// Its path.
    pub path: String,
    /// Its body.
    pub body: Value,
}

/// One application.
pub(super) struct App {
    pub(super) id: String,
    pub(super) token: String,
    pub(super) key: Ed25519KeyPair,
    pub(super) has_content_intent: bool,
    pub(super) endpoint: Option<String>,
    pub(super) commands: Vec<Value>,
    pub(super) sessions: HashMap<String, Session>,
    pub(super) intents: u64,
    pub(super) n_identified: usize,
    pub(super) n_resumed: usize,
    pub(super) identified_at: Option<Instant>,
    /// Messages of the bot, by id.
    pub(super) messages: BTreeMap<String, Sent>,
    /// Messages by nonce.
    pub(super) nonces: HashMap<String, String>,
    /// Interactions by token.
    pub(super) interactions: HashMap<String, Interaction>,
}

impl App {
    pub(super) fn public_key(&self) -> String {
        hex::encode(self.key.public_key())
    }

    /// The bot's user id: different from the application's id, as for old applications.
    pub(super) fn bot(&self) -> String {
        self.derived(10_000)
    }

    /// The role that the platform manages for the bot.
    pub(super) fn role(&self) -> String {
        self.derived(20_000)
    }

    fn derived(&self, distance: u64) -> String {
        let id: u64 = self.id.parse().expect("ids of applications are numbers");
        (id + distance).to_string()
    }
}

/// A session of the gateway. It outlives its connections.
pub(super) struct Session {
    pub(super) with_content: bool,
    pub(super) log: Vec<Value>,
    pub(super) connection: Option<UnboundedSender<Outgoing>>,
    pub(super) is_forgotten: bool,
}

/// A message of a bot.
#[derive(Debug, Clone)]
pub(super) struct Sent {
    pub(super) channel: String,
    pub(super) chat: String,
    pub(super) bubble: usize,
    pub(super) content: String,
    pub(super) components: Value,
}

/// An interaction that was delivered.
#[derive(Debug)]
pub(super) struct Interaction {
    pub(super) id: String,
    pub(super) channel: String,
    pub(super) began: Instant,
    /// The type of the initial response.
    pub(super) response: Option<u64>,
    /// The message that the response created.
    pub(super) original: Option<String>,
    /// Follow-up messages.
    pub(super) follow_ups: Vec<String>,
    /// The message whose button was clicked.
    pub(super) pressed: Option<String>,
}

/// Offset of the ids of users and channels: tests use short ids, the platform long ones.
const USERS: u64 = 310_000_000_000_000_000;
const CHANNELS: u64 = 1_400_000_000_000_000_000;
const DIRECT_CHANNELS: u64 = 1_450_000_000_000_000_000;

fn number(name: &str) -> u64 {
    let digits: String = name.chars().filter(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| {
        let hash = |sum: u64, byte: u8| sum.wrapping_mul(31).wrapping_add(u64::from(byte));
        name.bytes().fold(7, hash) % 1_000_000_000
    })
}

/// The platform's id of a person.
pub(super) fn user_id(name: &str) -> String {
    (USERS + number(name)).to_string()
}

impl State {
    pub(super) fn add_app(&mut self, id: &str, token: &str) {
        let mut seed = [7; 32];
        seed[..id.len().min(32)].copy_from_slice(&id.as_bytes()[..id.len().min(32)]);
        if let Some(app) = self.apps.get_mut(id) {
            token.clone_into(&mut app.token);
            return;
        }
        let app = App {
            id: id.to_owned(),
            token: token.to_owned(),
            key: Ed25519KeyPair::from_seed_unchecked(&seed).expect("32 bytes are a seed"),
            has_content_intent: true,
            endpoint: None,
            commands: Vec::new(),
            sessions: HashMap::new(),
            intents: 0,
            n_identified: 0,
            n_resumed: 0,
            identified_at: None,
            messages: BTreeMap::new(),
            nonces: HashMap::new(),
            interactions: HashMap::new(),
        };
        self.apps.insert(id.to_owned(), app);
    }

    pub(super) fn app(&mut self, id: &str) -> &mut App {
        self.apps.get_mut(id).expect("the application was added")
    }

    /// A new id, larger than all before it, with the current time.
    pub(super) fn snowflake(&mut self) -> String {
        self.count += 1;
        let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
        let millis = u64::try_from(now.as_millis()).unwrap_or_default() - 1_420_070_400_000;
        ((millis << 22) + self.count).to_string()
    }

    /// The channel of a person's chat with the bot.
    pub(super) fn channel(&mut self, from: &Speaker) -> String {
        let id = match &from.group {
            Some(group) => CHANNELS + number(group),
            None => DIRECT_CHANNELS + number(&from.user),
        };
        self.channels.insert(id.to_string(), from.chat().to_owned());
        id.to_string()
    }

    /// A person's direct channel, by the platform's id of the person.
    pub(super) fn direct_channel(&mut self, user: &str) -> Option<String> {
        let number = user.parse::<u64>().ok()?.checked_sub(USERS)?;
        Some(self.channel(&Speaker::alone(&number.to_string())))
    }
}
