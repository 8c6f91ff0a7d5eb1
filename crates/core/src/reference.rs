//! Short reference number of a reply: people quote it, and operators find the message in the ledger by it.

use std::fmt;

use sha2::{Digest as _, Sha256};

use crate::ids::ReplyId;
use crate::pairing::ALPHABET;

const LENGTH: usize = 8;

/// Eight characters without look-alikes, derived from a reply's id. Two replies of one organization rarely share one; a search shows both.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference([u8; LENGTH]);

impl Reference {
    /// The reference of a reply. Deterministic.
    #[must_use]
    pub fn of(reply: &ReplyId) -> Self {
        let hash = Sha256::digest(reply.as_str());
        Self(std::array::from_fn(|at| {
            ALPHABET[usize::from(hash[at]) % ALPHABET.len()]
        }))
    }

    /// Reads what a person typed: upper or lower case, with or without the dash. `None` if it is no reference.
    #[must_use]
    pub fn read(typed: &str) -> Option<Self> {
        let typed = typed.bytes().filter(|byte| *byte != b'-' && *byte != b' ');
        let letters: Vec<u8> = typed.take(LENGTH + 1).map(|byte| byte.to_ascii_uppercase()).collect();
        let letters: [u8; LENGTH] = letters.try_into().ok()?;
        letters
            .iter()
            .all(|letter| ALPHABET.contains(letter))
            .then_some(Self(letters))
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, letter) in self.0.iter().enumerate() {
            if at == LENGTH / 2 {
                f.write_str("-")?;
            }
            write!(f, "{}", char::from(*letter))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reference_is_read_back_however_it_is_typed() {
        let reference = Reference::of(&ReplyId::new("tl-1"));
        let shown = reference.to_string();
        assert_eq!(shown.len(), LENGTH + 1);
        for typed in [
            shown.clone(),
            shown.to_lowercase(),
            shown.replace('-', ""),
            format!(" {shown} "),
        ] {
            assert_eq!(Reference::read(&typed), Some(reference), "{typed}");
        }
        assert_ne!(Reference::of(&ReplyId::new("tl-2")), reference);
    }

    #[test]
    fn invalid_references_are_not_read() {
        for typed in ["", "ACDE-FGH", "ACDE-FGHJK", "ACDE-FGH0", "编号ACDEFGHJ"] {
            assert_eq!(Reference::read(typed), None, "{typed}");
        }
    }
}
