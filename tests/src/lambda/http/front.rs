//! Front ends that accept HTTP requests for functions.

/// Front end that accepts HTTP requests for functions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lambda) enum Front {
    /// API Gateway.
    HttpApi,
    /// A function URL, which has its own error statuses.
    FunctionUrl,
}
