//! Ids that AWS generates, and the current time.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Time since 1970.
pub(super) fn unix_now() -> Duration {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default()
}

/// A random UUID, version 4.
pub(super) fn uuid() -> String {
    uuid::Builder::from_random_bytes(random()).into_uuid().to_string()
}

/// A trace header for a request that is not sampled.
///
/// See [X-Ray Docs/Tracing header](https://docs.aws.amazon.com/xray/latest/devguide/xray-concepts.html#xray-concepts-tracingheader).
pub(super) fn trace_id() -> String {
    let (root, parent): ([u8; 12], [u8; 8]) = (random(), random());
    format!(
        "Root=1-{:08x}-{};Parent={};Sampled=0",
        unix_now().as_secs(),
        hex::encode(root),
        hex::encode(parent)
    )
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}
