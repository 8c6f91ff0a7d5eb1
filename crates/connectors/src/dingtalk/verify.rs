//! Authentication of raw requests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::ConstantTimeEq as _;
use tieline_core::connector::{Context, Rejection};
use tieline_core::http_types::WebhookRequest;

use super::event_cipher::{EventCipher, Opened};
use super::settings;
use super::wire::EventEnvelope;

/// Largest allowed clock difference of a robot callback, in milliseconds, exclusive.
///
/// See [DingTalk Docs/接收消息](https://open.dingtalk.com/document/development/receive-message).
const WINDOW_MS: u64 = 60 * 60 * 1000;

/// A request that DingTalk sent. Created only by [`prove`].
pub(super) enum Authentic<'a> {
    /// A message to the robot.
    Robot(&'a [u8]),
    /// A subscribed event.
    Event {
        /// Its decrypted content.
        opened: Opened,
        /// The cipher for the response.
        cipher: &'a EventCipher,
    },
    /// A click on a card.
    Card {
        body: &'a [u8],
        /// Time of the push, as in the header.
        pushed_at: &'a str,
    },
}

/// Verifies that DingTalk sent `request`.
///
/// A `sign` header means a message to the robot, `x-ddpaas-signature` a click on a card, and a signature in the query an event.
pub(super) fn prove<'a>(request: &'a WebhookRequest, cx: &Context<'a>) -> Result<Authentic<'a>, Rejection> {
    if request.header("sign").is_some() {
        return robot(request, cx);
    }
    if request.header("x-ddpaas-signature").is_some() {
        return card(request, cx);
    }
    event(request, cx)
}

/// The signature covers only the time, so only deduplication prevents a replay within the hour.
fn robot<'a>(request: &'a WebhookRequest, cx: &Context<'_>) -> Result<Authentic<'a>, Rejection> {
    let timestamp = required(request, "timestamp")?;
    let sign = required(request, "sign")?;
    check_clock(timestamp, cx)?;
    let secret = settings::of(cx).client_secret.expose();
    check_sign(sign, &robot_sign(secret, timestamp))?;
    Ok(Authentic::Robot(&request.body))
}

fn card<'a>(request: &'a WebhookRequest, cx: &Context<'_>) -> Result<Authentic<'a>, Rejection> {
    let timestamp = required(request, "x-ddpaas-signature-timestamp")?;
    let sign = required(request, "x-ddpaas-signature")?;
    check_clock(timestamp, cx)?;
    check_sign(sign, &card_sign(&card_secret(cx), timestamp))?;
    Ok(Authentic::Card {
        body: &request.body,
        pushed_at: timestamp,
    })
}

/// No time is checked here: the vendor specifies no limit for this signature.
fn event<'a>(request: &'a WebhookRequest, cx: &Context<'a>) -> Result<Authentic<'a>, Rejection> {
    let value = |name| request.query_value(name).filter(|value| !value.is_empty());
    let signature = value("msg_signature")
        .or_else(|| value("signature"))
        .ok_or(Rejection::Missing("signature"))?;
    let timestamp = value("timestamp").ok_or(Rejection::Missing("timestamp"))?;
    let nonce = value("nonce").ok_or(Rejection::Missing("nonce"))?;
    let envelope: EventEnvelope = serde_json::from_slice(&request.body).map_err(|_| Rejection::Missing("encrypt"))?;
    let cipher = settings::of(cx).events.as_ref().ok_or(Rejection::Missing("aesKey"))?;
    if !cipher.is_signed(&signature, &timestamp, &nonce, &envelope.encrypt) {
        return Err(Rejection::BadSignature);
    }
    let opened = cipher.open(&envelope.encrypt)?;
    Ok(Authentic::Event { opened, cipher })
}

/// The secret of card callbacks, which we choose when we register their URL.
pub(super) fn card_secret(cx: &Context<'_>) -> String {
    cx.account.ids.other("tlcs-", "card callbacks")
}

fn required<'a>(request: &'a WebhookRequest, name: &'static str) -> Result<&'a str, Rejection> {
    request
        .header(name)
        .filter(|value| !value.is_empty())
        .ok_or(Rejection::Missing(name))
}

fn check_clock(timestamp: &str, cx: &Context<'_>) -> Result<(), Rejection> {
    let digits = (1..=19).contains(&timestamp.len()) && timestamp.bytes().all(|byte| byte.is_ascii_digit());
    let sent: i64 = digits
        .then(|| timestamp.parse().ok())
        .flatten()
        .ok_or(Rejection::Malformed("timestamp"))?;
    let now = cx.now.as_millis();
    if now.abs_diff(sent) < WINDOW_MS {
        return Ok(());
    }
    Err(Rejection::Stale {
        age_s: now.saturating_sub(sent) / 1000,
        limit_s: i64::try_from(WINDOW_MS / 1000).expect("an hour is a small number"),
    })
}

fn check_sign(claimed: &str, right: &str) -> Result<(), Rejection> {
    if bool::from(claimed.as_bytes().ct_eq(right.as_bytes())) {
        Ok(())
    } else {
        Err(Rejection::BadSignature)
    }
}

/// `sign` of a robot callback. The time is signed in its received text form.
pub(super) fn robot_sign(secret: &str, timestamp: &str) -> String {
    digest(secret, &format!("{timestamp}\n{secret}"))
}

/// `x-ddpaas-signature` of a card callback: not the robot's scheme.
///
/// See [DingTalk Docs/注册卡片回调地址](https://open.dingtalk.com/document/development/register-card-callback-address).
pub(super) fn card_sign(secret: &str, timestamp: &str) -> String {
    digest(secret, timestamp)
}

fn digest(key: &str, message: &str) -> String {
    let mut mac = Hmac::<Sha256>::new_from_slice(key.as_bytes()).expect("HMAC takes a key of any length");
    mac.update(message.as_bytes());
    STANDARD.encode(mac.finalize().into_bytes())
}
