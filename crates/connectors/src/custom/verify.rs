//! Authentication: verifies that a request comes from the platform's program.
//!
//! See [Standard Webhooks/Specification](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;
use tieline_core::timestamp::Timestamp;
use tieline_core::webhook_signature::{ID_HEADER, SIGNATURE_HEADER, SigningKeys, TIMESTAMP_HEADER};

/// Largest difference between the time of signing and our clock, in seconds.
const TOLERANCE_S: i64 = 5 * 60;
/// Longest `webhook-id`, in bytes.
const MAX_ID: usize = 256;

/// An authenticated request.
pub(super) struct Authentic<'a> {
    request: &'a WebhookRequest,
}

impl<'a> Authentic<'a> {
    /// The request.
    pub(super) const fn request(&self) -> &'a WebhookRequest {
        self.request
    }
}

/// Verifies a request's signature and age.
///
/// The signature is over the body; for a `GET`, which has no body, over the query exactly as in the URL.
pub(super) fn verify<'a>(
    request: &'a WebhookRequest,
    keys: &SigningKeys,
    now: Timestamp,
) -> Result<Authentic<'a>, Rejection> {
    let header = |name| request.header(name).ok_or(Rejection::Missing(name));
    let (id, signature) = (header(ID_HEADER)?, header(SIGNATURE_HEADER)?);
    let timestamp_s: i64 = header(TIMESTAMP_HEADER)?
        .parse()
        .map_err(|_| Rejection::Malformed("webhook-timestamp is not a number of seconds"))?;
    if id.is_empty() || id.len() > MAX_ID {
        return Err(Rejection::Malformed("webhook-id is empty or too long"));
    }
    let signed = match request.method.as_str() {
        "GET" => request.query.as_bytes(),
        _ => request.body.as_slice(),
    };
    if !keys.verify(id, timestamp_s, signed, signature) {
        return Err(Rejection::BadSignature);
    }
    let age_s = now.as_secs().saturating_sub(timestamp_s);
    if age_s.saturating_abs() > TOLERANCE_S {
        let limit_s = TOLERANCE_S;
        return Err(Rejection::Stale { age_s, limit_s });
    }
    Ok(Authentic { request })
}
