//! The platform's state.

use std::collections::{BTreeMap, VecDeque};

use serde_json::Value;
use tokio::sync::mpsc::UnboundedSender;

use super::rules::Messages;
use crate::outbound::Complaints;

/// Faults that the platform injects.
#[derive(Debug, Clone, Default)]
pub struct Faults {
    /// Responses to the next requests for a token, in place of the right ones: status and body.
    pub token_answers: VecDeque<(u16, Value)>,
    /// Refuses every handshake with this status.
    pub refuse_handshake: Option<u16>,
    /// Frames are not acknowledged.
    pub no_acks: bool,
    /// Pings are not answered.
    pub no_pongs: bool,
    /// Responses to the next files, in place of the right ones: status and body.
    pub file_answers: VecDeque<(u16, Value)>,
}

/// A file that a client sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SentFile {
    /// Its name.
    pub name: String,
    /// Its content.
    pub bytes: Vec<u8>,
}

/// An order to a connection's task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Order {
    /// Send this text.
    Say(String),
    /// Send bytes.
    SayBytes(Vec<u8>),
    /// Close with a code and a reason.
    Close(u16, String),
    /// Drop the socket without a close frame.
    Cut,
    /// Leave the socket open, but neither read nor write.
    HalfOpen,
}

/// An app: the credentials of one person.
#[derive(Default)]
pub(super) struct App {
    pub(super) secret: String,
    pub(super) owner: String,
    /// Valid tokens.
    pub(super) tokens: Vec<String>,
    pub(super) n_token_requests: usize,
    pub(super) n_handshakes: usize,
    pub(super) connections: BTreeMap<u64, UnboundedSender<Order>>,
    pub(super) files: Vec<SentFile>,
}

/// The platform's state.
#[derive(Default)]
pub(super) struct Book {
    pub(super) apps: BTreeMap<String, App>,
    pub(super) messages: Messages,
    pub(super) faults: Faults,
    pub(super) complaints: Complaints,
    pub(super) count: u64,
}

impl Book {
    /// A new unique number.
    pub(super) fn number(&mut self) -> u64 {
        self.count += 1;
        self.count
    }

    /// The app that a token belongs to.
    pub(super) fn app_of(&self, token: &str) -> Option<&str> {
        let mut apps = self.apps.iter();
        apps.find(|(_, app)| app.tokens.iter().any(|it| it == token))
            .map(|(id, _)| id.as_str())
    }
}
