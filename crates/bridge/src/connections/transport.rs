//! The transport of a connection: a socket or a long poll.

use std::io;

use futures_util::StreamExt as _;
use tieline_core::stream::Frame;
use tokio_tungstenite::tungstenite::{self, Message};

use super::bot_context::BotContext;
use super::dial::Socket;
use super::inbound_writer::Stored;
use super::poll::{Poll, PollInput};

/// Close code for a close frame without a code.
const NO_STATUS: u16 = 1005;
/// Close code for a socket that ended without a close frame.
pub(super) const ABNORMAL: u16 = 1006;

/// The transport of a connection.
pub(super) enum Transport {
    /// A socket; with the HTTP calls and the cursor of its session, where it has them.
    Socket(Box<Socket>, Option<Box<Poll>>),
    /// A long poll.
    Poll(Box<Poll>),
}

/// An input of a connection.
pub(super) enum Input {
    /// A frame.
    Frame(Frame),
    /// A sign of life below the protocol.
    SignOfLife {
        /// Whether it answers a Ping of ours.
        pong: bool,
    },
    /// Outcome of a delivery: its token, and whether the queue has it.
    Stored(u64, Stored),
    /// Outcome of a long poll's calls.
    Poll(PollInput),
    /// A timer of the session is due.
    Time,
    /// The socket is closed, with this code and reason.
    Closed(u16, String),
}

impl Transport {
    /// The HTTP calls and the cursor of its session.
    pub(super) fn poll(&mut self) -> &mut Poll {
        match self {
            Self::Socket(_, poll) => poll.get_or_insert_default(),
            Self::Poll(poll) => poll,
        }
    }

    pub(super) const fn is_socket(&self) -> bool {
        matches!(self, Self::Socket(..))
    }

    /// The next input. A socket is read only if `may_read`. Cancel-safe.
    pub(super) async fn next(&mut self, may_read: bool, context: &BotContext) -> Input {
        match self {
            Self::Socket(socket, poll) => tokio::select! {
                message = socket.next(), if may_read => {
                    if let Some(Ok(message)) = &message {
                        socket.get_mut().filter.finished(message);
                    }
                    read(message, context)
                }
                input = async { match poll { Some(poll) => poll.next(context).await, None => std::future::pending().await } } => {
                    Input::Poll(input)
                }
            },
            Self::Poll(poll) => Input::Poll(poll.next(context).await),
        }
    }
}

fn read(message: Option<Result<Message, tungstenite::Error>>, context: &BotContext) -> Input {
    match message {
        Some(Ok(Message::Text(text))) => Input::Frame(Frame::Text(text.as_str().to_owned())),
        Some(Ok(Message::Binary(bytes))) => Input::Frame(Frame::Binary(bytes.into())),
        Some(Ok(Message::Pong(_))) => Input::SignOfLife { pong: true },
        Some(Ok(Message::Ping(_) | Message::Frame(_))) => Input::SignOfLife { pong: false },
        Some(Ok(Message::Close(Some(frame)))) => Input::Closed(frame.code.into(), frame.reason.as_str().to_owned()),
        Some(Ok(Message::Close(None))) => Input::Closed(NO_STATUS, String::new()),
        Some(Err(tungstenite::Error::Io(error))) if error.kind() == io::ErrorKind::OutOfMemory => {
            let reason =
                "unfinished frames take all the memory that an organization may take; the connection is opened again";
            context.complain("no_memory", reason);
            Input::Closed(ABNORMAL, String::new())
        }
        Some(Err(_)) | None => Input::Closed(ABNORMAL, String::new()),
    }
}
