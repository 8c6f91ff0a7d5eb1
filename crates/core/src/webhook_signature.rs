//! Standard Webhooks signatures, symmetric kind: signs our posts, and verifies posts to us.
//!
//! See [Standard Webhooks/Specification](https://github.com/standard-webhooks/standard-webhooks/blob/main/spec/standard-webhooks.md).

use std::fmt;

use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq as _};

/// The header with the message's id: the idempotency key.
pub const ID_HEADER: &str = "webhook-id";
/// The header with the time of signing, in seconds of Unix time.
pub const TIMESTAMP_HEADER: &str = "webhook-timestamp";
/// The header with the signatures, separated by spaces.
pub const SIGNATURE_HEADER: &str = "webhook-signature";

/// Prefix of a secret that is base64.
const PREFIX: &str = "whsec_";
/// Most signatures of a header that are compared: more than any sender has keys.
const MAX_SIGNATURES: usize = 16;

const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Signing keys of a post: one key, or several during a key rotation. Prints as `SigningKeys(..)`.
#[derive(Clone)]
pub struct SigningKeys(Vec<Hmac<Sha256>>);

/// A secret starts with `whsec_`, and what follows is not base64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("a secret is not base64 after whsec_")]
pub struct InvalidSecret;

impl SigningKeys {
    /// Reads secrets: `whsec_` and base64, or the bytes of the text itself.
    ///
    /// # Errors
    /// [`InvalidSecret`] if one can't be read, or is empty: everybody could sign with it.
    pub fn read(secrets: &[&str]) -> Result<Self, InvalidSecret> {
        secrets
            .iter()
            .map(|secret| key(secret))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The `webhook-signature` of a post: a signature by each key, in order, separated by spaces.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let signatures: Vec<String> = self
            .0
            .iter()
            .map(|key| signature(key.clone(), id, timestamp_s, body))
            .collect();
        signatures.join(" ")
    }

    /// Whether one of the signatures in `header` was made by one of these keys. Unknown signature versions are skipped.
    ///
    /// Constant time per signature. The caller checks the age of `timestamp_s`.
    #[must_use]
    pub fn verify(&self, id: &str, timestamp_s: i64, body: &[u8], header: &str) -> bool {
        let given = || header.split(' ').take(MAX_SIGNATURES);
        let mut found = Choice::from(0);
        for key in &self.0 {
            let ours = signature(key.clone(), id, timestamp_s, body);
            for theirs in given() {
                found |= ours.as_bytes().ct_eq(theirs.as_bytes());
            }
        }
        found.into()
    }
}

impl fmt::Debug for SigningKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SigningKeys(..)")
    }
}

fn key(secret: &str) -> Result<Hmac<Sha256>, InvalidSecret> {
    let bytes = match secret.strip_prefix(PREFIX) {
        Some(encoded) => BASE64.decode(encoded).map_err(|_| InvalidSecret)?,
        None => secret.as_bytes().to_vec(),
    };
    if bytes.is_empty() {
        return Err(InvalidSecret);
    }
    Ok(Hmac::new_from_slice(&bytes).expect("HMAC accepts a key of any length"))
}

fn signature(mut mac: Hmac<Sha256>, id: &str, timestamp_s: i64, body: &[u8]) -> String {
    mac.update(format!("{id}.{timestamp_s}.").as_bytes());
    mac.update(body);
    format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "msg_p5jXN8AQM9LWM0D4loKWxJek";
    const SECRET: &str = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";

    fn sign(secrets: &[&str]) -> String {
        SigningKeys::read(secrets)
            .unwrap()
            .sign(ID, 1_614_265_330, br#"{"test": 2432232314}"#)
    }

    /// The test vector of the Standard Webhooks libraries.
    #[test]
    fn known_signature_is_reproduced() {
        assert_eq!(sign(&[SECRET]), "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }

    #[test]
    fn one_valid_signature_by_any_key_is_enough() {
        let body = br#"{"test": 2432232314}"#;
        let keys = SigningKeys::read(&["raw", SECRET]).unwrap();
        let proves = |header: &str| keys.verify(ID, 1_614_265_330, body, header);
        let good = sign(&[SECRET]);
        assert!(proves(&good) && proves(&sign(&["raw"])));
        assert!(proves(&format!("v1a,AAAA v1,AAAA {good}")));
        for bad in ["", "v1,", &good[3..], &format!("v2{}", &good[2..]), &sign(&["other"])] {
            assert!(!proves(bad), "{bad}");
        }
        assert!(!keys.verify("msg_other", 1_614_265_330, body, &good));
        assert!(!keys.verify(ID, 1_614_265_331, body, &good));
        assert!(!keys.verify(ID, 1_614_265_330, b"{}", &good));
        assert!(!proves(&format!("{}{good}", "v1,AAAA ".repeat(MAX_SIGNATURES))));
    }

    #[test]
    fn several_secrets_give_several_signatures() {
        let both = sign(&["raw", SECRET]);
        assert_eq!(both, format!("{} {}", sign(&["raw"]), sign(&[SECRET])));
        assert_ne!(sign(&["raw"]), sign(&[SECRET]));
    }

    #[test]
    fn secret_is_base64_only_behind_its_prefix() {
        assert_eq!(sign(&["whsec_cmF3"]), sign(&["raw"]));
        assert_eq!(sign(&["whsec_cmE="]), sign(&["whsec_cmE"]));
        for invalid in ["whsec_***", "whsec_", ""] {
            assert_eq!(SigningKeys::read(&[SECRET, invalid]).err(), Some(InvalidSecret));
        }
    }
}
