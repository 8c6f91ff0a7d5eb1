//! Authentication of interaction requests.

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use tieline_core::connector::Rejection;
use tieline_core::http_types::WebhookRequest;

use super::settings::Settings;

/// A request body that Discord has signed. Created only by [`verify`].
#[derive(Debug, Clone, Copy)]
pub(super) struct Authentic<'a>(&'a [u8]);

impl<'a> Authentic<'a> {
    pub(super) const fn body(self) -> &'a [u8] {
        self.0
    }
}

/// Verifies the Ed25519 signature over the timestamp header and the body, both as received.
///
/// See [Discord Docs/Interactions: Security and Authorization](https://discord.com/developers/docs/interactions/overview#setting-up-an-endpoint-validating-security-request-headers).
pub(super) fn verify<'a>(request: &'a WebhookRequest, settings: &Settings) -> Result<Authentic<'a>, Rejection> {
    let key = settings.public_key.ok_or(Rejection::Missing("publicKey"))?;
    let signature = header(request, "x-signature-ed25519")?;
    let timestamp = header(request, "x-signature-timestamp")?;
    let mut bytes = [0; 64];
    hex::decode_to_slice(signature, &mut bytes).map_err(|_| Rejection::BadSignature)?;
    let mut signed = Vec::with_capacity(timestamp.len() + request.body.len());
    signed.extend_from_slice(timestamp.as_bytes());
    signed.extend_from_slice(&request.body);
    UnparsedPublicKey::new(&ED25519, key)
        .verify(&signed, &bytes)
        .map_err(|_| Rejection::BadSignature)?;
    Ok(Authentic(&request.body))
}

fn header<'a>(request: &'a WebhookRequest, name: &'static str) -> Result<&'a str, Rejection> {
    let value = request.header(name).filter(|value| !value.is_empty());
    value.ok_or(Rejection::Missing(name))
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
    use proptest::prelude::*;
    use tieline_core::account::ConnectionMode;

    use super::*;

    fn request(pair: &Ed25519KeyPair, timestamp: &str, body: &[u8]) -> WebhookRequest {
        let signature = pair.sign(&[timestamp.as_bytes(), body].concat());
        WebhookRequest {
            headers: vec![
                ("x-signature-ed25519".into(), hex::encode(signature)),
                ("x-signature-timestamp".into(), timestamp.into()),
            ],
            body: body.to_vec(),
            ..WebhookRequest::default()
        }
    }

    fn settings(pair: &Ed25519KeyPair) -> Settings {
        let key = hex::encode(pair.public_key());
        let credentials = [("botToken", "t"), ("applicationId", "1"), ("publicKey", key.as_str())];
        Settings::read(ConnectionMode::Webhook, &credentials.into_iter().collect()).unwrap()
    }

    proptest! {
        #[test]
        fn signed_is_accepted_and_any_flipped_bit_is_not(
            body in proptest::collection::vec(any::<u8>(), 1..200), timestamp in "[0-9]{10}", at: prop::sample::Index, bit in 0u8..8,
        ) {
            let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
            let mut request = request(&pair, &timestamp, &body);
            let settings = settings(&pair);
            prop_assert_eq!(verify(&request, &settings).unwrap().body(), &body[..]);
            let at = at.index(body.len());
            request.body[at] ^= 1 << bit;
            prop_assert_eq!(verify(&request, &settings).unwrap_err(), Rejection::BadSignature);
        }
    }
}
