//! Strength of a root token: an upper bound of its entropy.

/// Least strength of a root token that can be tried from other machines.
pub const MIN_TOKEN_BITS: u32 = 128;
/// Least number of different characters of a randomly chosen token.
const MIN_DISTINCT: usize = 8;

/// Bits of entropy, if the token was chosen at random from the character classes that it contains. A token of few different characters was not.
#[must_use]
pub fn bits(token: &str) -> u32 {
    let mut distinct: Vec<char> = token.chars().collect();
    distinct.sort_unstable();
    distinct.dedup();
    if distinct.len() < MIN_DISTINCT {
        return 0;
    }
    let n = u32::try_from(token.chars().count()).unwrap_or(u32::MAX);
    n.saturating_mul(hundredths(&distinct)) / 100
}

/// Hundredths of a bit per character, by the character classes present.
fn hundredths(distinct: &[char]) -> u32 {
    let has = |kind: fn(&char) -> bool| distinct.iter().any(kind);
    if distinct.iter().all(|c| matches!(c, '0'..='9' | 'a'..='f')) {
        return if has(char::is_ascii_lowercase) { 400 } else { 332 };
    }
    let letters = has(char::is_ascii_lowercase) || has(char::is_ascii_uppercase);
    let both = has(char::is_ascii_lowercase) && has(char::is_ascii_uppercase);
    match (letters, both, has(char::is_ascii_digit)) {
        (_, true, true) => 595,
        (_, true, false) => 570,
        (true, false, true) => 516,
        (true, false, false) => 470,
        (false, ..) => 332,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_random_tokens_are_strong_and_others_are_not() {
        for strong in [
            "9f86d081884c7d659a2feaa0c55ad015",
            "tla_9f86d081884c7d659a2feaa0c55ad015",
            "fQ3kZ8vLw2Xr7TpNd5YbGs",
            "403020105970816253947061827364509182735",
        ] {
            assert!(bits(strong) >= MIN_TOKEN_BITS, "{strong}: {}", bits(strong));
        }
        for weak in [
            "",
            "short",
            "token-of-the-tests",
            "9f86d081884c7d659a2feaa0c55ad01",
            "00000000000000000000000000000000000000000000000000",
            "123412341234123412341234123412341234123412341234",
        ] {
            assert!(bits(weak) < MIN_TOKEN_BITS, "{weak}: {}", bits(weak));
        }
    }
}
