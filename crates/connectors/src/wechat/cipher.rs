//! AES-128-ECB with PKCS#7, with which the media CDN encrypts whole files.
//!
//! See [openclaw-weixin/src/cdn/aes-ecb.ts](https://github.com/Tencent/openclaw-weixin/blob/main/src/cdn/aes-ecb.ts).

use aes::Aes128;
use aes::cipher::{Array, BlockCipherDecrypt as _, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tieline_core::connector::MediaError;

const BLOCK: usize = 16;

/// A key, in any of the platform's formats.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) struct Key([u8; BLOCK]);

impl Key {
    /// 32 hexadecimal digits.
    pub(super) fn from_hex(text: &str) -> Result<Self, MediaError> {
        let mut key = [0; BLOCK];
        hex::decode_to_slice(text, &mut key).map_err(|_| MediaError::BadCipher("key is not 32 hexadecimal digits"))?;
        Ok(Self(key))
    }

    /// Base64 of the key itself, or of its hexadecimal digits.
    pub(super) fn from_base64(text: &str) -> Result<Self, MediaError> {
        let bytes = STANDARD
            .decode(text)
            .map_err(|_| MediaError::BadCipher("key is not base64"))?;
        if let Ok(key) = <[u8; BLOCK]>::try_from(bytes.as_slice()) {
            return Ok(Self(key));
        }
        Self::from_hex(std::str::from_utf8(&bytes).unwrap_or_default())
    }
}

/// Decrypts a whole file in place.
pub(super) fn decrypt(key: Key, mut body: Vec<u8>) -> Result<Vec<u8>, MediaError> {
    if body.is_empty() || !body.len().is_multiple_of(BLOCK) {
        return Err(MediaError::BadCipher("length is not a multiple of the block"));
    }
    let cipher = Aes128::new(&Array::from(key.0));
    for block in body.chunks_exact_mut(BLOCK) {
        let block: &mut [u8; BLOCK] = block.try_into().expect("chunks have this length");
        cipher.decrypt_block(block.into());
    }
    let padding = usize::from(body.last().copied().unwrap_or_default());
    let end = body.len().saturating_sub(padding);
    let is_padded = (1..=BLOCK).contains(&padding) && body[end..].iter().all(|byte| usize::from(*byte) == padding);
    if !is_padded {
        return Err(MediaError::BadCipher("padding"));
    }
    body.truncate(end);
    Ok(body)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("vectors/ilink.json")).unwrap()
    }

    fn bytes(row: &Value, field: &str) -> Vec<u8> {
        hex::decode(row[field].as_str().unwrap()).unwrap()
    }

    #[test]
    fn files_decrypt_with_every_form_of_their_key() {
        for row in vectors()["media"].as_array().unwrap() {
            let mut keys = vec![Key::from_hex(row["key_hex"].as_str().unwrap()).unwrap()];
            let forms = row["inbound_aes_key_forms"].as_array().unwrap().iter();
            keys.extend(forms.map(|form| Key::from_base64(form.as_str().unwrap()).unwrap()));
            for key in keys {
                let plain = decrypt(key, bytes(row, "ciphertext_hex")).unwrap();
                assert_eq!(plain, bytes(row, "plaintext_hex"), "{}", row["id"]);
            }
        }
    }

    #[test]
    fn malformed_files_and_keys_are_errors() {
        for row in vectors()["media_invalid"].as_array().unwrap() {
            let result = match row["aes_key"].as_str() {
                Some(key) => Key::from_base64(key).map(drop),
                None => {
                    let key = Key::from_hex(row["key_hex"].as_str().unwrap()).unwrap();
                    decrypt(key, bytes(row, "ciphertext_hex")).map(drop)
                }
            };
            assert!(matches!(result, Err(MediaError::BadCipher(_))), "{}", row["id"]);
        }
        let key = Key::from_hex("7f7a70b7f49a8b504666f467b6c7808f").unwrap();
        assert!(decrypt(key, Vec::new()).is_err());
    }
}
