//! Signature and encryption of callbacks: Tencent's scheme (WeCom bots and applications, WeChat accounts), which DingTalk uses too.
//!
//! See [WeCom Docs/加解密方案说明](https://developer.work.weixin.qq.com/document/path/90968) and, for bots,
//! [WeCom Docs/回调和回复的加解密方案](https://developer.work.weixin.qq.com/document/path/101033).

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, InnerIvInit as _, KeyInit as _};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use sha1::{Digest as _, Sha1};

/// The last of an `EncodingAESKey`'s 43 characters carries 4 bits; its other two bits are often not zero, and padding is left off.
const KEY_BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_allow_trailing_bits(true)
        .with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

const AES_BLOCK: usize = 16;
/// Padding fills up to a multiple of this, so it may be 32 bytes long: more than a standard AES unpadder accepts.
const PAD_BLOCK: usize = 32;
const RANDOM: usize = 16;
const HEADER: usize = RANDOM + 4;

/// Why decryption failed. In the order of the checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum CipherError {
    Base64,
    Length,
    Padding,
    TooShort,
    LengthField,
    Receiver,
}

impl CipherError {
    /// The reason, to follow "can't be decrypted:".
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Base64 => "it is not base64",
            Self::Length => "its length is not a multiple of 16",
            Self::Padding => "its padding is wrong",
            Self::TooShort => "it is too short",
            Self::LengthField => "its length field is wrong",
            Self::Receiver => "it is for another receiver",
        }
    }
}

/// Key of callbacks, responses and files. Its cipher is set up once.
pub(crate) struct CallbackKey {
    cipher: Aes256,
    iv: [u8; AES_BLOCK],
}

impl CallbackKey {
    /// Parses an `EncodingAESKey`: exactly 43 letters and digits.
    pub(crate) fn parse(encoding_aes_key: &str) -> Option<Self> {
        let shaped = encoding_aes_key.len() == 43 && encoding_aes_key.bytes().all(|byte| byte.is_ascii_alphanumeric());
        shaped.then(|| Self::decode(encoding_aes_key)).flatten()
    }

    /// Parses the key that comes with a file: 43 or 44 characters of base64, or 64 of hex.
    pub(crate) fn parse_file_key(key: &str) -> Option<Self> {
        let mut bytes = [0; 32];
        if key.len() == 64 && hex::decode_to_slice(key, &mut bytes).is_ok() {
            return Some(Self::new(&bytes));
        }
        Self::decode(key)
    }

    fn decode(key: &str) -> Option<Self> {
        let bytes: [u8; 32] = KEY_BASE64.decode(key).ok()?.try_into().ok()?;
        Some(Self::new(&bytes))
    }

    fn new(key: &[u8; 32]) -> Self {
        let mut iv = [0; AES_BLOCK];
        iv.copy_from_slice(&key[..AES_BLOCK]);
        Self {
            cipher: Aes256::new(key.into()),
            iv,
        }
    }

    /// Decrypts a message.
    pub(crate) fn open(&self, sealed: &str, receiver: &str) -> Result<Opened, CipherError> {
        let mut bytes = STANDARD.decode(sealed).map_err(|_| CipherError::Base64)?;
        let end = self.decrypt(&mut bytes)?;
        let (header, rest) = bytes[..end].split_at_checked(HEADER).ok_or(CipherError::TooShort)?;
        let length = u32::from_be_bytes([
            header[RANDOM],
            header[RANDOM + 1],
            header[RANDOM + 2],
            header[RANDOM + 3],
        ]);
        let length = usize::try_from(length).map_err(|_| CipherError::LengthField)?;
        let (_, tail) = rest.split_at_checked(length).ok_or(CipherError::LengthField)?;
        if tail != receiver.as_bytes() {
            return Err(CipherError::Receiver);
        }
        Ok(Opened { bytes, length })
    }

    /// Encrypts a message. `random` must be fresh.
    pub(crate) fn seal(&self, random: [u8; RANDOM], message: &[u8], receiver: &str) -> String {
        let length = u32::try_from(message.len()).expect("an answer is far below 4 GiB");
        let mut plain = Vec::with_capacity(HEADER + message.len() + receiver.len() + PAD_BLOCK);
        plain.extend_from_slice(&random);
        plain.extend_from_slice(&length.to_be_bytes());
        plain.extend_from_slice(message);
        plain.extend_from_slice(receiver.as_bytes());
        let pad = PAD_BLOCK - plain.len() % PAD_BLOCK;
        plain.resize(plain.len() + pad, u8::try_from(pad).expect("padding is at most 32"));
        let (blocks, _) = aes::Block::slice_as_chunks_mut(&mut plain);
        cbc::Encryptor::inner_iv_init(&self.cipher, &self.iv.into()).encrypt_blocks(blocks);
        STANDARD.encode(&plain)
    }

    /// Decrypts a file: it has no header and no receiver.
    pub(crate) fn open_file(&self, mut body: Vec<u8>) -> Result<Vec<u8>, CipherError> {
        let end = self.decrypt(&mut body)?;
        body.truncate(end);
        Ok(body)
    }

    /// Decrypts in place. Returns the length without the padding.
    fn decrypt(&self, bytes: &mut [u8]) -> Result<usize, CipherError> {
        if bytes.is_empty() || !bytes.len().is_multiple_of(AES_BLOCK) {
            return Err(CipherError::Length);
        }
        let (blocks, _) = aes::Block::slice_as_chunks_mut(bytes);
        cbc::Decryptor::inner_iv_init(&self.cipher, &self.iv.into()).decrypt_blocks(blocks);
        unpadded(bytes).ok_or(CipherError::Padding)
    }
}

fn unpadded(bytes: &[u8]) -> Option<usize> {
    let pad = *bytes.last()?;
    let end = bytes.len().checked_sub(usize::from(pad))?;
    let right = (1..=PAD_BLOCK).contains(&usize::from(pad)) && bytes[end..].iter().all(|byte| *byte == pad);
    right.then_some(end)
}

/// A decrypted message.
pub(crate) struct Opened {
    bytes: Vec<u8>,
    length: usize,
}

impl Opened {
    /// The message.
    pub(crate) fn message(&self) -> &[u8] {
        &self.bytes[HEADER..HEADER + self.length]
    }
}

/// The signature: SHA-1 over the values, sorted as bytes and concatenated, in lower-case hex.
pub(crate) fn signature<const N: usize>(mut values: [&[u8]; N]) -> [u8; 40] {
    values.sort_unstable();
    let mut hash = Sha1::new();
    for value in values {
        hash.update(value);
    }
    let mut text = [0; 40];
    hex::encode_to_slice(hash.finalize(), &mut text).expect("20 bytes are 40 digits");
    text
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn vectors() -> Value {
        serde_json::from_str(include_str!("wecom/vectors/crypto.json")).unwrap()
    }

    fn field<'a>(vector: &'a Value, name: &str) -> &'a str {
        vector[name].as_str().unwrap()
    }

    fn key(vector: &Value) -> CallbackKey {
        CallbackKey::parse(field(vector, "encoding_aes_key")).unwrap()
    }

    fn sign(vector: &Value) -> String {
        let values = ["token", "timestamp", "nonce", "encrypt"].map(|name| field(vector, name).as_bytes());
        String::from_utf8(signature(values).to_vec()).unwrap()
    }

    #[test]
    fn valid_vectors_decrypt_encrypt_and_sign() {
        let vectors = vectors();
        let valid = vectors["valid"].as_array().unwrap();
        assert_eq!(valid.len(), 19);
        for vector in valid {
            let name = field(vector, "name");
            let receiver = field(vector, "receive_id");
            let plain = field(vector, "plaintext");
            let opened = key(vector).open(field(vector, "encrypt"), receiver).unwrap();
            assert_eq!(opened.message(), plain.as_bytes(), "{name}");
            let random = hex::decode(field(vector, "random16_hex")).unwrap().try_into().unwrap();
            let sealed = key(vector).seal(random, plain.as_bytes(), receiver);
            assert_eq!(sealed, field(vector, "encrypt"), "{name}");
            assert_eq!(sign(vector), field(vector, "msg_signature"), "{name}");
        }
    }

    #[test]
    fn invalid_vectors_fail_with_their_reason() {
        let vectors = vectors();
        let invalid = vectors["invalid"].as_array().unwrap();
        assert_eq!(invalid.len(), 24);
        for vector in invalid {
            let outcome = if sign(vector) == field(vector, "msg_signature") {
                match key(vector).open(field(vector, "encrypt"), field(vector, "receive_id")) {
                    Err(CipherError::Base64) => "bad_base64",
                    Err(CipherError::Length) => "bad_ciphertext_length",
                    Err(CipherError::Padding) => "bad_padding",
                    Err(CipherError::TooShort) => "plaintext_too_short",
                    Err(CipherError::LengthField) => "bad_length_field",
                    Err(CipherError::Receiver) => "receive_id_mismatch",
                    Ok(opened) if std::str::from_utf8(opened.message()).is_err() => "bad_utf8",
                    Ok(_) => "nothing wrong",
                }
            } else {
                "bad_signature"
            };
            assert_eq!(outcome, field(vector, "expect_error"), "{}", field(vector, "name"));
        }
    }

    #[test]
    fn keys_are_parsed_strictly_except_for_spare_bits() {
        let vectors = vectors();
        for vector in vectors["keys"].as_array().unwrap() {
            let parsed = CallbackKey::parse(field(vector, "encoding_aes_key"));
            assert_eq!(
                parsed.is_some(),
                vector["expect_error"].is_null(),
                "{}",
                field(vector, "reason")
            );
            let Some(parsed) = parsed else { continue };
            let mut iv = [0; 16];
            hex::decode_to_slice(&field(vector, "aes_key_hex")[..32], &mut iv).unwrap();
            assert_eq!(parsed.iv, iv);
            let same = CallbackKey::parse_file_key(field(vector, "aes_key_hex")).unwrap();
            assert_eq!(same.seal([1; 16], b"x", ""), parsed.seal([1; 16], b"x", ""));
        }
    }

    #[test]
    fn files_decrypt_with_keys_of_either_length() {
        let vectors = vectors();
        for vector in vectors["media"].as_array().unwrap() {
            let name = field(vector, "name");
            let key = CallbackKey::parse_file_key(field(vector, "aeskey")).unwrap();
            let opened = key.open_file(hex::decode(field(vector, "cipher_hex")).unwrap());
            match vector["expect_error"].as_str() {
                None => assert_eq!(hex::encode(opened.unwrap()), field(vector, "plain_hex"), "{name}"),
                Some("bad_ciphertext_length") => assert_eq!(opened, Err(CipherError::Length), "{name}"),
                Some("bad_padding") => assert_eq!(opened, Err(CipherError::Padding), "{name}"),
                Some(other) => panic!("{name}: no such error: {other}"),
            }
        }
    }

    proptest! {
        #[test]
        fn encrypted_messages_decrypt(message in prop::collection::vec(any::<u8>(), 0..200), receiver in "[a-z0-9]{0,20}") {
            let key = CallbackKey::parse("Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp").unwrap();
            let sealed = key.seal([3; 16], &message, &receiver);
            let opened = key.open(&sealed, &receiver).unwrap();
            prop_assert_eq!(opened.message(), &message[..]);
        }

        #[test]
        fn garbage_never_panics(sealed in "[A-Za-z0-9+/=]{0,400}", body in prop::collection::vec(any::<u8>(), 0..100)) {
            let key = CallbackKey::parse("Ab3dEf6hIj9lMn2pQr5tUv8xYz1BcD4FgH7JkL0MnOp").unwrap();
            let _ = key.open(&sealed, "");
            let _ = key.open_file(body);
        }
    }
}
