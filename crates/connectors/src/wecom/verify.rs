//! Authentication and decryption of callbacks.

use serde_json::Error;
use subtle::ConstantTimeEq as _;
use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;
use tieline_core::timestamp::Timestamp;

use super::settings::WebhookKeys;
use super::wire;
use crate::callback_cipher::{self, CipherError, Opened};

/// Receiver of content encrypted for a bot of one's own company: empty.
///
/// See [WeCom Docs/回调和回复的加解密方案](https://developer.work.weixin.qq.com/document/path/101033).
pub(super) const BOT: &str = "";

/// Largest time by which a signature may be ahead of our clock, in seconds.
const MAX_AHEAD_S: i64 = 60 * 60;

/// An authenticated callback. Created only by this file.
pub(super) struct Authentic {
    opened: Opened,
    signed_at: Timestamp,
    nonce: String,
    challenge: bool,
}

impl Authentic {
    /// The decrypted content.
    pub(super) fn message(&self) -> &[u8] {
        self.opened.message()
    }

    /// Time of the signature.
    pub(super) const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// The request's nonce, which the response repeats.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }

    /// Whether the platform only checks that we can decrypt.
    pub(super) const fn is_challenge(&self) -> bool {
        self.challenge
    }
}

/// Verifies the signature, decrypts, and checks the time of the signature. The dispatcher limits the age of a callback: an old one is
/// acknowledged and refused.
pub(super) fn verify(request: &WebhookRequest, keys: &WebhookKeys, now: Timestamp) -> Result<Authentic, Rejection> {
    let parameter = |name: &'static str| request.query_value(name).ok_or(Rejection::Missing(name));
    let claimed = parameter("msg_signature")?;
    let timestamp = parameter("timestamp")?;
    let nonce = parameter("nonce")?;
    let challenge = request.method == "GET";
    let opened = if challenge {
        open(&parameter("echostr")?, &claimed, &timestamp, &nonce, keys)?
    } else {
        let body: wire::Sealed<'_> = serde_json::from_slice(&request.body).map_err(|error| malformed(&error))?;
        if body.encrypt.is_empty() {
            return Err(Rejection::Missing("encrypt"));
        }
        open(body.encrypt.as_str(), &claimed, &timestamp, &nonce, keys)?
    };
    Ok(Authentic {
        opened,
        signed_at: signed_at(&timestamp, now)?,
        nonce,
        challenge,
    })
}

fn signed_at(timestamp: &str, now: Timestamp) -> Result<Timestamp, Rejection> {
    let digits = timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let seconds = timestamp.parse().ok().filter(|_| digits);
    let seconds: i64 = seconds.ok_or(Rejection::Malformed("`timestamp` is not a number of seconds"))?;
    let (age_s, limit_s) = (now.as_secs().saturating_sub(seconds), MAX_AHEAD_S);
    if age_s < -limit_s {
        return Err(Rejection::Stale { age_s, limit_s });
    }
    Ok(Timestamp::from_secs(seconds))
}

fn malformed(error: &Error) -> Rejection {
    Rejection::Malformed(if error.is_data() {
        "the body is not an object with `encrypt`"
    } else {
        "the body is not JSON"
    })
}

fn open(sealed: &str, claimed: &str, timestamp: &str, nonce: &str, keys: &WebhookKeys) -> Result<Opened, Rejection> {
    let values = [keys.token.expose(), timestamp, nonce, sealed].map(str::as_bytes);
    let signature = callback_cipher::signature(values);
    if !bool::from(signature.as_slice().ct_eq(claimed.as_bytes())) {
        return Err(Rejection::BadSignature);
    }
    keys.key.open(sealed, BOT).map_err(|error| match error {
        CipherError::Receiver => Rejection::WrongReceiver,
        other => Rejection::BadCipher(other.reason()),
    })
}
