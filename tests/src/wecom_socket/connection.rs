//! The connection of a client.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::socket::Socket;

use super::book::Book;
use super::rules;

/// The platform's end of a subscribed connection. Dropping it closes the socket after all frames were sent.
#[derive(Clone)]
pub(super) struct Connection {
    frames: mpsc::UnboundedSender<Value>,
    link_state: watch::Sender<LinkState>,
    /// The unique number of the connection.
    pub(super) number: u64,
}

impl Connection {
    pub(super) fn send(&self, frame: Value) {
        // The client may be gone: as on a real network, that is noticed later.
        let _ = self.frames.send(frame);
    }

    /// Ends it without telling the client.
    pub(super) fn end(&self, link_state: LinkState) {
        self.link_state.send_replace(link_state);
    }

    pub(super) fn is_open(&self) -> bool {
        !self.frames.is_closed()
    }
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    /// It continues.
    Open,
    /// The socket stays open, but the platform doesn't answer.
    HalfOpen,
    /// The socket is closed without a close frame.
    Cut,
}

/// The response of the rules to a frame.
pub(super) enum Response {
    /// Acknowledged after a while; then the callback accepts its next frame.
    Later {
        frame: Value,
        after: Duration,
        frees: Option<(String, String)>,
    },
    /// Never acknowledged.
    Lost,
    /// The client is subscribed.
    Subscribed { bot: String, frame: Value },
}

/// Serves a client until it or the platform ends the connection.
pub(super) async fn serve(mut socket: Socket, book: Arc<Mutex<Book>>) {
    let (frames, mut outgoing) = mpsc::unbounded_channel();
    let (link_state, mut link_states) = watch::channel(LinkState::Open);
    let number = lock(&book).number();
    let mut held = Some(Connection {
        frames,
        link_state,
        number,
    });
    // Pending responses must not keep the channel open longer than they take.
    let weak = held.as_ref().map(|it| it.frames.downgrade());
    let mut bot = None;
    loop {
        tokio::select! {
            biased;
            ended = next_link_state(&mut link_states) => match ended {
                LinkState::HalfOpen => return std::future::pending().await,
                LinkState::Open | LinkState::Cut => break,
            },
            frame = outgoing.recv() => match frame {
                Some(frame) => if socket.send(Message::text(frame.to_string())).await.is_err() { break },
                None => { let _ = socket.close(None).await; break }
            },
            message = socket.next() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => { lock(&book).complaints.add("a binary frame"); continue }
                    _ => break,
                };
                let response = rules::take(&text, bot.as_deref(), &mut lock(&book));
                match response {
                    Response::Lost => {}
                    Response::Subscribed { bot: id, frame } => {
                        if let Some(connection) = held.take() {
                            connection.send(frame);
                            let mut book = lock(&book);
                            let req_id = book.fresh("kick");
                            book.kick(&id, &req_id);
                            book.bot(&id).connection = Some(connection);
                        }
                        bot = Some(id);
                    }
                    Response::Later { frame, after, frees } => {
                        let sender = weak.as_ref().and_then(mpsc::WeakUnboundedSender::upgrade);
                        let book = book.clone();
                        tokio::spawn(async move {
                            sleep(after).await;
                            if let Some((bot, req_id)) = frees {
                                let mut book = lock(&book);
                                if let Some(callback) = book.bot(&bot).callbacks.get_mut(&req_id) {
                                    callback.unacknowledged_on.take_if(|it| *it == number);
                                }
                            }
                            if let Some(sender) = sender { let _ = sender.send(frame); }
                        });
                    }
                }
            }
        }
    }
    if let Some(bot) = bot {
        let mut book = lock(&book);
        let connection = &mut book.bot(&bot).connection;
        connection.take_if(|it| it.number == number);
    }
}

/// Waits for the state in which the connection ends. Never returns if the owner only drops it: that is an orderly close.
async fn next_link_state(link_states: &mut watch::Receiver<LinkState>) -> LinkState {
    let ended = link_states
        .wait_for(|link_state| *link_state != LinkState::Open)
        .await
        .map(|link_state| *link_state);
    match ended {
        Ok(link_state) => link_state,
        Err(_) => std::future::pending().await,
    }
}

/// A response to a frame.
pub(super) fn response(req_id: Option<&str>, code: i64, text: &str, body: Option<Value>) -> Value {
    let mut frame = json!({ "errcode": code, "errmsg": text });
    if let Some(req_id) = req_id {
        frame["headers"] = json!({ "req_id": req_id });
    }
    if let Some(body) = body {
        frame["body"] = body;
    }
    frame
}

fn lock(book: &Mutex<Book>) -> std::sync::MutexGuard<'_, Book> {
    book.lock().unwrap_or_else(PoisonError::into_inner)
}
