//! Signatures by Standard Webhooks, independently implemented.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// The signature of one key.
pub(super) fn sign(secret: &str, id: &str, timestamp_s: &str, body: &[u8]) -> String {
    let key = secret.strip_prefix("whsec_").and_then(|it| STANDARD.decode(it).ok());
    let mut mac = Hmac::<Sha256>::new_from_slice(&key.expect("secrets of tests are right")).expect("any key will do");
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

/// Now, in seconds of Unix time.
pub(super) fn now_s() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| i64::try_from(since.as_secs()).unwrap_or(i64::MAX))
}
