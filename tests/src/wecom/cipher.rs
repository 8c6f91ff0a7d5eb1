//! The cryptography of callbacks, as the platform does it.

use aes::Aes256;
use aes::cipher::{BlockModeDecrypt as _, BlockModeEncrypt as _, KeyIvInit as _};
use anyhow::{Context as _, ensure};
use base64::Engine as _;
use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig, STANDARD};
use cbc::cipher::block_padding::NoPadding;
use serde_json::{Value, json};
use sha1::{Digest as _, Sha1};

/// Token and key of one bot.
#[derive(Debug, Clone)]
pub struct Cipher {
    /// The token.
    pub token: String,
    /// The key, in 43 characters.
    pub encoding_aes_key: String,
    key: [u8; 32],
}

/// A fresh nonce.
#[must_use]
pub(crate) fn nonce() -> String {
    u64::from_ne_bytes(random()).to_string()
}

fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has random bytes");
    bytes
}

impl Cipher {
    /// A cipher of this token and key.
    ///
    /// # Errors
    /// If the key is invalid.
    pub fn new(token: &str, encoding_aes_key: &str) -> anyhow::Result<Self> {
        let lenient = GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true);
        let bytes = GeneralPurpose::new(&alphabet::STANDARD, lenient).decode(format!("{encoding_aes_key}="))?;
        let key = bytes.try_into().ok().context("the key is not 32 bytes long")?;
        Ok(Self {
            token: token.to_owned(),
            encoding_aes_key: encoding_aes_key.to_owned(),
            key,
        })
    }

    /// A cipher of a new token and key.
    ///
    /// # Panics
    /// Never: the generated key is valid.
    #[must_use]
    pub fn fresh() -> Self {
        let letters = STANDARD.encode(random::<48>()).replace(['+', '/', '='], "x");
        Self::new(&hex::encode(random::<8>()), &letters[..43]).expect("43 letters are a key")
    }

    /// Query, body and nonce of a callback.
    #[must_use]
    pub fn callback(&self, plain: &str) -> (String, String, String) {
        let (timestamp, nonce) = (now().to_string(), nonce());
        let encrypt = self.encrypt(plain, "");
        let signature = self.sign(&timestamp, &nonce, &encrypt);
        let query = format!("msg_signature={signature}&timestamp={timestamp}&nonce={nonce}");
        (query, json!({ "encrypt": encrypt }).to_string(), nonce)
    }

    /// Decrypts a passive reply, which must repeat the callback's nonce.
    ///
    /// # Errors
    /// If the platform would not accept it.
    pub fn open_reply(&self, body: &str, nonce: &str) -> anyhow::Result<String> {
        let reply: Value = serde_json::from_str(body).context("the reply is not JSON")?;
        ensure!(
            reply["nonce"] == nonce,
            "the reply has another nonce: {}",
            reply["nonce"]
        );
        let encrypt = reply["encrypt"].as_str().context("no encrypt")?;
        let timestamp = reply["timestamp"].as_i64().context("timestamp is not a number")?;
        let signature = reply["msgsignature"].as_str().context("no msgsignature")?;
        ensure!(
            signature == self.sign(&timestamp.to_string(), nonce, encrypt),
            "the reply's signature is wrong"
        );
        self.decrypt(encrypt, "")
    }

    /// The signature over the four values.
    #[must_use]
    pub fn sign(&self, timestamp: &str, nonce: &str, encrypt: &str) -> String {
        let mut parts = [self.token.as_str(), timestamp, nonce, encrypt];
        parts.sort_unstable();
        hex::encode(Sha1::digest(parts.concat()))
    }

    /// Encrypts for `receiver`.
    #[must_use]
    pub fn encrypt(&self, plain: &str, receiver: &str) -> String {
        let mut bytes = random::<16>().to_vec();
        bytes.extend(u32::try_from(plain.len()).unwrap_or(u32::MAX).to_be_bytes());
        bytes.extend(plain.as_bytes());
        bytes.extend(receiver.as_bytes());
        let n_padding = 32 - bytes.len() % 32;
        bytes.extend(std::iter::repeat_n(u8::try_from(n_padding).unwrap_or(32), n_padding));
        let cipher = cbc::Encryptor::<Aes256>::new(&self.key.into(), (&iv(&self.key)).into());
        STANDARD.encode(cipher.encrypt_padded_vec::<NoPadding>(&bytes))
    }

    /// Encrypts a file: the same padding, and no prefix or suffix.
    #[must_use]
    pub fn encrypt_file(&self, plain: &[u8]) -> Vec<u8> {
        let n_padding = 32 - plain.len() % 32;
        let mut bytes = plain.to_vec();
        bytes.extend(std::iter::repeat_n(u8::try_from(n_padding).unwrap_or(32), n_padding));
        let cipher = cbc::Encryptor::<Aes256>::new(&self.key.into(), (&iv(&self.key)).into());
        cipher.encrypt_padded_vec::<NoPadding>(&bytes)
    }

    /// Decrypts a text that is encrypted for `receiver`.
    ///
    /// # Errors
    /// If it is invalid.
    pub fn decrypt(&self, encrypt: &str, receiver: &str) -> anyhow::Result<String> {
        let cipher = cbc::Decryptor::<Aes256>::new(&self.key.into(), (&iv(&self.key)).into());
        let bytes = STANDARD.decode(encrypt)?;
        let plain = cipher
            .decrypt_padded_vec::<NoPadding>(&bytes)
            .ok()
            .context("not whole blocks")?;
        let n_padding = usize::from(*plain.last().context("empty")?);
        ensure!((1..=32).contains(&n_padding) && n_padding <= plain.len(), "bad padding");
        let plain = &plain[..plain.len() - n_padding];
        let length = u32::from_be_bytes(plain.get(16..20).context("too short")?.try_into()?);
        let message = plain.get(20..20 + length as usize).context("bad length")?;
        ensure!(
            plain[20 + message.len()..] == *receiver.as_bytes(),
            "the reply is for another receiver"
        );
        Ok(std::str::from_utf8(message)?.to_owned())
    }
}

fn iv(key: &[u8; 32]) -> [u8; 16] {
    let mut iv = [0; 16];
    iv.copy_from_slice(&key[..16]);
    iv
}

pub(crate) fn now() -> u64 {
    std::time::SystemTime::UNIX_EPOCH
        .elapsed()
        .unwrap_or_default()
        .as_secs()
}
