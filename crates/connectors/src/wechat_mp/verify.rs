//! Proves that the platform sent a callback, and opens a sealed one.
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

/// How far a signature may be from our clock. The plain one doesn't cover the body, so it must not be good for long.
const MAX_AGE: Duration = Duration::from_secs(10 * 60);
/// Longest body that is read.
const MAX_BODY_BYTES: usize = 64 * 1024;

/// A request that is proved to come from the platform.
pub(super) enum Proved {
    /// The platform checks the address: this text back, and nothing else.
    Challenge(String),
    /// A message or an event.
    Callback(Authentic),
}

/// A callback that is proved to come from the platform. Only this file makes one.
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

    /// Whether it came sealed, and so must be answered.
    pub(super) const fn is_sealed(&self) -> bool {
        matches!(self.content, Content::Opened(_))
    }

    /// The request's nonce.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// Checks the signature and its time.
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
            // Not proved yet; but what isn't signed for its body is no reason to read it.
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
