//! Acknowledgements. Their `data` is JSON in a string, always.

use serde_json::{Value, json};
use tieline_core::stream::Frame;

/// Done.
pub(super) fn ok(message_id: &str, data: &str) -> Frame {
    frame(200, "OK", message_id, data)
}

/// It can't be read. Shows in the vendor's console.
pub(super) fn bad_request(message_id: &str) -> Frame {
    frame(400, "bad request", message_id, &robot())
}

/// Nothing that we asked for.
pub(super) fn not_found(message_id: &str) -> Frame {
    frame(404, "topic not found", message_id, "{}")
}

/// It could not be stored.
pub(super) fn failed(message_id: &str, data: &str) -> Frame {
    frame(500, "internal error", message_id, data)
}

/// The data for a message: what is in it isn't used.
pub(super) fn robot() -> String {
    json!({ "response": null }).to_string()
}

/// The data for a click: how the card changes.
pub(super) fn card(change: &Value) -> String {
    json!({ "response": change }).to_string()
}

/// The data for an event: without it, it comes again.
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
