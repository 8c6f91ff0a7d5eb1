//! The rules for messages.

use serde_json::{Value, json};

use crate::outbound::Complaints;

/// Longest text of a message.
const MAX_CONTENT: usize = 2000;
/// Longest nonce.
const MAX_NONCE: usize = 25;
/// Flags that a new message may have: no previews, no sound.
const CREATE_FLAGS: u64 = 1 << 2 | 1 << 12;

/// A refusal: status, code, body.
#[derive(Debug, Clone)]
pub(super) struct Refused {
    pub(super) status: u16,
    pub(super) body: Value,
}

/// A refusal by its code.
pub(super) fn refuse(status: u16, code: i64, message: &str) -> Refused {
    Refused {
        status,
        body: json!({ "message": message, "code": code }),
    }
}

fn invalid(field: &str, why: &str) -> Refused {
    let errors = json!({ field: { "_errors": [{ "code": "INVALID", "message": why }] } });
    Refused {
        status: 400,
        body: json!({ "message": "Invalid Form Body", "code": 50035, "errors": errors }),
    }
}

/// How a message is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Writing {
    /// A new message in a channel.
    Create,
    /// A new message with an interaction's token.
    FollowUp,
    /// An edit of an existing message.
    Edit,
}

impl Writing {
    const fn fields(self) -> &'static [&'static str] {
        match self {
            Self::Create => &[
                "content",
                "allowed_mentions",
                "flags",
                "components",
                "nonce",
                "enforce_nonce",
                "message_reference",
                "attachments",
            ],
            Self::FollowUp => &["content", "allowed_mentions", "flags", "components", "attachments"],
            Self::Edit => &["content", "allowed_mentions", "flags", "components"],
        }
    }
}

/// Checks the body of a message: what the platform rejects is rejected; what it accepts but the bridge must not send is a complaint.
pub(super) fn check(body: &Value, writing: Writing, complaints: &mut Complaints) -> Result<(), Refused> {
    let Some(fields) = body.as_object() else {
        return Err(refuse(400, 50109, "The request body contains invalid JSON."));
    };
    for field in fields
        .keys()
        .filter(|field| !writing.fields().contains(&field.as_str()))
    {
        complaints.add(format!("{writing:?} with a field {field}"));
    }
    let content = body["content"].as_str().unwrap_or_default();
    let has_file = body["attachments"].is_array();
    if content.trim().is_empty() && !has_file {
        complaints.add(format!("{writing:?} of a blank message"));
        return Err(refuse(400, 50006, "Cannot send an empty message"));
    }
    if content.chars().count() > MAX_CONTENT {
        complaints.add(format!("{writing:?} of more than {MAX_CONTENT} characters"));
        return Err(invalid("content", "Must be 2000 or fewer in length."));
    }
    if !content.matches("```").count().is_multiple_of(2) {
        complaints.add(format!("code that isn't closed: {content:?}"));
    }
    if body["allowed_mentions"] != json!({ "parse": [] }) {
        complaints.add(format!(
            "{writing:?} that may mention people: {}",
            body["allowed_mentions"]
        ));
    }
    let flags = body["flags"].as_u64().unwrap_or_default();
    let allowed = if writing == Writing::Edit { 1 << 2 } else { CREATE_FLAGS };
    if flags & !allowed != 0 {
        return Err(invalid("flags", "Flags are not allowed."));
    }
    check_components(&body["components"])?;
    if writing == Writing::Create {
        let nonce = body["nonce"].as_str().unwrap_or_default();
        if nonce.is_empty() || body["enforce_nonce"] != true {
            complaints.add("a message without an enforced nonce");
        }
        if nonce.chars().count() > MAX_NONCE {
            return Err(invalid("nonce", "Must be 25 or fewer in length."));
        }
    }
    Ok(())
}

/// Rows of at most five buttons, each with an id of its own.
fn check_components(components: &Value) -> Result<(), Refused> {
    let Some(rows) = components.as_array() else {
        return if components.is_null() {
            Ok(())
        } else {
            Err(invalid("components", "Must be a list."))
        };
    };
    if rows.len() > 5 {
        return Err(invalid("components", "Must be 5 or fewer in length."));
    }
    let mut ids = Vec::new();
    for row in rows {
        let buttons = row["components"].as_array().map_or(&[][..], Vec::as_slice);
        if row["type"] != 1 || buttons.is_empty() || buttons.len() > 5 {
            return Err(invalid("components", "A row holds one to five buttons."));
        }
        for button in buttons {
            let id = button["custom_id"].as_str().unwrap_or_default();
            let label = button["label"].as_str().unwrap_or_default();
            let url = button["url"].as_str().unwrap_or_default();
            let carries = match button["style"].as_u64().unwrap_or_default() {
                1..=4 => (1..=100).contains(&id.chars().count()) && !ids.contains(&id) && button["url"].is_null(),
                5 => {
                    (1..=512).contains(&url.chars().count()) && url.starts_with("http") && button["custom_id"].is_null()
                }
                _ => false,
            };
            if button["type"] != 2 || !carries || !(1..=80).contains(&label.chars().count()) {
                return Err(invalid(
                    "components",
                    "A button has a style, a label and an id of its own.",
                ));
            }
            if !id.is_empty() {
                ids.push(id);
            }
        }
    }
    Ok(())
}
