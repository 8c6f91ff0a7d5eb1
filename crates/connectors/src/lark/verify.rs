//! Authentication of requests: signature, cipher, token, app.

use aes::cipher::block_padding::NoPadding;
use aes::cipher::{BlockModeDecrypt as _, KeyIvInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq as _;
use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;

use super::settings::{Encryption, Settings};

const BLOCK: usize = 16;
const SIGNATURE: &str = "x-lark-signature";

/// An authentic payload. Created only by this file and by the long connection.
#[derive(Debug)]
pub(super) struct Authentic(Map<String, Value>);

impl Authentic {
    /// A payload from the long connection, which is authenticated itself.
    pub(super) fn from_connection(payload: Map<String, Value>) -> Self {
        Self(payload)
    }

    pub(super) fn payload(self) -> Map<String, Value> {
        self.0
    }
}

/// Content of an authenticated request.
#[derive(Debug)]
pub(super) enum Proved {
    Payload(Authentic),
    /// The callback format that `card.action.trigger` has replaced.
    OldCard,
    Unreadable(&'static str),
}

/// Verifies a request, in the order that the platform's documentation requires.
///
/// See [Feishu Docs/将事件发送至开发者服务器](https://open.feishu.cn/document/ukTMukTMukTM/uYDNxYjL2QTM24iN0EjN/event-subscription-configure-/choose-a-subscription-mode/send-notifications-to-developers-server).
pub(super) fn verify(request: &WebhookRequest, settings: &Settings) -> Result<Proved, Rejection> {
    let body: Map<String, Value> =
        serde_json::from_slice(&request.body).map_err(|_| Rejection::Malformed("body is not a JSON object"))?;
    if is_old_card(&body) {
        return old_card(request, settings);
    }
    match (&settings.encryption, body.get("encrypt")) {
        (Some(encryption), Some(Value::String(encrypt))) => encrypted(request, encrypt, encryption, settings),
        (Some(_), Some(_)) => Err(Rejection::Malformed("encrypt is not a string")),
        (Some(_), None) => Err(Rejection::Missing("encrypt")),
        (None, Some(_)) => Err(Rejection::BadCipher("no encrypt key is configured")),
        (None, None) => plain(body, settings),
    }
}

fn plain(body: Map<String, Value>, settings: &Settings) -> Result<Proved, Rejection> {
    if !has_right_token(&body, settings)? {
        return Err(Rejection::Missing("token"));
    }
    for_us(&body, settings)?;
    Ok(Proved::Payload(Authentic(body)))
}

fn encrypted(
    request: &WebhookRequest,
    encrypt: &str,
    encryption: &Encryption,
    settings: &Settings,
) -> Result<Proved, Rejection> {
    if let Err(rejection) = signature(request, encryption) {
        // The platform doesn't sign URL checks: only these may be unsigned, and only with the right token.
        return url_check(encrypt, encryption, settings).ok_or(rejection);
    }
    let text = decrypt(encrypt, &encryption.key)?;
    let Ok(text) = String::from_utf8(text) else {
        return Ok(Proved::Unreadable("decrypted payload is not UTF-8"));
    };
    let Ok(payload) = serde_json::from_str::<Map<String, Value>>(&text) else {
        return Ok(Proved::Unreadable("decrypted payload is not a JSON object"));
    };
    has_right_token(&payload, settings)?;
    for_us(&payload, settings)?;
    Ok(Proved::Payload(Authentic(payload)))
}

fn url_check(encrypt: &str, encryption: &Encryption, settings: &Settings) -> Option<Proved> {
    let text = decrypt(encrypt, &encryption.key).ok()?;
    let payload: Map<String, Value> = serde_json::from_slice(&text).ok()?;
    let is_check = payload.get("type").and_then(Value::as_str) == Some("url_verification");
    let proved = settings.verification_token.is_none() || has_right_token(&payload, settings).ok()?;
    (is_check && proved).then_some(Proved::Payload(Authentic(payload)))
}

/// Whether the payload contains the token. A wrong token is refused; for a missing one, the caller decides.
fn has_right_token(payload: &Map<String, Value>, settings: &Settings) -> Result<bool, Rejection> {
    let header = payload.get("header").and_then(|header| header.get("token"));
    let sent = header.or_else(|| payload.get("token")).and_then(Value::as_str);
    match (&settings.verification_token, sent.filter(|token| !token.is_empty())) {
        (Some(token), Some(sent)) if token.matches(sent) => Ok(true),
        (Some(_), Some(_)) => Err(Rejection::BadSignature),
        _ => Ok(false),
    }
}

fn for_us(payload: &Map<String, Value>, settings: &Settings) -> Result<(), Rejection> {
    let app = payload.get("header").and_then(|header| header.get("app_id")?.as_str());
    match app.filter(|app| !app.is_empty()) {
        Some(app) if app != settings.app_id => Err(Rejection::WrongReceiver),
        _ => Ok(()),
    }
}

fn is_old_card(body: &Map<String, Value>) -> bool {
    ["schema", "uuid", "encrypt"].iter().all(|key| !body.contains_key(*key))
        && body.contains_key("open_message_id")
        && body.contains_key("action")
}

fn old_card(request: &WebhookRequest, settings: &Settings) -> Result<Proved, Rejection> {
    let token = settings.verification_token.as_ref();
    let token = token.ok_or(Rejection::Missing("verification token"))?;
    signed::<Sha1>(request, token.expose())?;
    Ok(Proved::OldCard)
}

fn signature(request: &WebhookRequest, encryption: &Encryption) -> Result<(), Rejection> {
    signed::<Sha256>(request, encryption.text.expose())
}

/// Verifies the signature over timestamp, nonce, secret and the raw body.
fn signed<D: Digest>(request: &WebhookRequest, secret: &str) -> Result<(), Rejection> {
    let header = |name| request.header(name).ok_or(Rejection::Missing(name));
    let mut hash = D::new();
    hash.update(header("x-lark-request-timestamp")?);
    hash.update(header("x-lark-request-nonce")?);
    hash.update(secret);
    hash.update(&request.body);
    let expected = hex::encode(hash.finalize());
    let same = expected.as_bytes().ct_eq(header(SIGNATURE)?.as_bytes());
    if bool::from(same) {
        Ok(())
    } else {
        Err(Rejection::BadSignature)
    }
}

/// AES-256-CBC with the IV in front; every byte of the PKCS7 padding is checked.
fn decrypt(encrypt: &str, key: &[u8; 32]) -> Result<Vec<u8>, Rejection> {
    let mut raw = STANDARD
        .decode(encrypt)
        .map_err(|_| Rejection::BadCipher("encrypt is not base64"))?;
    if raw.len() < 2 * BLOCK || raw.len() % BLOCK != 0 {
        return Err(Rejection::BadCipher("encrypt is not a whole number of blocks"));
    }
    let mut text = raw.split_off(BLOCK);
    let cipher = cbc::Decryptor::<aes::Aes256>::new_from_slices(key, &raw).expect("key and vector have their lengths");
    cipher
        .decrypt_padded::<NoPadding>(&mut text)
        .map_err(|_| Rejection::BadCipher("encrypt can't be decrypted"))?;
    let kept = unpadded(&text).ok_or(Rejection::BadCipher("padding is wrong"))?;
    text.truncate(kept);
    Ok(text)
}

fn unpadded(text: &[u8]) -> Option<usize> {
    let pad = *text.last()?;
    let kept = text.len().checked_sub(usize::from(pad))?;
    let padded = (1..=BLOCK).contains(&usize::from(pad)) && text[kept..].iter().all(|byte| *byte == pad);
    padded.then_some(kept)
}

#[cfg(test)]
mod tests;
