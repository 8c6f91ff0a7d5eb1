//! Authentication and decryption of callbacks.
//!
//! See [WeChat Docs/接入指南](https://developers.weixin.qq.com/doc/offiaccount/Basic_Information/Access_Overview.html) and
//! [WeChat Docs/消息加解密](https://developers.weixin.qq.com/doc/oplatform/developers/dev/push/encryption.md).

use std::time::Duration;

use tieline_core::connector::{Context, Rejection};
use tieline_core::http_types::WebhookRequest;
use tieline_core::timestamp::Timestamp;

use super::settings::Settings;
use crate::callback_cipher::Opened;
use crate::xml_callback::{SignedQuery, is_signature, required, sealed_part};

/// Largest difference between the time of a signature and our clock. Plain callbacks' signatures don't cover the body, so they must expire
/// soon.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// Longest body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// An authenticated request.
pub(super) enum Proved {
    /// A check of the callback URL: exactly this text is returned.
    Challenge(String),
    /// A message or an event.
    Callback(Authentic),
}

/// An authenticated callback. Created only by this file.
pub(super) struct Authentic {
    content: Content,
    nonce: String,
}

enum Content {
    Plain(Vec<u8>),
    Opened(Opened),
}

impl Authentic {
    /// The XML.
    pub(super) fn message(&self) -> &[u8] {
        match &self.content {
            Content::Plain(body) => body,
            Content::Opened(opened) => opened.message(),
        }
    }

    /// Whether it was encrypted, so its response must be too.
    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self.content, Content::Opened(_))
    }

    /// The request's nonce.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// Verifies the signature and its time.
pub(super) fn verify(request: &WebhookRequest, settings: &Settings, cx: &Context<'_>) -> Result<Proved, Rejection> {
    if request.body.len() > MAX_BODY_BYTES {
        return Err(Rejection::Malformed("the body is longer than 64 KiB"));
    }
    let query = SignedQuery::read(request)?;
    let content = match (&settings.keys, request.method.as_str()) {
        (_, "GET") => {
            let echo = required(request, "echostr")?;
            check_plain(request, &query, settings)?;
            check_age(&query, cx)?;
            return Ok(Proved::Challenge(echo));
        }
        (Some(keys), _) => {
            // Not authenticated yet; but a body without a signature must not be read.
            required(request, "msg_signature")?;
            Content::Opened(keys.open(&sealed_part(&request.body)?, &query, request)?)
        }
        (None, _) => {
            check_plain(request, &query, settings)?;
            Content::Plain(request.body.clone())
        }
    };
    check_age(&query, cx)?;
    Ok(Proved::Callback(Authentic {
        content,
        nonce: query.nonce,
    }))
}

fn check_plain(request: &WebhookRequest, query: &SignedQuery, settings: &Settings) -> Result<(), Rejection> {
    let claimed = required(request, "signature")?;
    let values = [settings.token.expose(), query.timestamp.as_str(), query.nonce.as_str()];
    is_signature(values, &claimed)
        .then_some(())
        .ok_or(Rejection::BadSignature)
}

fn check_age(query: &SignedQuery, cx: &Context<'_>) -> Result<(), Rejection> {
    let signed_at = Timestamp::from_secs(query.signed_at()?);
    let distance = cx.now.since(signed_at).max(signed_at.since(cx.now));
    if distance <= MAX_AGE {
        return Ok(());
    }
    Err(Rejection::Stale {
        age_s: cx.now.as_secs().saturating_sub(signed_at.as_secs()),
        limit_s: 600,
    })
}
