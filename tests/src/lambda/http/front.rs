//! What takes a function's HTTP requests.

/// What takes a function's HTTP requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::lambda) enum Front {
    /// API Gateway.
    HttpApi,
    /// A function URL, which refuses with statuses of its own.
    FunctionUrl,
}
