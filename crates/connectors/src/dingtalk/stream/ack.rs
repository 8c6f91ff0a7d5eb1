//! Acknowledgements. Their `data` is always JSON in a string.

use serde_json::{Value, json};
use tieline_core::stream::Frame;

/// The frame was processed.
pub(super) fn ok(message_id: &str, data: &str) -> Frame {
    frame(200, "OK", message_id, data)
}

/// The frame can't be parsed. The vendor's console shows this.
pub(super) fn bad_request(message_id: &str) -> Frame {
    frame(400, "bad request", message_id, &robot())
}

/// The topic is not subscribed to.
pub(super) fn not_found(message_id: &str) -> Frame {
    frame(404, "topic not found", message_id, "{}")
}

/// The frame could not be stored.
pub(super) fn failed(message_id: &str, data: &str) -> Frame {
    frame(500, "internal error", message_id, data)
}

/// Data of a message's acknowledgement: the platform ignores its content.
pub(super) fn robot() -> String {
    json!({ "response": null }).to_string()
}

/// Data of a click's acknowledgement: the change of the card.
pub(super) fn card(change: &Value) -> String {
    json!({ "response": change }).to_string()
}

/// Data of an event's acknowledgement: without it, the event is sent again.
pub(super) fn event() -> String {
    json!({ "status": "SUCCESS", "message": "success" }).to_string()
}

fn frame(code: u16, message: &str, message_id: &str, data: &str) -> Frame {
    let ack = json!({
        "code": code,
        "headers": { "messageId": message_id, "contentType": "application/json" },
        "message": message,
        "data": data,
    });
    Frame::Text(ack.to_string())
}
