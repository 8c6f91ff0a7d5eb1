//! Stream mode: tickets, handshakes, frames in both directions.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, sleep};
use tokio_tungstenite::tungstenite::Message;

use crate::socket::{self, Socket};

use super::Platform;
use super::api::{Refused, refuse};
use super::book::{Ack, Book, Push};
use super::sign;

/// Validity of a ticket.
const TICKET_LIFE: Duration = Duration::from_secs(90);
/// Limit of acknowledging a message.
const ACK_WITHIN: Duration = Duration::from_secs(3);
/// How long the platform sends nothing after `disconnect` before it closes the connection.
const FAREWELL: Duration = Duration::from_secs(10);
/// Topics that an app needs to subscribe to.
const TOPICS: [(&str, &str); 2] = [
    ("CALLBACK", "/v1.0/im/bot/messages/get"),
    ("CALLBACK", "/v1.0/card/instances/callback"),
];

/// The platform's end of a connection. Dropping it closes the socket.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) number: u64,
    frames: mpsc::UnboundedSender<String>,
    link_state: watch::Sender<LinkState>,
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Open,
    /// A `disconnect` was sent: no message is sent on this connection any more.
    Leaving,
    HalfOpen,
    Cut,
}

impl Connection {
    pub(super) fn send(&self, frame: &Value) {
        self.send_text(&frame.to_string());
    }

    /// Sends a text, which may be an invalid frame.
    pub(super) fn send_text(&self, text: &str) {
        let _ = self.frames.send(text.to_owned());
    }

    pub(super) fn end(&self, link_state: LinkState) {
        self.link_state.send_replace(link_state);
    }

    pub(super) fn link_state(&self) -> LinkState {
        *self.link_state.borrow()
    }
}

/// Issues a ticket that opens one connection.
pub(super) fn open(body: &Value, headers: &HeaderMap, platform: &Platform) -> Result<Value, Refused> {
    let mut book = platform.book();
    if headers.get(header::ACCEPT).and_then(|it| it.to_str().ok()) != Some("application/json") {
        book.complaints.add("open: no Accept: application/json");
    }
    let known = ["clientId", "clientSecret", "subscriptions", "ua", "localIp", "extras"];
    if body
        .as_object()
        .is_none_or(|it| it.keys().any(|key| !known.contains(&key.as_str())))
    {
        book.complaints.add("open: an unknown field");
    }
    let subscriptions = body["subscriptions"].as_array();
    let subscriptions = subscriptions.ok_or_else(|| refuse("MissingSubscriptions"))?;
    for (kind, topic) in TOPICS {
        if !subscriptions
            .iter()
            .any(|it| it["type"] == kind && it["topic"] == topic)
        {
            book.complaints.add(format!("open: not subscribed to {topic}"));
        }
    }
    let id = body["clientId"].as_str().unwrap_or_default().to_owned();
    let ticket = book.fresh("7724109a-");
    let app = book.apps.get_mut(&id);
    let Some(app) = app.filter(|app| body["clientSecret"] == app.secret.as_str()) else {
        return Err(Refused {
            status: 401,
            code: "authFailed".to_owned(),
        });
    };
    app.opened += 1;
    book.tickets.insert(ticket.clone(), (id, Instant::now()));
    Ok(json!({ "endpoint": format!("ws://{}/connect", platform.address), "ticket": ticket }))
}

/// Answers a handshake.
pub(super) fn connect(platform: &Platform, request: Request) -> Response {
    let mut book = platform.book();
    let ticket = request.uri().query().and_then(|query| query.strip_prefix("ticket="));
    let app = ticket.and_then(|ticket| book.tickets.remove(ticket));
    if let Some(status) = book.faults.refuse_handshake {
        return socket::refused(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), &[]);
    }
    let Some((app, _)) = app.filter(|(_, since)| since.elapsed() < TICKET_LIFE) else {
        book.complaints.add("a ticket that was used before");
        return socket::refused(StatusCode::BAD_REQUEST, &[]);
    };
    drop(book);
    let platform = platform.clone();
    socket::upgrade(request, move |socket| serve(socket, app, platform))
}

async fn serve(mut socket: Socket, app: String, platform: Platform) {
    let (frames, mut outgoing) = mpsc::unbounded_channel();
    let (link_state, mut link_states) = watch::channel(LinkState::Open);
    let (number, every) = {
        let mut book = platform.book();
        (book.number(), book.faults.ping_every)
    };
    platform.book().app(&app).connections.push(Connection {
        number,
        frames,
        link_state,
    });
    let mut pings = interval(every);
    pings.reset();
    let mut pinged: Option<(String, String)> = None;
    loop {
        tokio::select! {
            biased;
            ended = next_link_state(&mut link_states) => match ended {
                LinkState::HalfOpen => return std::future::pending().await,
                _ => break,
            },
            frame = outgoing.recv() => match frame {
                Some(frame) => if socket.send(Message::text(frame)).await.is_err() { break },
                None => { let _ = socket.close(None).await; break }
            },
            _ = pings.tick() => {
                if pinged.is_some() { platform.book().complaints.add("a ping that was not answered"); }
                let id = format!("ping_{number}_{}", platform.book().number());
                let data = format!("{{\"opaque\":\"{id}\"}}");
                let frame = frame_of("SYSTEM", "ping", &id, &data);
                pinged = Some((id, data));
                if socket.send(Message::text(frame.to_string())).await.is_err() { break }
            }
            message = socket.next() => {
                let text = match message {
                    Some(Ok(Message::Text(text))) => text,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Binary(_))) => { platform.book().complaints.add("a binary frame"); continue }
                    _ => break,
                };
                let mut book = platform.book();
                match serde_json::from_str::<Value>(&text) {
                    Err(_) => book.complaints.add("a frame that is not JSON"),
                    Ok(ack) => acknowledged(&ack, number, &app, &mut pinged, &mut book),
                }
            }
        }
    }
    platform.book().app(&app).connections.retain(|it| it.number != number);
}

async fn next_link_state(link_states: &mut watch::Receiver<LinkState>) -> LinkState {
    let ended = link_states
        .wait_for(|link_state| matches!(link_state, LinkState::HalfOpen | LinkState::Cut))
        .await
        .map(|link_state| *link_state);
    match ended {
        Ok(link_state) => link_state,
        Err(_) => std::future::pending().await,
    }
}

fn frame_of(kind: &str, topic: &str, id: &str, data: &str) -> Value {
    let now = sign::now_ms().to_string();
    json!({ "specVersion": "1.0", "type": kind, "headers": { "appId": "2f6c1d3e", "connectionId": "c0ffee00", "contentType": "application/json",
            "messageId": id, "time": now, "topic": topic, "headerOfTomorrow": "x" }, "data": data })
}

fn acknowledged(ack: &Value, connection: u64, app: &str, pinged: &mut Option<(String, String)>, book: &mut Book) {
    let known = ["code", "headers", "message", "data"];
    let fields = ack
        .as_object()
        .map(|it| it.keys().all(|key| known.contains(&key.as_str())) && it.len() == 4);
    let headers = ack["headers"].as_object().map_or(0, serde_json::Map::len);
    let (Some(id), Some(data), Some(code)) = (
        ack["headers"]["messageId"].as_str(),
        ack["data"].as_str(),
        ack["code"].as_i64(),
    ) else {
        book.complaints
            .add(format!("an acknowledgement of another shape: {ack}"));
        return;
    };
    if fields != Some(true)
        || headers != 2
        || ack["headers"]["contentType"] != "application/json"
        || !ack["message"].is_string()
    {
        book.complaints
            .add(format!("an acknowledgement of another shape: {ack}"));
    }
    if let Some((_, sent)) = pinged.take_if(|(ping, _)| ping == id) {
        let same = serde_json::from_str::<Value>(data).ok() == serde_json::from_str(&sent).ok();
        if code != 200 || !same {
            book.complaints.add("a ping's answer without its data");
        }
        return;
    }
    if id.starts_with("disc_") {
        return;
    }
    let data = serde_json::from_str(data).unwrap_or_else(|_| {
        book.complaints.add("an acknowledgement whose data is not JSON");
        Value::Null
    });
    let Some(push) = book.app(app).pushes.get_mut(id) else {
        book.complaints.add("an acknowledgement of nothing");
        return;
    };
    let (after, other) = (push.began.elapsed(), push.connection != connection);
    let twice = push.acked.replace(code).is_some();
    if other || twice || after > ACK_WITHIN {
        book.complaints
            .add("an acknowledgement late, twice, or on another connection");
    }
    if code == 200 && data.get("response").is_none() {
        book.complaints.add("an acknowledgement without response");
    }
    book.acks.push(Ack {
        push: id.to_owned(),
        code,
        data,
        after,
    });
}

/// Announces the end of a connection to the client, and closes it after ten seconds.
pub(super) fn disconnect(connection: &Connection, id: &str) {
    connection.send(&frame_of(
        "SYSTEM",
        "disconnect",
        &format!("disc_{id}"),
        "{\"reason\":\"connection is expired\"}",
    ));
    connection.end(LinkState::Leaving);
    let connection = connection.clone();
    tokio::spawn(async move {
        sleep(FAREWELL).await;
        connection.end(LinkState::Cut);
    });
}

/// Pushes to one of the app's connections, and repeats it until a bot's message is acknowledged. Returns the first push's id.
pub(super) fn push(app: &str, topic: &str, data: &Value, platform: &Platform) -> anyhow::Result<String> {
    let first = send(app, topic, &data.to_string(), platform)?;
    let (platform, app, id) = (platform.clone(), app.to_owned(), first.clone());
    tokio::spawn(async move {
        let mut id = id;
        for _ in 0..2 {
            sleep(ACK_WITHIN).await;
            let (topic, data, again) = {
                let mut book = platform.book();
                let again = book.faults.redeliver_after;
                let Some(push) = book.app(&app).pushes.get(&id) else {
                    return;
                };
                // A click is pushed once.
                if push.acked == Some(200) || push.topic.contains("card") {
                    return;
                }
                (push.topic.clone(), push.data.clone(), again)
            };
            sleep(again).await;
            if let Ok(next) = send(&app, &topic, &data, &platform) {
                id = next;
            }
        }
    });
    Ok(first)
}

fn send(app: &str, topic: &str, data: &str, platform: &Platform) -> anyhow::Result<String> {
    let mut book = platform.book();
    let id = book.fresh("212c_");
    let number = book.number();
    // A half-open connection still looks open to the platform.
    let open = |it: &&Connection| it.link_state() != LinkState::Leaving;
    let connections: Vec<Connection> = book.app(app).connections.iter().filter(open).cloned().collect();
    anyhow::ensure!(!connections.is_empty(), "no client is connected");
    // Round robin over the connections; the platform's choice is random.
    let connection = &connections[usize::try_from(number)? % connections.len()];
    connection.send(&frame_of("CALLBACK", topic, &id, data));
    let push = Push {
        began: Instant::now(),
        connection: connection.number,
        topic: topic.to_owned(),
        data: data.to_owned(),
        acked: None,
    };
    book.app(app).pushes.insert(id.clone(), push);
    Ok(id)
}
