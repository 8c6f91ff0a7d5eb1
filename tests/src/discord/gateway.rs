//! The gateway: sessions, sequence numbers, heartbeats, resumption.

use std::time::{Duration, Instant};

use anyhow::ensure;
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::Response;
use futures_util::{SinkExt as _, StreamExt as _};
use serde_json::{Value, json};
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::CloseFrame;

use crate::socket::{self, Socket};

use super::Platform;
use super::state::{App, Session, State};

/// Limit of a client's frame.
const MAX_FRAME_BYTES: usize = 4096;
/// Limit of a client's frames in a minute.
const MAX_FRAMES: usize = 120;
/// Minimum time between two sessions of a bot.
const IDENTIFY_GAP: Duration = Duration::from_secs(5);
/// Tolerance of a late heartbeat.
const HEARTBEAT_SLACK: Duration = Duration::from_secs(5);
/// MESSAGE_CONTENT.
const CONTENT_INTENT: u64 = 1 << 15;
/// Unprivileged intents, as far as bots of this bridge may use them.
const FREE_INTENTS: u64 = 1 | 1 << 9 | 1 << 10 | 1 << 12 | 1 << 13;

/// Output to a client.
#[derive(Debug, Clone)]
pub(super) enum Outgoing {
    /// A frame.
    Frame(String),
    /// The end of the connection.
    End(End),
}

/// How a connection ends.
#[derive(Debug, Clone, Copy)]
pub(super) enum End {
    /// Without a close frame.
    Cut,
    /// With this code.
    Close(u16),
}

/// Answers a handshake.
pub(super) fn connect(platform: &Platform, request: Request) -> Response {
    let query = request.uri().query().unwrap_or_default();
    let is_right = ["v=10", "encoding=json"]
        .iter()
        .all(|pair| query.split('&').any(|it| it == *pair));
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok());
    let Some(host) = host.map(str::to_owned) else {
        return socket::refused(StatusCode::BAD_REQUEST, &[]);
    };
    let platform = platform.clone();
    socket::upgrade(request, move |socket| async move {
        let (to_client, outgoing) = unbounded_channel();
        if !is_right {
            platform
                .state()
                .complaints
                .add("a gateway address without v=10&encoding=json");
            let _ = to_client.send(Outgoing::End(End::Close(4012)));
        }
        let client = Client {
            platform,
            host,
            to_client,
            session: None,
            beat_at: Instant::now(),
            frames: Vec::new(),
        };
        client.serve(socket, outgoing).await;
    })
}

/// The platform's end of one connection.
struct Client {
    platform: Platform,
    host: String,
    to_client: UnboundedSender<Outgoing>,
    /// Application and session, once the client has identified itself.
    session: Option<(String, String)>,
    beat_at: Instant,
    frames: Vec<Instant>,
}

impl Client {
    async fn serve(mut self, mut socket: Socket, mut outgoing: UnboundedReceiver<Outgoing>) {
        let interval = self.platform.state().faults.heartbeat_interval;
        self.send(10, &json!({ "heartbeat_interval": interval, "_trace": ["t"] }));
        let late = Duration::from_millis(interval) + HEARTBEAT_SLACK;
        let closed_with = loop {
            tokio::select! {
                biased;
                next = outgoing.recv() => match next {
                    Some(Outgoing::Frame(text)) => if socket.send(Message::text(text)).await.is_err() { break None },
                    Some(Outgoing::End(End::Cut)) | None => return self.leave(None),
                    Some(Outgoing::End(End::Close(code))) => {
                        let frame = CloseFrame { code: code.into(), reason: "closed by the platform".into() };
                        let _ = socket.close(Some(frame)).await;
                        return self.leave(None);
                    }
                },
                message = socket.next() => match message {
                    Some(Ok(Message::Text(text))) => self.receive(text.as_str()),
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    Some(Ok(Message::Close(frame))) => break Some(frame.map_or(1005, |frame| frame.code.into())),
                    Some(Ok(_)) => self.end(4002),
                    Some(Err(_)) | None => break None,
                },
                () = sleep(late.saturating_sub(self.beat_at.elapsed())) => {
                    self.platform.state().complaints.add("a heartbeat that didn't come");
                    self.end(4009);
                    self.beat_at = Instant::now();
                }
            }
        };
        self.leave(closed_with);
    }

    /// A close with 1000 or 1001 ends the session; anything else lets it be resumed.
    fn leave(&self, closed_with: Option<u16>) {
        let Some((app, session)) = &self.session else { return };
        let mut state = self.platform.state();
        let ends = matches!(closed_with, Some(1000 | 1001));
        if ends {
            state
                .complaints
                .add("a session that was ended with 1000 or 1001 and so can't be resumed");
        }
        let Some(session) = state.app(app).sessions.get_mut(session) else {
            return;
        };
        // Another connection may have taken the session over.
        if session
            .connection
            .as_ref()
            .is_some_and(|it| it.same_channel(&self.to_client))
        {
            session.connection = None;
            session.is_forgotten |= ends;
        }
    }

    fn send(&self, op: u8, payload: &Value) {
        let frame = json!({ "op": op, "d": payload, "s": null, "t": null }).to_string();
        let _ = self.to_client.send(Outgoing::Frame(frame));
    }

    fn end(&self, code: u16) {
        let _ = self.to_client.send(Outgoing::End(End::Close(code)));
    }

    fn receive(&mut self, text: &str) {
        self.frames.retain(|at| at.elapsed() < Duration::from_mins(1));
        self.frames.push(Instant::now());
        if self.frames.len() > MAX_FRAMES {
            self.complain("more than 120 frames in a minute");
            return self.end(4008);
        }
        let Ok(frame) = serde_json::from_str::<Value>(text) else {
            return self.end(4002);
        };
        if text.len() > MAX_FRAME_BYTES {
            self.complain("a frame of more than 4096 bytes");
            return self.end(4002);
        }
        let payload = &frame["d"];
        match (frame["op"].as_u64(), &self.session) {
            (Some(1), _) => self.heartbeat(payload),
            (Some(2 | 6), Some(_)) => self.end(4005),
            (Some(2), None) => self.identify(payload),
            (Some(6), None) => self.resume(payload),
            (Some(3 | 4 | 8), None) => self.end(4003),
            _ => {
                self.complain(&format!("opcode {}", frame["op"]));
                self.end(4001);
            }
        }
    }

    fn complain(&self, what: &str) {
        self.platform.state().complaints.add(what);
    }

    fn heartbeat(&mut self, sequence: &Value) {
        self.beat_at = Instant::now();
        let mut state = self.platform.state();
        let last = self.session.as_ref().and_then(|(app, session)| {
            let session = state.app(app).sessions.get(session)?;
            Some(session.log.len() as u64)
        });
        let is_right = match sequence.as_u64() {
            None => sequence.is_null(),
            Some(sequence) => last.is_none_or(|last| sequence <= last),
        };
        if !is_right {
            state.complaints.add(format!("a heartbeat with sequence {sequence}"));
        }
        if !state.faults.no_heartbeat_ack {
            drop(state);
            self.send(11, &Value::Null);
        }
    }

    fn identify(&mut self, payload: &Value) {
        let mut state = self.platform.state();
        let Some(app) = app_of(&mut state, &payload["token"]) else {
            return self.end(4004);
        };
        if let Some(code) = state.faults.refuse_identify {
            return self.end(code);
        }
        if state.faults.remaining_sessions == 0 {
            state
                .complaints
                .add("a session beyond the limit: the platform would replace the bot's token");
            return self.end(4004);
        }
        state.faults.remaining_sessions -= 1;
        let properties = &payload["properties"];
        if !["os", "browser", "device"]
            .iter()
            .all(|key| properties[key].is_string())
            || payload["shard"] != json!([0, 1])
        {
            state.complaints.add(format!("IDENTIFY {payload}"));
        }
        let intents = payload["intents"].as_u64().unwrap_or(u64::MAX);
        let found = state.app(&app);
        let allowed = FREE_INTENTS | if found.has_content_intent { CONTENT_INTENT } else { 0 };
        if intents & !(FREE_INTENTS | CONTENT_INTENT) != 0 {
            return self.end(4013);
        }
        if intents & !allowed != 0 {
            return self.end(4014);
        }
        let is_early = found.identified_at.is_some_and(|at| at.elapsed() < IDENTIFY_GAP);
        if is_early {
            drop(state);
            return self.send(9, &json!(false));
        }
        found.identified_at = Some(Instant::now());
        found.intents = intents;
        found.n_identified += 1;
        let session = self.begin(&mut state, &app, intents);
        drop(state);
        self.session = Some((app, session));
    }

    fn begin(&self, state: &mut State, app: &str, intents: u64) -> String {
        let id = format!("session{}", state.snowflake());
        let found = state.app(app);
        let flags: u64 = if found.has_content_intent { 1 << 19 } else { 0 };
        let ready = json!({ "v": 10, "session_id": id, "session_type": "normal",
            "resume_gateway_url": format!("ws://{}", self.host), "user": bot_user(found),
            "application": { "id": app, "flags": flags }, "shard": [0, 1],
            "guilds": [{ "id": GUILD, "unavailable": true }] });
        let guild = json!({ "id": GUILD, "name": "Server", "channels": [], "threads": [],
            "roles": [{ "id": GUILD, "name": "@everyone" }, { "id": found.role(), "name": "Tieline", "managed": true,
                "tags": { "bot_id": found.bot() } }] });
        let mut session = Session {
            with_content: intents & CONTENT_INTENT != 0,
            log: Vec::new(),
            connection: Some(self.to_client.clone()),
            is_forgotten: false,
        };
        append(&mut session, "READY", ready);
        append(&mut session, "GUILD_CREATE", guild);
        found.sessions.insert(id.clone(), session);
        id
    }

    fn resume(&mut self, payload: &Value) {
        let mut state = self.platform.state();
        let Some(app) = app_of(&mut state, &payload["token"]) else {
            return self.end(4004);
        };
        let id = payload["session_id"].as_str().unwrap_or_default().to_owned();
        let found = state.app(&app);
        let Some(session) = found.sessions.get_mut(&id).filter(|session| !session.is_forgotten) else {
            drop(state);
            return self.send(9, &json!(false));
        };
        let Some(from) = payload["seq"].as_u64().and_then(|seq| usize::try_from(seq).ok()) else {
            return self.end(4002);
        };
        if from > session.log.len() {
            return self.end(4007);
        }
        session.connection = Some(self.to_client.clone());
        for missed in &session.log[from..] {
            let _ = self.to_client.send(Outgoing::Frame(missed.to_string()));
        }
        append(session, "RESUMED", json!({}));
        found.n_resumed += 1;
        drop(state);
        self.session = Some((app, id));
    }
}

/// The only guild that the bots are in.
pub(super) const GUILD: &str = "1400000000000000001";

fn app_of(state: &mut State, token: &Value) -> Option<String> {
    let token = token.as_str()?;
    let app = state.apps.values().find(|app| app.token == token)?;
    Some(app.id.clone())
}

/// The bot's user.
pub(super) fn bot_user(app: &App) -> Value {
    json!({ "id": app.bot(), "username": "tieline", "global_name": null, "discriminator": "0", "avatar": null, "bot": true })
}

/// Appends an event to a session and sends it, if the session is connected.
fn append(session: &mut Session, name: &str, payload: Value) {
    let sequence = session.log.len() + 1;
    let frame = json!({ "op": 0, "s": sequence, "t": name, "d": payload });
    if let Some(connection) = &session.connection {
        let _ = connection.send(Outgoing::Frame(frame.to_string()));
    }
    session.log.push(frame);
}

/// Delivers an event to every session of a bot.
pub(super) fn dispatch(state: &mut State, app: &str, name: &str, payload: &Value) -> anyhow::Result<()> {
    let found = state.app(app);
    let bot = found.bot();
    let mut live: Vec<_> = found
        .sessions
        .values_mut()
        .filter(|session| !session.is_forgotten)
        .collect();
    ensure!(!live.is_empty(), "the bot has no session");
    for session in &mut live {
        append(session, name, visible(payload, session.with_content, &bot));
    }
    Ok(())
}

/// What a session sees of a message: without the content intent, only texts that concern the bot.
fn visible(payload: &Value, with_content: bool, bot: &str) -> Value {
    let mut payload = payload.clone();
    let is_message = payload["content"].is_string();
    let mentions = payload["mentions"].as_array().into_iter().flatten();
    let concerns = mentions.into_iter().any(|user| user["id"] == bot) || payload["guild_id"].is_null();
    if is_message && !with_content && !concerns {
        payload["content"] = json!("");
        payload["attachments"] = json!([]);
    }
    payload
}

/// Sends a control frame to an application's connections.
pub(super) fn control(state: &mut State, app: &str, op: u8, payload: &Value) {
    let frame = json!({ "op": op, "d": payload, "s": null, "t": null }).to_string();
    send_text(state, app, &frame);
}

/// Sends a text, which may be an invalid frame.
pub(super) fn send_text(state: &mut State, app: &str, text: &str) {
    for session in state.app(app).sessions.values() {
        if let Some(connection) = &session.connection {
            let _ = connection.send(Outgoing::Frame(text.to_owned()));
        }
    }
}

/// Ends an application's connections.
pub(super) fn end(state: &mut State, app: &str, how: &End) {
    for session in state.app(app).sessions.values() {
        if let Some(connection) = &session.connection {
            let _ = connection.send(Outgoing::End(*how));
        }
    }
}
