//! The WebSocket gateway.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc::unbounded_channel;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use super::Platform;
use super::book::Order;
use super::rules::{Pings, Writer};
use crate::socket::{self, Socket};

/// Answers a handshake. Errors in its query are reported by the close code of the socket.
pub(super) async fn connect(State(platform): State<Platform>, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default().to_owned();
    if let Some(status) = platform.book().faults.refuse_handshake {
        return socket::refused(StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY), &[]);
    }
    let admitted = admit(&platform, &query);
    socket::upgrade(request, move |socket| async move {
        match admitted {
            Ok(app) => serve(socket, app, platform).await,
            Err((code, reason)) => close(socket, code, reason).await,
        }
    })
}

fn admit(platform: &Platform, query: &str) -> Result<String, (u16, &'static str)> {
    let mut book = platform.book();
    let mut fields = std::collections::BTreeMap::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !["app_id", "token", "version"].contains(&name.as_ref()) || fields.contains_key(name.as_ref()) {
            book.complaints.add(format!("handshake: unexpected {name}"));
        }
        fields.insert(name.into_owned(), value.into_owned());
    }
    if fields.get("version").is_none_or(String::is_empty) {
        book.complaints.add("handshake: no version");
    }
    let (Some(id), Some(token)) = (fields.get("app_id"), fields.get("token")) else {
        return Err((4001, "Missing app_id or token"));
    };
    if let Some(app) = book.apps.get_mut(id) {
        app.n_handshakes += 1;
    }
    match book.app_of(token) {
        Some(app) if app == id => Ok(id.clone()),
        Some(_) => Err((4003, "App mismatch")),
        None => Err((4002, "Invalid token")),
    }
}

async fn close(mut socket: Socket, code: u16, reason: &str) {
    let frame = CloseFrame {
        code: code.into(),
        reason: reason.to_owned().into(),
    };
    let _ = socket.close(Some(frame)).await;
    // Until the client has closed the connection too.
    while let Some(Ok(_)) = socket.next().await {}
}

async fn serve(mut socket: Socket, app: String, platform: Platform) {
    let (orders, mut ordered) = unbounded_channel();
    let number = platform.book().number();
    let mut pings = Pings::default();
    if socket
        .send(Message::text(json!({ "type": "connected" }).to_string()))
        .await
        .is_err()
    {
        return;
    }
    platform
        .book()
        .apps
        .entry(app.clone())
        .or_default()
        .connections
        .insert(number, orders);
    loop {
        let answer = tokio::select! {
            Some(order) = ordered.recv() => match order {
                Order::Say(text) => Some(Message::text(text)),
                Order::SayBytes(bytes) => Some(Message::Binary(bytes.into())),
                Order::Close(code, reason) => {
                    forget(&platform, &app, number);
                    return close(socket, code, &reason).await;
                }
                Order::Cut => break,
                Order::HalfOpen => {
                    forget(&platform, &app, number);
                    return std::future::pending().await;
                }
            },
            message = socket.next() => match message {
                Some(Ok(Message::Text(text))) => {
                    let by = Writer { app: &app, connection: number };
                    on_text(&platform, by, &text, &mut pings)
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => None,
                Some(Ok(Message::Binary(_) | Message::Frame(_))) => {
                    platform.book().complaints.add("a binary frame");
                    None
                }
                _ => break,
            },
        };
        if let Some(answer) = answer
            && socket.send(answer).await.is_err()
        {
            break;
        }
    }
    forget(&platform, &app, number);
}

fn forget(platform: &Platform, app: &str, number: u64) {
    if let Some(app) = platform.book().apps.get_mut(app) {
        app.connections.remove(&number);
    }
}

fn on_text(platform: &Platform, by: Writer<'_>, text: &str, pings: &mut Pings) -> Option<Message> {
    let book = &mut *platform.book();
    let frame: Value = serde_json::from_str(text).unwrap_or_default();
    let answer = match frame["type"].as_str() {
        Some("ping") => {
            pings.add(&mut book.complaints);
            // Some servers answer with the bare word.
            let pong = if by.connection.is_multiple_of(2) {
                "pong"
            } else {
                "{ \"type\" : \"pong\" }"
            };
            return (!book.faults.no_pongs).then(|| Message::text(pong));
        }
        Some("pong") => return None,
        Some("send_message") => {
            pings.written();
            match book.messages.write(by, &frame["payload"], &mut book.complaints) {
                Ok(()) => {
                    if book.faults.no_acks {
                        return None;
                    }
                    let id = format!("srv_{}", book.number());
                    json!({ "type": "ack", "payload": { "messageId": id, "receivedAt": 1_789_900_006_000_u64 } })
                }
                Err(reason) => {
                    book.complaints.add(format!("send_message: {reason}"));
                    json!({ "type": "error", "payload": { "message": reason } })
                }
            }
        }
        _ => {
            book.complaints.add("a frame of an unknown type");
            return None;
        }
    };
    Some(Message::text(answer.to_string()))
}
