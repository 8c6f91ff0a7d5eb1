//! Converts authenticated requests to events and to the response that the platform expects.

use serde_json::json;
use tieline_core::connector::{Answer, Context, Received, Remark};
use tieline_core::event::Event;
use tieline_core::http_types::WebhookAnswer;

use super::event_cipher::{EventCipher, Opened};
use super::verify::Authentic;
use super::wire::CallbackEvent;
use super::{card_action, decode};

/// Longest robot callback that is read.
const MAX_BYTES: usize = 256 * 1024;

/// Reads an authenticated request.
pub(super) fn read(authentic: Authentic<'_>, cx: &Context<'_>) -> Received {
    match authentic {
        Authentic::Robot(body) => robot(body, cx),
        Authentic::Event { opened, cipher } => event(&opened, cipher, cx),
        Authentic::Card { body, pushed_at } => card(body, pushed_at, cx),
    }
}

/// The response could be a message to the chat; our answer comes later, in another way.
fn robot(body: &[u8], cx: &Context<'_>) -> Received {
    if body.len() > MAX_BYTES {
        return Received::unreadable("the message is longer than 256 KiB", WebhookAnswer::empty(413));
    }
    let empty = WebhookAnswer::json(&json!({ "msgtype": "empty" }));
    match decode::message(body, cx) {
        Ok(event) => one(event, empty),
        // The signature doesn't cover the body, so an unreadable body is answered like a refused request, as the platform's documentation
        // demands.
        Err(remark) if remark == decode::UNREADABLE => without_event(remark, WebhookAnswer::empty(400)),
        Err(remark) => without_event(remark, empty),
    }
}

fn card(body: &[u8], pushed_at: &str, cx: &Context<'_>) -> Received {
    match card_action::read(body, pushed_at, Some(pushed_at), cx) {
        Ok(click) => one(click.event, WebhookAnswer::json(&click.answer)),
        Err(remark) => without_event(remark, WebhookAnswer::json(&json!({}))),
    }
}

/// Every event is answered with success, encrypted for its receiver; otherwise the platform sends it again or disables the URL.
fn event(opened: &Opened, cipher: &EventCipher, cx: &Context<'_>) -> Received {
    let Ok(event) = serde_json::from_str::<CallbackEvent>(&opened.message) else {
        return Received::unreadable("the event is not JSON", sealed("success", opened, cipher, cx));
    };
    let of_suite = matches!(
        event.event_type.as_deref(),
        Some("check_create_suite_url" | "check_update_suite_url")
    );
    let content = event.random.filter(|_| of_suite);
    let answer = sealed(content.as_deref().unwrap_or("success"), opened, cipher, cx);
    if of_suite || event.event_type.as_deref() == Some("check_url") {
        return Received::only(answer);
    }
    Received::ignored("event of no use to us", answer)
}

fn sealed(content: &str, opened: &Opened, cipher: &EventCipher, cx: &Context<'_>) -> WebhookAnswer {
    let mut random = [0; 16];
    random.copy_from_slice(&cx.random[..16]);
    let nonce = hex::encode(&cx.random[16..24]);
    let timestamp = cx.now.as_millis().to_string();
    WebhookAnswer::json(&cipher.answer(content, &opened.receiver, random, &timestamp, &nonce))
}

fn one(event: Event, answer: WebhookAnswer) -> Received {
    Received {
        events: vec![event],
        answer: Answer::Fixed(answer),
        remark: None,
    }
}

fn without_event(remark: Remark, answer: WebhookAnswer) -> Received {
    Received {
        events: Vec::new(),
        answer: Answer::Fixed(answer),
        remark: Some(remark),
    }
}
