//! The long-connection contract: a platform's protocol as a pure state machine, driven by one supervisor for all.

use std::time::Duration;

use crate::connector::context::{Context, Remark};
use crate::event::Event;
use crate::http_types::{ApiAnswer, HttpCall, SocketCall, TokenPlace};
use crate::timestamp::Timestamp;

/// A platform's long-connection protocol.
pub trait StreamProtocol: Sync {
    /// How a connection starts: the address, or the call that returns it.
    fn begin(&self, cx: &Context<'_>) -> Begin;

    /// Reads the answer to the call of [`Begin::Ask`].
    ///
    /// # Errors
    /// [`Refusal`] if it contains no address.
    fn address(&self, answer: &ApiAnswer, cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        let _ = (answer, cx);
        Err(Refusal::Passing {
            code: "no_address".to_owned(),
            retry_after: None,
        })
    }

    /// Where to connect so that the session of the last [`Effect::SaveCursor`] is resumed, after this many failures in a row. `None`:
    /// the next connection starts with [`StreamProtocol::begin`].
    fn resume(&self, cursor: &str, failures: u32, cx: &Context<'_>) -> Option<SocketAddress> {
        let _ = (cursor, failures, cx);
        None
    }

    /// Whether sessions save cursors for [`StreamProtocol::resume`], so that the bridge must store them.
    fn resumes(&self) -> bool {
        false
    }

    /// Reads the response to a handshake that failed. Header names are in lower case.
    fn handshake_failed(&self, status: u16, headers: &[(String, String)], cx: &Context<'_>) -> Refusal {
        let _ = (headers, cx);
        Refusal::Passing {
            code: status.to_string(),
            retry_after: None,
        }
    }

    /// The state machine of one connection to `address`. It lives as long as the socket.
    fn session(&self, address: &SocketAddress, cx: &Context<'_>) -> Box<dyn StreamSession>;

    /// Longest silence of a healthy socket: its heartbeat's interval and the time for the answer. After a longer one the bot is not
    /// reported as connected, though its connection is closed only when the heartbeat times out. `None`: the heartbeat detects it by itself.
    fn longest_silence(&self) -> Option<Duration> {
        None
    }

    /// WebSocket Pings that the supervisor sends and counts. `None` where the protocol has its own heartbeat.
    fn keepalive(&self) -> Option<Keepalive> {
        None
    }

    /// The code of our own close frames, where it matters to the platform.
    fn close_code(&self) -> Option<u16> {
        None
    }

    /// Delay of the first retry after refused credentials, if shorter than that of others: for a platform that refuses them by mistake.
    fn first_retry_after_refusal(&self) -> Option<Duration> {
        None
    }

    /// Wait before a connection that was stable is replaced.
    fn wait_before_replacement(&self) -> Duration {
        Duration::ZERO
    }

    /// Longest message that the platform sends, in bytes. A longer one ends the connection.
    fn max_message_bytes(&self) -> usize {
        1024 * 1024
    }
}

/// Keepalive below the protocol: control frames, which a session never sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keepalive {
    /// How often a Ping is sent.
    pub every: Duration,
    /// After this many Pings in a row without a Pong the connection is dead.
    pub missed: u32,
    /// Without a frame of any kind for this long the connection is dead.
    pub silence: Duration,
}

/// How a connection starts.
#[derive(Debug, Clone, PartialEq)]
pub enum Begin {
    /// Connect here.
    Connect(SocketAddress),
    /// Connect here with the bot's access token in the handshake: see [`crate::connector::Connector::tokens`].
    Authorize(SocketAddress, TokenPlace),
    /// Request the address first.
    Ask(HttpCall),
    /// No socket: the session polls over HTTP with [`Effect::Fetch`]. It gets a [`SocketAddress`] without a URL, whose `note`
    /// is the cursor of the last [`Effect::SaveCursor`], empty at first.
    Poll,
}

/// The address to connect to. May contain a ticket: never logged, used once.
#[derive(Clone, PartialEq, Eq)]
pub struct SocketAddress {
    /// `wss://…`
    pub url: String,
    /// Headers of the handshake.
    pub headers: Vec<(String, String)>,
    /// Data from the bootstrap answer that the session needs, in the connector's own format.
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
    /// The access token of [`Begin::Authorize`] is no longer valid: retried with a new one, with backoff.
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
    /// A transient failure: retried with backoff.
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

/// The protocol of one connection. Owns its state; does no IO; never waits.
pub trait StreamSession: Send {
    /// The socket is open.
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect>;

    /// A frame was received. Never in a long poll.
    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (frame, cx);
        Vec::new()
    }

    /// A Pong frame was received.
    fn on_pong(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let _ = cx;
        Vec::new()
    }

    /// The time returned by [`StreamSession::wake_at`] has come.
    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect>;

    /// When [`StreamSession::on_time`] must be called next: the next ping, a timeout, the next queued frame.
    fn wake_at(&self) -> Option<Timestamp>;

    /// The events of an earlier [`Effect::Deliver`] with this token are on the queue: now they may be acknowledged.
    fn on_stored(&mut self, token: u64, cx: &Context<'_>) -> Vec<Effect>;

    /// The answer to the call of an [`Effect::Fetch`] or [`Effect::Respond`].
    fn on_fetched(&mut self, answer: ApiAnswer, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (answer, cx);
        Vec::new()
    }

    /// A runner wants this frame sent. The outcome is reported as [`Effect::Answer`] with the same `call_id`.
    ///
    /// Never in a long poll, whose replies are sent over HTTP.
    fn on_call(&mut self, call_id: &str, call: SocketCall, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (call, cx);
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }

    /// The platform closed the socket, with its reason. Empty: reconnect with backoff.
    ///
    /// Only [`Effect::Answer`], [`Effect::Reconnect`], [`Effect::Kicked`] and [`Effect::Refused`] have an effect here.
    fn on_closed(&mut self, code: u16, reason: &str, cx: &Context<'_>) -> Vec<Effect> {
        let _ = (code, reason, cx);
        Vec::new()
    }

    /// The connection is about to be closed: returns what is still worth sending.
    fn on_close(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let _ = cx;
        Vec::new()
    }
}

/// What the supervisor is to do for a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Send a frame.
    Send(Frame),
    /// The platform has accepted the connection: it is up.
    Up,
    /// An application-level sign of life was received.
    Heard,
    /// Put these events on the queue, then call `on_stored(token)`.
    ///
    /// If the queue doesn't accept them in time the supervisor does nothing: what is not acknowledged is delivered again, if the platform does that.
    Deliver {
        /// Passed to `on_stored`.
        token: u64,
        /// The events.
        events: Vec<Event>,
        /// Give up after this time: the platform has delivered it again, or never will.
        give_up_at: Timestamp,
    },
    /// Make this call; its answer is passed to [`StreamSession::on_fetched`]. One is in flight at a time: a second one
    /// replaces the first.
    Fetch(HttpCall),
    /// Make this call at once, beside all others; its answer too is passed to [`StreamSession::on_fetched`]. Not in a long poll.
    Respond(HttpCall),
    /// Store this cursor durably: the next session of the bot starts with it. Only for what the queue already has.
    SaveCursor(String),
    /// A frame yielded no event.
    Remark(Remark),
    /// Outcome of a runner's call.
    Answer {
        /// The call's id.
        call_id: String,
        /// The outcome.
        answer: ApiAnswer,
    },
    /// Open a new connection; this one stays in use until the new one is up.
    Replace {
        /// The reason, for the log.
        reason: &'static str,
    },
    /// Close and reconnect.
    Reconnect {
        /// The reason, for the log.
        reason: &'static str,
        /// How long the platform asks us to wait.
        after: Option<Duration>,
    },
    /// Another client has taken the bot.
    Kicked,
    /// The platform refuses the bot.
    Refused(Refusal),
}
