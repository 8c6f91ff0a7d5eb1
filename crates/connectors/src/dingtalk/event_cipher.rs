//! Signature and encryption of event callbacks: the scheme of [`crate::callback_cipher`], with more than one receiver.
//!
//! See [DingTalk Docs/回调事件消息体加解密](https://open.dingtalk.com/document/development/callback-event-message-body-encryption-and-decryption).

use serde_json::{Value, json};
use subtle::ConstantTimeEq as _;
use tieline_core::connector::Rejection;
use tieline_core::secret::Secret;

use crate::callback_cipher::{CallbackKey, CipherError, signature};

/// Signs, encrypts and decrypts the event callbacks of one application.
pub(super) struct EventCipher {
    token: Secret,
    key: CallbackKey,
    /// Client ID, or CorpId where the old registration API was used.
    receivers: Vec<String>,
}

/// A decrypted event callback.
pub(super) struct Opened {
    /// The event, as JSON.
    pub(super) message: String,
    /// Receiver of the event; the response must name the same.
    pub(super) receiver: String,
}

impl EventCipher {
    /// `None` if `aes_key` is not a key.
    pub(super) fn new(token: &str, aes_key: &str, receivers: Vec<String>) -> Option<Self> {
        Some(Self {
            token: Secret::new(token),
            key: CallbackKey::parse(aes_key)?,
            receivers,
        })
    }

    /// Whether `claimed` is the signature of the other three. Compares in constant time.
    pub(super) fn is_signed(&self, claimed: &str, timestamp: &str, nonce: &str, encrypted: &str) -> bool {
        bool::from(
            self.sign(timestamp, nonce, encrypted)
                .as_bytes()
                .ct_eq(claimed.as_bytes()),
        )
    }

    /// Decrypts and parses the envelope.
    pub(super) fn open(&self, encrypted: &str) -> Result<Opened, Rejection> {
        for receiver in &self.receivers {
            let opened = match self.key.open(encrypted, receiver) {
                Err(CipherError::Receiver) => continue,
                other => other.map_err(|error| Rejection::BadCipher(error.reason()))?,
            };
            let message = std::str::from_utf8(opened.message()).map_err(|_| Rejection::BadCipher("it is not UTF-8"))?;
            return Ok(Opened {
                message: message.to_owned(),
                receiver: receiver.clone(),
            });
        }
        Err(Rejection::WrongReceiver)
    }

    /// `content`, encrypted and signed as the platform's response format requires. `timeStamp` has a capital S.
    pub(super) fn answer(
        &self,
        content: &str,
        receiver: &str,
        random: [u8; 16],
        timestamp: &str,
        nonce: &str,
    ) -> Value {
        let encrypted = self.key.seal(random, content.as_bytes(), receiver);
        json!({
            "msg_signature": self.sign(timestamp, nonce, &encrypted),
            "timeStamp": timestamp,
            "nonce": nonce,
            "encrypt": encrypted,
        })
    }

    fn sign(&self, timestamp: &str, nonce: &str, encrypted: &str) -> String {
        let values = [self.token.expose(), timestamp, nonce, encrypted].map(str::as_bytes);
        signature(values).into_iter().map(char::from).collect()
    }
}
