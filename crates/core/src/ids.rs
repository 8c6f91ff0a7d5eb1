//! Ids. The doc of each says within what it is unique.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::timestamp::Timestamp;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(Box<str>);

        impl $name {
            /// Wraps the text unchanged.
            pub fn new(text: impl Into<Box<str>>) -> Self {
                Self(text.into())
            }

            /// The id as text.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}", self.0)
            }
        }
    };
}

id!(/// A tenant. Unique in the deployment; chosen by the operator.
    OrganizationId);
id!(/// A bot account on a platform. Unique in the deployment.
    IntegrationId);
id!(/// An agent. Unique in the deployment.
    AgentId);
id!(/// A trigger. Unique in the deployment.
    TriggerId);
id!(/// A person, known by one platform account. Unique in the deployment.
    UserId);
id!(/// A conversation: a hash of its key. Unique in the deployment.
    ConversationId);
id!(/// A session with an agent. Unique in the deployment.
    SessionId);
id!(/// An inbound message in the ledger. Unique in the deployment; the same on every redelivery.
    MessageId);
id!(/// One execution of an agent. Unique in the deployment.
    RunId);
id!(/// What a run shows in the chat. Unique in the deployment; the same on every redelivery.
    ReplyId);
id!(/// A chat, in the platform's words. Unique within its integration. Opaque: only its connector may parse it.
    ChatId);
id!(/// A thread or topic in a chat, in the platform's words. Unique within its chat.
    ThreadId);
id!(/// A person, in the platform's words. Unique within its integration.
    SenderId);
id!(/// A message, in the platform's words. Unique within its integration; repeated when the platform delivers again.
    PlatformMessageId);

/// Creates a new id: `prefix`, an underscore and the bytes in hex.
#[must_use]
pub fn fresh(prefix: &str, random: [u8; 12]) -> String {
    format!("{prefix}_{}", hex::encode(random))
}

/// Like [`fresh`], but begins with the time, so that lists sorted by id are in order of creation.
#[must_use]
pub fn fresh_at(prefix: &str, at: Timestamp, mut random: [u8; 12]) -> String {
    random[..6].copy_from_slice(&at.as_millis().to_be_bytes()[2..]);
    fresh(prefix, random)
}

/// Whether [`fresh`] could have made `id` with `prefix`.
#[must_use]
pub fn is_shaped(prefix: &str, id: &str) -> bool {
    let digits = id.strip_prefix(prefix).and_then(|rest| rest.strip_prefix('_'));
    let is_hex = |digits: &str| digits.bytes().all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    digits.is_some_and(|digits| digits.len() == 24 && is_hex(digits))
}

/// A collision-free digest of several fields, as URL-safe text of 43 characters.
///
/// Each field's length is hashed with it, so that moving a character from one field to the next changes the digest.
#[must_use]
pub fn digest(fields: &[&str]) -> String {
    let mut hash = Sha256::new();
    for field in fields {
        hash.update((field.len() as u64).to_be_bytes());
        hash.update(field.as_bytes());
    }
    URL_SAFE_NO_PAD.encode(hash.finalize())
}

/// Derives the ids of one integration that must be the same on any instance.
///
/// An id is a keyed hash of the platform's message id, followed by a check that only the holder of the key can compute,
/// so that any instance can tell an id of ours from a made-up one without a read of a table.
#[derive(Clone)]
pub struct IdMint {
    key: Hmac<Sha256>,
}

impl fmt::Debug for IdMint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("IdMint(..)")
    }
}

/// Bytes of an id that come from the message.
const NAME_BYTES: usize = 15;
/// Bytes of an id that prove it is ours.
const CHECK_BYTES: usize = 9;

impl IdMint {
    /// A mint with the integration's own key.
    #[must_use]
    pub fn new(key: &[u8; 32]) -> Self {
        Self {
            key: Hmac::new_from_slice(key).expect("HMAC accepts a key of any length"),
        }
    }

    /// The ledger id of a platform message.
    #[must_use]
    pub fn message(&self, message: &PlatformMessageId) -> MessageId {
        MessageId::new(self.mint("msg_", message.as_str()))
    }

    /// The reply id of a platform message. At most 64 characters of `[A-Za-z0-9_-]`.
    #[must_use]
    pub fn reply(&self, message: &PlatformMessageId) -> ReplyId {
        ReplyId::new(self.mint("tl-", message.as_str()))
    }

    /// Whether [`IdMint::reply`] of this mint made `id`.
    #[must_use]
    pub fn made_reply(&self, id: &ReplyId) -> bool {
        self.made("tl-", id.as_str())
    }

    /// An id for anything else that belongs to a message: a card, an idempotency key, a second stream.
    #[must_use]
    pub fn other(&self, prefix: &str, subject: &str) -> String {
        self.mint(prefix, subject)
    }

    /// Whether this mint made `id` with `prefix`. Constant time in the id's secret part.
    #[must_use]
    pub fn made(&self, prefix: &str, id: &str) -> bool {
        let Some(Ok(bytes)) = id.strip_prefix(prefix).map(|rest| URL_SAFE_NO_PAD.decode(rest)) else {
            return false;
        };
        let Some((name, check)) = bytes.split_at_checked(NAME_BYTES) else {
            return false;
        };
        bool::from(self.hash(&["check", prefix], name)[..CHECK_BYTES].ct_eq(check))
    }

    fn mint(&self, prefix: &str, subject: &str) -> String {
        let name = &self.hash(&["name", prefix], subject.as_bytes())[..NAME_BYTES];
        let check = &self.hash(&["check", prefix], name)[..CHECK_BYTES];
        let mut bytes = [0; NAME_BYTES + CHECK_BYTES];
        bytes[..NAME_BYTES].copy_from_slice(name);
        bytes[NAME_BYTES..].copy_from_slice(check);
        format!("{prefix}{}", URL_SAFE_NO_PAD.encode(bytes))
    }

    fn hash(&self, context: &[&str], subject: &[u8]) -> [u8; 32] {
        let mut mac = self.key.clone();
        for part in context {
            mac.update(&(part.len() as u64).to_be_bytes());
            mac.update(part.as_bytes());
        }
        mac.update(subject);
        mac.finalize().into_bytes().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mint() -> IdMint {
        IdMint::new(&[7; 32])
    }

    #[test]
    fn ids_depend_on_the_message_and_the_key() {
        let id = PlatformMessageId::new("CAIQ0aa");
        assert_eq!(mint().reply(&id), mint().reply(&id));
        assert_ne!(mint().reply(&id), IdMint::new(&[8; 32]).reply(&id));
        assert!(mint().reply(&id).as_str().len() <= 64);
    }

    #[test]
    fn own_ids_are_recognized_and_others_are_not() {
        let id = mint().reply(&PlatformMessageId::new("CAIQ0aa"));
        assert!(mint().made("tl-", id.as_str()));
        assert!(!mint().made("msg_", id.as_str()));
        assert!(!IdMint::new(&[8; 32]).made("tl-", id.as_str()));
        assert!(!mint().made("tl-", "tl-01J9"));
        let mut forged = id.as_str().to_owned();
        let last = if forged.ends_with('A') { 'B' } else { 'A' };
        forged.pop();
        forged.push(last);
        assert!(!mint().made("tl-", &forged));
    }

    #[test]
    fn fresh_ids_have_their_shape_and_others_do_not() {
        let id = fresh("int", [0xa7; 12]);
        assert!(is_shaped("int", &id));
        let long = format!("{id}{id}");
        for other in [
            "",
            "int_",
            "int_1",
            "agt_a7a7a7a7a7a7a7a7a7a7a7a7",
            &id[1..],
            &id.to_uppercase(),
            &long,
        ] {
            assert!(!is_shaped("int", other), "{other}");
        }
    }

    #[test]
    fn ids_with_a_time_sort_in_order_of_creation() {
        let at = |millis| fresh_at("int", Timestamp::from_millis(millis), [0xff; 12]);
        let ids = [0, 255, 256, 1_767_323_045_000, 1_767_323_045_001].map(at);
        assert!(ids.is_sorted(), "{ids:?}");
        assert!(is_shaped("int", &ids[4]), "{}", ids[4]);
        assert_eq!(ids[1], "int_0000000000ffffffffffffff");
    }

    #[test]
    fn digest_keeps_fields_apart() {
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
