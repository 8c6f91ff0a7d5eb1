//! Signed `POST` to an address of an organization, after Standard Webhooks, behind the SSRF guard.

use std::time::Duration;

use reqwest::header::CONTENT_TYPE;
use reqwest::{Response, StatusCode};
use tieline_core::outbound_url::{self, AddressError};
use tieline_core::secret::Secret;
use tieline_core::webhook_signature::{self, InvalidSecret, SigningKeys};

use crate::world::World;

/// Why a request was not accepted.
#[derive(Debug, thiserror::Error)]
pub enum SignedPostError {
    /// The address may not be called.
    #[error("the address can't be used")]
    Address(#[from] AddressError),
    /// The secret can't be used.
    #[error("the secret can't be used")]
    Secret(#[from] InvalidSecret),
    /// The server can't be reached, or didn't answer in time.
    #[error("the webhook can't be reached")]
    Unreachable(#[source] reqwest::Error),
    /// The server answered with an error status.
    #[error("the webhook answered {0}")]
    Refused(StatusCode),
}

impl SignedPostError {
    pub(crate) fn unreachable(error: reqwest::Error) -> Self {
        // The address may carry a key of its receiver.
        Self::Unreachable(error.without_url())
    }
}

/// Sends JSON under its id. The success response must be read within the same `patience`.
pub(crate) async fn send(
    world: &World,
    (url, secret): (&str, &Secret),
    (id, body): (&str, String),
    patience: Duration,
) -> Result<Response, SignedPostError> {
    // A host name is checked when it is resolved: see `egress`.
    let url = outbound_url::check(url, &world.settings.allow_private)?;
    let keys = SigningKeys::read(&[secret.expose()])?;
    let signed_at = world.clock.now().as_secs();
    let request = world
        .http
        .client()
        .post(url)
        .timeout(patience)
        .header(CONTENT_TYPE, "application/json")
        .header(webhook_signature::ID_HEADER, id)
        .header(webhook_signature::TIMESTAMP_HEADER, signed_at)
        .header(
            webhook_signature::SIGNATURE_HEADER,
            keys.sign(id, signed_at, body.as_bytes()),
        )
        .body(body);
    let answer = request.send().await.map_err(SignedPostError::unreachable)?;
    match answer.status() {
        status if status.is_success() => Ok(answer),
        status => Err(SignedPostError::Refused(status)),
    }
}
