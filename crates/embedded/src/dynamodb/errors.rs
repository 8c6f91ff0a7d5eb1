//! The engine's errors as DynamoDB writes them.

use dynoxide::DynoxideError;

use crate::Answer;

const ENVELOPE: &str = "1 validation error detected: ";

/// The answer that tells the caller of `operation` about `error`.
pub(super) fn answer(operation: &str, error: DynoxideError) -> Answer {
    let status = error.status_code();
    if status >= 500 {
        log(operation, &error);
        return Answer::internal_error();
    }
    Answer::of(status, enveloped(operation, error).to_json())
}

/// Tells the log, and nobody else: what the storage says is ours, not the caller's.
pub(super) fn log(operation: &str, error: &DynoxideError) {
    tracing::error!(%error, operation, "table storage failed");
}

/// The engine leaves it to its own server to put some validation errors in the envelope that DynamoDB has for three operations.
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
/// The engine's request types check themselves while they are read, and mark what DynamoDB calls a validation error.
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
    // Position only: the parser's text may quote the item.
    let position = format!("malformed request at line {}, column {}", error.line(), error.column());
    DynoxideError::SerializationException(position)
}

fn without_position(text: &str) -> &str {
    text.rsplit_once(" at line ").map_or(text, |(message, _)| message)
}
