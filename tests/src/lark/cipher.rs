//! Encryption and signature of webhook bodies.

use aes::Aes256;
use aes::cipher::{BlockModeEncrypt as _, KeyIvInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use cbc::cipher::block_padding::Pkcs7;
use sha2::{Digest as _, Sha256};

/// The text of `encrypt`.
#[must_use]
pub(super) fn encrypt(encrypt_key: &str, iv: [u8; 16], plain: &str) -> String {
    let key: [u8; 32] = Sha256::digest(encrypt_key.as_bytes()).into();
    let cipher = cbc::Encryptor::<Aes256>::new(&key.into(), &iv.into());
    let mut bytes = iv.to_vec();
    bytes.extend(cipher.encrypt_padded_vec::<Pkcs7>(plain.as_bytes()));
    STANDARD.encode(bytes)
}

/// `X-Lark-Signature`.
#[must_use]
pub(super) fn sign(timestamp: &str, nonce: &str, encrypt_key: &str, body: &str) -> String {
    hex::encode(Sha256::digest([timestamp, nonce, encrypt_key, body].concat()))
}
