//! Pairing: a stranger gets a code with which an operator or an approved person can let the stranger in.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::ids::{MessageId, SenderId};
use crate::secret::Secret;
use crate::timestamp::{Timestamp, millis};

/// Characters of a code, without look-alikes (`0 O`, `1 I L`, `2 Z`, `5 S`, `8 B`, `U V W`).
pub(crate) const ALPHABET: &[u8; 21] = b"ACDEFGHJKMNPQRTXY3479";
/// Length of a code.
pub const CODE_CHARS: usize = 8;
/// How long a code is valid.
pub const LIFETIME: Duration = Duration::from_secs(3600);
/// Most pending requests of one integration.
pub const MAX_PENDING: usize = 3;
/// After so many wrong guesses within an hour every pending code is withdrawn, and none is accepted for an hour.
pub const MAX_GUESSES: u32 = 10;
/// Wait after the first wrong guess. It doubles with each further one.
const FIRST_WAIT: Duration = Duration::from_secs(1);

/// Creates a code from random bytes of a cryptographically secure source.
#[must_use]
pub fn code(random: [u8; CODE_CHARS * 4]) -> Secret {
    let draw = |bytes: &[u8]| bytes.iter().fold(0_u32, |number, byte| number << 8 | u32::from(*byte)) as usize;
    let code: String = random
        .chunks(4)
        .map(|bytes| char::from(ALPHABET[draw(bytes) % ALPHABET.len()]))
        .collect();
    Secret::new(code)
}

/// Normalizes a code that a person typed: upper case, without spaces and hyphens.
#[must_use]
pub fn typed(text: &str) -> String {
    let kept = text
        .chars()
        .filter(|c| !c.is_whitespace() && *c != '-')
        .take(CODE_CHARS + 1);
    kept.flat_map(char::to_uppercase).collect()
}

/// Rate limiter for wrong guesses of codes: each one delays the next, and too many block guessing for an hour.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Guesses {
    /// How many were wrong since `since`.
    pub n_wrong: u32,
    /// When the first of them was made.
    #[serde(with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub since: Option<Timestamp>,
    /// No guess is checked before then.
    #[serde(with = "millis::option", skip_serializing_if = "Option::is_none")]
    pub not_before: Option<Timestamp>,
}

impl Guesses {
    /// Until when a guess at `now` has to wait. `None`: it is checked.
    #[must_use]
    pub fn wait_until(&self, now: Timestamp) -> Option<Timestamp> {
        self.not_before.filter(|at| *at > now)
    }

    /// Counts a wrong guess. Returns whether it blocks guessing.
    pub fn count(&mut self, now: Timestamp) -> bool {
        if self.since.is_none_or(|since| now.since(since) >= LIFETIME) {
            *self = Self {
                since: Some(now),
                ..Self::default()
            };
        }
        self.n_wrong += 1;
        let ended = self.n_wrong >= MAX_GUESSES;
        let wait = match ended {
            true => LIFETIME,
            false => FIRST_WAIT * 2_u32.pow(self.n_wrong - 1),
        };
        self.not_before = Some(now.after(wait));
        ended
    }
}

/// The request of a stranger for access to a bot.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PairingRequest {
    /// Its id. Reveals nothing about the code.
    pub id: String,
    /// The stranger.
    pub sender: SenderId,
    /// The person's name, if the platform sends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// The code that the person was shown.
    pub code: Secret,
    /// When the person asked.
    #[serde(with = "millis")]
    pub at: Timestamp,
}

impl PairingRequest {
    /// The person's name if known, else the platform's id.
    #[must_use]
    pub fn shown_name(&self) -> String {
        self.name.clone().unwrap_or_else(|| self.sender.to_string())
    }

    /// When the code expires.
    #[must_use]
    pub fn expires_at(&self) -> Timestamp {
        self.at.after(LIFETIME)
    }
}

/// The requests of one integration. Saved sealed, in one conditional write.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PairingBook {
    /// The pending ones, the oldest first. Some may have expired.
    pub requests: Vec<PairingRequest>,
    /// Wrong guesses of their codes.
    pub guesses: Guesses,
    /// The message whose code was accepted last, and the person let in, so that its redelivery is recognized.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accepted: Option<(MessageId, String)>,
}

/// Outcome of a guess.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Guess {
    /// The code is this person's.
    Right(PairingRequest),
    /// It is not a pending code.
    Wrong,
    /// No guess is checked before then.
    Wait(Timestamp),
}

impl PairingBook {
    /// The requests pending at `now`.
    pub fn pending(&self, now: Timestamp) -> impl Iterator<Item = &PairingRequest> {
        self.requests.iter().filter(move |request| request.expires_at() > now)
    }

    /// The request of a stranger: their pending one, or `new`. `None`: too many are pending.
    pub fn request(&mut self, new: PairingRequest) -> Option<&PairingRequest> {
        let now = new.at;
        self.requests.retain(|request| request.expires_at() > now);
        let known = self.requests.iter().position(|request| request.sender == new.sender);
        let at = match known {
            Some(at) => at,
            None if self.requests.len() >= MAX_PENDING => return None,
            None => {
                self.requests.push(new);
                self.requests.len() - 1
            }
        };
        self.requests.get(at)
    }

    /// Checks a guess. A right one removes its request, so that a code works once.
    pub fn guess(&mut self, typed: &str, now: Timestamp) -> Guess {
        if let Some(until) = self.guesses.wait_until(now) {
            return Guess::Wait(until);
        }
        self.requests.retain(|request| request.expires_at() > now);
        // All are compared, so that the timing reveals nothing.
        let mut found = None;
        for (at, request) in self.requests.iter().enumerate() {
            if request.code.matches(typed) {
                found = Some(at);
            }
        }
        match found {
            Some(at) => Guess::Right(self.requests.remove(at)),
            None => {
                if self.guesses.count(now) {
                    self.requests.clear();
                }
                Guess::Wrong
            }
        }
    }

    /// Removes a person's request.
    pub fn forget(&mut self, sender: &SenderId) {
        self.requests.retain(|request| request.sender != *sender);
    }

    /// Removes a request by its id.
    pub fn take(&mut self, id: &str, now: Timestamp) -> Option<PairingRequest> {
        self.requests.retain(|request| request.expires_at() > now);
        let at = self.requests.iter().position(|request| request.id == id)?;
        Some(self.requests.remove(at))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_secs(seconds)
    }

    fn request(sender: &str, code: &str, seconds: i64) -> PairingRequest {
        PairingRequest {
            id: format!("par_{sender}"),
            sender: SenderId::new(sender),
            name: None,
            code: Secret::new(code),
            at: at(seconds),
        }
    }

    #[test]
    fn codes_have_eight_characters_without_look_alikes() {
        for seed in 0..=255 {
            let code = code([seed; 32]);
            assert_eq!(code.expose().len(), CODE_CHARS);
            assert!(
                !code
                    .expose()
                    .contains(['0', 'O', '1', 'I', 'L', '2', 'Z', '5', 'S', '8', 'B', 'U', 'V', 'W'])
            );
        }
        assert_eq!(typed(" acde-fghj "), "ACDEFGHJ");
    }

    #[test]
    fn a_stranger_has_one_code_and_at_most_three_are_pending() {
        let mut book = PairingBook::default();
        for sender in ["a", "b", "c"] {
            assert!(book.request(request(sender, sender, 0)).is_some());
        }
        assert!(book.request(request("d", "d", 1)).is_none());
        assert_eq!(book.request(request("b", "other", 2)).unwrap().code.expose(), "b");
        assert_eq!(book.request(request("d", "d", 3600)).unwrap().sender.as_str(), "d");
    }

    #[test]
    fn a_code_works_once_and_for_an_hour() {
        let mut book = PairingBook::default();
        book.request(request("a", "AAAA", 0));
        assert_eq!(book.clone().guess("AAAA", at(3600)), Guess::Wrong);
        assert!(matches!(book.guess("AAAA", at(3599)), Guess::Right(request) if request.sender.as_str() == "a"));
        assert_eq!(book.guess("AAAA", at(3599)), Guess::Wrong);
    }

    #[test]
    fn guesses_are_delayed_and_then_blocked() {
        let mut book = PairingBook::default();
        book.request(request("a", "AAAA", 0));
        let mut now = 0;
        for n in 1..=MAX_GUESSES {
            assert_eq!(book.guess("wrong", at(now)), Guess::Wrong);
            let Guess::Wait(until) = book.guess("AAAA", at(now)) else {
                panic!("guess {n} is not slowed");
            };
            now = until.as_secs();
        }
        assert!(now >= 3600 + 511, "{now}");
        assert!(book.requests.is_empty(), "the code is withdrawn");
        // An hour later guessing is allowed again.
        assert!(book.request(request("a", "BBBB", now)).is_some());
        assert!(matches!(book.guess("BBBB", at(now)), Guess::Right(_)));
    }
}
