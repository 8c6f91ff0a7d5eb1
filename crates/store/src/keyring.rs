//! Sealing (AES-256-GCM): no secret is stored in a table in the clear.

use std::fmt;
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};

use aes_gcm::aead::{Aead as _, Payload};
use aes_gcm::{Aes256Gcm, KeyInit as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use sha2::{Digest as _, Sha256};
use zeroize::{Zeroize as _, Zeroizing};

use crate::error::StoreError;

/// The keys for sealing. Cheap to clone, and clones share their keys; prints as `Keyring(..)`.
///
/// A sealed value is a version byte that names the key, a random nonce and AES-256-GCM ciphertext. Its subject (an id, a
/// field) is authenticated with it, so that a value moved to another item doesn't open. One key can seal 2^32 values; rotate
/// it before that ([`crate::rotation`]).
#[derive(Clone)]
pub struct Keyring {
    keys: Arc<RwLock<Keys>>,
}

struct Keys {
    /// Version of the key used for sealing.
    current: u8,
    /// All keys, for opening.
    all: Vec<(u8, Aes256Gcm)>,
}

/// The purpose of a sealed value: a token isn't accepted as a field, nor a field as a token.
#[derive(Clone, Copy)]
enum Purpose {
    Field,
    Token,
}

const NONCE_BYTES: usize = 12;

impl Keyring {
    /// A keyring with one key, version 1.
    #[must_use]
    pub fn new(data_key: [u8; 32]) -> Self {
        let ring = Self::empty();
        ring.replace(1, &[1], vec![(1, data_key)]);
        ring
    }

    /// A keyring that can't seal yet.
    pub(crate) fn empty() -> Self {
        let keys = Keys {
            current: 0,
            all: Vec::new(),
        };
        Self {
            keys: Arc::new(RwLock::new(keys)),
        }
    }

    /// From now on seals with version `current`, opens the versions `kept`, and drops all others. `new` are the keys that it lacks.
    pub(crate) fn replace(&self, current: u8, kept: &[u8], new: Vec<(u8, [u8; 32])>) {
        let new = new.into_iter().map(|(version, key)| (version, cipher(key)));
        let mut keys = self.keys.write().unwrap_or_else(PoisonError::into_inner);
        keys.all.extend(new);
        keys.all.retain(|(version, _)| kept.contains(version));
        keys.current = current;
    }

    /// Whether it can open values of this version.
    pub(crate) fn opens(&self, version: u8) -> bool {
        self.read().cipher(version).is_some()
    }

    /// The version used for sealing.
    pub(crate) fn current(&self) -> u8 {
        self.read().current
    }

    /// Seals as text, for a field of an item or a queue message. `about` is needed to open it.
    #[must_use]
    pub fn seal(&self, plain: &[u8], about: &str) -> String {
        STANDARD.encode(self.encrypt(Purpose::Field, plain, about))
    }

    /// Opens a result of [`Keyring::seal`].
    ///
    /// # Errors
    /// [`StoreError::Unsealable`] if the key or `about` is another one, or a bit has changed.
    pub fn open(&self, sealed: &str, about: &str) -> Result<Vec<u8>, StoreError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| StoreError::Unsealable)?;
        self.decrypt(Purpose::Field, &bytes, about)
    }

    /// Seals as URL-safe text: a token that only a holder of the key can create or read.
    #[must_use]
    pub fn seal_url(&self, plain: &[u8], about: &str) -> String {
        URL_SAFE_NO_PAD.encode(self.encrypt(Purpose::Token, plain, about))
    }

    /// Like [`Keyring::seal_url`], but the same value gives the same token as long as the key is the same: for texts that are compared with what was
    /// sent. Who holds two tokens can tell whether their values are equal.
    #[must_use]
    pub fn seal_url_repeatably(&self, plain: &[u8], about: &str) -> String {
        let aad = aad(Purpose::Token, about);
        let hash = Sha256::new()
            .chain_update((aad.len() as u64).to_be_bytes())
            .chain_update(&aad);
        let hash = hash.chain_update(plain).finalize();
        // A nonce may come again only with the same value.
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&hash[..NONCE_BYTES]);
        URL_SAFE_NO_PAD.encode(self.encrypt_with(nonce, &aad, plain))
    }

    /// Opens a result of [`Keyring::seal_url`] or [`Keyring::seal_url_repeatably`].
    ///
    /// # Errors
    /// [`StoreError::Unsealable`], as [`Keyring::open`].
    pub fn open_url(&self, token: &str, about: &str) -> Result<Vec<u8>, StoreError> {
        let bytes = URL_SAFE_NO_PAD.decode(token).map_err(|_| StoreError::Unsealable)?;
        self.decrypt(Purpose::Token, &bytes, about)
    }

    /// Seals as bytes, for binary attributes.
    pub(crate) fn seal_bytes(&self, plain: &[u8], about: &str) -> Vec<u8> {
        self.encrypt(Purpose::Field, plain, about)
    }

    /// Opens a result of [`Keyring::seal_bytes`].
    pub(crate) fn open_bytes(&self, sealed: &[u8], about: &str) -> Result<Vec<u8>, StoreError> {
        self.decrypt(Purpose::Field, sealed, about)
    }

    /// The same value, sealed with the current key. `None` if it already is.
    ///
    /// # Errors
    /// [`StoreError::Unsealable`], as [`Keyring::open`].
    pub(crate) fn reseal_bytes(&self, sealed: &[u8], about: &str) -> Result<Option<Vec<u8>>, StoreError> {
        if sealed.first() == Some(&self.current()) {
            return Ok(None);
        }
        let plain = Zeroizing::new(self.open_bytes(sealed, about)?);
        Ok(Some(self.seal_bytes(&plain, about)))
    }

    /// [`Keyring::reseal_bytes`] for a result of [`Keyring::seal`].
    ///
    /// # Errors
    /// [`StoreError::Unsealable`], as [`Keyring::open`].
    pub(crate) fn reseal(&self, sealed: &str, about: &str) -> Result<Option<String>, StoreError> {
        let bytes = STANDARD.decode(sealed).map_err(|_| StoreError::Unsealable)?;
        let resealed = self.reseal_bytes(&bytes, about)?;
        Ok(resealed.map(|bytes| STANDARD.encode(bytes)))
    }

    fn encrypt(&self, purpose: Purpose, plain: &[u8], about: &str) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        getrandom::fill(&mut nonce).expect("the system has random bytes");
        self.encrypt_with(nonce, &aad(purpose, about), plain)
    }

    fn encrypt_with(&self, nonce: [u8; NONCE_BYTES], aad: &[u8], plain: &[u8]) -> Vec<u8> {
        let keys = self.read();
        let cipher = keys.cipher(keys.current).expect("the current key is among all keys");
        let payload = Payload { msg: plain, aad };
        let sealed = cipher
            .encrypt(&nonce.into(), payload)
            .expect("no value comes near the cipher's limit of 64 GiB");
        let mut out = Vec::with_capacity(1 + NONCE_BYTES + sealed.len());
        out.push(keys.current);
        out.extend_from_slice(&nonce);
        out.extend_from_slice(&sealed);
        out
    }

    fn decrypt(&self, purpose: Purpose, sealed: &[u8], about: &str) -> Result<Vec<u8>, StoreError> {
        let (version, rest) = sealed.split_first().ok_or(StoreError::Unsealable)?;
        let (nonce, ciphertext) = rest.split_first_chunk::<NONCE_BYTES>().ok_or(StoreError::Unsealable)?;
        let keys = self.read();
        let cipher = keys.cipher(*version).ok_or(StoreError::UnknownKey)?;
        let aad = aad(purpose, about);
        let payload = Payload {
            msg: ciphertext,
            aad: &aad,
        };
        cipher
            .decrypt(&(*nonce).into(), payload)
            .map_err(|_| StoreError::Unsealable)
    }

    fn read(&self) -> RwLockReadGuard<'_, Keys> {
        self.keys.read().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keys {
    fn cipher(&self, version: u8) -> Option<&Aes256Gcm> {
        let found = self.all.iter().find(|(candidate, _)| *candidate == version);
        found.map(|(_, cipher)| cipher)
    }
}

impl fmt::Debug for Keyring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keyring(..)")
    }
}

fn cipher(mut key: [u8; 32]) -> Aes256Gcm {
    let cipher = Aes256Gcm::new(&key.into());
    key.zeroize();
    cipher
}

fn aad(purpose: Purpose, about: &str) -> Vec<u8> {
    let purpose: &[u8] = match purpose {
        Purpose::Field => b"field\0",
        Purpose::Token => b"token\0",
    };
    [purpose, about.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn refused(result: Result<Vec<u8>, StoreError>) {
        assert!(matches!(result, Err(StoreError::Unsealable)));
    }

    #[test]
    fn other_key_or_subject_does_not_open() {
        let ring = Keyring::new([1; 32]);
        let sealed = ring.seal(b"secret", "int_1");
        assert_eq!(ring.open(&sealed, "int_1").unwrap(), b"secret");
        refused(ring.open(&sealed, "int_2"));
        refused(Keyring::new([2; 32]).open(&sealed, "int_1"));
    }

    #[test]
    fn a_sealed_field_is_not_accepted_as_a_token() {
        let ring = Keyring::new([1; 32]);
        refused(ring.open_url(&URL_SAFE_NO_PAD.encode(ring.seal_bytes(b"x", "a")), "a"));
        refused(ring.open(
            &STANDARD.encode(URL_SAFE_NO_PAD.decode(ring.seal_url(b"x", "a")).unwrap()),
            "a",
        ));
        assert_eq!(ring.open_url(&ring.seal_url(b"x", "a"), "a").unwrap(), b"x");
        assert_ne!(ring.seal_url(b"x", "a"), ring.seal_url(b"x", "a"));
    }

    #[test]
    fn token_of_the_same_value_repeats() {
        let ring = Keyring::new([7; 32]);
        let token = ring.seal_url_repeatably(b"x", "a");
        assert_eq!(ring.open_url(&token, "a").unwrap(), b"x");
        assert_eq!(ring.seal_url_repeatably(b"x", "a"), token);
        assert_ne!(ring.seal_url_repeatably(b"y", "a")[..16], token[..16], "the nonce");
        assert_ne!(ring.seal_url_repeatably(b"x", "b")[..16], token[..16], "the nonce");
        refused(ring.open_url(&token, "b"));
    }

    #[test]
    fn keys_can_rotate() {
        let (old, new) = ([1; 32], [2; 32]);
        let ring = Keyring::new(old);
        let sealed = ring.seal(b"x", "a");
        let before = ring.clone();
        ring.replace(2, &[1, 2], vec![(2, new)]);
        assert_eq!(before.open(&sealed, "a").unwrap(), b"x");
        let resealed = before.reseal(&sealed, "a").unwrap().unwrap();
        assert_eq!(before.reseal(&resealed, "a").unwrap(), None);
        let unknown = Keyring::new(old).open(&resealed, "a");
        assert!(matches!(unknown, Err(StoreError::UnknownKey)));
        ring.replace(2, &[2], Vec::new());
        assert!(matches!(before.open(&sealed, "a"), Err(StoreError::UnknownKey)));
        assert_eq!(before.open(&resealed, "a").unwrap(), b"x");
    }

    #[test]
    fn same_value_is_sealed_differently_each_time() {
        let ring = Keyring::new([1; 32]);
        assert_ne!(ring.seal(b"x", "a"), ring.seal(b"x", "a"));
    }

    proptest! {
        #[test]
        fn any_flipped_bit_is_detected(plain in proptest::collection::vec(any::<u8>(), 0..100), bit in any::<prop::sample::Index>()) {
            let ring = Keyring::new([1; 32]);
            let mut sealed = ring.seal_bytes(&plain, "a");
            prop_assert_eq!(ring.open_bytes(&sealed, "a").unwrap(), plain);
            let bit = bit.index(sealed.len() * 8);
            sealed[bit / 8] ^= 1 << (bit % 8);
            prop_assert!(ring.open_bytes(&sealed, "a").is_err());
        }

        #[test]
        fn garbage_does_not_open(garbage in proptest::collection::vec(any::<u8>(), 0..64)) {
            prop_assert!(Keyring::new([1; 32]).open_bytes(&garbage, "a").is_err());
        }
    }
}
