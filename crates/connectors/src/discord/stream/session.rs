//! One connection to the gateway.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};
use tieline_core::connector::{Context, Remark};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, HttpCall, SocketCall};
use tieline_core::stream::{Effect, Frame, Refusal, StreamSession};
use tieline_core::timestamp::Timestamp;

use super::cursor::{Cursor, MAX_STORED_ROLES, Resumable};
use crate::discord::mentions::Identity;
use crate::discord::settings::Settings;
use crate::discord::{application, decode, interaction, is_content_enabled, wire};

/// Time limit for the platform's hello, and then for accepting the session.
const GREETING: Duration = Duration::from_secs(20);
/// Time limit for the queue to store an event. After it, the platform is asked to send the event again.
const STORED_WITHIN: Duration = Duration::from_secs(60);
/// Largest number of responses to interactions in flight. Each must arrive within three seconds, so none waits for another.
const MAX_RESPONSES: usize = 64;
/// Largest number of the bot's own roles that a connection knows: one in each of the 2,500 servers that one shard serves, and as many
/// again for servers that it has joined since.
const MAX_ROLES: usize = 5000;
/// Range of the random wait before a new session replaces one that the platform declared invalid: one to five seconds.
const INVALID_WAIT_MS: (u64, u64) = (1000, 5000);

/// GUILDS, GUILD_MESSAGES, DIRECT_MESSAGES.
///
/// See [Discord Docs/Gateway Intents](https://discord.com/developers/docs/events/gateway#list-of-intents).
const INTENTS: u32 = 1 | 1 << 9 | 1 << 12;
/// MESSAGE_CONTENT: text of messages that don't mention the bot.
const CONTENT_INTENT: u32 = 1 << 15;

const CONTENT_MISSING: &str = "the Message Content Intent is off: in servers the bot reads only messages that mention it, not plain \
                               replies; switch it on on the page Bot of the developer portal; the bot then reconnects with it within minutes";
/// Interval of checks whether the intent was enabled.
const CONTENT_CHECK: Duration = Duration::from_mins(5);
/// The same where it is enabled, and was refused nevertheless.
const CONTENT_CHECK_ONCE_REFUSED: Duration = Duration::from_hours(1);
const NOT_RESPONDED: &str = "the platform did not accept the response to an interaction: the person sees that it failed, the answer \
                             goes into the channel";
const SHARDING_RECOMMENDED: &str = "Discord recommends several shards for this bot; this connection is one shard, which Discord \
                                    accepts up to 2,500 servers";

/// Opcodes.
///
/// See [Discord Docs/Gateway Opcodes](https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-opcodes).
mod op {
    pub(super) const DISPATCH: u8 = 0;
    pub(super) const HEARTBEAT: u8 = 1;
    pub(super) const IDENTIFY: u8 = 2;
    pub(super) const RESUME: u8 = 6;
    pub(super) const RECONNECT: u8 = 7;
    pub(super) const INVALID_SESSION: u8 = 9;
    pub(super) const HELLO: u8 = 10;
    pub(super) const HEARTBEAT_ACK: u8 = 11;
}

/// The state machine of one connection.
pub(super) struct Session {
    /// State for the next connection, except for the sequence number.
    cursor: Cursor,
    /// Whether this connection requests the Message Content Intent.
    with_content: bool,
    /// When to ask next whether the intent is enabled, on a connection without it.
    content_check_at: Option<Timestamp>,
    /// Deadline for the platform's next greeting: hello, then the session.
    greeting_ends: Option<Timestamp>,
    heartbeat: Option<Heartbeat>,
    /// The sequence number of the last event.
    heard: u64,
    /// Events that wait for the queue, by token.
    pending: BTreeMap<u64, Pending>,
    next_token: u64,
    /// Number of responses to interactions in flight.
    n_responding: usize,
    /// The sequence number that was last saved.
    saved: u64,
}

struct Heartbeat {
    every: Duration,
    next_at: Timestamp,
    is_acknowledged: bool,
}

struct Pending {
    sequence: u64,
    give_up_at: Timestamp,
    /// The response to the interaction, sent once the queue has the event.
    response: Option<HttpCall>,
}

impl Session {
    pub(super) fn new(cursor: Cursor, wants_content: bool) -> Self {
        let heard = cursor.session.as_ref().map_or(0, |session| session.sequence);
        Self {
            with_content: (wants_content || cursor.content_enabled) && !cursor.without_content,
            cursor,
            content_check_at: None,
            greeting_ends: None,
            heartbeat: None,
            heard,
            pending: BTreeMap::new(),
            next_token: 1,
            n_responding: 0,
            saved: heard,
        }
    }

    fn payload(&mut self, frame: &wire::Frame<'_>, cx: &Context<'_>) -> Vec<Effect> {
        match frame.op {
            op::DISPATCH => self.dispatch(frame, cx),
            op::HEARTBEAT => vec![self.beat()],
            op::RECONNECT => self.reconnect("the platform asks for another connection", None),
            op::INVALID_SESSION => self.invalid(read(frame.d).unwrap_or(false), cx),
            op::HELLO => self.hello(frame.d, cx),
            op::HEARTBEAT_ACK => {
                if let Some(heartbeat) = &mut self.heartbeat {
                    heartbeat.is_acknowledged = true;
                }
                vec![Effect::Heard]
            }
            _ => vec![Effect::Remark(Remark::Ignored("opcode that is not known"))],
        }
    }

    fn hello(&mut self, payload: Option<&RawValue>, cx: &Context<'_>) -> Vec<Effect> {
        let Some(hello) = read::<wire::Hello>(payload).filter(|hello| hello.heartbeat_interval > 0) else {
            return self.reconnect("hello without a heartbeat interval", None);
        };
        let every = Duration::from_millis(hello.heartbeat_interval);
        self.heartbeat = Some(Heartbeat {
            every,
            // The first heartbeat after a random share of the interval, so that connections that reconnect together spread out.
            next_at: cx
                .now
                .after(Duration::from_millis(chance(cx) % hello.heartbeat_interval)),
            is_acknowledged: true,
        });
        self.greeting_ends = Some(cx.now.after(GREETING));
        let token = Settings::of(cx.account).token.expose();
        let payload = match &self.cursor.session {
            Some(session) => json!({ "token": token, "session_id": session.id, "seq": session.sequence }),
            None => self.identify(token),
        };
        let op = match self.cursor.session {
            Some(_) => op::RESUME,
            None => op::IDENTIFY,
        };
        vec![send(op, payload)]
    }

    fn identify(&self, token: &str) -> Value {
        let content = if self.with_content { CONTENT_INTENT } else { 0 };
        json!({
            "token": token,
            "intents": INTENTS | content,
            "properties": { "os": "linux", "browser": "tieline", "device": "tieline" },
            "shard": [0, 1],
        })
    }

    fn dispatch(&mut self, frame: &wire::Frame<'_>, cx: &Context<'_>) -> Vec<Effect> {
        self.heard = self.heard.max(frame.s.unwrap_or_default());
        match frame.t.as_deref() {
            Some("READY") => self.ready(frame.d, cx),
            Some("RESUMED") => {
                self.greeting_ends = None;
                self.plan_content_check(cx);
                vec![Effect::Up]
            }
            Some("GUILD_CREATE") => self.learn_roles(read::<wire::Guild>(frame.d).map(|guild| guild.roles)),
            Some("GUILD_ROLE_CREATE" | "GUILD_ROLE_UPDATE") => {
                self.learn_roles(read::<wire::RoleEvent>(frame.d).map(|event| vec![event.role]))
            }
            Some("MESSAGE_CREATE") => self.message(frame.d, cx),
            Some("INTERACTION_CREATE") => self.interaction(frame.d, cx),
            _ => Vec::new(),
        }
    }

    fn ready(&mut self, payload: Option<&RawValue>, cx: &Context<'_>) -> Vec<Effect> {
        let Some(ready) = read::<wire::Ready>(payload) else {
            return self.reconnect("READY does not have the documented shape", None);
        };
        self.greeting_ends = None;
        let content_refused = std::mem::take(&mut self.cursor.without_content);
        self.plan_content_check(cx);
        self.cursor.session = Some(Resumable {
            id: ready.session_id,
            url: ready.resume_gateway_url,
            bot: ready.user.id,
            has_content: self.with_content,
            content_refused,
            ..Resumable::default()
        });
        let remarks = [
            (!self.with_content, CONTENT_MISSING),
            (self.cursor.is_sharding_recommended, SHARDING_RECOMMENDED),
        ];
        let remarks = remarks.into_iter().filter(|(applies, _)| *applies);
        let mut effects = vec![Effect::Up];
        effects.extend(remarks.map(|(_, reason)| Effect::Remark(Remark::Unreadable(reason))));
        effects.push(self.save());
        effects
    }

    /// Stores the roles that the platform manages for the bot: a mention of such a role is a mention of the bot.
    fn learn_roles(&mut self, roles: Option<Vec<wire::Role>>) -> Vec<Effect> {
        let Some(session) = &mut self.cursor.session else {
            return Vec::new();
        };
        for role in roles.into_iter().flatten() {
            let is_own = role.tags.bot_id.as_deref() == Some(session.bot.as_str());
            if is_own && session.roles.len() < MAX_ROLES && !session.roles.contains(&role.id) {
                session.roles.push(role.id);
            }
        }
        Vec::new()
    }

    fn message(&mut self, payload: Option<&RawValue>, cx: &Context<'_>) -> Vec<Effect> {
        let Some(message) = read::<wire::Message>(payload) else {
            let reason = "message does not have the documented shape";
            return vec![Effect::Remark(Remark::Unreadable(reason))];
        };
        let session = self.cursor.session.as_ref();
        let bot = Identity {
            user: session.map_or_else(|| Settings::of(cx.account).bot_id(), |session| &session.bot),
            roles: session.map_or(&[], |session| &session.roles),
        };
        match decode::message(message, bot, cx) {
            Ok(event) => vec![self.deliver(event, None, cx)],
            Err(remark) => vec![Effect::Remark(remark)],
        }
    }

    fn interaction(&mut self, payload: Option<&RawValue>, cx: &Context<'_>) -> Vec<Effect> {
        let Some(interaction) = read::<wire::Interaction>(payload) else {
            let reason = "interaction does not have the documented shape";
            return vec![Effect::Remark(Remark::Unreadable(reason))];
        };
        let decoded = interaction::decode(&interaction, cx);
        let response = decoded
            .response
            .map(|response| interaction::callback(&interaction, &response, cx));
        match decoded.event {
            Ok(event) => vec![self.deliver(event, response, cx)],
            Err(remark) => {
                let mut effects = vec![Effect::Remark(remark)];
                effects.extend(response.map(|response| self.respond(response)));
                effects
            }
        }
    }

    fn deliver(&mut self, event: Event, response: Option<HttpCall>, cx: &Context<'_>) -> Effect {
        let token = self.next_token;
        self.next_token += 1;
        let give_up_at = cx.now.after(STORED_WITHIN);
        self.pending.insert(
            token,
            Pending {
                sequence: self.heard,
                give_up_at,
                response,
            },
        );
        Effect::Deliver {
            token,
            events: vec![event],
            give_up_at,
        }
    }

    /// Responds to an interaction.
    fn respond(&mut self, response: HttpCall) -> Effect {
        if self.n_responding == MAX_RESPONSES {
            return Effect::Remark(Remark::Unreadable(NOT_RESPONDED));
        }
        self.n_responding += 1;
        Effect::Respond(response)
    }

    /// Rarely if an earlier check found the intent enabled, and the platform refused it nevertheless: each new session misses what comes meanwhile.
    fn plan_content_check(&mut self, cx: &Context<'_>) {
        let wait = match self.cursor.content_enabled {
            true => CONTENT_CHECK_ONCE_REFUSED,
            false => CONTENT_CHECK,
        };
        self.content_check_at = (!self.with_content).then(|| cx.now.after(wait));
    }

    /// Reconnects with the Message Content Intent if it is enabled now: only a new session can have it.
    fn content_checked(&mut self, answer: &ApiAnswer) -> Vec<Effect> {
        if self.with_content || !is_content_enabled(answer) {
            return Vec::new();
        }
        self.content_check_at = None;
        self.cursor.session = None;
        self.cursor.content_enabled = true;
        self.reconnect("the Message Content Intent is on; connecting with it", None)
    }

    /// Sequence number up to which no event needs redelivery.
    fn acknowledged(&self) -> u64 {
        let first_pending = self.pending.values().map(|pending| pending.sequence).min();
        first_pending.map_or(self.heard, |sequence| sequence.saturating_sub(1))
    }

    fn beat(&self) -> Effect {
        let sequence = self.acknowledged();
        let payload = if sequence == 0 { Value::Null } else { sequence.into() };
        send(op::HEARTBEAT, payload)
    }

    fn save(&mut self) -> Effect {
        self.saved = self.acknowledged();
        Effect::SaveCursor(self.left().write())
    }

    /// State for the next connection.
    fn left(&self) -> Cursor {
        let mut cursor = self.cursor.clone();
        if let Some(session) = &mut cursor.session {
            session.sequence = self.acknowledged();
            session.roles.truncate(MAX_STORED_ROLES);
        }
        cursor
    }

    fn reconnect(&mut self, reason: &'static str, after: Option<Duration>) -> Vec<Effect> {
        vec![self.save(), Effect::Reconnect { reason, after }]
    }

    /// The platform has forgotten the session or, if it is `resumable`, can't resume it at the moment.
    fn invalid(&mut self, resumable: bool, cx: &Context<'_>) -> Vec<Effect> {
        if !resumable {
            self.cursor.session = None;
        }
        let (least, most) = INVALID_WAIT_MS;
        let wait = Duration::from_millis(least + chance(cx) % (most - least));
        self.reconnect("the platform declared the session invalid", Some(wait))
    }
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        self.greeting_ends = Some(cx.now.after(GREETING));
        Vec::new()
    }

    fn on_frame(&mut self, frame: Frame, cx: &Context<'_>) -> Vec<Effect> {
        let text = match &frame {
            Frame::Text(text) => Some(text),
            Frame::Binary(_) => None,
        };
        match text.and_then(|text| serde_json::from_str::<wire::Frame<'_>>(text).ok()) {
            Some(frame) => self.payload(&frame, cx),
            None => self.reconnect("frame can't be read", None),
        }
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        if self.greeting_ends.is_some_and(|ends| ends <= cx.now) {
            return self.reconnect("the platform did not accept the session in time", None);
        }
        if self.pending.values().any(|pending| pending.give_up_at <= cx.now) {
            // Resuming from before the event makes the platform send it again.
            return self.reconnect("the queue did not accept an event in time", None);
        }
        if self.content_check_at.is_some_and(|at| at <= cx.now) {
            self.plan_content_check(cx);
            return vec![Effect::Respond(application(cx))];
        }
        let Some(heartbeat) = self.heartbeat.as_mut().filter(|heartbeat| heartbeat.next_at <= cx.now) else {
            return Vec::new();
        };
        if !heartbeat.is_acknowledged {
            return self.reconnect("a heartbeat was not acknowledged", None);
        }
        heartbeat.is_acknowledged = false;
        heartbeat.next_at = cx.now.after(heartbeat.every);
        let mut effects = vec![self.beat()];
        // Saved once per heartbeat: events that are redelivered after a crash in between are deduplicated by id.
        if self.cursor.session.is_some() && self.acknowledged() != self.saved {
            effects.push(self.save());
        }
        effects
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let heartbeat = self.heartbeat.as_ref().map(|heartbeat| heartbeat.next_at);
        let pending = self.pending.values().map(|pending| pending.give_up_at).min();
        [self.greeting_ends, heartbeat, pending, self.content_check_at]
            .into_iter()
            .flatten()
            .min()
    }

    fn on_stored(&mut self, token: u64, _cx: &Context<'_>) -> Vec<Effect> {
        let response = self.pending.remove(&token).and_then(|pending| pending.response);
        response.map(|response| self.respond(response)).into_iter().collect()
    }

    /// Accepted responses to interactions have no application in their bodies; with none of them in flight, the answer is about it too.
    fn on_fetched(&mut self, answer: ApiAnswer, _cx: &Context<'_>) -> Vec<Effect> {
        if self.n_responding == 0 || is_content_enabled(&answer) {
            return self.content_checked(&answer);
        }
        self.n_responding = self.n_responding.saturating_sub(1);
        match answer {
            ApiAnswer::Answered { status: 200..=299, .. } => Vec::new(),
            // The gateway sent an interaction again, which had its response before the connection was lost.
            answer if is_already_acknowledged(&answer) => Vec::new(),
            _ => vec![Effect::Remark(Remark::Unreadable(NOT_RESPONDED))],
        }
    }

    /// Calls are never sent over this socket.
    fn on_call(&mut self, call_id: &str, _call: SocketCall, _cx: &Context<'_>) -> Vec<Effect> {
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }

    /// See [Discord Docs/Gateway Close Event Codes](https://discord.com/developers/docs/topics/opcodes-and-status-codes#gateway-gateway-close-event-codes).
    fn on_closed(&mut self, code: u16, _reason: &str, _cx: &Context<'_>) -> Vec<Effect> {
        if code == DISALLOWED_INTENTS && self.with_content {
            self.cursor.session = None;
            self.cursor.without_content = true;
            return self.reconnect("the Message Content Intent is off; connecting without it", None);
        }
        if let Some(cause) = fatal(code) {
            let code = format!("{code}: {cause}");
            return vec![Effect::Refused(Refusal::Credentials { code })];
        }
        if FORGETS_SESSION.contains(&code) {
            self.cursor.session = None;
        }
        vec![self.save()]
    }

    fn on_close(&mut self, _cx: &Context<'_>) -> Vec<Effect> {
        vec![self.save()]
    }
}

/// The application lacks the requested intent.
const DISALLOWED_INTENTS: u16 = 4014;
/// The code of a second response to an interaction, see
/// [Discord Docs/JSON Error Codes](https://discord.com/developers/docs/topics/opcodes-and-status-codes#json-json-error-codes).
const ALREADY_ACKNOWLEDGED: u64 = 40060;

fn is_already_acknowledged(answer: &ApiAnswer) -> bool {
    answer
        .json()
        .is_some_and(|body| body["code"].as_u64() == Some(ALREADY_ACKNOWLEDGED))
}

/// An invalid sequence number, and a session that has timed out.
const FORGETS_SESSION: [u16; 2] = [4007, 4009];

/// Why the platform refuses the bot until the operator changes something.
const fn fatal(code: u16) -> Option<&'static str> {
    Some(match code {
        4004 => "the bot token is wrong; copy it again from the page Bot of the developer portal",
        4010 => "the shard is invalid",
        4011 => "the bot is in more than 2,500 servers and needs several shards, which this bridge doesn't run",
        4012 => "the version of the gateway is not served any more",
        4013 => "the intents are invalid",
        DISALLOWED_INTENTS => "the bot is not allowed the intents GUILDS, GUILD_MESSAGES and DIRECT_MESSAGES",
        _ => return None,
    })
}

fn send(op: u8, payload: Value) -> Effect {
    Effect::Send(Frame::Text(json!({ "op": op, "d": payload }).to_string()))
}

fn read<'a, T: Deserialize<'a>>(payload: Option<&'a RawValue>) -> Option<T> {
    serde_json::from_str(payload?.get()).ok()
}

fn chance(cx: &Context<'_>) -> u64 {
    u64::from_be_bytes(cx.random[..8].try_into().expect("eight of 32 bytes"))
}
