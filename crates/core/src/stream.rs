//! The long-connection contract: a platform's protocol as a pure state machine, driven by one supervisor for all.

use std::time::Duration;

use crate::connector::context::{Context, Remark};
use crate::event::Event;
use crate::http_types::{ApiAnswer, HttpCall, SocketCall, TokenPlace};
use crate::timestamp::Timestamp;

/// A platform's long-connection protocol.
pub trait StreamProtocol: Sync {
    /// How a connection begins: where to connect, or the call that tells.
    fn begin(&self, cx: &Context<'_>) -> Begin;

    /// Reads the answer to the call of [`Begin::Ask`].
    ///
    /// # Errors
    /// [`Refusal`] if it names no address.
    fn address(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        let _ = (answer, cx);
        Err(Refusal::Passing {
            code: "no_address".to_owned(),
            retry_after: None,
        })
    }

    /// Where to connect so that the session of the last [`Effect::SaveCursor`] goes on, after this many failures in a row. `None`:
    /// the next connection starts with [`StreamProtocol::begin`].
    fn resume(&self, cursor: &str, failures: u32, cx: &Context<'_>) -> Option<SocketAddress> {
        let _ = (cursor, failures, cx);
        None
    }

    /// Whether sessions save cursors for [`StreamProtocol::resume`], so that the bridge must keep them.
    fn resumes(&self) -> bool {
        false
    }

    /// Reads the answer to a handshake that failed. Header names are in lower case.
    fn handshake_failed(&self, status: u16, headers: &[(String, String)], cx: &Context<'_>) -> Refusal {
        let _ = (headers, cx);
        Refusal::Passing {
            code: status.to_string(),
            retry_after: None,
        }
    }

    /// The state machine of one connection to `address`. It lives as long as the socket.
    fn session(&self, address: &SocketAddress, cx: &Context<'_>) -> Box<dyn StreamSession>;

    /// Longest silence of a socket that lives: its heartbeat's interval and the time for the answer. After a longer one the bot is not
    /// reported as connected, though its connection is given up only when the heartbeat is. `None`: the heartbeat notices by itself.
    fn longest_silence(&self) -> Option<Duration> {
        None
    }

    /// WebSocket Pings that the supervisor sends and counts. `None` where the protocol has its own heartbeat.
    fn keepalive(&self) -> Option<Keepalive> {
        None
    }

    /// The code of our own close frames, where the platform draws conclusions from it.
    fn close_code(&self) -> Option<u16> {
        None
    }

    /// How long after refused credentials the first retry comes, if sooner than the others: on a platform that refuses them by mistake.
    fn first_retry_after_refusal(&self) -> Option<Duration> {
        None
    }

    /// Longest message that the platform sends, in bytes. A longer one ends the connection.
    fn max_message_bytes(&self) -> usize {
        1024 * 1024
    }
}

/// Signs of life below the protocol: control frames, which a session never sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How often a Ping is sent.
    pub every: Duration,
    /// After this many Pings in a row without a Pong the connection is dead.
    pub missed: u32,
    /// Without a frame of any kind for this long the connection is dead.
    pub silence: Duration,
}

/// How a connection begins.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// Connect here.
    Connect(SocketAddress),
    /// Connect here with the bot's access token in the handshake: see [`crate::connector::Connector::tokens`].
    Authorize(SocketAddress, TokenPlace),
    /// Ask for the address first.
    Ask(HttpCall),
    /// No socket: the session fetches over HTTP with [`Effect::Fetch`]. It is given a [`SocketAddress`] without a URL, whose `note`
    /// is the cursor of the last [`Effect::SaveCursor`], empty at first.
    Poll,
}

/// Where to connect. May hold a ticket: never logged, used once.
#[derive(Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// `wss://…`
    pub url: String,
    /// Headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// What the session needs to know from the bootstrap answer, in the connector's own words.
    pub note: String,
}

impl std::fmt::Debug for SocketAddress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SocketAddress(..)")
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The credentials are wrong or lack a permission: retried slowly.
    #[error("the platform refuses the credentials: code {code}")]
    Credentials {
        /// The platform's code.
        code: String,
    },
    /// The access token of [`Begin::Authorize`] is no longer valid: retried with another one, backing off.
    #[error("the access token is not valid: code {code}")]
    StaleToken {
        /// The platform's code.
        code: String,
    },
    /// The platform has ended the login by which the credentials were obtained: a person has to log in again.
    #[error("the platform has ended the login: code {code}")]
    LoggedOut {
        /// The platform's code.
        code: String,
    },
    /// A passing fault: retried, backing off.
    #[error("no connection: {code}")]
    Passing {
        /// The platform's code, or what happened.
        code: String,
        /// How long the platform asks us to wait.
        retry_after: Option<Duration>,
    },
}

/// A WebSocket frame.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Frame {
    /// Text.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
}

/// The protocol of one connection. Owns what it must remember; does no IO; never waits.
pub trait StreamSession: Send {
    /// The socket is open.
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect>;

    /// A frame came. Never in a long poll.
    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (frame, cx);
        Vec::new()
    }

    /// The time that [`StreamSession::wake_at`] named has come.
    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect>;

    /// When [`StreamSession::on_time`] must be called next: the next ping, the end of patience, the next queued frame.
    fn wake_at(&self) -> Option<Timestamp>;

    /// The events of an earlier [`Effect::Deliver`] with this token are in the queue: now they may be acknowledged.
    fn on_stored(&mut self, token: u64, cx: &Context<'_>) -> Vec<Effect>;

    /// The answer to the call of an [`Effect::Fetch`].
    fn on_fetched(&mut self, answer: ApiAnswer, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (answer, cx);
        Vec::new()
    }

    /// A runner wants this frame sent. The answer comes as [`Effect::Answer`] with the same `call_id`.
    ///
    /// Never in a long poll, whose replies go over HTTP.
    fn on_call(&mut self, call_id: &str, call: SocketCall, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (call, cx);
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }

    /// The platform closed the socket, with its reason. Empty: connect again, backing off.
    ///
    /// Only [`Effect::Answer`], [`Effect::Reconnect`], [`Effect::Kicked`] and [`Effect::Refused`] mean something here.
    fn on_closed(&mut self, code: u16, reason: &str, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (code, reason, cx);
        Vec::new()
    }

    /// We are about to close: what is still worth sending.
    fn on_close(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let _ = cx;
        Vec::new()
    }
}

/// What the supervisor does for a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a frame.
    Send(Frame),
    /// The platform has accepted us: the connection is up.
    Up,
    /// An application-level sign of life came.
    Heard,
    /// Put these events on the queue, then call `on_stored(token)`.
    ///
    /// If the queue doesn't take them in time the supervisor does nothing: what is not acknowledged is delivered again, where the platform does that.
    Deliver {
        /// Comes back in `on_stored`.
        token: u64,
        /// The events.
        events: Vec<Event>,
        /// Give up after this time: the platform has delivered it again, or never will.
        give_up_at: Timestamp,
    },
    /// Make this call; its answer comes to [`StreamSession::on_fetched`]. One is in flight at a time: a second one
    /// replaces the first.
    Fetch(HttpCall),
    /// Keep this cursor durably: the next session of the bot begins with it. Only for what the queue already has.
    SaveCursor(String),
    /// A frame gave no event.
    Remark(Remark),
    /// What came of a runner's call.
    Answer {
        /// Which call.
        call_id: String,
        /// What came.
        answer: ApiAnswer,
    },
    /// Open a new connection; this one goes on until the new one is up.
    Replace {
        /// Why, for the log.
        reason: &'static str,
    },
    /// Close and connect again.
    Reconnect {
        /// Why, for the log.
        reason: &'static str,
        /// How long the platform asks us to wait.
        after: Option<Duration>,
    },
    /// Another client has taken the bot.
    Kicked,
    /// The platform refuses us.
    Refused(Refusal),
}
