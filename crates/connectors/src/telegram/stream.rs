//! Long polling: updates are fetched, put on the queue, and only then confirmed by the offset of the next poll.
//!
//! See [Bot API/getUpdates](https://core.telegram.org/bots/api#getupdates).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tieline_core::account::Account;
use tieline_core::connector::{Context, Remark};
use tieline_core::event::Event;
use tieline_core::http_types::{ApiAnswer, HttpCall, SocketCall};
use tieline_core::stream::{Begin, Effect, Frame, Refusal, SocketAddress, StreamProtocol, StreamSession};
use tieline_core::timestamp::Timestamp;

use super::api_error::{self, ApiError, Meaning};
use super::decode::{self, UnansweredQuery};
use super::registration::UPDATES;
use super::settings;

/// How long the platform holds an empty poll open.
const POLL: Duration = Duration::from_secs(30);
/// Additional time that the client waits for the response.
const POLL_SLACK: Duration = Duration::from_secs(15);
/// Largest number of updates in a response: it must stay below 1 MiB, and one update takes up to 60 KB.
const MAX_UPDATES: u32 = 16;
/// Time limit for the queue to store updates, before they are fetched again.
const STORING: Duration = Duration::from_secs(30);
/// How long a stored offset is valid: after a week without updates the platform continues with a random, perhaps lower, update id.
const OFFSET_LIFE: Duration = Duration::from_hours(6 * 24);
/// Waits after another program fetched the bot's updates. After the last one, the bot is left to that program.
const CONFLICT_WAITS: [Duration; 3] = [Duration::from_secs(5), Duration::from_secs(10), Duration::from_secs(20)];
/// Conflicts further apart than this are unrelated.
const CONFLICT_MEMORY: Duration = Duration::from_secs(120);

/// Wait after a webhook was set during a poll. A bot whose mode was changed to webhook is closed long before.
const AFTER_NEW_WEBHOOK: Duration = Duration::from_secs(10);

/// The platform's long connection.
#[derive(Debug)]
pub(super) struct LongPolling;

impl StreamProtocol for LongPolling {
    fn begin(&self, _cx: &Context<'_>) -> Begin {
        Begin::Poll
    }

    fn address(&self, _answer: &ApiAnswer, _cx: &Context<'_>) -> Result<SocketAddress, Refusal> {
        Err(Refusal::Passing {
            code: "no_socket".to_owned(),
            retry_after: None,
        })
    }

    fn session(&self, address: &SocketAddress, _cx: &Context<'_>) -> Box<dyn StreamSession> {
        let cursor: Cursor = serde_json::from_str(&address.note).unwrap_or_default();
        Box::new(Session {
            cursor,
            limit: MAX_UPDATES,
            ..Session::default()
        })
    }
}

/// Confirmed updates, stored between sessions.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
struct Cursor {
    /// The first unconfirmed update.
    offset: Option<i64>,
    /// When the last update arrived.
    #[serde(with = "tieline_core::timestamp::millis::option")]
    at: Option<Timestamp>,
}

/// Purpose of the request in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fetch {
    Updates,
    QueryAnswer,
    WebhookInfo,
    WebhookRemoval,
}

/// Updates that are being stored in the queue.
#[derive(Debug)]
struct Storing {
    token: u64,
    cursor: Cursor,
    give_up_at: Timestamp,
}

#[derive(Debug, Default)]
struct Session {
    cursor: Cursor,
    limit: u32,
    is_up: bool,
    in_flight: Option<Fetch>,
    storing: Option<Storing>,
    last_token: u64,
    /// Button presses that are answered at once.
    queries: Vec<UnansweredQuery>,
    /// When polling resumes after a wait.
    resume_at: Option<Timestamp>,
    conflicts: usize,
    last_conflict: Option<Timestamp>,
}

impl StreamSession for Session {
    fn on_open(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        vec![self.poll(cx)]
    }

    fn on_frame(&mut self, _frame: Frame, _cx: &Context<'_>) -> Vec<Effect> {
        Vec::new()
    }

    fn on_fetched(&mut self, answer: ApiAnswer, cx: &Context<'_>) -> Vec<Effect> {
        match self.in_flight.take() {
            Some(Fetch::Updates) => self.updates(&answer, cx),
            Some(Fetch::QueryAnswer) => vec![self.go_on(cx)],
            Some(Fetch::WebhookInfo) => vec![self.webhook_info(&answer, cx)],
            Some(Fetch::WebhookRemoval) => match api_error::result(&answer) {
                Ok(_) => vec![self.poll(cx)],
                Err(error) => vec![refused(error)],
            },
            None => Vec::new(),
        }
    }

    fn on_time(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        if self.wake_at().is_none_or(|at| at > cx.now) {
            return Vec::new();
        }
        // Updates that the queue did not store in time are fetched again, since they aren't confirmed.
        self.storing = None;
        vec![self.poll(cx)]
    }

    fn wake_at(&self) -> Option<Timestamp> {
        let storing = self.storing.as_ref().map(|storing| storing.give_up_at);
        self.resume_at.or(storing)
    }

    fn on_stored(&mut self, token: u64, cx: &Context<'_>) -> Vec<Effect> {
        match self.storing.take_if(|storing| storing.token == token) {
            Some(storing) => self.confirm(storing.cursor, cx),
            None => Vec::new(),
        }
    }

    fn on_call(&mut self, call_id: &str, _call: SocketCall, _cx: &Context<'_>) -> Vec<Effect> {
        vec![Effect::Answer {
            call_id: call_id.to_owned(),
            answer: ApiAnswer::NotSent,
        }]
    }
}

impl Session {
    fn fetch(&mut self, fetch: Fetch, call: HttpCall) -> Effect {
        self.in_flight = Some(fetch);
        self.resume_at = None;
        Effect::Fetch(call)
    }

    /// Fetches updates. The first poll returns at once, to show whether the platform accepts the bot.
    fn poll(&mut self, cx: &Context<'_>) -> Effect {
        let wait = if self.is_up { POLL } else { Duration::ZERO };
        let mut parameters = json!({
            "limit": self.limit,
            "timeout": wait.as_secs(),
            "allowed_updates": UPDATES,
        });
        let is_young = self.cursor.at.is_some_and(|at| cx.now.since(at) < OFFSET_LIFE);
        if let Some(offset) = self.cursor.offset.filter(|_| is_young) {
            parameters["offset"] = json!(offset);
        }
        let call = HttpCall {
            timeout: wait + POLL_SLACK,
            ..settings::call(cx.account, "get_updates", "getUpdates", &parameters)
        };
        self.fetch(Fetch::Updates, call)
    }

    /// Polls again once every button press is answered.
    fn go_on(&mut self, cx: &Context<'_>) -> Effect {
        let Some(query) = self.queries.pop() else {
            return self.poll(cx);
        };
        let call = settings::call(cx.account, "answer_query", "answerCallbackQuery", &query.answer());
        self.fetch(Fetch::QueryAnswer, call)
    }

    fn updates(&mut self, answer: &ApiAnswer, cx: &Context<'_>) -> Vec<Effect> {
        if let Some(body) = unreadable(answer) {
            return self.shorten(body, cx);
        }
        let updates = match api_error::result(answer) {
            Ok(Value::Array(updates)) => updates,
            Ok(_) => return vec![passing("not_a_list", None)],
            Err(error) => return self.not_fetched(answer, error, cx),
        };
        self.limit = MAX_UPDATES;
        let mut effects = vec![if self.is_up { Effect::Heard } else { Effect::Up }];
        self.is_up = true;
        effects.extend(self.received(updates, cx));
        effects
    }

    fn received(&mut self, updates: Vec<Value>, cx: &Context<'_>) -> Vec<Effect> {
        let mut effects = Vec::new();
        let mut events = Vec::<Event>::new();
        let mut last = None;
        for update in updates {
            let decoded = decode::update(update, cx);
            last = last.max(decoded.update_id);
            self.queries.extend(decoded.unanswered_query);
            match decoded.event {
                Ok(event) => events.push(event),
                Err(remark) => effects.push(Effect::Remark(remark)),
            }
        }
        let Some(last) = last else {
            effects.push(self.go_on(cx));
            return effects;
        };
        let cursor = Cursor {
            offset: Some(last.saturating_add(1)),
            at: Some(cx.now),
        };
        if events.is_empty() {
            effects.extend(self.confirm(cursor, cx));
            return effects;
        }
        self.last_token += 1;
        let (token, give_up_at) = (self.last_token, cx.now.after(STORING));
        self.storing = Some(Storing {
            token,
            cursor,
            give_up_at,
        });
        effects.push(Effect::Deliver {
            token,
            events,
            give_up_at,
        });
        effects
    }

    /// Everything before the cursor is stored or irrelevant: the next poll confirms it to the platform.
    fn confirm(&mut self, cursor: Cursor, cx: &Context<'_>) -> Vec<Effect> {
        let note = serde_json::to_string(&cursor).expect("a cursor serializes as JSON");
        self.cursor = cursor;
        vec![Effect::SaveCursor(note), self.go_on(cx)]
    }

    /// A response that can't be read, because of its length or of one update in it, is fetched in smaller pieces, down to a single update.
    /// That one is skipped.
    fn shorten(&mut self, body: &[u8], cx: &Context<'_>) -> Vec<Effect> {
        if self.limit > 1 {
            self.limit /= 2;
            return vec![self.poll(cx)];
        }
        let Some(id) = first_update_id(body) else {
            return vec![passing("unreadable_answer", None)];
        };
        let cursor = Cursor {
            offset: Some(id.saturating_add(1)),
            at: Some(cx.now),
        };
        let mut effects = vec![Effect::Remark(Remark::Unreadable("update can't be read"))];
        effects.extend(self.confirm(cursor, cx));
        effects
    }

    fn not_fetched(&mut self, answer: &ApiAnswer, error: ApiError, cx: &Context<'_>) -> Vec<Effect> {
        match conflict(answer) {
            Some(Conflict::Webhook) => vec![self.fetch(
                Fetch::WebhookInfo,
                settings::call(cx.account, "webhook_info", "getWebhookInfo", &json!({})),
            )],
            // If the mode of this very bot was changed, the connection is about to be closed.
            Some(Conflict::NewWebhook) => {
                self.resume_at = Some(cx.now.after(AFTER_NEW_WEBHOOK));
                Vec::new()
            }
            Some(Conflict::Poller) => self.other_poller(cx),
            None if error.meaning == Meaning::TooFast => {
                let wait = Duration::from_secs(error.retry_after_s.unwrap_or(1));
                self.resume_at = Some(cx.now.after(wait));
                Vec::new()
            }
            None => vec![refused(error)],
        }
    }

    /// Normal for a moment while an instance hands over to the next one; otherwise another program uses the bot.
    fn other_poller(&mut self, cx: &Context<'_>) -> Vec<Effect> {
        let is_new = self.last_conflict.is_none_or(|at| cx.now.since(at) > CONFLICT_MEMORY);
        self.conflicts = if is_new { 0 } else { self.conflicts };
        self.last_conflict = Some(cx.now);
        let Some(wait) = CONFLICT_WAITS.get(self.conflicts) else {
            return vec![Effect::Kicked];
        };
        self.conflicts += 1;
        self.resume_at = Some(cx.now.after(*wait));
        vec![Effect::Remark(Remark::Unreadable(
            "another program fetches this bot's updates: only one may",
        ))]
    }

    /// A webhook of our own, left from before the mode was changed, is deleted. Any other belongs to another program.
    fn webhook_info(&mut self, answer: &ApiAnswer, cx: &Context<'_>) -> Effect {
        let info = match api_error::result(answer) {
            Ok(info) => info,
            Err(error) => return refused(error),
        };
        let url = info.get("url").and_then(Value::as_str).unwrap_or_default();
        if url.is_empty() {
            return self.poll(cx);
        }
        if !is_own_webhook(url, cx.account) {
            return Effect::Refused(Refusal::Credentials {
                code: "webhook_of_another_program".to_owned(),
            });
        }
        let call = settings::call(cx.account, "delete_webhook", "deleteWebhook", &json!({}));
        self.fetch(Fetch::WebhookRemoval, call)
    }
}

fn is_own_webhook(url: &str, account: &Account) -> bool {
    let path = format!("/api/telegram/webhook/{}", account.integration);
    url.trim_end_matches('/').ends_with(&path)
}

/// Why updates can't be fetched although the token is valid.
enum Conflict {
    /// A webhook is set.
    Webhook,
    /// A webhook was set during the poll.
    NewWebhook,
    /// Another program polls too.
    Poller,
}

/// See [telegram-bot-api Client.cpp](https://github.com/tdlib/telegram-bot-api/blob/master/telegram-bot-api/Client.cpp), "Conflict".
fn conflict(answer: &ApiAnswer) -> Option<Conflict> {
    let ApiAnswer::Answered { status: 409, .. } = answer else {
        return None;
    };
    let body = answer.json().unwrap_or_default();
    let text = body["description"].as_str().unwrap_or_default().to_ascii_lowercase();
    Some(if text.contains("terminated by setwebhook") {
        Conflict::NewWebhook
    } else if text.contains("webhook") {
        Conflict::Webhook
    } else {
        Conflict::Poller
    })
}

/// The body of a success response that isn't JSON.
fn unreadable(answer: &ApiAnswer) -> Option<&[u8]> {
    match answer {
        ApiAnswer::Answered { status: 200, body, .. } if answer.json().is_none() => Some(body),
        _ => None,
    }
}

fn first_update_id(body: &[u8]) -> Option<i64> {
    const NAME: &[u8] = b"\"update_id\":";
    let at = body.windows(NAME.len()).position(|window| window == NAME)?;
    let rest = &body[at + NAME.len()..];
    let digits = rest.iter().take(20).take_while(|byte| byte.is_ascii_digit()).count();
    std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()
}

fn refused(error: ApiError) -> Effect {
    match error.meaning {
        Meaning::BadToken | Meaning::UnknownMethod => Effect::Refused(Refusal::Credentials { code: error.code }),
        _ => passing(&error.code, error.retry_after_s),
    }
}

fn passing(code: &str, retry_after_s: Option<u64>) -> Effect {
    Effect::Refused(Refusal::Passing {
        code: code.to_owned(),
        retry_after: retry_after_s.map(Duration::from_secs),
    })
}
