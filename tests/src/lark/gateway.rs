//! The long connection: bootstrap, handshake, frames in both directions.

use std::time::{Duration, Instant};

use axum::extract::Request;
use axum::http::StatusCode;
use axum::response::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;

use crate::socket::{self, Socket};

use super::Platform;
use super::api::Refused;
use super::book::{Ack, Book};
use super::frame::{CONTROL, DATA, Frame};

/// Limit of acknowledging an event.
const ACK_WITHIN: Duration = Duration::from_secs(3);
/// Limit of an app's connections.
const MOST_CONNECTIONS: usize = 50;
/// The service id in every ping.
const SERVICE: i32 = 33_554_678;

/// The platform's end of a connection. Dropping it closes the socket.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) number: u64,
    frames: mpsc::UnboundedSender<Vec<u8>>,
    link_state: watch::Sender<LinkState>,
}

/// State of a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum LinkState {
    Open,
    HalfOpen,
    Cut,
}

impl Connection {
    pub(super) fn send(&self, frame: &Frame) {
        let _ = self.frames.send(frame.encode());
    }

    /// Sends bytes, which may be an invalid frame.
    pub(super) fn send_bytes(&self, bytes: &[u8]) {
        let _ = self.frames.send(bytes.to_vec());
    }

    pub(super) fn end(&self, link_state: LinkState) {
        self.link_state.send_replace(link_state);
    }

    pub(super) fn is_deaf(&self) -> bool {
        *self.link_state.borrow() == LinkState::HalfOpen
    }
}

/// Returns an address with a ticket that opens one connection.
pub(super) fn bootstrap(body: &Value, platform: &Platform) -> Result<Value, Refused> {
    let mut book = platform.book();
    let refused = |code: i64, text: &str| Refused {
        status: 200,
        code,
        text: text.to_owned(),
    };
    if let Some(code) = book.faults.bootstrap_code {
        return Err(refused(code, "refused"));
    }
    if body.as_object().map_or(0, serde_json::Map::len) != 2 {
        book.complaints
            .add("a bootstrap with other fields than AppID and AppSecret");
    }
    let id = body["AppID"].as_str().unwrap_or_default().to_owned();
    let ticket = book.fresh("ticket-");
    let interval = book.faults.ping_interval;
    let app = book.apps.get_mut(&id);
    let Some(app) = app.filter(|app| body["AppSecret"] == app.secret.as_str()) else {
        return Err(refused(514, "auth failed"));
    };
    app.bootstraps += 1;
    if app.connections.len() >= MOST_CONNECTIONS {
        return Err(refused(1_000_040_350, "exceed conn limit"));
    }
    book.tickets.insert(ticket.clone(), id);
    let url = format!(
        "ws://{}/ws/v2?device_id=7561&service_id={SERVICE}&ticket={ticket}",
        platform.address
    );
    let config = json!({ "ReconnectCount": -1, "ReconnectInterval": 2, "ReconnectNonce": 1, "PingInterval": interval });
    Ok(json!({ "code": 0, "msg": "", "data": { "URL": url, "ClientConfig": config } }))
}

/// Answers a handshake.
pub(super) fn connect(platform: &Platform, request: Request) -> Response {
    let mut book = platform.book();
    if let Some((status, code, auth)) = book.faults.refuse_handshake {
        let status = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = [
            ("Handshake-Status", code.to_string()),
            ("Handshake-Autherrcode", auth.to_string()),
        ];
        let headers: Vec<(&str, &str)> = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
        return socket::refused(status, &headers);
    }
    let query = request.uri().query().unwrap_or_default();
    let ticket = query.split('&').find_map(|pair| pair.strip_prefix("ticket="));
    let app = ticket.and_then(|ticket| book.tickets.remove(ticket));
    drop(book);
    let Some(app) = app else {
        platform.book().complaints.add("a ticket that was used before");
        return socket::refused(StatusCode::UNAUTHORIZED, &[("Handshake-Status", "514")]);
    };
    let platform = platform.clone();
    socket::upgrade(request, move |socket| serve(socket, app, platform))
}

async fn serve(mut socket: Socket, app: String, platform: Platform) {
    let (frames, mut outgoing) = mpsc::unbounded_channel();
    let (link_state, mut link_states) = watch::channel(LinkState::Open);
    let number = platform.book().number();
    let connection = Connection {
        number,
        frames,
        link_state,
    };
    let pongs = connection.frames.downgrade();
    platform.book().app(&app).connections.push(connection);
    let mut pinged: Option<Instant> = None;
    loop {
        tokio::select! {
            biased;
            ended = next_link_state(&mut link_states) => match ended {
                LinkState::HalfOpen => return std::future::pending().await,
                LinkState::Open | LinkState::Cut => break,
            },
            frame = outgoing.recv() => match frame {
                Some(frame) => if socket.send(Message::binary(frame)).await.is_err() { break },
                None => { let _ = socket.close(None).await; break }
            },
            message = socket.next() => {
                let bytes = match message {
                    Some(Ok(Message::Binary(bytes))) => bytes,
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => continue,
                    Some(Ok(Message::Text(_))) => { platform.book().complaints.add("a text frame"); continue }
                    _ => break,
                };
                let mut book = platform.book();
                let frame = match Frame::decode(&bytes) {
                    Ok(frame) => frame,
                    Err(error) => { book.complaints.add(format!("a frame that can't be read: {error}")); continue }
                };
                if frame.method == CONTROL {
                    check_ping(&frame, &bytes, pinged, &mut book);
                    book.app(&app).pings += 1;
                    pinged = Some(Instant::now());
                    if let Some(pongs) = pongs.upgrade() { let _ = pongs.send(pong(&frame).encode()); }
                } else {
                    if pinged.is_none() { book.complaints.add("no ping right after the open"); }
                    acknowledged(&frame, number, &app, &mut book);
                }
            }
        }
    }
    platform.book().app(&app).connections.retain(|it| it.number != number);
}

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

fn check_ping(frame: &Frame, bytes: &[u8], before: Option<Instant>, book: &mut Book) {
    let right = Frame {
        service: SERVICE,
        headers: vec![("type".to_owned(), "ping".to_owned())],
        ..Frame::default()
    };
    // Optional texts may be present and empty.
    let optional: &[u8] = &[0x32, 0, 0x3a, 0, 0x42, 0, 0x4a, 0];
    let plain = right.encode();
    if bytes != plain && bytes != [plain.as_slice(), optional].concat() {
        book.complaints.add(format!("a ping of other bytes: {frame:?}"));
    }
    let interval = Duration::from_secs(book.faults.ping_interval);
    if before.is_some_and(|before| before.elapsed() > interval + Duration::from_secs(5)) {
        book.complaints.add("a ping that came late");
    }
}

fn pong(ping: &Frame) -> Frame {
    Frame {
        headers: vec![("type".to_owned(), "pong".to_owned())],
        ..ping.clone()
    }
}

/// An acknowledgement repeats the frame, and adds the processing time and the result.
fn acknowledged(frame: &Frame, connection: u64, app: &str, book: &mut Book) {
    let id = frame.header("message_id").unwrap_or_default().to_owned();
    let mut wrong = Vec::new();
    let Some(delivery) = book.app(app).deliveries.get_mut(&id) else {
        book.complaints.add("an acknowledgement of nothing");
        return;
    };
    let part = delivery.sent.iter().find(|sent| sent.seq_id == frame.seq_id);
    match part {
        None => wrong.push("an acknowledgement with another SeqID".to_owned()),
        Some(sent) => {
            let mut headers = frame.headers.clone();
            let took = headers.pop();
            let timed = took.is_some_and(|(key, value)| key == "biz_rt" && value.parse::<i64>().is_ok());
            let same = sent.log_id == frame.log_id
                && sent.service == frame.service
                && frame.method == DATA
                && sent.headers == headers
                && sent.log_id_new == frame.log_id_new;
            if !timed || !same {
                wrong.push(format!(
                    "an acknowledgement that isn't the frame with biz_rt: {:?}",
                    frame.headers
                ));
            }
        }
    }
    if sent_on(&id) != connection {
        wrong.push("an acknowledgement on another connection".to_owned());
    }
    if delivery.acked.is_some_and(|code| code == 200) {
        wrong.push("a second acknowledgement".to_owned());
    }
    let payload = frame.payload.clone().unwrap_or_default();
    let payload: Value = serde_json::from_slice(&payload).unwrap_or_default();
    let code = payload["code"].as_i64().unwrap_or_default();
    let data = payload["data"].as_str().and_then(|data| STANDARD.decode(data).ok());
    let data = data.and_then(|data| serde_json::from_slice(&data).ok());
    if ![200, 500].contains(&code) || delivery.is_callback && code == 200 && data.is_none() {
        wrong.push(format!("an acknowledgement that says {payload}"));
    }
    delivery.acked = Some(code);
    let after = delivery.began.elapsed();
    if after > ACK_WITHIN {
        wrong.push("an acknowledgement that came too late".to_owned());
    }
    for wrong in wrong {
        book.complaints.add(wrong);
    }
    book.acks.push(Ack {
        delivery: id,
        code,
        data,
        after,
    });
}

/// The connection that a delivery was sent to, by the delivery's id.
fn sent_on(id: &str) -> u64 {
    id.rsplit('-').next().and_then(|it| it.parse().ok()).unwrap_or_default()
}

/// Delivers an event to one of the app's connections, and repeats it until it is acknowledged. Returns the first delivery's id.
pub(super) fn deliver(app: &str, event: &Value, is_callback: bool, platform: &Platform) -> anyhow::Result<String> {
    let first = send(app, &event.to_string(), is_callback, platform)?;
    let (platform, app, id) = (platform.clone(), app.to_owned(), first.clone());
    tokio::spawn(async move {
        let mut id = id;
        for _ in 0..4 {
            sleep(ACK_WITHIN).await;
            let (payload, again) = {
                let mut book = platform.book();
                let again = book.faults.redeliver_after;
                let Some(delivery) = book.app(&app).deliveries.get(&id) else {
                    return;
                };
                if delivery.acked == Some(200) || delivery.is_callback {
                    return;
                }
                (delivery.payload.clone(), again)
            };
            sleep(again).await;
            // If no client is connected, the next round retries.
            if let Ok(next) = send(&app, &payload, false, &platform) {
                id = next;
            }
        }
    });
    Ok(first)
}

fn send(app: &str, payload: &str, is_callback: bool, platform: &Platform) -> anyhow::Result<String> {
    let mut book = platform.book();
    let number = book.number();
    let trace = book.fresh("trace");
    let (parts, lost) = (book.faults.parts.max(1), book.faults.lost_part.take());
    let connections: Vec<Connection> = book.app(app).connections.clone();
    anyhow::ensure!(!connections.is_empty(), "no client is connected");
    // To one connection, never to all: round robin; the platform's choice is random.
    let connection = &connections[book.app(app).deliveries.len() % connections.len()];
    let id = format!("{trace}-{}", connection.number);
    let bytes = payload.as_bytes();
    let frames: Vec<Frame> = (0..parts)
        .map(|part| part_of(bytes, part, parts, number, &id))
        .collect();
    for (part, frame) in frames.iter().enumerate() {
        if lost != Some(part) {
            connection.send(frame);
        }
    }
    let delivery = super::book::Delivery {
        began: Instant::now(),
        payload: payload.to_owned(),
        sent: frames,
        acked: None,
        is_callback,
    };
    book.app(app).deliveries.insert(id.clone(), delivery);
    Ok(id)
}

/// Events are split at any byte, also inside a character.
fn part_of(bytes: &[u8], part: usize, parts: usize, number: u64, id: &str) -> Frame {
    let size = bytes.len().div_ceil(parts);
    let (from, to) = ((part * size).min(bytes.len()), ((part + 1) * size).min(bytes.len()));
    let header = |key: &str, value: String| (key.to_owned(), value);
    Frame {
        seq_id: number * 1000 + part as u64,
        log_id: 9_007_199_254_740_993 + number,
        service: SERVICE,
        method: DATA,
        headers: vec![
            header("type", "event".to_owned()),
            header("message_id", id.to_owned()),
            header("sum", parts.to_string()),
            header("seq", part.to_string()),
            header("trace_id", format!("trace {number}")),
            header("timestamp", "1760000002345".to_owned()),
            header("instance_id", "inst-17".to_owned()),
            header("header_of_tomorrow", "kept".to_owned()),
        ],
        payload: Some(bytes[from..to].to_vec()),
        log_id_new: Some(format!("20251009{number:024}")),
    }
}
