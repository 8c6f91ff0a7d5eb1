//! Values of the contract as JSON, for comparison with what a vector expects.

use serde_json::{Map, Value, json};
use tieline_core::connector::{Answer, PollWait, Rejection, Remark, Verdict};
use tieline_core::event::{CardAction, Chat, ChatMoved, Event, Feedback, Message, Part, Recalled, Sender};
use tieline_core::http_types::{ApiAnswer, ApiCall, Body, HttpCall, SocketCall, TokenPlace, WebhookAnswer};
use tieline_core::reply::{ComposeError, ReplyTarget, Step};
use tieline_core::stream::{Begin, Effect, Frame, Refusal, SocketAddress};

pub(crate) fn event(event: &Event) -> Value {
    match event {
        Event::Message(message) => json!({ "message": self::message(message) }),
        Event::Overheard(message) => json!({ "overheard": self::message(message) }),
        Event::CardAction(action) => json!({ "cardAction": card_action(action) }),
        Event::Feedback(feedback) => json!({ "feedback": self::feedback(feedback) }),
        Event::Recalled(recalled) => json!({ "recalled": self::recalled(recalled) }),
        Event::ChatMoved(moved) => json!({ "chatMoved": chat_moved(moved) }),
    }
}

fn message(message: &Message) -> Value {
    json!({
        "id": message.id,
        "sender": sender(&message.sender),
        "chatName": message.chat_name,
        "sentAt": message.sent_at,
        "text": message.text,
        "parts": parts(&message.parts),
        "quoted": message.quoted.as_ref().map(|quoted| json!({ "text": quoted.text, "parts": parts(&quoted.parts) })),
        "refersTo": message.refers_to,
        "topicRoot": message.topic_root,
        "album": message.album,
        "target": target(&message.target),
    })
}

fn card_action(action: &CardAction) -> Value {
    json!({
        "id": action.id,
        "sender": sender(&action.sender),
        "key": action.key,
        "card": action.card,
        "target": target(&action.target),
    })
}

fn feedback(feedback: &Feedback) -> Value {
    json!({
        "id": feedback.id,
        "chat": chat(&feedback.chat),
        "sender": feedback.sender,
        "subject": feedback.subject,
        "rating": feedback.rating,
        "comment": feedback.comment,
    })
}

fn recalled(recalled: &Recalled) -> Value {
    json!({ "message": recalled.message, "chat": chat(&recalled.chat), "sender": recalled.sender })
}

fn chat_moved(moved: &ChatMoved) -> Value {
    json!({ "id": moved.id, "from": moved.from, "chat": chat(&moved.chat), "sender": moved.sender })
}

fn sender(sender: &Sender) -> Value {
    json!({ "id": sender.id, "name": sender.name })
}

fn parts(parts: &[Part]) -> Value {
    let part = |part: &Part| {
        json!({
            "kind": part.kind,
            "name": part.name,
            "mime": part.mime,
            "size": part.size,
            "locator": part.locator,
        })
    };
    parts.iter().map(part).collect()
}

fn chat(chat: &Chat) -> Value {
    json!({ "kind": chat.kind, "id": chat.id, "thread": chat.thread })
}

fn target(target: &ReplyTarget) -> Value {
    json!({
        "chat": chat(&target.chat),
        "asker": target.asker,
        "message": target.message,
        "handle": target.handle,
        "expiresAt": target.expires_at,
    })
}

pub(crate) fn rejection(rejection: Rejection) -> Value {
    let kind = match rejection {
        Rejection::Missing(_) => "Missing",
        Rejection::BadSignature => "BadSignature",
        Rejection::Stale { .. } => "Stale",
        Rejection::BadCipher(_) => "BadCipher",
        Rejection::WrongReceiver => "WrongReceiver",
        Rejection::Malformed(_) => "Malformed",
    };
    json!({ "rejected": kind })
}

pub(crate) fn remark(remark: Remark) -> Value {
    match remark {
        Remark::Ignored(reason) => json!({ "ignored": reason }),
        Remark::Unreadable(reason) => json!({ "unreadable": reason }),
    }
}

pub(crate) fn answer(answer: &Answer) -> Value {
    match answer {
        Answer::Fixed(fixed) => webhook_answer(fixed),
        Answer::Polled(newest) => json!({ "newest": {
            "reply": newest.reply,
            "asker": newest.asker,
            "first": newest.first,
            "note": newest.note,
            "wait": match newest.wait {
                PollWait::No => Value::Null,
                PollWait::Newer(version) => json!({ "newer": version }),
                PollWait::Final(limit) => json!({ "finalMs": limit.as_millis() }),
            },
        }}),
    }
}

/// A JSON body is shown twice: as `body` and as `json`.
pub(crate) fn webhook_answer(answer: &WebhookAnswer) -> Value {
    json!({
        "status": answer.status,
        "contentType": answer.content_type,
        "body": String::from_utf8_lossy(&answer.body),
        "json": serde_json::from_slice::<Value>(&answer.body).ok(),
    })
}

pub(crate) fn step(step: &Result<Step, ComposeError>) -> Value {
    match step {
        Ok(Step::Call { call, on_success }) => json!({ "call": api_call(call), "onSuccess": on_success }),
        Ok(Step::Wait { until }) => json!({ "wait": until }),
        Ok(Step::Done) => json!({ "done": true }),
        Err(ComposeError::Expired) => json!({ "error": "Expired" }),
        Err(ComposeError::ForeignAddress) => json!({ "error": "ForeignAddress" }),
        Err(ComposeError::Incomplete { field }) => json!({ "error": "Incomplete", "field": field }),
        Err(ComposeError::UnreadableProgress(_)) => json!({ "error": "UnreadableProgress" }),
    }
}

fn api_call(call: &ApiCall) -> Value {
    match call {
        ApiCall::Http(call) => json!({ "http": http_call(call) }),
        ApiCall::Socket(call) => json!({ "socket": socket_call(call) }),
    }
}

fn token_place(place: TokenPlace) -> Value {
    match place {
        TokenPlace::None => Value::Null,
        TokenPlace::Bearer => "bearer".into(),
        TokenPlace::Query(name) => json!({ "query": name }),
        TokenPlace::Header(name) => json!({ "header": name }),
    }
}

pub(crate) fn http_call(call: &HttpCall) -> Value {
    let headers: Map<String, Value> = call
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    let token = token_place(call.token);
    json!({
        "name": call.name,
        "method": call.method,
        "url": call.url,
        "headers": headers,
        "body": body(&call.body),
        "token": token,
        "timeoutS": call.timeout.as_secs(),
    })
}

fn body(body: &Body) -> Value {
    match body {
        Body::Empty => Value::Null,
        Body::FileAt {
            url,
            max_bytes,
            form: None,
        } => json!({ "fileAt": url, "maxBytes": max_bytes }),
        Body::FileAt {
            url,
            max_bytes,
            form: Some(form),
        } => json!({
            "fields": form.fields.iter().cloned().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
            "field": form.field,
            "name": form.name,
            "mime": form.mime,
            "fileAt": url,
            "maxBytes": max_bytes,
        }),
        Body::Json(text) => serde_json::from_str(text).expect("a JSON body is JSON"),
        Body::Multipart { fields, file } => json!({
            "fields": fields.iter().cloned().map(|(name, value)| (name, value.into())).collect::<Map<_, _>>(),
            "file": file.as_ref().map(|(field, name, mime, bytes)| json!({
                "field": field, "name": name, "mime": mime, "size": bytes.len(),
            })),
        }),
    }
}

fn socket_call(call: &SocketCall) -> Value {
    json!({
        "name": call.name,
        "lane": call.lane,
        "frame": call.frame,
        "replaceable": call.replaceable,
        "expiresAt": call.expires_at,
    })
}

pub(crate) fn verdict(verdict: &Verdict) -> Value {
    match verdict {
        Verdict::Accepted(progress) => json!({ "accepted": progress }),
        Verdict::FallBack { progress, code } => json!({ "fallBack": { "progress": progress, "code": code } }),
        Verdict::Closed {
            progress,
            code,
            rest,
            missing,
        } => json!({ "closed": { "progress": progress, "code": code, "restS": rest.as_secs(), "missing": missing } }),
        Verdict::Resting {
            progress,
            code,
            way,
            rest,
        } => json!({ "resting": { "progress": progress, "code": code, "way": way, "restS": rest.as_secs() } }),
        Verdict::SlowDown {
            retry_after,
            code,
            scope,
        } => {
            let wait = retry_after.map(|wait| wait.as_secs());
            json!({ "slowDown": { "retryAfterS": wait, "code": code, "scope": scope.as_str() } })
        }
        Verdict::TokenExpired => json!({ "tokenExpired": {} }),
        Verdict::Retry { code } => json!({ "retry": { "code": code } }),
        Verdict::Refused { code } => json!({ "refused": { "code": code } }),
        Verdict::CredentialsRefused { code } => json!({ "credentialsRefused": { "code": code } }),
    }
}

pub(crate) fn begin(begin: &Begin) -> Value {
    match begin {
        Begin::Connect(address) => json!({ "connect": self::address(address) }),
        Begin::Authorize(address, token) => {
            json!({ "authorize": { "address": self::address(address), "token": token_place(*token) } })
        }
        Begin::Ask(call) => json!({ "ask": http_call(call) }),
        Begin::Poll => json!({ "poll": {} }),
    }
}

pub(crate) fn address(address: &SocketAddress) -> Value {
    let headers: Map<String, Value> = address
        .headers
        .iter()
        .map(|(name, value)| (name.clone(), value.clone().into()))
        .collect();
    json!({ "url": address.url, "headers": headers, "note": address.note })
}

pub(crate) fn refusal(refusal: &Refusal) -> Value {
    match refusal {
        Refusal::Credentials { code } => json!({ "credentials": { "code": code } }),
        Refusal::LoggedOut { code } => json!({ "loggedOut": { "code": code } }),
        Refusal::StaleToken { code } => json!({ "staleToken": { "code": code } }),
        Refusal::Passing { code, retry_after } => {
            json!({ "passing": { "code": code, "retryAfterS": retry_after.map(|wait| wait.as_secs()) } })
        }
    }
}

pub(crate) fn effect(effect: &Effect) -> Value {
    match effect {
        Effect::Send(frame) => json!({ "send": self::frame(frame) }),
        Effect::Up => json!({ "up": {} }),
        Effect::Heard => json!({ "heard": {} }),
        Effect::Deliver {
            token,
            events,
            give_up_at,
        } => json!({ "deliver": {
            "token": token,
            "events": events.iter().map(event).collect::<Value>(),
            "giveUpAt": give_up_at,
        }}),
        Effect::Fetch(call) => json!({ "fetch": http_call(call) }),
        Effect::Respond(call) => json!({ "respond": http_call(call) }),
        Effect::SaveCursor(cursor) => json!({ "saveCursor": cursor }),
        Effect::Remark(remark) => json!({ "remark": self::remark(*remark) }),
        Effect::Answer { call_id, answer } => json!({ "answer": { "callId": call_id, "answer": api_answer(answer) } }),
        Effect::Replace { reason } => json!({ "replace": { "reason": reason } }),
        Effect::Reconnect { reason, after } => {
            json!({ "reconnect": { "reason": reason, "afterS": after.map(|wait| wait.as_secs()) } })
        }
        Effect::Kicked => json!({ "kicked": {} }),
        Effect::Refused(refusal) => json!({ "refused": self::refusal(refusal) }),
    }
}

/// A text frame with JSON is shown twice: as `text` and as `json`.
fn frame(frame: &Frame) -> Value {
    match frame {
        Frame::Text(text) => json!({ "text": text, "json": serde_json::from_str::<Value>(text).ok() }),
        Frame::Binary(bytes) => json!({ "hex": hex::encode(bytes) }),
    }
}

fn api_answer(answer: &ApiAnswer) -> Value {
    match answer {
        ApiAnswer::Answered { status, .. } => json!({ "status": status, "json": answer.json() }),
        ApiAnswer::NotSent => "not_sent".into(),
        ApiAnswer::Unknown => "unknown".into(),
    }
}

/// The first difference between `actual` and `expected`. Fields that `expected` omits are ignored; null also matches absence; `"*"` matches
/// any other value.
pub(crate) fn difference(expected: &Value, actual: &Value) -> Option<String> {
    match (expected, actual) {
        (Value::Object(expected), Value::Object(actual)) => expected.iter().find_map(|(key, value)| {
            difference(value, actual.get(key).unwrap_or(&Value::Null)).map(|inner| format!(".{key}{inner}"))
        }),
        (Value::Array(expected), Value::Array(actual)) if expected.len() == actual.len() => {
            let pairs = expected.iter().zip(actual).enumerate();
            pairs
                .into_iter()
                .find_map(|(at, (expected, actual))| difference(expected, actual).map(|inner| format!("[{at}]{inner}")))
        }
        (Value::String(any), actual) if any == "*" && !actual.is_null() => None,
        _ if expected == actual => None,
        _ => Some(format!(": expected {expected}, got {actual}")),
    }
}
