//! The engine's errors in DynamoDB's format.

use dynoxide::DynoxideError;

use crate::Answer;

const ENVELOPE: &str = "1 validation error detected: ";

/// The response that reports `error` to the caller of `operation`.
pub(super) fn answer(operation: &str, error: DynoxideError) -> Answer {
    let status = error.status_code();
    if status >= 500 {
        log(operation, &error);
        return Answer::internal_error();
    }
    Answer::of(status, enveloped(operation, error).to_json())
}

/// Logs a storage error and keeps it from the caller: it is about our storage, not about the caller's request.
pub(super) fn log(operation: &str, error: &DynoxideError) {
    tracing::error!(%error, operation, "table storage failed");
}

/// Adds the envelope that DynamoDB puts around some validation errors of three operations. The engine leaves this to its own HTTP server.
pub(super) fn enveloped(operation: &str, error: DynoxideError) -> DynoxideError {
    match error {
        DynoxideError::EnvelopedValidation(message) => match operation {
            "PutItem" | "UpdateItem" | "DeleteItem" if !message.starts_with(ENVELOPE) => {
                DynoxideError::ValidationException(format!("{ENVELOPE}{message}"))
            }
            _ => DynoxideError::ValidationException(message),
        },
        other => other,
    }
}

/// The error for a request that could not be read.
///
/// The engine's request types validate themselves while they are deserialized, and mark what DynamoDB calls a validation error.
pub(super) fn of_reading(error: &serde_json::Error) -> DynoxideError {
    let text = error.to_string();
    let message = without_position(&text);
    let marked = |marker| message.strip_prefix(marker).map(str::to_owned);
    if let Some(message) = marked("VALIDATION_REQUEST:") {
        return DynoxideError::EnvelopedValidation(message);
    }
    if let Some(message) = marked("VALIDATION:").or_else(|| marked("VALIDATION_AS_READ:")) {
        return DynoxideError::ValidationException(message);
    }
    if let Some(message) = marked("SERIALIZATION:").or_else(|| marked("SERIALIZATION_AS_READ:")) {
        return DynoxideError::SerializationException(message);
    }
    let is_validation = [
        "missing field",
        "unknown variant",
        "invalid type: null",
        "AttributeValue",
    ];
    if is_validation.iter().any(|sign| message.contains(sign)) {
        return DynoxideError::ValidationException(message.to_owned());
    }
    // Position only: the parser's message may quote the item.
    let position = format!("malformed request at line {}, column {}", error.line(), error.column());
    DynoxideError::SerializationException(position)
}

fn without_position(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message)
}
