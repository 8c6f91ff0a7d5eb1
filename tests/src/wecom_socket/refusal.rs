//! Codes that the platform refuses frames with.

/// A refusal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Refusal {
    pub(super) code: i64,
    pub(super) text: String,
    /// Whether the response names the request: a check of the frame's shape comes before its id is read.
    pub(super) names_request: bool,
}

/// A frame that has not the documented shape.
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
