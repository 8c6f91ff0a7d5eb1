//! Authentication and decryption of callbacks.

use std::time::Duration;

use tieline_core::connector::{Context, Rejection};
use tieline_core::http_types::WebhookRequest;
use tieline_core::timestamp::Timestamp;

use super::settings::Settings;
use crate::callback_cipher::Opened;
use crate::xml_callback::{SignedQuery, required, sealed_part};

/// Largest time by which a signature may be ahead of our clock.
const MAX_AHEAD: Duration = Duration::from_secs(60 * 60);

/// An authenticated request.
pub(super) enum Proved {
    /// A check of the callback URL: exactly these bytes are returned.
    Challenge(Vec<u8>),
    /// A message or an event.
    Callback(Authentic),
}

/// An authenticated callback. Created only by this file.
pub(super) struct Authentic {
    opened: Opened,
    signed_at: Timestamp,
    nonce: String,
}

impl Authentic {
    /// The decrypted XML.
    pub(super) fn message(&self) -> &[u8] {
        self.opened.message()
    }

    /// Time of the signature.
    pub(super) const fn signed_at(&self) -> Timestamp {
        self.signed_at
    }

    /// The request's nonce.
    pub(super) fn nonce(&self) -> &str {
        &self.nonce
    }
}

/// Verifies the signature, then decrypts. The dispatcher limits the age of a callback: an old one is acknowledged and refused.
pub(super) fn verify(request: &WebhookRequest, settings: &Settings, cx: &Context<'_>) -> Result<Proved, Rejection> {
    let query = SignedQuery::read(request)?;
    let is_challenge = request.method == "GET";
    let sealed = match is_challenge {
        true => required(request, "echostr")?,
        false => sealed_part(&request.body)?,
    };
    let opened = settings.keys.open(&sealed, &query, request)?;
    let signed_at = Timestamp::from_secs(query.signed_at()?);
    if signed_at.since(cx.now) > MAX_AHEAD {
        return Err(Rejection::Stale {
            age_s: cx.now.as_secs().saturating_sub(signed_at.as_secs()),
            limit_s: 60 * 60,
        });
    }
    Ok(match is_challenge {
        true => Proved::Challenge(opened.message().to_vec()),
        false => Proved::Callback(Authentic {
            opened,
            signed_at,
            nonce: query.nonce,
        }),
    })
}
