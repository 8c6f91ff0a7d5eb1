//! Codes by which the platform rejects frames.

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) text: String,
    /// Whether the response names the request: the frame's shape is checked before its id is read.
    pub(super) names_request: bool,
}

/// The refusal of a frame with an undocumented shape.
pub(super) fn shape(text: impl Into<String>) -> Refusal {
    Refusal {
        code: 40058,
        text: text.into(),
        names_request: false,
    }
}

/// Any other refusal.
pub(super) fn refusal(code: i64, text: impl Into<String>) -> Refusal {
    Refusal {
        code,
        text: text.into(),
        names_request: true,
    }
}
